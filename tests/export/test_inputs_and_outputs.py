"""Inputs and outputs of every kind: exported and compared, or refused in one line."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from export import differences, parity, samples, ties
from export.errors import ExportError
from export.export_model import ExportData, export_model
from export.export_options import ExportOptions
from export.interpreter import Runner
from export.random_samples import random_batches
from export.tflite import convert


def head(x):
    return layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x)))


def random_images(count=12, seed=0):
    return np.random.default_rng(seed).random((count, 8, 8, 3)).astype("float32")


def image_input(**options):
    return keras.Input((8, 8, 3), name="image", **options)


def gained():
    gain, image = keras.Input((), name="gain"), image_input()
    return keras.Model([gain, image], head(image) * ops.expand_dims(gain, -1))


def scaled():
    scale, image = keras.Input(batch_shape=(), name="scale"), image_input()
    return keras.Model([scale, image], head(image) * scale)


def batch_of_four():
    image = keras.Input(batch_shape=(4, 8, 8, 3), name="image")
    return keras.Model(image, ops.reshape(head(image), (2, 8)))


def from_dictionary():
    b, a = keras.Input((4,), name="b"), keras.Input((8, 8, 3), name="a")
    return keras.Model({"b": b, "a": a}, {"z": head(a) + b, "c": layers.Dense(3)(b)})


def nested():
    b, a = keras.Input((4,), name="b"), keras.Input((8, 8, 3), name="a")
    return keras.Model([b, {"a": a}], head(a) + b)


def mixing_its_batch():
    image = image_input()
    x = head(image)
    return keras.Model(image, x + ops.mean(x, axis=0, keepdims=True))


def scalar_output():
    image = image_input()
    return keras.Model(image, ops.mean(head(image)))


def of_words():
    words = keras.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(10, 4, mask_zero=True)(words)
    return keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def of_bytes():
    image = image_input(dtype="uint8")
    return keras.Model(image, head(layers.Rescaling(1 / 255.0)(image)))


def of_truths():
    truths = keras.Input((6,), dtype="bool")
    return keras.Model(truths, layers.Dense(3)(ops.cast(truths, "float32")))


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (gained, [(1,), (1, 8, 8, 3)]),
        (scaled, [(), (1, 8, 8, 3)]),
        (batch_of_four, [(4, 8, 8, 3)]),
        (from_dictionary, [(1, 8, 8, 3), (1, 4)]),
        (nested, [(1, 4), (1, 8, 8, 3)]),
        (mixing_its_batch, [(1, 8, 8, 3)]),
        (scalar_output, [(1, 8, 8, 3)]),
        (of_words, [(1, 6)]),
        (of_bytes, [(1, 8, 8, 3)]),
        (of_truths, [(1, 6)]),
    ],
)
def test_it_is_exported_and_compared(tmp_path, build, shapes):
    exported, found = export_model(build(), tmp_path / "m.tflite")
    assert list(exported.input_shapes.values()) == shapes
    assert found.samples == 8
    assert found.output_range > 1e-3


BUILDERS = (
    gained, scaled, batch_of_four, from_dictionary, nested, mixing_its_batch, scalar_output,
    of_words, of_bytes, of_truths,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["float16", "dynamic_int8", "int8", "int16x8"])
@pytest.mark.parametrize("build", BUILDERS)
def test_in_other_formats_it_is_exported_or_refused_in_one_line(tmp_path, build, format_):
    model = build()
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    fixed = [(1 if s and s[0] is None else s[0], *s[1:]) if s else s for s in shapes]
    data = ExportData(random_batches(model, fixed))
    refusals = {
        ("int8", of_words): "CAST, DIV",
        ("int16x8", of_words): "holds no real numbers",
        ("int16x8", of_bytes): "CAST",
        ("int16x8", of_truths): "CAST",
    }
    if (format_, build) not in refusals:
        export_model(model, tmp_path / "m.tflite", format_, data)
        return
    with pytest.raises(ExportError, match=refusals[format_, build]) as caught:
        export_model(model, tmp_path / "m.tflite", format_, data)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.tflite").exists()


def test_a_dictionary_of_outputs_names_them(tmp_path):
    model = from_dictionary()
    x = {"b": np.ones((5, 4), "float32"), "a": random_images(5)}
    exported, found = export_model(model, tmp_path / "m.tflite", data=ExportData(held_out=x))
    runner = Runner(exported.path)
    assert runner.input_names == ["a", "b"]
    assert runner.output_names == ["c", "z"]
    assert found.samples == 5
    c, z = runner([x["a"][:1], x["b"][:1]])
    wanted = model(x)
    np.testing.assert_allclose(c, wanted["c"][:1], atol=1e-6)
    np.testing.assert_allclose(z, wanted["z"][:1], atol=1e-6)


@pytest.mark.parametrize("form", ["dictionary", "pair of lists", "batches"])
def test_data_of_several_inputs_come_in_every_form(form):
    gain, x, y = np.arange(6.0), random_images(6), np.arange(6)
    data = {
        "dictionary": ({"image": x, "gain": gain}, y),
        "pair of lists": ([gain, x], y),
        "batches": [((gain[:4], x[:4]), y[:4]), ((gain[4:], x[4:]), y[4:])],
    }[form]
    found = list(samples.batches(data, ["gain", "image"]))
    np.testing.assert_array_equal(np.concatenate([inputs[0] for inputs, _ in found]), gain)
    np.testing.assert_array_equal(np.concatenate([inputs[1] for inputs, _ in found]), x)
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in found]), y)


def test_pieces_of_a_batch_by_hand():
    rows = np.arange(10)
    assert [p[0].tolist() for p in samples.chunks([rows], [(4,)])] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert samples.chunks([rows[:3]], [(4,)])[0][0].tolist() == [0, 1, 2, 2]
    scale, pair = samples.chunks([np.array(7), rows[:2]], [(), (1,)])[1]
    assert (scale.item(), pair.tolist()) == (7, [1])
    assert samples.chunks([np.ones((2, 8, 8))], [(1, 8, 8, 1)])[0][0].shape == (1, 8, 8, 1)
    assert samples.chunks([np.ones((2, 1))], [(1,)])[0][0].shape == (1,)


def test_int8_of_inputs_that_are_no_real_numbers(tmp_path):
    x = (255 * random_images()).astype("uint8")
    exported, found = export_model(of_bytes(), tmp_path / "m.tflite", "int8", ExportData(x, x))
    assert Runner(exported.path).input_dtypes == ["uint8"]
    assert found.noise < 0.1
    gain = np.linspace(0, 2, 12, dtype="float32")
    data = {"gain": gain, "image": random_images()}
    export_model(gained(), tmp_path / "m.tflite", "int8", ExportData(data, data))
    export_model(batch_of_four(), tmp_path / "m.tflite", "int8", ExportData(random_images()))


def segmenting(cast=None, axis=-1, keepdims=False):
    image = image_input()
    scores = layers.Conv2D(3, 3, padding="same", name="scores")(image)
    classes = ops.argmax(scores, axis, keepdims=keepdims)
    return keras.Model(image, ops.cast(classes, cast) if cast else classes)


@pytest.mark.parametrize("format_", ["float32", "int8"])
def test_an_argmax_is_exported(tmp_path, format_):
    model = segmenting("int64")
    data = ExportData(random_images(), random_images(seed=1))
    exported, found = export_model(model, tmp_path / "m.tflite", format_, data)
    assert found.unequal <= (0.01 if format_ == "float32" else 0.1)
    assert found.output_range == 2
    (classes,) = Runner(exported.path)([random_images(1, seed=2)])
    assert classes.dtype == "int64"
    assert np.mean(classes != model(random_images(1, seed=2))) < 0.1


@pytest.mark.parametrize("options", [{"axis": 1}, {"axis": None}, {"keepdims": True}])
def test_argmax_and_argmin_along_other_axes(tmp_path, options):
    image = image_input()
    x = layers.Conv2D(3, 3)(image)
    axis, keepdims = options.get("axis", -1), options.get("keepdims", False)
    outputs = [ops.argmax(x, axis, keepdims), ops.argmin(x, axis, keepdims)]
    model = keras.Model(image, outputs)
    exported = convert(model, tmp_path / "m.tflite")
    x = random_images(1)
    for found, wanted in zip(Runner(exported.path)([x]), model(x), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_another_argmax_is_refused(tmp_path):
    path = convert(segmenting(), tmp_path / "m.tflite").path
    for format_ in parity.TOLERANCES:
        found = parity.compare(segmenting(), path, random_images(), format=format_)
        assert found.unequal > 0.35
        assert not found.passed


def test_integers_that_differ_are_measured_by_chance():
    reference = np.array([0, 0, 0, 0, 0, 0, 1, 2])
    found = differences.measure(reference, np.array([0, 0, 0, 0, 0, 1, 1, 2]))
    assert found["unequal"] == pytest.approx((1 / 8) / (1 - 38 / 64))
    tied = np.arange(8) == 5
    found = differences.measure(reference, np.array([0, 0, 0, 0, 0, 1, 1, 2]), tied)
    assert found["unequal"] == 0
    assert differences.faults(found, parity.TOLERANCES["float32"], differences.Rounding()) == []


def test_truth_values_are_compared(tmp_path):
    image = image_input()
    model = keras.Model(image, layers.Conv2D(3, 3)(image) > 0)
    path = export_model(model, tmp_path / "m.tflite")[0].path
    other = keras.Model(image, layers.Conv2D(3, 3)(image) > 0)
    assert not parity.compare(other, path, random_images()).passed


def test_ties_by_hand():
    scores = np.array([[0.0, 10.0, 9.9], [5.0, 4.0, 5.0], [1.0, 2.0, 0.0]])
    chosen = ties.Chosen(0, 1, 2, 1.0)
    found = ties.ties(chosen, scores, np.array([2, 2, 0]), 0.011)
    assert found.tolist() == [True, True, False]
    assert ties.ties(chosen, scores, np.array([2, 2, 0]), 0.001).tolist() == [False, True, False]
    assert ties.ties(chosen, scores, np.array([7, -1, 1]), 1.0).tolist() == [False, False, True]
    smallest = ties.Chosen(0, 1, 2, -1.0)
    assert ties.ties(smallest, scores, np.array([0, 1, 2]), 0.0).tolist() == [True] * 3


def test_an_argmax_of_images_of_several_sizes(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, ops.argmax(layers.Conv2D(3, 3, padding="same")(image), -1))
    options = ExportOptions(sizes=((6, 8), (10, 4)))
    _, found = export_model(model, tmp_path / "m.tflite", options=options)
    assert found.samples == 16
    joined = ties.Chosen(0, 3, 4, 1.0)
    scores = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    found = ties.ties(joined, scores, np.array([0, 0, 0]), 0.0)
    assert found.tolist() == [False, True, True]


def test_a_sequential_model_keeps_no_batch_of_its_first_call(tmp_path):
    model = keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
    model(random_images(12))
    exported, _ = export_model(model, tmp_path / "m.tflite")
    assert list(exported.input_shapes.values()) == [(1, 8, 8, 3)]


def test_random_inputs_are_values_that_the_model_takes():
    (batch,) = random_batches(of_words(), [(1, 6)])
    assert batch["words"].dtype == "int32"
    assert set(np.unique(batch["words"])) <= set(range(10))
    assert len(np.unique(batch["words"])) > 5
    (batch,) = random_batches(of_bytes(), [(3, 8, 8, 3)])
    assert batch["image"].dtype == "uint8"
    assert batch["image"].shape == (9, 8, 8, 3)
    assert batch["image"].max() > 240


def test_averages_over_nothing_are_equal(tmp_path):
    model = of_words()
    path = convert(model, tmp_path / "m.tflite").path
    words = np.zeros((2, 6), "int32")
    words[1] = 3
    assert np.isnan(model(words)[0]).all()
    assert parity.compare(model, path, words).passed


def of_strings():
    text = keras.Input((1,), dtype="string", name="text")
    x = layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot", name="lookup")(text)
    return keras.Model(text, layers.Dense(2)(x))


def of_keys():
    keys = keras.Input((3,), dtype="int64")
    x = layers.IntegerLookup(vocabulary=[3, 5], output_mode="multi_hot", name="lookup")(keys)
    return keras.Model(keys, layers.Dense(2)(x))


def of_open_length():
    steps = keras.Input((None, 3), name="steps")
    return keras.Model(steps, layers.Dense(2)(layers.GlobalAveragePooling1D()(steps)))


@pytest.mark.parametrize("format_", ["float32", "int8"])
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (of_strings, r"`text` takes strings.*behind `lookup`"),
        (of_keys, r"LookupTableFindV2 \(in lookup"),
        (of_open_length, r"input_shape=\(1, 128, 3\)\.$"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, build, message, format_):
    data = ExportData(np.ones((4, 3), "int64"), np.ones((4, 3), "int64"))
    with pytest.raises(ExportError, match=message) as caught:
        export_model(build(), tmp_path / "m.tflite", format_, data)
    assert "\n" not in str(caught.value)
    assert "Placeholder" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_integers_that_a_format_does_not_take_are_named(tmp_path):
    words = np.ones((4, 6), "int32")
    with pytest.raises(ExportError, match="`words` holds no real numbers"):
        export_model(of_words(), tmp_path / "m.tflite", "int16x8", ExportData(words))


def test_an_open_length_is_given(tmp_path):
    options = ExportOptions(input_shape=(1, 9, 3))
    exported, _ = export_model(of_open_length(), tmp_path / "m.tflite", options=options)
    assert exported.input_shapes == {"steps": (1, 9, 3)}


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (np.ones((4, 9, 9, 3)), r"does not run on data of the shapes|must fit the file's input"),
        ([np.ones((0, 8, 8, 3))], "hold no sample"),
        ([], "hold no sample"),
    ],
)
def test_data_that_do_not_fit_are_named(tmp_path, held_out, message):
    image = image_input()
    model = keras.Model(image, head(image))
    with pytest.raises(ExportError, match=message) as caught:
        export_model(model, tmp_path / "m.tflite", data=ExportData(held_out=held_out))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.tflite").exists()


def test_indices_beyond_an_embedding_are_named(tmp_path):
    with pytest.raises(ExportError, match=r"does not run on data|fails on the data") as caught:
        export_model(
            of_words(), tmp_path / "m.tflite", data=ExportData(held_out=np.full((3, 6), 99))
        )
    assert "\n" not in str(caught.value)
