"""The predicted bytes and arena of .tflite files, beside real files and LiteRT's own arena."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from export import tflite
from export.arena import measured_arena
from keras_nas.choices import FILE_FORMATS
from keras_nas.costs import arena_bytes, tflite_bytes
from keras_nas.importance import prune, score
from tests.importance.nets import NETS, gated
from tests.random_models import randomize


def attention():
    """Squeeze and excitation, swish, PReLU, pooling, padding, Dense and Reshape."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(24, 3, strides=2, activation="relu")(x)
    x = layers.PReLU(shared_axes=(1, 2))(layers.SeparableConv2D(32, 3, padding="same")(x))
    x = layers.Activation("silu")(layers.BatchNormalization()(layers.Conv2D(40, 1)(x)))
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(40, 1, activation="sigmoid")(s)
    x = layers.MaxPooling2D(2)(layers.Multiply()([x, s]))
    x = layers.Dense(30, activation="relu")(layers.Flatten()(x))
    x = layers.Dense(18)(layers.Dropout(0.5)(x))
    return keras.Model(inputs, layers.Reshape((2, 9))(x), name="attention")


NETWORKS = {**NETS, "attention": attention}


def network(name: str) -> keras.Model:
    model = NETWORKS[name]()
    randomize(model, 0)
    return model


def converted(model: keras.Model, folder, format: str):  # noqa: A002
    data = np.random.default_rng(0).normal(size=(4, *model.inputs[0].shape[1:])).astype("float32")
    options = {"representative_data": data} if format == "int8" else {}
    return tflite.convert(model, folder / "m.tflite", format, **options)


@pytest.mark.parametrize("format", FILE_FORMATS)
@pytest.mark.parametrize("net", NETWORKS)
def test_bytes_are_those_of_the_file(net, format, tmp_path):  # noqa: A002
    model = network(net)
    real = converted(model, tmp_path, format).size_bytes
    assert tflite_bytes(model, format) == pytest.approx(real, rel=0.05)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("net", NETWORKS)
def test_the_arena_is_the_runtimes(net, dtype, tmp_path):
    model = network(net)
    real = measured_arena(converted(model, tmp_path, dtype).path)
    assert arena_bytes(model, dtype) == pytest.approx(real, rel=0.05)


@pytest.mark.parametrize("net", NETS)
def test_what_surgery_will_build_is_predicted(net):
    supernet = gated(NETS[net]())
    for tied in (True, False):
        architecture = prune(supernet, score(supernet), target_params="0.6x", tied=tied)
        graph = kn.surgery.planned_graph(kn.surgery.make_plan(supernet, architecture))
        small = kn.surgery.build(supernet, architecture)
        for form in FILE_FORMATS:
            assert tflite_bytes(graph, form) == pytest.approx(tflite_bytes(small, form), rel=0.02)
        for dtype in ("float32", "int8"):
            assert arena_bytes(graph, dtype) == pytest.approx(arena_bytes(small, dtype), rel=0.02)


def test_a_shared_layer_is_stored_once():
    inputs = keras.Input((8, 8, 4))
    shared = layers.Conv2D(64, 3, padding="same")
    first = layers.Conv2D(64, 3, padding="same")(inputs)
    once = keras.Model(inputs, shared(first))
    twice = keras.Model(inputs, shared(shared(first)))
    assert 0 < tflite_bytes(twice) - tflite_bytes(once) < 1000


def test_other_formats_are_refused():
    model = network("resnet")
    with pytest.raises(kn.KerasNasError, match="`format` must be one of"):
        tflite_bytes(model, "int16x8")
    with pytest.raises(kn.KerasNasError, match="`dtype` must be one of"):
        arena_bytes(model, "float16")
