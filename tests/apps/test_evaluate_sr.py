"""apps.evaluate_sr: both kinds of file on a benchmark's folder, and what it says when it cannot."""

from __future__ import annotations

import json

import keras
import numpy as np
import PIL.Image
import pytest
import skimage.data

from apps.evaluation_config import SuperResolutionEvaluationConfig
from apps.super_resolution_evaluation import score_file
from apps.task_files import SuperResolutionFiles
from export.tflite import convert
from keras_nas.data import load
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.models import edsr
from keras_nas.tasks.super_resolution import evaluate_folder
from tests.apps.commands import call


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of two images, a model, and it as .tflite of fixed and of dynamic size."""
    folder = tmp_path_factory.mktemp("sr")
    (folder / "Set2" / "HR").mkdir(parents=True)
    for name, corner in [("eye", (80, 180)), ("helmet", (300, 300))]:
        part = skimage.data.astronaut()[corner[0] :, corner[1] :][:81, :100]
        PIL.Image.fromarray(part).save(folder / "Set2" / "HR" / f"{name}.png")
    model = edsr(filters=4, blocks=1)
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.05, w.shape) for w in model.get_weights()])
    model.save(folder / "edsr.keras")
    convert(model, folder / "fixed.tflite", input_shape=(1, 32, 32, 3))
    convert(model, folder / "dynamic.tflite", sizes=[(40, 50)])
    return folder


def config(files, model, **changes):
    return SuperResolutionEvaluationConfig(
        model=str(files / model), folder=str(files / "Set2"), **changes
    )


@pytest.fixture(scope="module")
def expected(files):
    model = keras.models.load_model(files / "edsr.keras", compile=False)
    return evaluate_folder(model, files / "Set2")


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("edsr.keras", {}),
        ("edsr.keras", {"tile": 17}),
        ("dynamic.tflite", {}),
        ("dynamic.tflite", {"tile": 17, "overlap": 6}),
        ("fixed.tflite", {"overlap": 6}),
    ],
)
def test_every_kind_of_file_gives_the_same_scores(files, expected, model, changes):
    scores = score_file(config(files, model, **changes))
    assert [score.name for score in scores] == ["eye", "helmet"]
    for score, other in zip(scores, expected, strict=True):
        assert score.bicubic_psnr == other.bicubic_psnr
        assert (score.psnr, score.ssim) == pytest.approx((other.psnr, other.ssim), abs=2e-3)


def test_app_prints_the_table_and_writes_scores_and_triptychs(files, expected):
    arguments = [
        f"--model={files / 'edsr.keras'}", f"--folder={files / 'Set2'}",
        f"--output={files / 'out' / 'scores.json'}", f"--triptychs={files / 'triptychs'}",
    ]  # fmt: skip
    result = call("evaluate_sr", *arguments)
    assert result.returncode == 0, result.stderr
    for score in expected:
        (line,) = [line for line in result.stdout.splitlines() if score.name in line]
        assert f"{score.psnr:.2f} / {score.ssim:.4f}" in line
        assert f"{score.gain:+.2f}" in line
        with PIL.Image.open(files / "triptychs" / f"{score.name}.png") as image:
            assert image.format == "PNG"
    assert "mean" in result.stdout
    written = json.loads((files / "out" / "scores.json").read_text())
    assert [entry["name"] for entry in written] == ["eye", "helmet"]
    assert written[0]["psnr"] == pytest.approx(expected[0].psnr, abs=1e-3)


def test_what_cannot_be_done_is_said(files, tmp_path):
    with pytest.raises(UsageError, match=r"`overlap` must be given .* windows of 32×32"):
        score_file(config(files, "fixed.tflite"))
    with pytest.raises(UsageError, match=r"`model` must name a \.keras, \.h5 or \.tflite file"):
        score_file(config(files, "edsr.onnx"))
    with pytest.raises(KerasNasError, match=r"none\.keras, which does not exist"):
        score_file(config(files, "none.keras"))
    with pytest.raises(KerasNasError, match=r"none\.h5, which does not exist"):
        score_file(config(files, "none.h5"))
    with pytest.raises(KerasNasError, match="`output` must be a file"):
        score_file(config(files, "edsr.keras", output=str(tmp_path)))
    with pytest.raises(UsageError, match="`folder` must name a folder"):
        score_file(SuperResolutionEvaluationConfig(model=str(files / "edsr.keras")))
    with pytest.raises(KerasNasError, match="must enlarge 3 times"):
        score_file(config(files, "edsr.keras", scale=3))
    with pytest.raises(UsageError, match="`scale` must be 2 or more"):
        SuperResolutionEvaluationConfig(scale=1)


@pytest.mark.parametrize("value_range", [1, 255])
def test_triptychs_of_a_run_are_drawn_of_images_that_were_held_out(files, tmp_path, value_range):
    photograph = skimage.data.astronaut()
    (tmp_path / "images").mkdir()
    for index in range(7):
        part = photograph[60 * index :, 100:][:80, :96]
        PIL.Image.fromarray(part).save(tmp_path / "images" / f"{index}.png")
    images = load(
        "folder", data_dir=tmp_path / "images", patch_size=16, batch_size=4, steps_per_epoch=5,
        value_range=value_range,
    )  # fmt: skip
    assert [pair.name for pair in images.test_pairs] == ["2"]
    model = keras.models.load_model(files / "edsr.keras", compile=False)
    small = {"small": files / "fixed.tflite"}
    SuperResolutionFiles(images).draw(small, model, tmp_path / "plots")
    drawn = list((tmp_path / "plots").iterdir())
    assert drawn == [tmp_path / "plots" / "triptych_2.png"]
    with PIL.Image.open(drawn[0]) as image:
        assert image.format == "PNG"
