"""Parity: a faithful file passes, a wrong one is refused, and the report says by how much."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import parity
from export.differences import Rounding, faults, measure
from export.errors import ExportError, ParityError
from export.export_model import ExportData, export_model
from export.export_options import ExportOptions
from export.task_metrics import mean_iou, psnr, top1
from export.tflite import convert


@pytest.fixture(scope="module")
def held_out(images):
    return images.test_x[:120], images.test_y[:120]


def test_a_faithful_file_passes_and_the_numbers_are_right(
    classifier, float_file, held_out, tmp_path
):
    report = tmp_path / "report.json"
    found = parity.check(
        classifier, float_file, held_out, metric=top1, metric_name="top-1", report=report
    )
    outputs = classifier.predict_on_batch(held_out[0])
    right = 100 * np.mean(outputs.argmax(-1) == held_out[1])
    assert found.passed
    assert found.samples == 120
    assert found.output_range == pytest.approx(np.ptp(outputs))
    assert found.worst < 1e-5
    assert found.metric_keras == pytest.approx(right)
    assert found.metric_tflite == pytest.approx(right)
    assert found.argmax_agreement == 1.0
    written = json.loads(report.read_text())
    assert written["passed"] is True
    assert written["metric_name"] == "top-1"
    assert written["worst"] == found.worst


def test_quantised_files_report_the_drop(classifier, uint8_file, held_out, tmp_path):
    found = parity.check(
        classifier, uint8_file, held_out, format="int8", metric=top1, report=tmp_path / "r.json"
    )
    assert found.worst > 1e-3
    assert found.metric_drop == pytest.approx(found.metric_keras - found.metric_tflite)
    assert abs(found.metric_drop) <= 1.0


def test_another_models_file_is_refused_and_the_report_stands(float_file, held_out, tmp_path):
    other = keras.models.clone_model(
        keras.models.Sequential(
            [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
        )
    )
    report = tmp_path / "digits.parity.json"
    with pytest.raises(ParityError, match=r"digits.tflite \(float32\) is not the model any more"):
        parity.check(other, float_file, held_out, report=report)
    assert json.loads(report.read_text())["passed"] is False
    for format_ in parity.TOLERANCES:
        assert not parity.compare(other, float_file, held_out, format=format_).passed


def test_a_drop_beyond_the_tolerance_is_refused(classifier, uint8_file, held_out, tmp_path):
    strict = parity.Tolerance(worst=1, mean=1, noise=1, metric_drop=-1000.0)
    with pytest.raises(ParityError, match="the metric drops by"):
        parity.check(
            classifier, uint8_file, held_out, format="int8", metric=top1, tolerance=strict,
            report=tmp_path / "r.json",
        )  # fmt: skip


def test_differences_by_hand():
    reference = np.array([[0.0, 1.0], [0.5, 0.5]])
    result = np.array([[0.5, 1.0], [0.5, 0.75]])
    found = measure(reference, result)
    assert found["worst"] == 0.5
    assert found["mean"] == pytest.approx(0.75 / 4)
    assert found["worst_relative"] == 0.5
    deviation = np.sqrt(0.5 / 4)
    assert found["noise"] == pytest.approx(np.sqrt((0.25 + 0.0625) / 4) / deviation)
    assert found["argmax_agreement"] == 0.5


def test_what_is_not_a_number_never_passes():
    found = measure(np.array([[0.0, 1.0]]), np.array([[np.nan, 1.0]]))
    assert len(faults(found, parity.TOLERANCES["int8"], Rounding())) == 3


def test_a_shuffled_dataset_is_read_once(classifier, float_file, held_out):
    data = tf.data.Dataset.from_tensor_slices(held_out).shuffle(120).batch(32)
    assert parity.compare(classifier, float_file, data, metric=top1).passed
    assert parity.compare(classifier, float_file, data, limit=50).samples == 50


def test_a_metric_needs_targets(classifier, float_file, held_out):
    with pytest.raises(ExportError, match="The metric needs targets"):
        parity.compare(classifier, float_file, held_out[0], metric=top1)


def test_export_writes_all_or_nothing(classifier, images, held_out, tmp_path):
    data = ExportData((images.train_x, images.train_y), held_out, "top1")
    exported, found = export_model(classifier, tmp_path / "good.tflite", "dynamic_int8", data)
    assert exported.path == tmp_path / "good.tflite"
    assert found.metric_keras > 85
    impossible = ExportOptions(tolerance=parity.Tolerance(worst=0, mean=0, noise=0))
    with pytest.raises(ParityError, match=r"bad\.tflite"):
        export_model(classifier, tmp_path / "bad.tflite", "float16", data, options=impossible)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.parity.json",
        "good.parity.json",
        "good.tflite",
    ]


def test_without_data_the_report_says_that_inputs_were_random(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same")(inputs))
    options = ExportOptions(sizes=((6, 8), (10, 4)))
    _, found = export_model(model, tmp_path / "m.tflite", options=options)
    assert found.passed
    assert found.samples == 16
    assert "random inputs" in found.notes[0]


def test_metrics_by_hand():
    assert top1(np.array([1, 0, 1]), np.array([[0, 1], [1, 0], [1, 0.0]])) == pytest.approx(200 / 3)
    assert top1(np.eye(2), np.array([[0.9, 0.1], [0.8, 0.2]])) == 50.0
    assert top1(np.array([0, 1]), np.array([[0.5, 0.5], [0.2, 0.8]])) == 50.0
    assert top1(np.array([0, 1]), np.zeros((2, 3))) == 0.0
    assert top1(np.array([2, 0, 1]), np.array([2, 1, 1])) == pytest.approx(200 / 3)
    assert top1(np.array([[1], [0]]), np.array([[0.9], [0.6]])) == 50.0
    assert top1(np.array([1, 0]), np.array([[0.4], [-2.0]])) == 100.0
    assert top1(np.array([[0], [1], [1]]), np.array([[0.2], [0.9], [0.5]])) == pytest.approx(
        200 / 3
    )
    image = np.full((1, 8, 8, 1), 0.5, "float32")
    assert psnr(image, image + 0.1) == pytest.approx(20.0, abs=1e-4)
    targets = np.array([[[0, 0], [1, 1]]])
    outputs = np.eye(2)[np.array([[[0, 1], [1, 1]]])]
    assert mean_iou(targets, outputs) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert mean_iou(targets, np.array([[[0, 1], [1, 1]]])) == pytest.approx(175 / 3)


def test_the_file_of_one_input_model_is_compared_by_its_own_input_name(tmp_path):
    model = keras.Sequential([keras.Input((4,), name="features"), keras.layers.Dense(3)])
    path = convert(model, tmp_path / "dense.tflite").path
    rows = {"features": np.random.default_rng(0).random((5, 4), dtype="float32")}
    assert parity.compare(model, path, [rows]).samples == 5


def test_a_metric_that_does_not_fit_is_one_line(classifier, float_file, held_out):
    data = (held_out[0], np.zeros((120, 3, 3)))
    with pytest.raises(ExportError, match="The metric psnr does not take targets of shape"):
        parity.compare(classifier, float_file, data, metric=psnr, metric_name="psnr")


@pytest.mark.parametrize(
    ("mode", "format_"), [("int8", "float32"), ("float8", "float32"), ("int8", "qat")]
)
def test_what_keras_quantised_is_refused_by_name(mode, format_, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(inputs))
    model.get_layer("head").quantize(mode)
    with pytest.raises(ExportError, match=rf"'head' \(Dense\) is quantised by Keras \({mode}\)"):
        export_model(model, tmp_path / "model.tflite", format_)
    assert not list(tmp_path.iterdir())
