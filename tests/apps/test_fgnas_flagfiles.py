"""Every flagfile of FGNAS parses, and says what the paper says."""

from __future__ import annotations

import json

import pytest

import keras_nas as kn
from keras_nas.search import FgnasConfig
from keras_nas.settings import unflatten
from tests.apps.parsed_flagfiles import FOLDER, parse
from tests.search.fgnas_settings import PAPER

FILES = sorted(FOLDER.glob("fgnas_*.cfg"))
# Tables 3 to 8: the target, the operations, λ where it is printed.
ROWS = {
    "efficientnet_b0_cifar10_large": {"target_params": 3.9e6, "mix": "depthwise", "lambda_r": 1e-7},
    "efficientnet_b0_cifar10_small": {"target_params": 2.7e6, "mix": "depthwise", "lambda_r": 1e-7},
    "mobilenet_v2_imagenet": {"target_latency_ms": 53, "kernels": [3, 5], "lambda_r": 0.0012},
    "p_mobilenet_v2_imagenet": {"target_latency_ms": 53, "kernels": [], "lambda_r": 0.0012},
    "p_vgg16_cifar10": {"target_flops": 149e6, "kernels": [], "activations": []},
    "vgg16_cifar10_kernels": {"target_flops": 119e6, "kernels": [1, 3, 5, 7, 9, 11]},
    "vgg16_cifar10_activations": {"target_flops": 110e6, "activations": ["relu", "prelu", "tanh"]},
    "vgg16_cifar10_table7_type1": {"target_flops": 278e6, "prune_channels": False},
    "vgg16_cifar10_table7_type2": {"target_flops": 131e6, "multiple_operations": False},
    "vgg16_cifar10_table7_ours": {"target_flops": 61e6, "prune_channels": True},
    "p_vgg19_cifar10": {"target_flops": 348e6},
    "p_resnet18_cifar10": {"target_flops": 181.4e6},
    "p_resnet20_cifar10": {"target_flops": 34e6},
    "p_densenet40_cifar10": {"target_flops": 149e6},
    "edsr_div2k": {"target_flops": 0.976e9, "lambda_r": 1e-9, "batch_size": 16, "patch_size": 96},
}  # fmt: skip


@pytest.fixture(scope="module")
def parsed():
    demos = [FOLDER / f"demo_{name}.cfg" for name in ("fgnas", "edsr", "vgg", "latency")]
    return parse([*FILES, *demos])


def test_there_is_one_for_each_row():
    assert {path.stem.removeprefix("fgnas_") for path in FILES} == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_settings_are_the_papers(parsed, row):
    values = parsed[f"fgnas_{row}"]
    assert values["method"] == "fgnas"
    assert {name: values[name] for name in ROWS[row]} == ROWS[row]
    if values["data"] == "cifar10":
        assert (values["batch_size"], values["weights_learning_rate"]) == (128, 0.01)
        assert (values["weights_epochs"], values["weights_weight_decay"]) == (160, 1e-4)
        assert values["weights_nesterov"]
    if values["data"] == "imagenet2012":
        assert (values["batch_size"], values["weights_learning_rate"]) == (256, 0.01)
        assert (values["weights_epochs"], values["weights_boundaries"]) == (400, [200, 300])


def test_gates_are_led_by_lambda_alone_in_the_papers_rows_and_the_demos(parsed):
    for values in parsed.values():
        assert {name: values[name] for name in PAPER} == PAPER


@pytest.mark.parametrize("row", ROWS)
def test_networks_are_trained_from_scratch(parsed, row):
    values = parsed[f"fgnas_{row}"]
    settings = unflatten(FgnasConfig, values)
    assert not values["model"].endswith(".keras")
    assert not settings.takes_trained()


@pytest.mark.parametrize("row", ROWS)
def test_blocks_begin_with_the_1x1_of_section_3_4(parsed, row):
    """Wherever the backbone has residual or dense blocks; VGG has none."""
    assert parsed[f"fgnas_{row}"]["entries"] == ("vgg" not in row)


@pytest.mark.parametrize("row", ROWS)
def test_the_baseline_has_the_epochs_of_the_three_steps(parsed, row):
    values = parsed[f"fgnas_{row}"]
    steps = [values[f"{step}_epochs"] for step in ("weights", "search", "finetune")]
    assert values["baseline_epochs"] == sum(steps)
    names = ["optimizer", "learning_rate", "weight_decay", "schedule"]
    names += ["nesterov"] if values["weights_optimizer"] == "sgd" else ["epsilon"]
    for name in names:
        assert values[f"baseline_{name}"] == values[f"weights_{name}"]
    shares = [boundary / sum(steps) for boundary in values["baseline_boundaries"]]
    assert shares == ([0.5, 0.75] if values["weights_schedule"] == "piecewise" else [])


@pytest.mark.parametrize("size", ["small", "large"])
def test_cutout_stands_in_all_stages_of_table_3(parsed, size):
    values = parsed[f"fgnas_efficientnet_b0_cifar10_{size}"]
    assert values["cutout"] == 16
    assert values["cutout_stages"] == ["weights", "architecture", "finetune"]


def test_resnet_18_keeps_the_printed_share(parsed):
    full = kn.costs.count(kn.models.resnet18((224, 224, 3), 10)).flops
    target = parsed["fgnas_p_resnet18_cifar10"]["target_flops"]
    assert target / full == pytest.approx(1.3 / 26.0, rel=1e-3)


def test_super_resolution_is_trained_as_printed(parsed):
    """Section 4.2, DIV2K; Table 8 counts flops for an output of 1280×720."""
    values = parsed["fgnas_edsr_div2k"]
    assert json.loads(values["model_config"]) == {"filters": 64, "blocks": 16, "scale": 2}
    assert (values["model"], values["data"], values["value_range"]) == ("edsr", "div2k", 255)
    assert values["activations"] == ["relu", "prelu", "tanh"]
    assert values["entries"]
    assert not values["kernels"]
    assert values["resource_shape"] == [48, 48, 3]  # the patch of 96×96, not yet enlarged
    network = kn.models.edsr(**json.loads(values["model_config"]))
    patch, image = (kn.costs.count(network, (*size, 3)).flops for size in ((48, 48), (360, 640)))
    assert values["target_flops"] / patch == pytest.approx(97.6e9 / image)
    assert 5 < values["lambda_r"] * patch < 10  # beside an L1 of a few of 255 levels
    assert values["baseline_optimizer"] == "adam"
    assert values["weights_epochs"] == 300
    for stage in ("weights", "search", "finetune"):
        rule = [values[f"{stage}_{name}"] for name in ("optimizer", "learning_rate", "epsilon")]
        assert rule == ["adam", 1e-4, 1e-8]


def test_the_wider_vgg_is_pruned_in_steps_of_eight(parsed):
    demo = parsed["demo_vgg"]
    assert (demo["target_flops"], demo["round_to"]) == ("0.35x", 8)
    assert (
        kn.costs.count(kn.models.small_vgg(**json.loads(demo["model_config"]))).macs == 65_392_640
    )


def test_demo_asks_for_a_share_of_the_flops(parsed):
    demo = parsed["demo_fgnas"]
    assert (demo["target_flops"], demo["model"], demo["data"]) == (
        "0.35x",
        "small_vgg",
        "fashion_mnist",
    )


def test_demo_of_a_latency_budget_asks_for_half_the_milliseconds_of_the_same_network(parsed):
    demo, by_flops = parsed["demo_latency"], parsed["demo_fgnas"]
    assert (demo["target_latency_ms"], demo["latency_table"]) == ("0.5x", "runs/host.json")
    assert demo["round_to"] == 8
    assert demo["model"] == by_flops["model"]


def test_demo_of_super_resolution_leaves_the_residual_stream_whole(parsed):
    demo = parsed["demo_edsr"]
    assert (demo["model"], demo["data"], demo["target_flops"]) == ("edsr", "photographs", "0.5x")
    arguments = json.loads(demo["model_config"])
    supernet = kn.gates.insert(
        kn.models.edsr(**arguments), kn.layers.STEGate, include=demo["include"]
    )
    assert len(kn.gates.find(supernet)) == arguments["blocks"]
    shape = tuple(demo["resource_shape"])
    full, least = (
        kn.costs.count(kn.models.edsr(**arguments, inner_widths=widths), shape).flops
        for widths in (None, [1] * arguments["blocks"])
    )
    assert least < 0.5 * full
