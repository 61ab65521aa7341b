"""Every flagfile of DSO parses, builds its space, and says what the paper says."""

from __future__ import annotations

import json

import pytest

from keras_nas.models import DsoSpace
from tests.apps.parsed_flagfiles import FOLDER, parse

DEMOS = [FOLDER / f"demo_{name}.cfg" for name in ("dso", "segmentation", "proxyless")]
CIFAR = sorted(FOLDER.glob("dso_cifar10_*.cfg"))
OTHERS = sorted(set(FOLDER.glob("dso_*.cfg")) - set(CIFAR))
FILES = [*CIFAR, *OTHERS, *DEMOS]


@pytest.fixture(scope="module")
def parsed():
    return parse(FILES)


def test_every_row_of_the_tables_has_its_flagfile():
    # Tables 1 (5 rows), 6 (8), 7 (8), 8 (4), 9 (4) and Fig. 8; Tables 2 to 5 (8).
    assert len(CIFAR) == 5 + 8 + 8 + 4 + 4 + 1
    assert len(OTHERS) == 8


@pytest.mark.parametrize("path", CIFAR, ids=lambda path: path.stem)
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


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
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
    "path", [path for path in OTHERS if "--latency_table" in path.read_text()], ids=lambda p: p.stem
)
def test_a_latency_table_is_one_that_the_head_says_how_to_make(parsed, path):
    head = [line.removeprefix("# ") for line in path.read_text().splitlines() if line[:1] == "#"]
    table = parsed[path.stem]["latency_table"]
    (command,) = [line for line in head if "apps.profile_latency" in line]
    assert command.endswith(f"--output={table}")
    model = command.split("--models=")[1].split()[0]
    assert any(f".save('{model}')" in line for line in head)
    assert any(f"models.create('{parsed[path.stem]['model']}'" in line for line in head)
