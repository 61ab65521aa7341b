"""Rewriting for the GPU delegate: the same numbers, in operations of its documented list."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from export import flatbuffer
from export.accelerators.gpu import gpu_coverage
from export.accelerators.rewriting import rewrite_for_gpu
from export.accelerators.shuffles import find_shuffles
from export.export_model import export_model
from export.export_options import ExportOptions
from export.tflite import convert
from keras_nas import graph
from keras_nas.models import edsr


def excited(x):
    """Squeeze-and-excitation in both of its usual forms, with hard swishes."""
    x = layers.Conv2D(8, 3, activation="hard_silu", name="stem")(x)
    gate = layers.GlobalAveragePooling2D(name="squeeze")(x)
    gate = layers.Dense(4, activation="leaky_relu", name="reduce")(gate)
    gate = layers.Dense(8, activation="hard_sigmoid", name="expand")(gate)
    x = layers.Multiply(name="excite")([x, layers.Reshape((1, 1, 8), name="spread")(gate)])
    gate = ops.mean(x, axis=[1, 2], keepdims=True)
    x = x * layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    return layers.Dense(3, name="head")(layers.Activation("hard_silu", name="swish")(x))


def shuffled(x):
    x = layers.Conv2D(6, 3, padding="same", name="stem")(x)
    x = layers.Reshape((8, 8, 2, 3), name="grouped")(x)
    x = layers.Permute((1, 2, 4, 3), name="swapped")(x)
    x = layers.Reshape((8, 8, 6), name="flat")(x)
    return layers.DepthwiseConv2D(3, name="mixed")(x)


def enlarged(x):
    x = ops.depth_to_space(layers.Conv2D(8, 3, padding="same", name="stem")(x), 2)
    x = layers.PReLU("uniform", name="by_position")(x)
    x = layers.UpSampling2D((2, 1), name="taller")(x)
    x = layers.LeakyReLU(0.3, name="leaky")(layers.Conv2D(4, 1, name="narrow")(x))
    return layers.GlobalMaxPooling2D(name="peak")(x)


def model_of(build):
    inputs = keras.Input((8, 8, 4), name="image")
    model = keras.Model(inputs, build(inputs), name="net")
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    ("build", "counts", "gone"),
    [
        (
            excited,
            {"hard_silu": 2, "GlobalAveragePooling2D": 1, "leaky_relu": 1, "Mean": 1, "Dense": 1},
            {"MEAN": 2, "HARD_SWISH": 2, "LEAKY_RELU": 1},
        ),
        (shuffled, {"channel shuffle": 1}, {"RESHAPE": 2, "TRANSPOSE": 1}),
        (
            enlarged,
            {"DepthToSpace": 1, "PReLU": 1, "UpSampling2D": 1, "LeakyReLU": 1,
             "GlobalMaxPooling2D": 1},
            {"DEPTH_TO_SPACE": 1, "LEAKY_RELU": 1, "REDUCE_MAX": 1},
        ),
    ],
)  # fmt: skip
def test_the_rewritten_model_is_equal_and_whole(build, counts, gone, tmp_path):
    model = model_of(build)
    rewritten, found = rewrite_for_gpu(model)
    assert found == counts
    x = np.random.default_rng(1).normal(0, 3, (3, 8, 8, 4)).astype("float32")
    expected = np.asarray(model(x))
    assert expected.std() > 0.01
    np.testing.assert_allclose(np.asarray(rewritten(x)), expected, rtol=1e-5, atol=1e-5)
    assert rewritten.output_names == model.output_names
    before = convert(model, tmp_path / "before.tflite")
    after = convert(rewritten, tmp_path / "after.tflite")
    assert {name: before.operators[name] for name in gone} == gone
    assert not set(gone) & set(after.operators)
    assert not gpu_coverage(flatbuffer.read_file(before.path)).is_whole
    assert gpu_coverage(flatbuffer.read_file(after.path)).is_whole


def test_what_the_list_has_stays_as_it_is():
    def fitting(x):
        x = layers.PReLU("uniform", shared_axes=[1, 2])(layers.Conv2D(4, 3)(x))
        return layers.Dense(3, activation="softmax")(layers.Flatten()(x))

    model = model_of(fitting)
    assert rewrite_for_gpu(model) == (model, {})


def test_reshapes_that_move_pixels_are_no_shuffle():
    def blocks(x):
        x = ops.transpose(ops.reshape(x, (-1, 4, 2, 8, 4)), (0, 2, 1, 3, 4))
        return layers.Conv2D(2, 1)(ops.reshape(x, (-1, 8, 8, 4)))

    assert find_shuffles(graph.read(model_of(blocks))) == {}


def test_global_pooling_of_an_open_size_needs_the_size():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))
    assert rewrite_for_gpu(model)[1] == {}
    rewritten, counts = rewrite_for_gpu(model, (1, 6, 4, 3))
    assert counts == {"GlobalAveragePooling2D": 1}
    x = np.random.default_rng(0).random((1, 6, 4, 3)).astype("float32")
    np.testing.assert_allclose(np.asarray(rewritten(x)), np.asarray(model(x)), rtol=1e-6)


def test_an_enlarger_is_exported_whole_for_the_gpu(tmp_path):
    """EDSR, compared by the export itself with the model as it was before the rewriting."""
    model = edsr(filters=8, blocks=1)
    options = ExportOptions(input_shape=(1, 12, 12, 3), accelerator="gpu")
    exported, parity = export_model(model, tmp_path / "edsr.tflite", options=options)
    assert "rewritten for the GPU delegate: DepthToSpace ×1" in parity.notes
    assert "DEPTH_TO_SPACE" not in exported.operators
    assert gpu_coverage(flatbuffer.read_file(exported.path)).is_whole
    plain, _ = export_model(
        model, tmp_path / "plain.tflite", options=ExportOptions(input_shape=(1, 12, 12, 3))
    )
    left = gpu_coverage(flatbuffer.read_file(plain.path)).left
    assert [one.operation for one in left] == ["DEPTH_TO_SPACE"]
