"""Super-resolution data by name: which images train, which are held out, what goes wrong."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from keras_nas.data import load, photographs
from keras_nas.data.bicubic import imresize
from keras_nas.errors import KerasNasError

PATCHES = {"patch_size": 16, "batch_size": 2, "steps_per_epoch": 3, "value_range": 255.0}


def random_image(seed, height=40, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for seed in range(8):
        PIL.Image.fromarray(random_image(seed)).save(tmp_path / f"{seed}.png")
    return tmp_path


def test_every_fifth_image_of_a_folder_is_held_out(folder):
    data = load("folder", data_dir=folder, **PATCHES, validation_crop=20)
    assert [pair.name for pair in data.test_pairs] == ["2", "7"]
    assert [pair.name for pair in data.train_pairs] == ["0", "1", "3", "4", "5", "6"]
    assert (data.scale, data.value_range) == (2, 255.0)
    assert data.train.steps_per_epoch == 3
    low, high = next(iter(data.train.epoch(0)))
    assert (low.shape, high.shape) == ((2, 8, 8, 3), (2, 16, 16, 3))
    low, high = next(iter(data.validation))
    np.testing.assert_allclose(high[0], random_image(2)[10:30, 14:34], atol=1e-4)
    assert [high.shape[1:3] for _, high in data.test] == [(40, 48), (40, 48)]
    assert data.describe() == ("folder: ×2 super-resolution, 6 images for training, 2 held out")


def test_held_out_images_do_not_depend_on_scale_or_cache(folder, tmp_path):
    data = load("folder", data_dir=folder, scale=4, **PATCHES, cache_dir=tmp_path / "cache")
    assert [pair.name for pair in data.test_pairs] == ["2", "7"]
    assert data.train_pairs[0].low.shape == (10, 12, 3)


def test_photographs_keep_their_own_split(monkeypatch, tmp_path):
    fetched = []
    images = {"train": {"a": random_image(0)}, "held_out": {"b": random_image(1, 41, 47)}}
    monkeypatch.setattr(photographs, "fetch", fetched.append)
    monkeypatch.setattr(photographs, "load", lambda split, folder: images[split])
    data = load("photographs", data_dir=tmp_path, **PATCHES)
    assert fetched == [tmp_path]
    assert [pair.name for pair in data.train_pairs] == ["a"]
    np.testing.assert_array_equal(data.test_pairs[0].high, random_image(1, 41, 47)[:40, :46])
    np.testing.assert_array_equal(data.train_pairs[0].low, imresize(random_image(0), 0.5))
    load("photographs", data_dir=tmp_path, **PATCHES, download=False)
    assert len(fetched) == 1


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(KerasNasError, match="`name` must be one of"):
        load("set5")
    with pytest.raises(KerasNasError, match="`data_dir` must name the folder"):
        load("folder")
    with pytest.raises(KerasNasError, match="There are no photographs in"):
        load("photographs", data_dir=tmp_path, download=False)
    PIL.Image.fromarray(random_image(0)).save(tmp_path / "one.png")
    with pytest.raises(KerasNasError, match="three images or more"):
        load("folder", data_dir=tmp_path)
    with pytest.raises(KerasNasError, match=r"div2k/bicubic_x2.* is not prepared"):
        load("div2k", data_dir=tmp_path, download=False)
