"""Activations that are 0 on all samples get ranges that the integer kernels can work with."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from export import calibration, flatbuffer
from export.errors import UnsupportedOperationError
from export.export_model import ExportData, export_model
from export.interpreter import Runner
from export.tflite import convert


def random_images(seed=0):
    return np.random.default_rng(seed).random((16, 8, 8, 3)).astype("float32")


def join(dead, live):
    return layers.Concatenate()([dead, live])


def convolved(dead, live):
    return join(layers.Conv2D(4, 3, padding="same", activation="relu6")(dead), live)


BEHIND_THE_DEAD = {
    "convolution": convolved,
    "depthwise": lambda dead, live: join(layers.DepthwiseConv2D(3, padding="same")(dead), live),
    "dense": lambda dead, live: join(layers.Dense(4)(dead), live),
    "sum": lambda dead, live: dead + live,
    "difference": lambda dead, live: live - dead,
    "product": lambda dead, live: live * dead,
    "square": lambda dead, live: join(dead * dead, live),
    "sigmoid": lambda dead, live: ops.sigmoid(dead) * live,
    "tanh": lambda dead, live: join(ops.tanh(dead), live),
    "hard_silu": lambda dead, live: join(ops.hard_silu(dead), live),
    "mean": lambda dead, live: join(
        ops.mean(dead, (1, 2), keepdims=True), ops.mean(live, (1, 2), keepdims=True)
    ),
    "transposed": lambda dead, live: join(
        layers.Conv2DTranspose(4, 2, strides=2)(dead), layers.UpSampling2D(2)(live)
    ),
    "small": lambda dead, live: join(
        layers.Conv2D(4, 3, padding="same", use_bias=False)(live * 1e-9 + dead), live
    ),
    "alone": lambda dead, live: dead,
}


def with_a_dead_layer(behind):
    """A layer closed by its bias; every other bias is as large as what it is added to."""
    inputs = keras.Input((8, 8, 3))
    dead = layers.Conv2D(4, 3, padding="same", activation="relu", name="dead")(inputs)
    live = layers.Conv2D(4, 3, padding="same", name="live")(inputs)
    x = layers.Dense(4)(layers.Flatten()(behind(dead, live)))
    model = keras.Model(inputs, x)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(generator.normal(size=weight.shape))
    model.get_layer("dead").bias.assign([-99.0] * 4)
    return model


_CLOSE = 0.1
"""With a live layer in the dead one's place both formats are up to 0.084 off: 8 bits a weight."""


def check(name, format_, folder):
    model = with_a_dead_layer(BEHIND_THE_DEAD[name])
    data = ExportData(random_images(), random_images(1))
    exported, found = export_model(model, folder / "m.tflite", format_, data)
    assert flatbuffer.float_operators(flatbuffer.read_file(exported.path)) == []
    assert found.worst_relative < _CLOSE
    assert found.noise < _CLOSE


@pytest.mark.parametrize(
    ("name", "format_"),
    [("convolution", "int8"), ("convolution", "int16x8"), ("difference", "int8"), ("tanh", "int8"),
     ("product", "int16x8"), ("alone", "int8"), ("small", "int16x8")],
)  # fmt: skip
def test_a_layer_that_is_zero_on_all_samples(tmp_path, name, format_):
    check(name, format_, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["int8", "int16x8"])
@pytest.mark.parametrize("name", BEHIND_THE_DEAD)
def test_every_operation_behind_one(tmp_path, name, format_):
    if (name, format_) == ("hard_silu", "int16x8"):
        pytest.skip("no integer kernel")
    check(name, format_, tmp_path)


def test_a_network_that_is_dead_altogether(tmp_path):
    inputs = keras.Input((8, 8, 3))
    dead = layers.Conv2D(4, 3, activation="relu", bias_initializer=lambda *_, **__: [-99.0] * 4)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(dead(inputs)))
    model = keras.Model(inputs, x)
    path = convert(model, tmp_path / "m.tflite", "int8", representative_data=random_images()).path
    np.testing.assert_array_equal(Runner(path)([random_images()[:1]])[0], np.zeros((1, 4)))


def test_live_ranges_stay_as_they_are_and_dead_ones_follow_their_operands(tmp_path, monkeypatch):
    kept = {}
    widen = calibration.widen_dead_ranges

    def spy(content):
        kept["before"], kept["after"] = content, widen(content)
        return kept["after"]

    monkeypatch.setattr(calibration, "widen_dead_ranges", spy)
    model = with_a_dead_layer(convolved)
    convert(model, tmp_path / "m.tflite", "int8", representative_data=random_images())
    before, after = (flatbuffer.read(kept[name]).subgraphs[0] for name in ("before", "after"))
    ranges = {}
    for old, new in zip(before.tensors, after.tensors, strict=True):
        if old.quantization is not None and old.quantization.max is not None:
            ranges[old.name.decode()] = (float(old.quantization.max[0]),
                                         float(new.quantization.max[0]))  # fmt: skip
    (dead,) = [pair for name, pair in ranges.items() if "/dead" in name]
    kernel = np.abs(model.get_layer("dead").kernel).max()
    assert dead[0] < 1e-30
    assert dead[1] == pytest.approx(random_images().max() * kernel / 16, rel=1e-3)
    assert all(old == new for name, (old, new) in ranges.items() if "/dead" not in name)
    assert len(ranges) > 4


@pytest.mark.parametrize("layer", [layers.GRU, layers.LSTM])
def test_recurrent_layers_are_written_out_for_integers(tmp_path, layer):
    x = np.random.default_rng(0).random((16, 4, 3)).astype("float32")
    for seed in (0, 2, 4, 5):  # the quantiser leaves splits in float32 for some
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((4, 3))
        model = keras.Model(inputs, layers.Dense(2)(layer(4, name="recurrent")(inputs)))
        exported, found = export_model(model, tmp_path / "m.tflite", "int8", ExportData(x, x))
        assert "WHILE" not in exported.operators
        assert found.noise < 0.1
        assert model.get_layer("recurrent").unroll is False


def test_other_loops_are_refused_by_name(tmp_path):
    class Halving(layers.Layer):
        def call(self, x):
            return ops.while_loop(lambda x: ops.max(x) > 1.0, lambda x: (x / 2,), (x,))[0]

        def compute_output_shape(self, input_shape):
            return input_shape

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Halving(name="halving")(inputs))
    with pytest.raises(UnsupportedOperationError, match="halving"):
        convert(
            model, tmp_path / "m.tflite", "int8", representative_data=np.ones((4, 3), "float32")
        )


def test_a_normalization_behind_a_dense_layer_in_sixteen_bits(tmp_path):
    """With an axis from the front, its parameters (and the folded bias) have the shape (1, 6)."""
    inputs = keras.Input((10,))
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(layers.Dense(6)(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(0.5 + generator.random(weight.shape))
    x = generator.random((32, 10)).astype("float32")
    _, found = export_model(model, tmp_path / "m.tflite", "int16x8", ExportData(x, x))
    assert found.noise < 0.02
