"""Low- and high-resolution images side by side: from folders and from tensorflow-datasets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_nas.data.bicubic import imresize
from keras_nas.data.images import IMAGE_SUFFIXES, crop_to_multiple, list_images, read_image
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.errors import KerasNasError, UsageError


@dataclass(frozen=True, eq=False)
class ImagePair:
    """An image at two resolutions.

    Attributes:
        name: Of the image, for tables and messages.
        low: uint8, shape (height, width, 3).
        high: uint8, shape (scale · height, scale · width, 3).
    """

    name: str
    low: np.ndarray
    high: np.ndarray

    @property
    def scale(self) -> int:
        """High over low resolution."""
        return self.high.shape[0] // self.low.shape[0]


@dataclass(frozen=True)
class PairFiles:
    """Where a pair lies: the high-resolution file, and the low-resolution one if there is one."""

    name: str
    high: Path
    low: Path | None = None


def make_pair(
    name: str, high: np.ndarray, scale: int, low: np.ndarray | None = None, shrink: int = 1
) -> ImagePair:
    """Makes a pair of a high-resolution image.

    Args:
        name: Of the image.
        high: uint8, shape (height, width, 3).
        scale: High over low resolution, 2 or more.
        low: The low-resolution image if there is one; else MATLAB's bicubic makes it.
        shrink: First make `high` smaller by this factor (bicubic); for JPEG photographs, whose
            compression shows at full size. Only without `low`.

    Returns:
        The pair; `high` is cut to `scale` times the size of `low`.

    Raises:
        KerasNasError: An image of no pixels is left, or `low` does not fit `high`.
    """
    _check_scale(scale, "scale", least=2)
    _check_scale(shrink, "shrink", least=1)
    if low is None:
        if min(high.shape[:2]) < scale * shrink:
            raise KerasNasError(
                f"Image `{name}` must have {scale * shrink} pixels or more a side. "
                f"Received: {high.shape[1]}×{high.shape[0]}"
            )
        if shrink > 1:
            high = imresize(crop_to_multiple(high, shrink), 1.0 / shrink)
        high = np.ascontiguousarray(crop_to_multiple(high, scale))
        return ImagePair(name, imresize(high, 1.0 / scale), high)
    if shrink > 1:
        raise UsageError(
            f"`shrink` must be 1 where low-resolution images are given. Received: shrink={shrink}"
            f" and a low-resolution image of `{name}`"
        )
    height, width = scale * low.shape[0], scale * low.shape[1]
    spare = (high.shape[0] - height, high.shape[1] - width)
    if not all(0 <= pixels < scale for pixels in spare):
        raise KerasNasError(
            f"The low-resolution image of `{name}` must be {scale} times smaller than the "
            f"high-resolution one. Received: {low.shape[1]}×{low.shape[0]} and "
            f"{high.shape[1]}×{high.shape[0]}"
        )
    return ImagePair(name, low, np.ascontiguousarray(high[:height, :width]))


def find_pair_files(folder: str | os.PathLike[str], scale: int) -> list[PairFiles]:
    """Finds the images of a folder in any of the layouts in use, sorted by name.

    - `F/*.png`: high-resolution images (Set5, Set14, B100, Urban100 as they are, DIV2K).
    - `F/HR/baby.png` with or without `F/LR_bicubic/X2/babyx2.png` (EDSR's benchmark archive).
    - `F/image_SRF_2/img_001_SRF_2_HR.png` and `…_LR.png` (SelfExSR's archive).
    - `F_HR/0001.png` where beside it lies `F_LR_bicubic/X2/0001x2.png` (DIV2K's archives).

    Args:
        folder: The folder F, or F_HR.
        scale: High over low resolution.

    Returns:
        The files, `low` being None where there are no low-resolution images.

    Raises:
        KerasNasError: No image is found, or some images have a low-resolution file and others
            have none.
    """
    _check_scale(scale, "scale", least=2)
    folder = Path(folder)
    paired = folder / f"image_SRF_{scale}"
    if paired.is_dir():
        return _self_exemplar_files(paired)
    if (folder / "HR").is_dir():
        return _files_beside(folder / "HR", folder / "LR_bicubic" / f"X{scale}", scale)
    if folder.name.endswith("_HR"):
        low = folder.with_name(folder.name.removesuffix("_HR") + "_LR_bicubic") / f"X{scale}"
        return _files_beside(folder, low, scale)
    return [PairFiles(path.stem, path) for path in list_images(folder)]


def read_pairs(files: Iterable[PairFiles], scale: int, shrink: int = 1) -> Iterator[ImagePair]:
    """Reads pairs one by one, making the low resolution where no file has it.

    Args:
        files: Of `find_pair_files`.
        scale, shrink: As in `make_pair`.

    Raises:
        KerasNasError: An image cannot be read, is too small, or does not fit its pair.
    """
    for file in files:
        low = None if file.low is None else read_image(file.low)
        yield make_pair(str(file.name), read_image(file.high), scale, low, shrink)


def read_tfds_pairs(
    split: str,
    scale: int = 2,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Iterator[ImagePair]:
    """Reads DIV2K (`div2k/bicubic_x2` and its like) through tensorflow-datasets.

    Args:
        split: "train" (800 images) or "validation" (100), or a slice of tensorflow-datasets such
            as "train[:10]".
        scale: 2, 3 or 4.
        data_dir: The folder that holds div2k/, see `prepared_builder`.
        download: Whether to download and prepare it where it is missing.

    Raises:
        KerasNasError: The dataset is missing, or has no such split.
    """
    if scale not in (2, 3, 4):
        raise UsageError(f"`scale` must be 2, 3 or 4 for DIV2K. Received: scale={scale!r}")
    builder = prepared_builder(f"div2k/bicubic_x{scale}", data_dir, download)
    try:
        dataset = builder.as_dataset(split=split, shuffle_files=False)
    except ValueError as error:
        raise UsageError(
            f"`split` must be one of {sorted(builder.info.splits)} or a slice of one. "
            f"Received: split={split!r}"
        ) from error
    for index, example in enumerate(dataset.as_numpy_iterator()):
        yield make_pair(f"{split}/{index:04d}", example["hr"], scale, example["lr"])


def _files_beside(high_folder: Path, low_folder: Path, scale: int) -> list[PairFiles]:
    highs = list_images(high_folder)
    if not low_folder.is_dir():
        return [PairFiles(path.stem, path) for path in highs]
    lows = {path.stem: path for path in list_images(low_folder)}
    return [
        PairFiles(path.stem, path, _required(lows, (f"{path.stem}x{scale}", path.stem), path))
        for path in highs
    ]


def _self_exemplar_files(folder: Path) -> list[PairFiles]:
    files = {path.stem: path for path in list_images(folder)}
    pairs = []
    for stem, path in files.items():
        match = re.fullmatch(r"(.*)_HR", stem)
        if match:
            pairs.append(PairFiles(match[1], path, _required(files, (f"{match[1]}_LR",), path)))
    if not pairs:
        raise KerasNasError(f"No image in `{folder}`: it must hold files named …_HR and …_LR.")
    return pairs


def _required(files: dict[str, Path], stems: tuple[str, ...], high: Path) -> Path:
    for stem in stems:
        if stem in files:
            return files[stem]
    folder = next(iter(files.values())).parent
    raise KerasNasError(
        f"Image `{high}` has no low-resolution one: `{folder}` must hold `{stems[0]}` with one "
        f"of the endings {', '.join(IMAGE_SUFFIXES)}."
    )


def _check_scale(value: int, name: str, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise KerasNasError(f"`{name}` must be {least} or more, whole. Received: {name}={value!r}")
