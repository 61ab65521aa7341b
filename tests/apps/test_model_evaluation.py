"""Files of classifiers evaluated on a data set: which pictures they get."""

import pytest

from apps.evaluation_config import EvaluationConfig
from apps.model_evaluation import evaluate_file
from export.tflite import convert
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.errors import UsageError
from tests.apps import trained_place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model of 12×12 pixels as .keras and .tflite, and photos of 20×20 of the same classes."""
    root = tmp_path_factory.mktemp("place")
    convert(trained_place.make(root), str(root / "model.tflite"))
    for part, each, seed in (("train", 8, 2), ("test", 20, 3)):
        trained_place.write_pictures(root / "large", part, each, seed, side=20)
    return root


def config(place, name, **settings):
    return EvaluationConfig(
        model=str(place / name), data="class_folders", data_dir=str(place / "large"),
        batch_size=8, pictures=PictureSettings(pixels="0..255"), **settings,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_pictures_of_another_size_are_brought_to_the_models(place, name):
    assert evaluate_file(config(place, name))["top1"] > 0.9


def test_both_kinds_of_file_see_the_same_pictures(place):
    top1 = [evaluate_file(config(place, f"model.{kind}"))["top1"] for kind in ("keras", "tflite")]
    assert top1[0] == pytest.approx(top1[1])


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_a_size_that_is_asked_for_is_not_changed(place, name):
    with pytest.raises(UsageError, match="does not fit"):
        evaluate_file(config(place, name, image_size=16))
