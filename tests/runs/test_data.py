"""`load_data`: what a run's data has for DSO, before and in the retraining, on Fashion-MNIST."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.data.picture_settings import PictureSettings
from keras_nas.runs.config import RunConfig
from keras_nas.runs.data import load_data
from keras_nas.search.dnal import DnalConfig
from keras_nas.search.dso.config import DsoConfig


def loaded(settings, augment=False, stage="", **changes):
    config = RunConfig(
        data="fashion_mnist", train_examples=200, batch_size=20, seed=3, augment=augment, **changes
    )
    return load_data(config, settings, stage)


def images_of(part):
    return np.concatenate([images.numpy() for images, _ in part.epoch(0)])


def keys(*parts):
    return sorted(image.tobytes() for part in parts for image in images_of(part))


@pytest.fixture(scope="module")
def whole():
    return keys(loaded(DnalConfig()).train)


@pytest.mark.parametrize(("ratio", "sizes"), [("1:1", (100, 100)), ("4:1", (160, 40))])
def test_dso_gets_the_training_set_in_two_parts(whole, ratio, sizes):
    data = loaded(DsoConfig(split_ratio=ratio))
    assert (len(images_of(data.train)), len(images_of(data.structure))) == sizes
    assert keys(data.train, data.structure) == whole
    assert len(set(whole)) == 200


def test_a_method_that_does_not_split_gets_it_whole(whole):
    for settings in (DnalConfig(), DsoConfig(split=False)):
        data = loaded(settings)
        assert data.structure is None
        assert keys(data.train) == whole


def test_cutout_is_in_both_parts_and_not_in_the_held_out_images():
    plain, cut = (loaded(DsoConfig(), True, "finetune", cutout=size) for size in (0, 16))
    for name in ("train", "structure"):
        zeros = [np.mean(images_of(getattr(data, name)) == 0.0) for data in (plain, cut)]
        assert zeros[1] > zeros[0] + 0.1
    for name in ("validation", "test"):
        first, second = (next(iter(getattr(data, name)))[0].numpy() for data in (plain, cut))
        np.testing.assert_array_equal(first, second)


def test_cutout_is_in_the_stages_that_are_named():
    def zeros(stage, **changes):
        return np.mean(images_of(loaded(DnalConfig(), True, stage, **changes).train) == 0.0)

    plain = zeros("weights")
    everywhere = {"cutout": 16, "cutout_stages": ("weights", "architecture", "finetune")}
    assert zeros("finetune", cutout=16) > plain + 0.1
    assert zeros("weights", cutout=16) == plain
    assert zeros("weights", **everywhere) > plain + 0.1
    assert zeros("baseline", **everywhere) == plain


def test_pixels_are_those_that_are_asked_for():
    plain = images_of(loaded(DnalConfig()).train)
    raw = loaded(DnalConfig(), pictures=PictureSettings("0..255"))
    np.testing.assert_array_equal(
        images_of(raw.train), np.rint(plain * 0.35302 * 255 + 0.28604 * 255)
    )
    numbers = PictureSettings(pixel_mean=(51.0,), pixel_std=(102.0,))
    made = loaded(DnalConfig(), pictures=numbers)
    np.testing.assert_allclose(images_of(made.train), images_of(raw.train) / 102 - 0.5, atol=1e-5)


def test_a_stage_may_have_batches_of_its_own():
    def sizes(stage, settings):
        data = loaded(settings, stage=stage, finetune_batch_size=12, architecture_batch_size=50)
        parts = [data.train] + ([data.structure] if data.structure else [])
        return [len(next(iter(part.epoch(0)))[0]) for part in parts]

    for stage, size in (("", 20), ("weights", 20), ("architecture", 50), ("finetune", 12)):
        assert sizes(stage, DnalConfig()) == [size]
        assert sizes(stage, DsoConfig()) == [size, size]
