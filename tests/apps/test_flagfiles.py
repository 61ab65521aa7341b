"""Every flagfile parses, and says what its paper says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import keras_nas as kn
from keras_nas.models import DsoSpace
from keras_nas.search import DnalConfig, FgnasConfig, TrainConfig
from keras_nas.settings import flatten, unflatten
from tests.source_tree import ROOT
from tests.training.nets import PAPER

FOLDER = ROOT / "apps" / "flagfiles"
SCRIPT = """
import json, sys
from absl import flags
from apps.run_settings import define_flags, read_flags
from keras_nas.settings import flatten
define_flags()
found = {}
for path in sys.argv[1:]:
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["app", f"--flagfile={path}"])
    config, settings = read_flags()
    found[path] = {**flatten(config), **flatten(settings)}
print(json.dumps(found))
"""

DNAL, DSO, FGNAS = (sorted(FOLDER.glob(f"{method}_*.cfg")) for method in ("dnal", "dso", "fgnas"))
DSO_CIFAR = [path for path in DSO if path.stem.startswith("dso_cifar10_")]
DSO_OTHERS = [path for path in DSO if path not in DSO_CIFAR]
STEERED_BY_LAMBDA = ("demo_edsr", "demo_vgg", "demo_latency")
RECOMMENDED = {"demo_dnal": DnalConfig, "demo_fgnas": FgnasConfig}
TABLES = {
    "vgg16_cifar10": ("1e-5", "5e-5", "1e-4", "2e-4", "3e-4", "4e-4", "5e-4"),
    "resnet56_cifar10": ("1e-5", "5e-5", "1e-4", "2e-4", "3e-4", "4e-4", "5e-4"),
    "mobilenet_v2_cifar10": ("1e-5", "5e-5", "1e-4", "2e-4", "3e-4", "4e-4", "5e-4"),
    "vgg16_imagenet": ("1e-4",),
    "resnet50_imagenet": ("5e-5", "6e-5", "7e-5", "1e-4"),
    "mobilenet_v2_imagenet": ("6e-5", "7e-5"),
}
# Section V: epochs of the three stages, batch size, weight decay, the gates' learning rate,
# and the finetuning's boundaries.
SETTINGS = {
    "vgg16_cifar10": ((100, 20, 130), 128, 1e-4, 0.1, [30, 80]),
    "resnet56_cifar10": ((100, 20, 130), 64, 1e-4, 0.1, [30, 80]),
    "mobilenet_v2_cifar10": ((150, 20, 180), 128, 4e-5, 0.1, [30, 105]),
    "vgg16_imagenet": ((30, 10, 70), 256, 1e-4, 0.01, [10, 40]),
    "resnet50_imagenet": ((30, 10, 70), 256, 1e-4, 0.01, [10, 40]),
    "mobilenet_v2_imagenet": ((80, 10, 90), 256, 4e-5, 0.01, []),
}
# Tables IV to VII: epochs of the baselines. For CIFAR-10 none are printed: those of all stages.
BASELINES = {
    "vgg16_imagenet": 90, "resnet50_imagenet": 90, "mobilenet_v2_imagenet": 120,
    "proxyless_imagenet": 150,
}  # fmt: skip
PROXYLESS = ("4e-5", "5e-5", "6e-5")
ORDERS = ("conv_gate_bn_relu", "conv_bn_gate_relu", "conv_bn_relu_gate")
# FGNAS, tables 3 to 8: the target, the operations, λ where it is printed.
FGNAS_ROWS = {
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
    """The values of all settings in each file, by the file's stem."""
    paths = map(str, sorted(FOLDER.glob("*.cfg")))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {Path(path).stem: values for path, values in json.loads(done.stdout).items()}


def test_every_row_of_dnals_tables_has_its_flagfile():
    rows = {f"dnal_{key}_{lam}.cfg" for key, lams in TABLES.items() for lam in lams}
    assert len(rows) == 28
    proxyless = {f"dnal_proxyless_imagenet_{lam}.cfg" for lam in PROXYLESS}
    figures = {path.name for path in DNAL if path.name.startswith("dnal_fig")}
    assert {path.name for path in DNAL} == rows | proxyless | figures
    assert len(figures) == 2 * (len(ORDERS) + 2)


@pytest.mark.parametrize("key", TABLES)
def test_dnal_settings_are_the_papers(parsed, key):
    epochs, batch_size, decay, gates_rate, boundaries = SETTINGS[key]
    for lam in TABLES[key]:
        values = parsed[f"dnal_{key}_{lam}"]
        assert values["lambda_a"] == float(lam)
        assert values["data"] == ("cifar10" if "cifar10" in key else "imagenet2012")
        assert (
            tuple(values[f"{stage}_epochs"] for stage in ("weights", "architecture", "finetune"))
            == epochs
        )
        assert values["batch_size"] == batch_size
        assert values["weights_weight_decay"] == values["finetune_weight_decay"] == decay
        assert values["architecture_weight_decay"] == 0
        assert values["architecture_learning_rate"] == gates_rate
        assert values["weights_learning_rate"] == values["finetune_learning_rate"] == 0.1
        assert values["finetune_schedule"] == ("piecewise" if boundaries else "cosine")
        if boundaries:
            assert values["finetune_boundaries"] == boundaries
        assert values["weights_momentum"] == 0.9
        assert (values["delta_max"], values["strategy"]) == (1e4, "sequential")
        assert values["gates_start"] == "zero"
        assert values["delta_schedule"] == "epoch"
        assert values["baseline_epochs"] == BASELINES.get(key, sum(epochs))
        assert values["baseline_schedule"] == values["finetune_schedule"]
        assert values["baseline_weight_decay"] == decay
        assert values["baseline_learning_rate"] == 0.1
        assert (values["order"], values["round_to"]) == ("conv_bn_gate_relu", 1)


@pytest.mark.parametrize("lam", PROXYLESS)
def test_the_rows_of_proxyless_are_the_papers_and_the_authors_readmes(parsed, lam):
    values = parsed[f"dnal_proxyless_imagenet_{lam}"]
    assert (values["lambda_a"], values["model"]) == (float(lam), "proxyless")
    epochs = [values[f"{stage}_epochs"] for stage in ("weights", "architecture", "finetune")]
    assert epochs == [100, 10, 110]
    assert values["baseline_epochs"] == BASELINES["proxyless_imagenet"]
    assert values["weights_learning_rate"] == values["finetune_learning_rate"] == 0.05
    assert values["weights_schedule"] == values["finetune_schedule"] == "cosine"
    assert (values["batch_size"], values["finetune_batch_size"]) == (256, 96)
    assert (values["weights_batch_size"], values["architecture_batch_size"]) == (0, 0)


@pytest.mark.parametrize("key", ["vgg16_cifar10", "mobilenet_v2_cifar10"])
def test_figures_4_and_5_are_a_row_of_the_tables_with_a_held_out_curve(parsed, key):
    row = parsed[f"dnal_{key}_1e-4"]
    net = key.removesuffix("_cifar10")
    figures = {f"fig4_{net}_{order}": {"order": order} for order in ORDERS}
    figures |= {f"fig5_{net}_{kind}": {"strategy": kind} for kind in ("sequential", "joint")}
    for name, changed in figures.items():
        found = parsed[f"dnal_{name}"]
        expected = {**row, **changed, "validation_share": 0.1, "run_dir": f"runs/dnal_{name}"}
        differing = {k for k in row if found[k] != expected[k]}
        assert all(setting.startswith("baseline_") for setting in differing), (name, differing)
        assert found["baseline_epochs"] == 0


def test_mobilenet_v2_is_trained_without_dropout_on_imagenet(parsed):
    """Section V-C: "We remove the dropout from the last classifier layer of MobileNetV2"."""
    for lam in TABLES["mobilenet_v2_imagenet"]:
        values = parsed[f"dnal_mobilenet_v2_imagenet_{lam}"]
        assert json.loads(values["model_config"]) == {"dropout": 0}


def test_the_demo_is_the_one_that_make_runs(parsed):
    values = parsed["demo_dnal"]
    assert values["data"] == "fashion_mnist"
    assert (values["streams"], values["round_to"]) == ("groups", 8)
    assert values["stages"] == [
        "weights", "baseline", "architecture", "surgery", "finetune", "export", "benchmark",
    ]  # fmt: skip
    assert "--flagfile=apps/flagfiles/demo_dnal.cfg" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("stem", RECOMMENDED)
def test_demo_searches_by_the_defaults(parsed, stem):
    """Beside its stages' epochs and rates it says what to reach and how widths are rounded."""
    defaults = json.loads(json.dumps(flatten(RECOMMENDED[stem]())))
    stages = ("weights", "architecture", "search", "finetune")
    training = {f"{stage}_{name}" for stage in stages for name in flatten(TrainConfig())}
    changed = {
        name
        for name, value in defaults.items()
        if parsed[stem][name] != value and name not in training
    }
    assert changed
    assert changed <= {"target_macs", "target_flops", "streams", "round_to"}


@pytest.mark.parametrize(("stem", "learns"), [("demo_dnal", None), ("demo_fgnas", "search")])
def test_demo_learns_along_one_schedule_and_its_baseline_as_long(parsed, stem, learns):
    """Each stage's part of it begins where the one before ends (DNAL's fading: in finetune's)."""
    values = parsed[stem]
    epochs = [
        values[f"{name}_epochs"] for name in ("weights", learns or "architecture", "finetune")
    ]
    parts = [
        (name, values[f"{name}_schedule_start"]) for name in ("weights", learns, "finetune") if name
    ]
    begins = [0, epochs[0], epochs[0] + epochs[1]] if learns else [0, epochs[0]]
    assert [start for _, start in parts] == begins
    for name, _ in parts:
        assert values[f"{name}_schedule_epochs"] == values["baseline_epochs"] == sum(epochs)
    assert values["baseline_schedule_epochs"] == values["baseline_schedule_start"] == 0
    for name in ("schedule", "learning_rate", "weight_decay"):
        assert len({values[f"{stage}_{name}"] for stage in ("baseline", *dict(parts))}) == 1


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cfg")), ids=lambda path: path.stem)
def test_the_head_gives_the_command(path):
    command = f"python -m apps.search --flagfile=apps/flagfiles/{path.name}"
    assert command in [line[4:].split("  ")[0] for line in path.read_text().splitlines()]


def test_every_table_is_shared_by_several_files():
    texts = [path.read_text() for path in FOLDER.rglob("*.cfg")]
    for path in (FOLDER / "tables").glob("*.cfg"):
        line = f"--flagfile={path.relative_to(ROOT)}\n"
        assert sum(line in text for text in texts) > 1, path.name


def test_every_row_of_dsos_tables_has_its_flagfile():
    # Tables 1 (5 rows), 6 (8), 7 (8), 8 (4), 9 (4) and Fig. 8; Tables 2 to 5 (8).
    assert len(DSO_CIFAR) == 5 + 8 + 8 + 4 + 4 + 1
    assert len(DSO_OTHERS) == 8


@pytest.mark.parametrize("path", DSO_CIFAR, ids=lambda path: path.stem)
def test_cifar_settings_are_section_4_2s(parsed, path):
    found = parsed[path.stem]
    assert found["method"] == "dso"
    assert found["data"] == "cifar10"
    assert found["batch_size"] == 128
    assert found["weights_learning_rate"] == found["architecture_learning_rate"] == 0.1
    assert found["weights_weight_decay"] == 3e-4
    assert found["weights_nesterov"]
    assert found["hold_bn_scale"]
    assert found["finetune_epochs"] == 630
    assert found["finetune_schedule"] == "cosine_restarts"
    assert (found["finetune_learning_rate"], found["finetune_final_learning_rate"]) == (0.05, 0.001)
    assert (found["finetune_restart_epochs"], found["finetune_restart_factor"]) == (10, 2)
    assert (found["dropout"], found["drop_path"], found["auxiliary_weight"]) == (0.6, 0.5, 0.4)
    assert 2.9e6 <= float(found["target_params"]) <= 3.0e6


def test_cutout_stands_in_table_1_alone(parsed):
    for name in ("full", "share", "random_full", "random_share", "full_network"):
        assert parsed[f"dso_cifar10_{name}"]["cutout"] == 16
        assert parsed[f"dso_cifar10_{name}"]["cutout_stages"] == ["finetune"]
    assert parsed["dso_cifar10_pretrain120_share"]["cutout"] == 0


@pytest.mark.parametrize("path", DSO_OTHERS, ids=lambda path: path.stem)
def test_imagenet_settings_are_section_4_3s(parsed, path):
    found = parsed[path.stem]
    assert found["split_ratio"] == "4:1"
    assert found["weights_epochs"] == 30
    assert found["weights_weight_decay"] == found["finetune_weight_decay"] == 4e-5
    if "imagenet" in path.stem:
        assert found["finetune_epochs"] == 240
        assert found["finetune_schedule"] == "linear"
        assert found["finetune_learning_rate"] == 0.5
        assert found["label_smoothing"] == 0.1


@pytest.mark.parametrize(
    ("name", "levels", "operations", "edges"),
    [
        ("levels2", 2, 4, 28),
        ("levels5", 5, 4, 196),
        ("operations2", 4, 2, 38),
        ("operations5", 4, 5, 185),
    ],
)
def test_spaces_of_tables_8_and_9(parsed, name, levels, operations, edges):
    space = DsoSpace(**json.loads(parsed[f"dso_cifar10_{name}"]["model_config"]))
    assert (space.levels, len(space.operations)) == (levels, operations)
    names = space.edge_names()["stage1_block1"]
    assert len(names) == edges


def test_ablations_of_tables_6_and_7(parsed):
    for epochs in (0, 60, 120, 150):
        assert parsed[f"dso_cifar10_pretrain{epochs}_full"]["weights_epochs"] == epochs
    assert parsed["dso_cifar10_joint_full"]["split"] is False
    assert parsed["dso_cifar10_split3to1_full"]["split_ratio"] == "3:1"


def test_the_mobile_space_goes_down_to_one_operation(parsed):
    for variant in ("gpu", "cpu"):
        found = parsed[f"dso_proxyless_{variant}"]
        assert found["stop"] == "one_operation"
        assert json.loads(found["model_config"]) == {"variant": variant, "edges": True}


@pytest.mark.parametrize(
    "path",
    [path for path in DSO_OTHERS if "--latency_table" in path.read_text()],
    ids=lambda p: p.stem,
)
def test_a_latency_table_is_one_that_the_head_says_how_to_make(parsed, path):
    head = [line.removeprefix("# ") for line in path.read_text().splitlines() if line[:1] == "#"]
    table = parsed[path.stem]["latency_table"]
    (command,) = [line for line in head if "apps.profile_latency" in line]
    assert command.endswith(f"--output={table}")
    model = command.split("--models=")[1].split()[0]
    assert any(f".save('{model}')" in line for line in head)
    assert any(f"models.create('{parsed[path.stem]['model']}'" in line for line in head)


def test_there_is_one_for_each_row_of_fgnas():
    assert {path.stem.removeprefix("fgnas_") for path in FGNAS} == set(FGNAS_ROWS)


@pytest.mark.parametrize("row", FGNAS_ROWS)
def test_fgnas_settings_are_the_papers(parsed, row):
    values = parsed[f"fgnas_{row}"]
    assert values["method"] == "fgnas"
    assert {name: values[name] for name in FGNAS_ROWS[row]} == FGNAS_ROWS[row]
    if values["data"] == "cifar10":
        assert (values["batch_size"], values["weights_learning_rate"]) == (128, 0.01)
        assert (values["weights_epochs"], values["weights_weight_decay"]) == (160, 1e-4)
        assert values["weights_nesterov"]
    if values["data"] == "imagenet2012":
        assert (values["batch_size"], values["weights_learning_rate"]) == (256, 0.01)
        assert (values["weights_epochs"], values["weights_boundaries"]) == (400, [200, 300])


def test_gates_are_led_by_lambda_alone_in_the_papers_rows_and_some_demos(parsed):
    for stem in [*(path.stem for path in FGNAS), *STEERED_BY_LAMBDA]:
        assert {name: parsed[stem][name] for name in PAPER} == PAPER


@pytest.mark.parametrize("row", FGNAS_ROWS)
def test_networks_are_trained_from_scratch(parsed, row):
    values = parsed[f"fgnas_{row}"]
    settings = unflatten(FgnasConfig, values)
    assert not values["model"].endswith(".keras")
    assert not settings.takes_trained()


@pytest.mark.parametrize("row", FGNAS_ROWS)
def test_blocks_begin_with_the_1x1_of_section_3_4(parsed, row):
    """Wherever the backbone has residual or dense blocks; VGG has none."""
    assert parsed[f"fgnas_{row}"]["entries"] == ("vgg" not in row)


@pytest.mark.parametrize("row", FGNAS_ROWS)
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
    network = kn.models.small_vgg(**json.loads(demo["model_config"]))
    assert kn.costs.count(network).macs == 65_392_640


def test_demo_asks_for_a_share_of_the_flops(parsed):
    demo = parsed["demo_fgnas"]
    found = (demo["target_flops"], demo["model"], demo["data"])
    assert found == ("0.35x", "small_vgg", "fashion_mnist")


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
