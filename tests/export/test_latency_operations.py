"""The operations that are timed are those that the converter makes of a model."""

from __future__ import annotations

import collections

import keras
import numpy as np
import pytest

import keras_nas as kn
from export.tflite import convert
from keras_nas.costs import timed_operations
from keras_nas.errors import KerasNasError
from keras_nas.graph import read
from tests.importance.nets import gated, resnet
from tests.surgery.rebuilt import close_some

layers = keras.layers
NAMES = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise_conv",
    "TRANSPOSE_CONV": "transposed_conv",
    "FULLY_CONNECTED": "dense",
    "MAX_POOL_2D": "max_pool",
    "AVERAGE_POOL_2D": "average_pool",
    "MEAN": "global_average_pool",
    "ADD": "add",
    "SUB": "add",
    "MUL": "multiply",
    "CONCATENATION": "concatenate",
    "LOGISTIC": "sigmoid",
    "RESIZE_NEAREST_NEIGHBOR": "resize",
    "RESIZE_BILINEAR": "resize",
}
VIEWS = {"RESHAPE", "SHAPE", "STRIDED_SLICE", "PACK"}


def inverted_bottleneck():
    inputs = keras.Input((16, 16, 3), batch_size=1)
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = skip = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(24, 1, use_bias=False)(x)
    x = layers.Activation("silu")(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(x)
    x = layers.Activation("silu")(layers.BatchNormalization()(x))
    s = layers.Reshape((1, 1, 24))(layers.GlobalAveragePooling2D()(x))
    s = layers.Conv2D(6, 1, activation="relu")(s)
    s = layers.Conv2D(24, 1, activation="sigmoid")(s)
    x = layers.Multiply()([x, s])
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(x))
    x = layers.Add()([skip, layers.Dropout(0.2)(x)])
    x = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    return keras.Model(inputs, x)


def dense_block():
    inputs = keras.Input((8, 8, 4), batch_size=1)
    x = inputs
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(4, 3, padding="same")(y)
        x = layers.Concatenate()([x, y])
    x = layers.AveragePooling2D(2)(x)
    x = layers.PReLU(shared_axes=(1, 2))(x)
    x = layers.Conv2DTranspose(4, 4, 2, "same")(x)
    x = layers.LeakyReLU(0.1)(layers.UpSampling2D(2, interpolation="bilinear")(x))
    return keras.Model(inputs, layers.MaxPooling2D(2)(layers.Activation("tanh")(x)))


@pytest.mark.parametrize(
    "build",
    [
        inverted_bottleneck,
        dense_block,
        lambda: kn.models.small_resnet((16, 16, 3), stage_widths=[8, 16, 16]),
        lambda: kn.models.small_vgg((16, 16, 3), widths=[[4, 4], [8, 8], [8, 8]]),
    ],
    ids=["inverted_bottleneck", "dense_block", "small_resnet", "small_vgg"],
)
def test_the_same_operations_as_in_the_converted_file(build, tmp_path):
    model = build()
    random = np.random.default_rng(0)
    for weight in model.weights:  # fresh offsets are 0, and the converter leaves their ADD out
        weight.assign(random.uniform(0.5, 1.5, weight.shape))
    shapes = [(1, *tensor.shape[1:]) for tensor in model.inputs]
    timed = timed_operations(read(model, shapes))
    found = collections.Counter(operation.condition.operation for operation in timed)
    converted: collections.Counter[str] = collections.Counter()
    for name, count in convert(model, tmp_path / "model.tflite").operators.items():
        if name not in VIEWS:
            converted[NAMES.get(name, name.lower())] += count
    assert found == converted


@pytest.mark.parametrize("align", ["auto", "pad"])
def test_what_surgery_writes_at_joins_is_timed_before_and_after_it(align, tmp_path):
    supernet = gated(resnet())
    close_some(supernet, 0.5, 4)
    architecture = kn.Architecture.from_gates(supernet, align=align)
    small = kn.surgery.build(supernet, architecture, align=align)
    plan = kn.surgery.make_plan(supernet, architecture, align=align)
    built = timed_operations(read(small, [(1, 8, 8, 3)]))
    planned = timed_operations(kn.surgery.planned_graph(plan))
    assert collections.Counter(map(_work, planned)) == collections.Counter(map(_work, built))
    found = collections.Counter(operation.condition.operation for operation in built)
    converted = convert(small, tmp_path / "small.tflite").operators
    assert found["gather"] == found["partition"] == converted.get("GATHER", 0)
    assert found["pad"] == converted.get("PAD", 0)
    assert align == "auto" or (found["gather"] and found["pad"])


def _work(operation):
    return operation.condition, operation.in_channels, operation.out_channels


def test_a_normalisation_whose_convolution_is_read_elsewhere_is_timed():
    inputs = keras.Input((8, 8, 4), batch_size=1)
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    model = keras.Model(inputs, layers.Add()([x, layers.BatchNormalization()(x)]))
    names = [operation.condition.operation for operation in timed_operations(read(model))]
    assert names == ["conv", "multiply", "add", "add"]


def test_an_operation_that_nobody_timed_is_named():
    inputs = keras.Input((8, 8, 4), batch_size=1)
    model = keras.Model(inputs, layers.LayerNormalization(name="odd")(inputs))
    with pytest.raises(KerasNasError, match=r"layer 'odd' \(LayerNormalization\) cannot be predic"):
        timed_operations(read(model))
    model = keras.Model(inputs, layers.Activation("gelu", name="bent")(inputs))
    with pytest.raises(KerasNasError, match=r"layer 'bent' .* Received: gelu"):
        timed_operations(read(model))


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_space_that_is_folded_into_the_batch_is_refused(batch):
    inputs = keras.Input((8, 8, 3), batch_size=batch)
    x = keras.ops.reshape(inputs, (-1, 4, 8, 3))
    x = layers.Conv2D(3, 1, name="of_windows")(x)
    model = keras.Model(inputs, keras.ops.reshape(x, (-1, 8, 8, 3)))
    with pytest.raises(KerasNasError, match="'of_windows' works on 2 images for each sample"):
        timed_operations(read(model))


def test_open_sizes_are_refused():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="first")(inputs))
    with pytest.raises(KerasNasError, match="The sizes at layer 'first' must be known"):
        timed_operations(read(model))
