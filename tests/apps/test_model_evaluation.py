"""Files of classifiers evaluated on a data set: which pictures they get."""

import keras
import numpy as np
import PIL.Image
import pytest

from apps.evaluation_config import EvaluationConfig
from apps.model_evaluation import evaluate_file
from export.tflite import convert
from keras_nas.data import load
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.errors import UsageError
from tests.apps import trained_place

OF_FOLDERS = {"batch_size": 8, "seed": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models of 12×12 and 12×20 pixels, that guess; grey photos of 20×20, and of 12×20."""
    root = tmp_path_factory.mktemp("place")
    keras.utils.set_random_seed(0)
    for name, shape in (("model", (12, 12, 3)), ("wide", (12, 20, 3))):
        inputs = keras.Input(shape, name="image")
        x = keras.layers.Rescaling(1 / 50, -2.5, name="rescaling")(inputs)
        x = keras.layers.Flatten(name="flatten")(x)
        model = keras.Model(inputs, keras.layers.Dense(3, name="classifier")(x), name=name)
        model.save(root / f"{name}.keras")
        convert(model, str(root / f"{name}.tflite"))
    for part, each, seed in (("train", 8, 2), ("test", 20, 3)):
        trained_place.write_pictures(root / "large", part, each, seed, side=20)
    for path in sorted((root / "large").rglob("*.png")):
        wide = root / "wide" / path.relative_to(root / "large")
        wide.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.open(path).crop((0, 4, 20, 16)).save(wide)
    return root


def evaluated(place, name, folder="large", **settings):
    config = EvaluationConfig(
        model=str(place / name), data=str(place / folder),
        pictures=PictureSettings(pixels="0..255"), **OF_FOLDERS, **settings,
    )  # fmt: skip
    return evaluate_file(config)["top1"]


def top1(place, name, folder, image_size=None):
    """Counted here, over the pictures as they are loaded."""
    data = load(
        "class_folders", data_dir=place / folder, image_size=image_size, pixels="0..255",
        **OF_FOLDERS,
    )  # fmt: skip
    model = keras.models.load_model(place / name)
    right = [np.argmax(model(images), 1) == np.ravel(labels) for images, labels in data.test]
    assert 0.05 < np.mean(np.concatenate(right)) < 0.95
    return np.mean(np.concatenate(right))


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_pictures_of_another_size_are_brought_to_the_models(place, kind):
    wanted = top1(place, "model.keras", "large", image_size=12)
    assert evaluated(place, f"model.{kind}") == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_pictures_that_are_no_squares_stay_as_they_are(place, kind):
    wanted = top1(place, "wide.keras", "wide")
    assert evaluated(place, f"wide.{kind}", "wide") == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_a_size_that_is_asked_for_is_not_changed(place, kind):
    with pytest.raises(UsageError, match="does not fit"):
        evaluated(place, f"model.{kind}", image_size=16)


def test_data_by_name_are_where_data_dir_says(place):
    config = EvaluationConfig(
        model=str(place / "model.keras"), data="class_folders", data_dir=str(place / "large"),
        pictures=PictureSettings(pixels="0..255"), **OF_FOLDERS,
    )  # fmt: skip
    assert evaluate_file(config)["top1"] == evaluated(place, "model.keras")


def test_data_of_another_task_are_refused_by_name(place, tmp_path):
    (tmp_path / "train" / "labels").mkdir(parents=True)
    config = EvaluationConfig(model=str(place / "model.keras"), data=str(tmp_path))
    with pytest.raises(UsageError, match="'segmentation_folders' is for segmentation"):
        evaluate_file(config)


def test_who_only_guesses_is_told_of_pixels(place, caplog):
    evaluated(place, "model.keras")
    assert "no better than always saying one class (0.333)" in caplog.text
    assert "now 0..255" in caplog.text
    caplog.clear()
    trained_place.make(place / "trained")
    config = EvaluationConfig(
        model=str(place / "trained" / "model.keras"), data=str(place / "trained" / "photos"),
        pictures=PictureSettings(pixels="0..255"), **OF_FOLDERS,
    )  # fmt: skip
    assert evaluate_file(config)["top1"] > 0.6
    assert caplog.text == ""


def test_who_says_the_most_frequent_class_only_is_told_so(tmp_path, caplog):
    """20 of 23 pictures are bright: 0.87 is no knowledge."""
    photos = tmp_path / "photos"
    for part, each in (("train", 8), ("test", 20)):
        trained_place.write_pictures(photos, part, each, 1)
    for name, kept in (("dark", 2), ("middle", 1)):
        for picture in list((photos / "test" / name).iterdir())[kept:]:
            picture.unlink()
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    classifier = keras.layers.Dense(3, kernel_initializer="zeros")
    model = keras.Model(inputs, classifier(x))
    classifier.bias.assign([1.0, 0.0, 0.0])  # bright, dark, middle
    model.save(tmp_path / "model.keras")
    assert evaluated(tmp_path, "model.keras", "photos") == pytest.approx(20 / 23)
    assert "no better than always saying one class (0.870)" in caplog.text
