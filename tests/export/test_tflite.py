"""Conversion: every format runs, keeps the accuracy, and refuses what it cannot do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from export import flatbuffer
from export.errors import ExportError, UnsupportedOperationError
from export.interpreter import Runner
from export.tflite import convert


def outputs_of(path, images):
    runner = Runner(path)
    return np.concatenate([runner([image[None]])[0] for image in images])


def small_model(change=lambda x: x, size=8):
    inputs = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    return keras.Model(inputs, change(x))


@pytest.mark.parametrize(
    ("format_", "io_dtype", "size_share", "closeness"),
    [
        ("float16", "float32", 0.65, 0.02),
        ("dynamic_int8", "float32", 0.5, 0.1),
        ("int8", "float32", 0.5, 0.25),
        ("int8", "int8", 0.5, 0.25),
        ("int16x8", "float32", 0.55, 0.25),
        ("int16x8", "int16", 0.55, 0.25),
    ],
)
def test_formats_are_smaller_and_as_good(
    classifier, images, accuracy, float_file, tmp_path, format_, io_dtype, size_share, closeness
):
    exported = convert(
        classifier,
        tmp_path / "digits.tflite",
        format_,
        representative_data=images.train_x if "int" in format_ else None,
        io_dtype=io_dtype,
    )
    expected = classifier.predict(images.test_x, verbose=0)
    found = outputs_of(exported.path, images.test_x)
    assert exported.size_bytes == exported.path.stat().st_size
    assert exported.size_bytes < size_share * float_file.stat().st_size
    assert exported.input_dtype == io_dtype == Runner(exported.path).input_dtypes[0]
    assert np.abs(found - expected).max() < closeness
    loss = accuracy(images.test_y, expected) - accuracy(images.test_y, found)
    assert loss <= 0.01
    float_kernels = flatbuffer.float_operators(flatbuffer.read_file(exported.path))
    assert bool(float_kernels) == (format_ in ("float16", "dynamic_int8"))


def test_float32_computes_the_model(classifier, images, float_file):
    expected = classifier.predict(images.test_x, verbose=0)
    np.testing.assert_allclose(outputs_of(float_file, images.test_x), expected, atol=1e-5)


def test_the_uint8_file_takes_pixels_as_they_are(classifier, images, uint8_file):
    runner = Runner(uint8_file)
    detail = runner._interpreter.get_input_details()[0]
    scale, zero_point = detail["quantization"]
    assert zero_point == 0
    assert scale == pytest.approx(1 / 255, rel=1e-3)


def test_inputs_and_outputs_keep_their_names_shapes_and_order(tmp_path):
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    total = layers.Dense(2, name="total")(layers.Concatenate()([left, right]))
    half = layers.Rescaling(0.5, name="half")(right)
    model = keras.Model({"left": left, "right": right}, [half, total])
    exported = convert(model, tmp_path / "two.tflite")
    runner = Runner(exported.path)
    assert runner.input_names == ["left", "right"]
    assert runner.output_names == ["half", "total"]
    assert exported.input_shapes == {"left": (1, 4), "right": (1, 3)}
    a, b = np.ones((1, 4), "float32"), np.full((1, 3), 2.0, "float32")
    for found, wanted in zip(runner([a, b]), model({"left": a, "right": b}), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_model_in_mixed_precision_is_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 1)], name="inner")
    model = small_model(lambda x: layers.GlobalAveragePooling2D()(inner(x)))
    exported = convert(model, tmp_path / "mixed.tflite")
    assert Runner(exported.path).input_dtypes == ["float32"]
    x = np.random.default_rng(0).random((1, 8, 8, 3), dtype="float32")
    np.testing.assert_allclose(
        Runner(exported.path)([x])[0], np.asarray(model(x), "float32"), atol=2e-3
    )
    assert model.get_layer("conv").compute_dtype == "float16"


def test_constants_stay_aligned(float_file):
    content = float_file.read_bytes()
    model = flatbuffer.read(content)
    large = [buffer.data for buffer in model.buffers if buffer.data is not None]
    places = [content.find(bytes(data)) for data in large if len(data) > 64]
    assert len(places) >= 4
    assert all(place % 16 == 0 for place in places)


def test_a_subclassed_model_needs_its_shape(tmp_path):
    class Doubling(keras.Model):
        def call(self, x):
            return 2 * x

    model = Doubling()
    with pytest.raises(ExportError, match="`input_shape` must be given for a subclassed model"):
        convert(model, tmp_path / "m.tflite")
    exported = convert(model, tmp_path / "m.tflite", input_shape=(1, 3))
    np.testing.assert_array_equal(Runner(exported.path)([np.ones((1, 3))])[0], [[2, 2, 2]])


def test_one_dynamic_file_runs_at_every_size(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    model = keras.Model(inputs, ops.depth_to_space(x, 2))
    exported = convert(model, tmp_path / "x2.tflite", sizes=[(6, 8), (5, 3)])
    assert list(exported.input_shapes.values()) == [(1, None, None, 3)]
    runner = Runner(exported.path)
    for size in [(6, 8), (5, 3), (12, 4)]:
        x = np.random.default_rng(1).random((1, *size, 3), dtype="float32")
        (found,) = runner([x])
        assert found.shape == (1, 2 * size[0], 2 * size[1], 1)
        np.testing.assert_allclose(found, model(x), atol=1e-5)


def test_a_size_that_does_not_run_is_refused_and_nothing_is_written(tmp_path):
    inputs = keras.Input((None, None, 3))
    down = layers.AveragePooling2D(2)(inputs)
    up = layers.UpSampling2D(2)(down)
    model = keras.Model(inputs, layers.Add()([inputs, up]))
    convert(model, tmp_path / "even.tflite", sizes=[(6, 8)])
    with pytest.raises(ExportError, match=r"does not run at the size \(5, 8\)"):
        convert(model, tmp_path / "odd.tflite", sizes=[(6, 8), (5, 8)])
    assert not (tmp_path / "odd.tflite").exists()


@pytest.mark.parametrize(
    ("change", "names", "place"),
    [
        (lambda x: ops.erfinv(ops.tanh(x)), ["Erfinv"], "erfinv"),
        (lambda x: ops.fft2((x, x))[0], ["Complex", "FFT2D"], "FFT2D"),
    ],
)
def test_a_foreign_operation_is_refused_by_name(tmp_path, change, names, place):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"the file before")
    with pytest.raises(UnsupportedOperationError, match=place) as caught:
        convert(small_model(change), path)
    assert caught.value.operations == names
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"the file before"


def test_an_operation_without_integer_kernel_is_refused_or_kept_in_float(tmp_path):
    x = np.random.default_rng(0).random((20, 8, 8, 3), dtype="float32")
    model = small_model(lambda x: ops.depth_to_space(x, 2))
    with pytest.raises(UnsupportedOperationError, match="DEPTH_TO_SPACE") as caught:
        convert(model, tmp_path / "m.tflite", "int16x8", representative_data=x)
    assert caught.value.operations == ["DEPTH_TO_SPACE"]
    kept = convert(
        model, tmp_path / "m.tflite", "int16x8", representative_data=x, float_fallback=True
    )
    (found,) = Runner(kept.path)([x[:1]])
    np.testing.assert_allclose(found, model(x[:1]), atol=0.02)

    model = small_model(lambda x: ops.exp(ops.sin(x)))
    with pytest.raises(UnsupportedOperationError, match="SIN"):
        convert(model, tmp_path / "sin.tflite", "int8", representative_data=x)
    assert not (tmp_path / "sin.tflite").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "int4"}, r"`format` must be one of .*Received: format='int4'"),
        ({"format": "int8"}, "`representative_data` must be given for the format 'int8'"),
        ({"io_dtype": "int8"}, r"`io_dtype` must be one of \('float32',\)"),
        ({"input_shape": (1, 9, 8, 3)}, "`input_shape` must fit the input `image`"),
        ({"sizes": [(8, 8)]}, "whose height and width are None"),
        (
            {"format": "int8", "representative_data": np.ones((4, 9, 9, 3))},
            "`representative_data` must fit the input `image`",
        ),
        (
            {"format": "int8", "representative_data": {"other": np.ones((4, 8, 8, 3))}},
            "Data must be an array",
        ),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ExportError, match=message):
        convert(small_model(), tmp_path / "m.tflite", **arguments)


def test_an_open_shape_must_be_given(tmp_path):
    inputs = keras.Input((None, None, 3), name="photo")
    model = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ExportError, match="`input_shape` must be given for the input `photo`"):
        convert(model, tmp_path / "m.tflite")
    exported = convert(model, tmp_path / "m.tflite", input_shape=(1, 10, 12, 3))
    assert Runner(exported.path).input_shapes == [(1, 10, 12, 3)]


def test_ranges_come_from_datasets_as_from_arrays(classifier, images, tmp_path):
    files = []
    for number, data in enumerate(
        [
            images.train_x[:64],
            tf.data.Dataset.from_tensor_slices((images.train_x[:64], images.train_y[:64])).batch(
                10
            ),
        ]
    ):
        path = tmp_path / f"{number}.tflite"
        convert(classifier, path, "int8", representative_data=data)
        files.append(outputs_of(path, images.test_x[:20]))
    np.testing.assert_array_equal(*files)
