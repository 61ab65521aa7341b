"""Segmentation of brain tissue on the MNI152 template: real magnetic resonance data.

The T1 volume is an average over 152 people; its grey and its white matter come as probability maps.
All three stand inside the Python package nilearn, in voxels of 1 mm. An example is one axial slice,
anterior side up; a pixel's class is the most probable of

    0 background (outside the brain), 1 cerebrospinal fluid and other tissue, 2 grey matter,
    3 white matter,

where class 1 takes what the two maps leave of the probability inside the brain.

The 127 slices with 3,200 or more voxels of grey or white matter are cut into eight blocks of
neighbours. Six train, the third validates, the sixth tests. Neighbouring slices are much alike, so
the slice on each side of a border between two parts is left out; 119 remain.

Reference: V. Fonov et al., Unbiased average age-appropriate atlases for pediatric studies,
NeuroImage 54 (2011); release ICBM 2009a, nonlinear, asymmetric.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from keras_nas.data.fetched_data import Fetched, data_directory
from keras_nas.data.idx import read_possibly_gzipped
from keras_nas.data.packages import python_package
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.files import atomic_write_bytes

CLASS_NAMES = ("background", "fluid and other", "grey matter", "white matter")

_NILEARN_VERSION = "0.14.1"
_FILE_NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
# SHA-256 of the unpacked files.
_CHECKSUMS = {
    "t1": "eeb8a792a93948c83462305c71db783800e95eb3f6ce35975a4dd0f374f79bff",
    "gm": "9800242e730cec0d4ae97358d232904d09771bb0f10202ea4bf80eee50609b43",
    "wm": "7c78a23ddd786979edbb50bdada52c86c405cf2986baee5df5791e0200d7ffeb",
}
# Around the brain (26 … 170 and 27 … 207), in multiples of 32 for networks that halve five times.
_LEFT_RIGHT, _BACK_FRONT = slice(18, 178), slice(21, 213)
_LEAST_TISSUE = 3200
_BLOCKS = ("train", "train", "validation", "train", "train", "test", "train", "train")


def load(
    split: str, data_dir: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the slices of a split. Needs nibabel.

    Args:
        split: "train" (91 slices), "validation" (14) or "test" (14).
        data_dir: Where `fetch` put the volumes, see `data_directory`.

    Returns:
        The T1 slices, uint8 (N, 192, 160, 1), from the lowest to the highest, and the classes of
        their pixels, uint8 (N, 192, 160) of 0 … 3.

    Raises:
        KerasNasError: Another split, or the volumes are missing or damaged.
    """
    if split not in _BLOCKS:
        raise UsageError(
            f"`split` must be one of {list(dict.fromkeys(_BLOCKS))}. Received: split={split!r}"
        )
    folder = _folder(data_dir)
    t1, grey, white = (_volume(folder / _FILE_NAME.format(kind), kind) for kind in _CHECKSUMS)
    tissue = np.count_nonzero(grey.astype(np.int16) + white > 127, axis=(0, 1))
    chosen = np.flatnonzero(tissue >= _LEAST_TISSUE)[_members(split)]
    t1, grey, white = (volume[:, :, chosen].astype(np.int16) for volume in (t1, grey, white))
    classes = np.where(t1 > 0, 1 + np.argmax([255 - grey - white, grey, white], axis=0), 0)
    images, labels = (_upright(volume.astype(np.uint8)) for volume in (t1, classes))
    return images[..., np.newaxis], labels


def fetch(data_dir: str | os.PathLike[str] | None = None) -> Fetched:
    """Makes the volumes ready for `load`: copies them out of nilearn, installed or from PyPI.

    Args:
        data_dir: Where to put them, see `data_directory`.

    Raises:
        KerasNasError: Nilearn cannot be had, or its files are not what they should be.
    """
    folder = _folder(data_dir)
    source = "this machine"
    if not all(_is_intact(folder / _FILE_NAME.format(kind), kind) for kind in _CHECKSUMS):
        source = "Python package nilearn"
        with python_package("nilearn", _NILEARN_VERSION) as package:
            for kind in _CHECKSUMS:
                name = _FILE_NAME.format(kind)
                path = package / "datasets" / "data" / name
                _content(path, kind)
                atomic_write_bytes(folder / name, path.read_bytes())
    slices = sum(len(_members(split)) for split in set(_BLOCKS))
    return Fetched("MNI152 T1, grey and white matter", folder, source, f"{slices} slices")


def _members(split: str, slices: int = 127) -> np.ndarray:
    """The slices of a split, by number among all that are used."""
    owner = np.repeat(
        _BLOCKS, [len(block) for block in np.array_split(range(slices), len(_BLOCKS))]
    )
    changes = np.flatnonzero(owner[1:] != owner[:-1])
    inner = np.setdiff1d(np.arange(slices), np.concatenate([changes, changes + 1]))
    return inner[owner[inner] == split]


def _upright(volume: np.ndarray) -> np.ndarray:
    """(left-right, back-front, N) as images (N, height, width), front up."""
    return np.ascontiguousarray(volume[_LEFT_RIGHT, _BACK_FRONT][:, ::-1].transpose(2, 1, 0))


def _volume(path: Path, kind: str) -> np.ndarray:
    if not path.is_file():
        raise KerasNasError(
            f"The MNI152 volume `{path}` is missing: run `python -m apps.fetch_data "
            "--task=segmentation`."
        )
    try:
        import nibabel
    except ImportError as error:
        raise KerasNasError("MNI152 is read with nibabel: `pip install nibabel`.") from error
    return np.asarray(nibabel.Nifti1Image.from_bytes(_content(path, kind)).dataobj)


def _content(path: Path, kind: str) -> bytes:
    content = read_possibly_gzipped(path)
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != _CHECKSUMS[kind]:
        raise KerasNasError(
            f"`{path}` is not MNI152's: the SHA-256 of its unpacked content must be "
            f"{_CHECKSUMS[kind]}. Received: {checksum}. Remove it and fetch it again."
        )
    return content


def _is_intact(path: Path, kind: str) -> bool:
    try:
        _content(path, kind)
    except KerasNasError:
        return False
    return True


def _folder(data_dir: str | os.PathLike[str] | None) -> Path:
    return data_directory(data_dir) / "mni152"
