"""Quantisation-aware training: the rebuilt network is the same, and its int8 file keeps up."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from export import flatbuffer, legacy_keras, parity, quantization, quantized_ranges
from export.errors import ExportError, ParityError, UnsupportedOperationError
from export.export_model import ExportData, export_model
from export.export_options import ExportOptions
from export.interpreter import Runner
from export.tflite import convert
from export.training_data import TrainingData, loss_of


def random_weights(model):
    generator = np.random.default_rng(0)
    model.set_weights(
        [
            np.abs(generator.normal(1, 0.2, w.shape))
            if v.path.endswith(("variance", "gamma"))
            else generator.normal(0, 0.3, w.shape)
            for v, w in zip(model.weights, model.get_weights(), strict=True)
        ]
    )
    return model


def every_layer_network():
    """What pruned networks are made of, with the ops that surgery and our zoo use."""
    inputs = keras.Input((12, 12, 4), name="image")
    x = layers.Rescaling(0.5, 0.1, name="scale")(inputs)
    x = layers.BatchNormalization(name="alone")(x)
    x = layers.Activation("relu", name="activation")(x)
    x = layers.ZeroPadding2D(1, name="zero_pad")(x)
    x = layers.Conv2D(8, 3, strides=2, activation="relu6", name="conv")(x)
    y = layers.MaxPooling2D(1, 2, name="pick")(inputs)
    y = ops.pad(y, [[0, 0], [0, 0], [0, 0], [0, 4]])
    x = ops.relu(x + y)
    x = ops.take(x, np.array([5, 1, 0, 7], "int32"), axis=-1)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depthwise")(x)
    x = layers.BatchNormalization(name="after")(x)
    x = layers.ReLU(negative_slope=0.1, name="leaky")(x)
    x = layers.Concatenate(name="join")([x, layers.AveragePooling2D(1, name="average")(x)])
    x = layers.Conv2D(8, 1, groups=2, name="grouped")(x)
    x = ops.depth_to_space(x, 2)
    x = layers.Dropout(0.5, name="dropout")(x)
    inner = keras.Sequential([keras.Input((12, 12, 2)), layers.Conv2D(3, 3, strides=3)], name="sub")
    x = ops.reshape(inner(x), (-1, 4 * 4 * 3))
    return random_weights(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)))


def test_the_rebuilt_network_computes_the_same():
    model = every_layer_network()
    x = np.random.default_rng(1).normal(size=(16, 12, 12, 4)).astype("float32")
    expected = model.predict(x, verbose=0)
    assert expected.std() > 0.02
    rebuilt = legacy_keras.rebuild(model)
    np.testing.assert_allclose(rebuilt.predict(x, verbose=0), expected, atol=1e-5)
    assert rebuilt.get_layer("conv").get_config()["filters"] == 8


def test_every_layer_of_it_becomes_int8(tmp_path):
    model = every_layer_network()
    x = np.random.default_rng(1).normal(size=(64, 12, 12, 4)).astype("float32")
    targets = model.predict(x, verbose=0)
    data = tf.data.Dataset.from_tensor_slices((x, targets)).batch(16)
    options = ExportOptions(qat_loss="mse")
    exported, found = export_model(
        model, tmp_path / "m.tflite", "qat", ExportData(data, data), options=options
    )
    assert flatbuffer.float_operators(flatbuffer.read_file(exported.path)) == []
    assert found.passed


def test_rows_of_zeros_from_surgery_become_int8(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization(name="widened")(x)
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    y = layers.BatchNormalization(name="dead")(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    model = random_weights(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    for name in ("widened", "dead"):
        layer = model.get_layer(name)
        layer.gamma.assign(np.r_[0.0, 0.0, np.ones(6)])
        layer.beta.assign(np.r_[0.0, 0.0, np.ones(6)])
    x = np.random.default_rng(1).normal(size=(64, 8, 8, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, model.predict(x, verbose=0))).batch(16)
    exported, found = export_model(
        model, tmp_path / "m.tflite", "qat", ExportData(data, data),
        options=ExportOptions(qat_loss="mse"),
    )  # fmt: skip
    assert flatbuffer.float_operators(flatbuffer.read_file(exported.path)) == []
    assert found.noise < 0.1


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_dense_layer_s_normalization_goes_into_its_weights(tmp_path, use_bias):
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(inputs))
    x = layers.Dense(6, use_bias=use_bias)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    model = random_weights(keras.Model(inputs, layers.Dense(3)(x)))
    x = np.random.default_rng(1).normal(size=(64, 8, 8, 3)).astype("float32")
    expected = model.predict(x, verbose=0)
    rebuilt = legacy_keras.rebuild(model)
    np.testing.assert_allclose(rebuilt.predict(x, verbose=0), expected, atol=1e-5)
    data = tf.data.Dataset.from_tensor_slices((x, expected)).batch(16)
    exported, _ = export_model(
        model, tmp_path / "m.tflite", "qat", ExportData(data, data),
        options=ExportOptions(qat_loss="mse"),
    )  # fmt: skip
    assert flatbuffer.float_operators(flatbuffer.read_file(exported.path)) == []


def test_a_dense_layer_that_is_an_output_too_keeps_its_values():
    inputs = keras.Input((4,))
    x = layers.Dense(6, name="seen")(inputs)
    model = random_weights(keras.Model(inputs, [x, layers.BatchNormalization()(x)]))
    values = np.random.default_rng(1).normal(size=(8, 4)).astype("float32")
    for found, expected in zip(
        legacy_keras.rebuild(model).predict(values, verbose=0),
        model.predict(values, verbose=0),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_trained_classifier_keeps_its_accuracy(classifier, images, tmp_path):
    before = classifier.get_weights()
    train = tf.data.Dataset.from_tensor_slices((images.train_x, images.train_y))
    exported, found = export_model(
        classifier,
        tmp_path / "digits_qat.tflite",
        "qat",
        ExportData(train.batch(64), (images.test_x, images.test_y), "top1"),
        options=ExportOptions(io_dtype="int8", qat_learning_rate=1e-3),
    )
    assert exported.input_dtype == "int8"
    assert list(exported.input_shapes) == ["image"]
    assert found.metric_drop <= 1.0
    assert found.noise < 0.1
    assert found.tolerance == parity.TOLERANCES["qat"]
    for now, then in zip(classifier.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: layers.LayerNormalization(name="odd")(x), r"`odd` \(LayerNormalization\)"),
        (lambda x: layers.Conv2D(2, 1, activation="gelu", name="c")(x), r"`c` .*'gelu'"),
        (lambda x: layers.Lambda(lambda t: t * 2, name="twice")(x), r"`twice` \(Lambda\)"),
        (lambda x: layers.BatchNormalization(name="n")(layers.Flatten()(x)), "`n` .*image"),
    ],
)
def test_an_unknown_layer_is_refused_by_name(change, message):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, change(inputs))
    with pytest.raises(UnsupportedOperationError, match=message) as caught:
        quantization.fine_tune(model, None, loss="mse")
    assert 'format "int8"' in str(caught.value)


def test_the_toolkit_leaves_keras_3_in_place():
    quantization.load_toolkit()
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert tf.keras.__version__.startswith("3.")


def small_classifier(activation=None):
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    return random_weights(keras.Model(inputs, layers.Dense(4, activation=activation)(x)))


def numbers(count=48):
    generator = np.random.default_rng(0)
    return generator.random((count, 8, 8, 3)).astype("float32"), generator.integers(0, 4, count)


@pytest.mark.parametrize(
    ("form", "size"),
    [("pair", 32), ("one-hot", 32), ("no targets", 32), ("dictionary", 32), ("batches", 24),
     ("tf.data", 16), ("generator", 24)],
)  # fmt: skip
def test_training_data_come_in_every_form(form, size):
    model, (x, y) = small_classifier("softmax"), numbers()
    batches = [(x[:24], y[:24]), (x[24:], y[24:])]
    forms = {
        "pair": (x, y),
        "one-hot": (x, np.eye(4)[y]),
        "no targets": x,
        "dictionary": {"image": x},
        "batches": batches,
        "tf.data": tf.data.Dataset.from_tensor_slices((x, y)).batch(16),
        "generator": iter(batches),
    }
    data = TrainingData(model, forms[form])
    for epoch in range(2):
        found = list(data.batches(epoch))
        assert len(found[0][0][0]) == size
        order = np.concatenate([inputs[0] for inputs, _ in found])[:, 0, 0, 0].argsort()
        wanted = model(x) if form in ("no targets", "dictionary") else forms["one-hot"][1]
        targets = np.concatenate([targets[0] for _, targets in found])
        targets = np.eye(4)[targets] if targets.ndim == 1 else targets
        np.testing.assert_allclose(
            targets[order], np.asarray(wanted)[x[:, 0, 0, 0].argsort()], atol=1e-6
        )


def test_the_loss_is_what_the_targets_mean():
    shares, logits = np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([[-1.0, 2.0], [0.0, 1.0]])
    classes = np.array([1, 0])
    found = loss_of(classes, shares)
    assert float(found(classes, shares)) == pytest.approx(-np.log([0.75, 0.5]).mean())
    assert float(loss_of(classes[:, None], logits)(classes, logits)) == pytest.approx(
        np.mean([np.log1p(np.exp(-3.0)), np.log1p(np.exp(1.0))])
    )
    one_hot = np.eye(2)[classes]
    assert float(loss_of(one_hot, shares)(one_hot, shares)) == pytest.approx(
        -np.log([0.75, 0.5]).mean()
    )
    binary = loss_of(np.array([1.0, 0.0]), np.array([[2.0], [-1.0]]))
    assert float(binary([[1.0]], [[2.0]])) == pytest.approx(np.log1p(np.exp(-2.0)))
    assert loss_of(np.ones((2, 3)), np.zeros((2, 3))) == "mean_squared_error"
    assert loss_of(np.ones((2, 4, 4, 3)), np.zeros((2, 4, 4, 3))) == "mean_absolute_error"
    with pytest.raises(ExportError, match=r"targets of shape \(2, 5\) do not fit"):
        loss_of(np.ones((2, 5)), shares)


def test_a_file_is_trained_without_targets(tmp_path):
    x, _ = numbers()
    _, found = export_model(small_classifier(), tmp_path / "m.tflite", "qat", ExportData(x))
    assert found.passed
    assert any("training data" in note for note in found.notes)


def test_a_wrong_loss_is_one_line(tmp_path):
    x, y = numbers()
    options = ExportOptions(qat_loss="sparse_categorical_crossentropy")
    with pytest.raises(ExportError, match="fails on these data and this loss") as caught:
        export_model(
            small_classifier(), tmp_path / "m.tflite", "qat", ExportData((x, np.eye(4)[y])),
            options=options,
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bytes_and_statistics_at_the_entrance_are_rebuilt():
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255.0)(inputs)
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(x)
    model = random_weights(keras.Model(inputs, layers.Conv2D(2, 3)(x)))
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("uint8")
    rebuilt = legacy_keras.rebuild(model)
    np.testing.assert_allclose(rebuilt(x.astype("float32")), model(x), atol=1e-5)


def test_a_low_rank_change_is_rebuilt():
    model, (x, _) = small_classifier(), numbers(4)
    dense = model.layers[-1]
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.random.default_rng(0).normal(size=dense.lora_kernel_b.shape))
    np.testing.assert_allclose(legacy_keras.rebuild(model)(x), model(x), atol=1e-5)


def test_a_copy_that_differs_is_refused(monkeypatch):
    model, (x, y) = small_classifier(), numbers()

    def forgetful(model_):
        copy = rebuild(model_)
        copy.layers[1].bias.assign(copy.layers[1].bias + 0.1)
        return copy

    rebuild = legacy_keras.rebuild
    monkeypatch.setattr(legacy_keras, "rebuild", forgetful)
    with pytest.raises(ExportError, match="rebuilt in tf_keras differs by"):
        quantization.fine_tune(model, (x, y))


def test_activations_that_training_saw_as_zero_get_a_range(tmp_path):
    model, (x, y) = small_classifier(), numbers()
    quantized = quantization.fine_tune(model, (x, y), steps_per_epoch=1)
    ranges = [v for v in quantized.weights if "conv2d" in v.name and "post_activation_m" in v.name]
    assert len(ranges) == 2
    for variable in ranges:
        variable.assign(0.0)
    with pytest.raises(ExportError, match="LiteRT cannot run"):
        Runner(convert(quantized, tmp_path / "m.tflite", "qat").path)
    quantized_ranges.widen_dead(quantized)
    assert max(float(v) for v in ranges) > 1e-3
    assert Runner(convert(quantized, tmp_path / "m.tflite", "qat").path)([x[:1]])[0].shape == (1, 4)


def test_ranges_start_at_what_the_data_show(tmp_path):
    """Values of 0 to 60 and of 0 to 0.1, far from the toolkit's -6 to 6, after one small step."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    model = random_weights(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)))
    for scale in (60.0, 0.1):
        x = scale * np.random.default_rng(0).random((32, 8, 8, 3)).astype("float32")
        options = ExportOptions(qat_steps=1, qat_learning_rate=1e-9)
        exported, found = export_model(
            model, tmp_path / "m.tflite", "qat", ExportData(x, x), options=options
        )
        own = model.predict(x, verbose=0)
        file = np.concatenate([Runner(exported.path)([row[None]])[0] for row in x])
        assert np.std(file - own) < 0.2 * np.std(own) + 2 / 256
        assert found.passed


def test_a_training_that_leaves_nothing_of_the_model_is_refused(tmp_path):
    model, (x, y) = small_classifier(), numbers()
    options = ExportOptions(qat_steps=60, qat_learning_rate=3.0)
    with pytest.raises(ParityError, match="beside the model before its training"):
        export_model(model, tmp_path / "m.tflite", "qat", ExportData((x, y), x), options=options)
    assert not (tmp_path / "m.tflite").exists()
