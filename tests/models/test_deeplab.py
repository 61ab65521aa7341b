from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_nas as kn
from keras_nas.errors import KerasNasError
from keras_nas.models import FoundNetwork, deeplab_dso, deeplab_mobilenet_v2

SMALL = {
    "input_shape": (64, 64, 3),
    "num_classes": 4,
    "stem_width": 4,
    "expanded_widths": [4] + [6] * 16,
    "block_widths": [4] * 17,
    "head_width": 8,
}
DSO = {
    "input_shape": [64, 64, 3],
    "num_classes": 4,
    "space": {
        "stage_widths": [4, 6, 6, 8], "stage_blocks": [1, 1, 1, 1], "levels": 1,
        "operations": ["sep3", "max3"], "scope": "full",
    },
    "head_width": 8,
}  # fmt: skip


def randomize(model):
    random = np.random.default_rng(0)
    gates = {id(v) for gate in kn.gates.find(model) for v in gate.variables}
    for variable in model.variables:
        if variable.dtype == "float32" and id(variable) not in gates:
            values = random.normal(size=variable.shape) * 0.5
            values = np.abs(values) + 0.5 if "variance" in variable.name else values
            variable.assign(values)
    return model


def check_surgery(model):
    architecture = kn.Architecture.from_gates(model)
    small = kn.surgery.build(model, architecture, strict=True)
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype("float32")
    expected, found = (np.asarray(m(x, training=False)) for m in (model, small))
    assert np.abs(expected - found).max() <= 1e-4 * np.ptp(expected)
    return small


@pytest.fixture(scope="module")
def voc_model():
    return deeplab_mobilenet_v2()


def test_size_of_the_papers_network(voc_model):
    # MobileNetV2's Table 7: 4.52 M params for DeepLabv3 with ASPP at output stride 16.
    costs = kn.costs.count(voc_model)
    assert costs.params / 1e6 == pytest.approx(4.52, rel=2e-3)
    assert voc_model.output_shape == (None, 513, 513, 21)
    assert voc_model.get_layer("aspp_concat").output.shape == (None, 33, 33, 1280)


def test_strides_and_dilations(voc_model):
    def depthwise(block):
        layer = voc_model.get_layer(f"block{block}_depthwise_conv")
        return layer.strides[0], layer.dilation_rate[0]

    assert [depthwise(block) for block in (2, 4, 7, 13)] == [(2, 1), (2, 1), (2, 1), (1, 1)]
    assert [depthwise(block) for block in (14, 15, 17)] == [(1, 1), (1, 2), (1, 2)]
    rates = [voc_model.get_layer(f"aspp_rate{rate}_conv").dilation_rate for rate in (6, 12, 18)]
    assert rates == [(6, 6), (12, 12), (18, 18)]


@pytest.mark.parametrize(("stride", "size"), [(8, 8), (16, 4), (32, 2)])
def test_output_strides(stride, size):
    model = deeplab_mobilenet_v2(**SMALL, output_stride=stride)
    assert model.get_layer("logits").output.shape[1:3] == (size, size)
    assert model.output_shape == (None, 64, 64, 4)


def test_gates_prune_branches_of_the_head():
    model = kn.gates.insert(deeplab_mobilenet_v2(**SMALL), kn.layers.ScaledSigmoidGate)
    randomize(model)
    random = np.random.default_rng(2)
    graph = kn.graph.read(model)
    for node in graph.nodes:
        if isinstance(node.operation, kn.layers.Gate):
            before = node.inputs[0].producer.name
            closed = before.startswith(("aspp_rate12", "aspp_whole"))
            mask = random.random(node.operation.channels) > (1.0 if closed else 0.4)
            mask[0] |= not closed
            node.operation.set_mask(mask)
    small = check_surgery(model)
    names = {layer.name for layer in small.layers}
    assert "aspp_rate6_conv" in names
    assert "aspp_rate12_conv" not in names
    assert "aspp_whole_conv" not in names


def test_edges_of_the_dso_backbone():
    model = randomize(deeplab_dso(**DSO))
    assert model.get_layer("aspp_concat").output.shape[1:3] == (4, 4)
    edges = kn.gates.find(model)
    assert len(edges) == 8
    for index, edge in enumerate(edges):
        edge.scale.assign([0.0 if index % 2 else 0.5])
        edge.mode = "hard"
    check_surgery(model)
    kept = {edge.name: float(edge.scale.numpy()[0]) for edge in edges}
    found = FoundNetwork({"builder": "deeplab_dso", "config": DSO}, kept)
    network = found.build([6, 8, 8, 10], drop_path=0.1)
    assert network.output_shape == (None, 64, 64, 4)
    assert not kn.gates.find(network)
    assert network.get_layer("stage4_block1_output_conv").filters == 10


def test_the_default_space_is_the_papers():
    space = kn.models.segmentation_space((513, 513, 3))
    assert space.scope == "share"
    assert space.stage_blocks == (2, 2, 13, 6)
    assert space.last_stage_dilation == 2


def test_half_precision_gives_full_precision_logits():
    keras.config.set_dtype_policy("mixed_float16")
    model = deeplab_mobilenet_v2(**SMALL)
    assert model.outputs[0].dtype == "float32"
    assert model(np.zeros((1, 64, 64, 3), "float32")).dtype == "float32"


def test_wrong_output_stride():
    with pytest.raises(KerasNasError, match="`output_stride` must be one of"):
        deeplab_mobilenet_v2(**SMALL, output_stride=4)
