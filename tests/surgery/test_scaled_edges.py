"""Surgery of searched edges: the small network computes what the supernet does."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_nas as kn
from keras_nas.models import DsoSpace
from keras_nas.models.proxyless import proxyless
from tests.training import nets

SPACE = {
    "input_shape": (16, 16, 3),
    "stage_widths": (4, 8),
    "stage_blocks": (2, 1),
    "levels": 3,
    "operations": ("sep3", "max3", "avg3"),
}
PROXYLESS = {**nets.PROXYLESS, "edges": True}


def randomize(model, closed_share, seed=0):
    """Random weights and statistics; each edge is closed, or has a scale from 0.2 to 2."""
    random = np.random.default_rng(seed)
    edges = kn.gates.find(model)
    own = {id(variable) for edge in edges for variable in edge.variables}
    for variable in model.variables:
        if id(variable) not in own:
            values = random.normal(size=variable.shape) * 0.5
            if "variance" in variable.name:
                values = np.abs(values) + 0.5
            variable.assign(values.astype("float32"))
    for edge in edges:
        scale = 0.0 if random.random() < closed_share else random.uniform(0.2, 2.0)
        edge.scale.assign([scale])
        edge.mode = "hard"
    return model


def check(model):
    """Builds the small network; returns it when its outputs and costs are right."""
    architecture = kn.Architecture.from_gates(model)
    small = kn.surgery.build(model, architecture, strict=True)
    x = np.random.default_rng(1).normal(size=(4, *model.input_shape[1:])).astype("float32")
    expected, found = (np.asarray(m(x, training=False)) for m in (model, small))
    assert np.abs(expected - found).max() <= 1e-5 * np.ptp(expected)
    assert kn.costs.count(small).macs == architecture.costs["after"]["macs"]
    assert kn.costs.count(small).params == architecture.costs["after"]["params"]
    assert {type(layer).__module__.split(".")[0] for layer in small.layers} == {"keras"}
    return small


@pytest.mark.parametrize("scope", ["full", "share"])
@pytest.mark.parametrize("closed", [0.0, 0.3, 0.7, 0.95])
def test_dso_networks(scope, closed):
    supernet = DsoSpace(**SPACE, scope=scope).supernet()
    small = check(randomize(supernet, closed))
    if closed >= 0.7:
        assert kn.costs.count(small).macs < 0.7 * kn.costs.count(supernet).macs


@pytest.mark.parametrize("scope", ["full", "share"])
def test_blocks_without_an_edge_leave_their_identity(scope):
    space = DsoSpace(**SPACE, scope=scope)
    small = check(randomize(space.supernet(), closed_share=1.0))
    convolutions = [x for x in small.layers if isinstance(x, keras.layers.Conv2D)]
    # The stem and the reduction's two are left; no depthwise convolution, and of the poolings only
    # the reduction's stride.
    assert len(convolutions) == 3
    poolings = [x for x in small.layers if type(x).__name__ in ("MaxPooling2D", "AveragePooling2D")]
    assert [x.name for x in poolings] == ["stage1_reduction_conv1_stride"]
    assert kn.costs.count(small).macs == kn.costs.count(space.network({})).macs


def test_dead_ends_go_with_the_edges():
    """l1_sep3 -> l2_max3 is open, but nobody reads l2_max3: the whole way goes."""
    space = DsoSpace(**{**SPACE, "stage_blocks": (1, 1), "levels": 2})
    supernet = randomize(space.supernet(), closed_share=1.0)
    for name in ("l1_sep3_to_l2_max3", "l1_avg3_to_output"):
        supernet.get_layer(f"stage1_block1_edge_{name}").scale.assign([0.5])
    small = check(supernet)
    names = " ".join(layer.name for layer in small.layers)
    assert "stage1_block1_l1_avg3" in names
    assert "stage1_block1_l1_sep3" not in names
    assert "stage1_block1_l2_max3" not in names
    assert space.genotype(supernet)["stage1_block1"] == [["l1_avg3", "output"]]


@pytest.mark.parametrize("closed", [0.3, 0.6])
def test_proxyless_networks(closed):
    check(randomize(proxyless(**PROXYLESS), closed, seed=2))


def test_dnal_gates_keep_different_channels_of_the_same_block():
    settings = {**PROXYLESS, "edges": False}
    supernet = kn.gates.insert(proxyless(**settings), kn.layers.ScaledSigmoidGate)
    random = np.random.default_rng(3)
    for variable in supernet.variables:
        if variable.dtype == "float32":
            values = np.abs(random.normal(size=variable.shape)) + 0.1
            variable.assign(values.astype("float32"))
    for gate in kn.gates.find(supernet):
        gate.set_mask(random.random(gate.channels) > 0.5)
    # One operation of the first block goes wholly, the others keep channels of their own.
    supernet.get_layer(_gate_after(supernet, "stage1_block1_mb6_k7_project_bn")).set_mask([0] * 4)
    small = check(supernet)
    names = [layer.name for layer in small.layers]
    assert not any(name.startswith("stage1_block1_mb6_k7") for name in names)
    assert any(name.startswith("stage1_block1_mb3_k3") for name in names)


def _gate_after(model, name):
    [node] = [n for n in kn.graph.read(model).nodes if n.name == name]
    [reader] = node.outputs[0].readers
    return reader.name
