from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_nas import models
from keras_nas.errors import KerasNasError
from keras_nas.layers import ScaledEdge
from keras_nas.models.dso_edges import block_names
from keras_nas.models.proxyless import OPERATIONS, STAGE_BLOCKS, proxyless
from tests.training.nets import PROXYLESS, open_operations

# The published networks: kernel and expansion of each block's operation, None for none.
GPU = [
    *("mb3_k5", None, None, None),
    *("mb3_k7", None, None, "mb3_k3"),
    *("mb6_k7", None, None, "mb3_k5"),
    *("mb6_k5", None, "mb3_k3", "mb3_k5"),
    *("mb6_k7", "mb6_k7", "mb6_k7", "mb6_k5"),
    "mb6_k7",
]
CPU = [
    *("mb6_k3", "mb3_k3", "mb3_k3", "mb3_k3"),
    *("mb6_k3", "mb3_k3", "mb3_k3", "mb3_k5"),
    *("mb6_k3", None, None, "mb3_k3"),
    *("mb6_k5", "mb3_k3", "mb3_k3", "mb3_k3"),
    *("mb6_k5", "mb3_k5", "mb3_k5", "mb3_k3"),
    "mb6_k5",
]


def trainable_params(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_dnals_baseline_has_16_million_params():
    assert trainable_params(proxyless()) / 1e6 == pytest.approx(16.0, rel=5e-3)


@pytest.mark.parametrize(
    ("variant", "operations", "params"), [("gpu", GPU, 7_119_848), ("cpu", CPU, 4_361_648)]
)
def test_the_published_networks_lie_in_the_space(variant, operations, params):
    chosen = [[] if operation is None else [operation] for operation in operations]
    assert trainable_params(proxyless(variant=variant, block_operations=chosen)) == params


def test_a_block_is_the_plain_sum_of_its_operations_and_residual():
    model = proxyless(**PROXYLESS)
    names = ["stage1_block1_add", "first_project_bn"]
    names += [f"stage1_block1_{operation}_project_bn" for operation in OPERATIONS]
    probe = keras.Model(model.input, [model.get_layer(name).output for name in names])
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    total, *parts = (np.asarray(output) for output in probe(x))
    assert len(parts) == 7
    np.testing.assert_allclose(total, sum(parts), atol=1e-5)
    # The strided block has no residual.
    assert len(model.get_layer("stage2_block1_add").input) == 6


def test_edges():
    model = proxyless(**PROXYLESS, edges=True)
    edges = [layer for layer in model.layers if isinstance(layer, ScaledEdge)]
    assert len(edges) == 18
    plain = proxyless(**PROXYLESS)
    assert not [layer for layer in plain.layers if isinstance(layer, ScaledEdge)]
    assert open_operations(model) == {
        block: list(OPERATIONS) for block in ("stage1_block1", "stage1_block2", "stage2_block1")
    }
    for operation in OPERATIONS:
        model.get_layer(f"stage1_block2_edge_{operation}").set_mask([False])
        if operation != "mb6_k5":
            model.get_layer(f"stage2_block1_edge_{operation}").set_mask([False])
    live = open_operations(model)
    assert live["stage1_block2"] == []
    assert live["stage2_block1"] == ["mb6_k5"]
    small = proxyless(**PROXYLESS, block_operations=list(live.values()))
    names = {layer.name for layer in small.layers}
    assert "stage2_block1_mb6_k5_project_conv" in names
    assert not any(name.startswith("stage1_block2") for name in names)


def test_in_the_zoo():
    model = models.create(
        "proxyless", **{k: _listed(v) for k, v in PROXYLESS.items()}, variant="gpu"
    )
    assert model.output_shape == (None, 4)


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


def test_block_names():
    names = block_names(STAGE_BLOCKS)
    assert len(names) == 21
    assert names[0] == "stage1_block1"
    assert names[-1] == "stage6_block1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "tpu"}, "`variant` must be one of"),
        ({"stage_widths": (4,)}, "one entry a stage"),
        ({"block_operations": [["mb3_k3"]]}, "one list a block, 3"),
        ({"block_operations": [["mb4_k3"], [], []]}, "must hold operations of"),
        ({"block_operations": [[], [], []]}, "must keep an operation in block 'stage2_block1'"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(KerasNasError, match=message):
        proxyless(**{**PROXYLESS, **changes})
