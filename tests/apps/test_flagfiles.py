"""Every flagfile of DNAL parses, and says what the paper says."""

from __future__ import annotations

import json

import pytest

from tests.apps.parsed_flagfiles import FOLDER, parse
from tests.source_tree import ROOT

FILES = sorted(FOLDER.glob("dnal_*.cfg"))
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


@pytest.fixture(scope="module")
def parsed():
    return parse([*FILES, FOLDER / "demo_dnal.cfg"])


def test_every_row_of_tables_1_to_6_has_a_file():
    rows = {f"dnal_{key}_{lam}.cfg" for key, lams in TABLES.items() for lam in lams}
    assert len(rows) == 28
    proxyless = {f"dnal_proxyless_imagenet_{lam}.cfg" for lam in PROXYLESS}
    figures = {path.name for path in FILES if path.name.startswith("dnal_fig")}
    assert {path.name for path in FILES} == rows | proxyless | figures
    assert len(figures) == 2 * (len(ORDERS) + 2)


@pytest.mark.parametrize("key", TABLES)
def test_the_settings_are_the_papers(parsed, key):
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
    assert values["baseline_epochs"] == 0
    assert values["stages"] == [
        "weights", "baseline", "architecture", "surgery", "finetune", "export", "benchmark",
    ]  # fmt: skip
    assert "--flagfile=apps/flagfiles/demo_dnal.cfg" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cfg")), ids=lambda path: path.stem)
def test_the_head_gives_the_command(path):
    command = f"python -m apps.search --flagfile=apps/flagfiles/{path.name}"
    assert command in [line[4:].split("  ")[0] for line in path.read_text().splitlines()]


def test_every_table_is_shared_by_several_files():
    texts = [path.read_text() for path in FOLDER.rglob("*.cfg")]
    for path in (FOLDER / "tables").glob("*.cfg"):
        line = f"--flagfile={path.relative_to(ROOT)}\n"
        assert sum(line in text for text in texts) > 1, path.name
