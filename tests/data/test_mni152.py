"""MNI152: the real volumes, out of the installed nilearn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_nas.data import mni152
from keras_nas.errors import KerasNasError


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    assert mni152.fetch(folder).source == "Python package nilearn"
    return folder


@pytest.fixture(scope="module")
def splits(fetched: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: mni152.load(name, fetched) for name in ("train", "validation", "test")}


def test_slices_and_labels_have_their_shapes(splits: dict) -> None:
    for name, count in (("train", 91), ("validation", 14), ("test", 14)):
        images, labels = splits[name]
        assert (images.shape, images.dtype) == ((count, 192, 160, 1), np.uint8)
        assert (labels.shape, labels.dtype) == ((count, 192, 160), np.uint8)
        assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert len(mni152.CLASS_NAMES) == 4


def test_the_classes_are_the_tissues(splits: dict) -> None:
    """In T1 background is black, fluid dark, grey matter grey and white matter bright."""
    images, labels = splits["train"]
    assert np.all((images[..., 0] == 0) == (labels == 0))
    means = [images[..., 0][labels == label].mean() for label in range(4)]
    assert means[0] == 0
    assert means[1] + 20 < means[2] < means[3] - 20
    shares = np.bincount(labels.ravel(), minlength=4) / labels.size
    np.testing.assert_allclose(shares, [0.573, 0.039, 0.245, 0.143], atol=1e-3)


def test_the_front_is_up_and_the_halves_are_left_and_right(splits: dict) -> None:
    """The brain is nearly symmetric from left to right, not from front to back."""
    labels = splits["test"][1]
    assert np.mean(labels == labels[:, :, ::-1]) > 0.9
    assert np.mean(labels == labels[:, ::-1]) < 0.85
    lowest = splits["train"][1][0]
    rows = np.flatnonzero(lowest.any(axis=1))
    assert rows.mean() > 96, "the cerebellum, which reaches lowest, lies at the back"


def test_parts_are_blocks_of_neighbours_with_gaps_between() -> None:
    members = {name: mni152._members(name) for name in ("train", "validation", "test")}
    everything = np.sort(np.concatenate(list(members.values())))
    assert len(everything) == len(set(everything)) == 119
    for name in ("validation", "test"):
        assert np.all(np.diff(members[name]) == 1)
        for other in set(members) - {name}:
            distance = np.abs(members[name][:, None] - members[other][None])
            assert distance.min() > 2


def test_what_is_there_is_not_fetched_again(fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mni152, "python_package", None)
    assert str(mni152.fetch(fetched)) == (
        f"MNI152 T1, grey and white matter: 119 slices, from this machine, in {fetched / 'mni152'}"
    )


def test_missing_and_damaged_volumes_are_named(tmp_path: Path) -> None:
    with pytest.raises(KerasNasError, match=r"is missing: run .* --task=segmentation"):
        mni152.load("train", tmp_path)
    mni152.fetch(tmp_path)
    path = next((tmp_path / "mni152").glob("*gm*"))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(KerasNasError, match=r"gm_tal.* is torn"):
        mni152.load("train", tmp_path)
    assert mni152.fetch(tmp_path).source == "Python package nilearn"
    with pytest.raises(KerasNasError, match=r"one of \['train', 'validation', 'test'\]"):
        mni152.load("held_out", tmp_path)
