"""Single-operation files: LiteRT runs each and computes what Keras computes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export import flatbuffer
from export.accelerators.xnnpack import xnnpack_coverage
from export.latency.single_op import build
from keras_nas.costs.latency_condition import DTYPES, OPERATIONS, Condition
from keras_nas.errors import KerasNasError

SIZES = {
    "conv": ({"kernel": (3, 3), "stride": (2, 2)}, 16, 24),
    "depthwise_conv": ({"kernel": (5, 5), "stride": (2, 2)}, 16, 16),
    "transposed_conv": ({"kernel": (4, 4), "stride": (2, 2)}, 16, 8),
    "dense": ({"height": 1, "width": 1}, 16, 24),
    "max_pool": ({"kernel": (3, 3), "stride": (2, 2), "padding": "valid"}, 16, 16),
    "average_pool": ({"kernel": (2, 2), "stride": (2, 2)}, 16, 16),
    "concatenate": ({}, 16, 32),
    "pad": ({"kernel": (3, 3)}, 16, 16),
    "gather": ({}, 16, 12),
    "slice": ({}, 16, 12),
    "resize": ({"stride": (2, 2)}, 16, 16),
    "depth_to_space": ({"stride": (2, 2)}, 16, 4),
}


def condition_of(operation: str, dtype: str = "float32") -> tuple[Condition, int, int]:
    settings, in_channels, out_channels = SIZES.get(operation, ({}, 16, 16))
    settings = {"height": 12, "width": 10, **settings}
    return Condition(operation, dtype=dtype, **settings), in_channels, out_channels


def run(content: bytes, *inputs: np.ndarray) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    for detail, array in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_litert_runs_every_operation(operation, dtype):
    condition, in_channels, out_channels = condition_of(operation, dtype)
    content = build(condition, in_channels, out_channels, copies=3)
    interpreter = Interpreter(model_content=content)
    inputs = [
        np.random.default_rng(0).integers(-40, 40, detail["shape"])
        for detail in interpreter.get_input_details()
    ]
    outputs = run(content, *inputs)
    assert len(outputs) == (1 if operation == "partition" else 3)
    size = (1, 1) if operation == "dense" else condition.output_size
    expected = (1, out_channels) if operation == "dense" else (1, *size, out_channels)
    assert outputs[0].shape == expected
    assert outputs[0].dtype == dtype
    assert outputs[0].std() > 0


def test_the_copies_have_constants_of_their_own():
    content = build(Condition("dense", 1, 1), 8, 8, copies=2)
    first, second = run(content, np.ones((1, 8)))
    assert np.abs(first - second).max() > 0.1


def test_what_surgery_writes_at_joins_moves_channels():
    image = np.random.default_rng(2).normal(size=(1, 3, 2, 5))
    (gathered,) = run(build(Condition("gather", 3, 2), 5, 3), image)
    np.testing.assert_array_equal(gathered, image.astype("float32")[..., [4, 2, 0]])
    (sliced,) = run(build(Condition("slice", 3, 2), 5, 3), image)
    np.testing.assert_array_equal(sliced, image.astype("float32")[..., :3])
    (padded,) = run(build(Condition("pad", 3, 2), 5, 7), image)
    np.testing.assert_array_equal(padded[..., :5], image.astype("float32"))
    assert padded.shape[-1] == 7
    assert not padded[..., 5:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_copy_of_a_partition_is_one(dtype):
    content = build(Condition("partition", 1, 1, dtype=dtype), 8, 8, copies=5)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    found = xnnpack_coverage(interpreter)
    assert (found.nodes, found.taken, found.partitions) == (10, 5, 5)


@pytest.mark.parametrize(
    ("condition", "layer"),
    [
        (Condition("conv", 9, 8, (3, 3), (2, 2)), keras.layers.Conv2D(6, 3, 2, "same")),
        (
            Condition("conv", 9, 8, (3, 3), padding="valid", groups=2),
            keras.layers.Conv2D(6, 3, groups=2),
        ),
        (
            Condition("depthwise_conv", 9, 8, (3, 5)),
            keras.layers.DepthwiseConv2D((3, 5), padding="same"),
        ),
        (
            Condition("transposed_conv", 5, 4, (4, 4), (2, 2)),
            keras.layers.Conv2DTranspose(6, 4, 2, "same"),
        ),
    ],
)
def test_convolutions_equal_keras(condition, layer):
    out_channels = 4 if condition.operation == "depthwise_conv" else 6
    content = build(condition, 4, out_channels)
    model = flatbuffer.read(content)
    operands = [model.subgraphs[0].tensors[i] for i in model.subgraphs[0].operators[0].inputs]
    (kernel,) = [
        t for t in operands if len(t.shape) == 4 and model.buffers[t.buffer].data is not None
    ]
    weights = np.frombuffer(bytes(model.buffers[kernel.buffer].data), "<f4").reshape(kernel.shape)
    image = np.random.default_rng(1).normal(size=(1, condition.height, condition.width, 4))
    layer.build(image.shape)
    axes = {"conv": (1, 2, 3, 0), "depthwise_conv": (1, 2, 3, 0), "transposed_conv": (1, 2, 0, 3)}
    layer.set_weights([weights.transpose(axes[condition.operation]), np.zeros(out_channels)])
    np.testing.assert_allclose(run(content, image)[0], layer(image.astype("float32")), atol=1e-5)


@pytest.mark.parametrize(
    ("operation", "settings", "channels", "message"),
    [
        ("add", {}, (8, 4), "`out_channels` must be 8 for add 4×4"),
        ("concatenate", {}, (8, 8), "`out_channels` must be 16"),
        ("depth_to_space", {"stride": (2, 2)}, (8, 8), "`out_channels` must be 2"),
        ("conv", {"groups": 4}, (8, 6), "must be multiples of 4"),
    ],
)
def test_channels_that_do_not_go_together_are_refused(operation, settings, channels, message):
    with pytest.raises(KerasNasError, match=message):
        build(Condition(operation, 4, 4, **settings), *channels)
