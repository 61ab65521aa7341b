"""Scores of whole images, beside those of bicubic enlargement."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_nas.data.bicubic import imresize
from keras_nas.data.image_pairs import ImagePair, find_pair_files, read_pairs
from keras_nas.data.super_resolution import check_value_range
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.tasks.super_resolution_metrics import psnr_y, ssim_y
from keras_nas.tasks.tiled_inference import TiledInference

_SSIM_WINDOW = 11


@dataclass(frozen=True)
class ImageScore:
    """One image's scores on luma, the border of `scale` pixels shaved.

    Attributes:
        name: Of the image.
        bicubic_psnr, bicubic_ssim: Of MATLAB's bicubic enlargement; PSNR in dB.
        psnr, ssim: Of the model; PSNR in dB.
    """

    name: str
    bicubic_psnr: float
    bicubic_ssim: float
    psnr: float
    ssim: float

    @property
    def gain(self) -> float:
        """The model's PSNR above bicubic's, in dB."""
        return self.psnr - self.bicubic_psnr


class Enlarger:
    """A model as a function from 8-bit images to 8-bit images, tile by tile.

    Args:
        model: From (batch, h, w, 3) to (batch, scale·h, scale·w, 3); see `TiledInference`.
        value_range: The value of white in the model, 1 or 255.
        tile, overlap, window: As in `TiledInference`.
    """

    def __init__(
        self,
        model: keras.Model | Callable[[np.ndarray], np.ndarray],
        value_range: float = 1.0,
        tile: int = 192,
        overlap: int | None = None,
        window: tuple[int, int] | None = None,
    ):
        check_value_range(value_range)
        self._run = TiledInference(model, tile, overlap, window)
        self._unit = 255.0 / value_range

    def __call__(self, low: np.ndarray) -> np.ndarray:
        """Enlarges `low`, uint8 (h, w, 3), to uint8 (scale·h, scale·w, 3)."""
        output = self._run(low.astype(np.float32) / np.float32(self._unit))
        return np.clip(np.round(output * self._unit), 0, 255).astype(np.uint8)


def evaluate_pairs(
    model: keras.Model | Enlarger,
    pairs: Iterable[ImagePair],
    value_range: float = 1.0,
    tile: int = 192,
) -> list[ImageScore]:
    """Scores a model on whole images.

    Args:
        model: From (batch, h, w, 3) to (batch, scale·h, scale·w, 3); or an `Enlarger`, which
            serves for a .tflite too.
        pairs: The images.
        value_range: The value of white in the Keras model, 1 or 255.
        tile: As in `TiledInference`, for the Keras model.

    Returns:
        One score an image, in the order of `pairs`.

    Raises:
        KerasNasError: The model enlarges by another factor, or an image is too small to measure.
    """
    enlarge = model if isinstance(model, Enlarger) else Enlarger(model, value_range, tile)
    return [score_output(pair, enlarge(pair.low)) for pair in pairs]


def evaluate_folder(
    model: keras.Model | Enlarger,
    folder: str | os.PathLike[str],
    scale: int = 2,
    value_range: float = 1.0,
    shrink: int = 1,
    tile: int = 192,
) -> list[ImageScore]:
    """Scores a model on a folder: Set5, Set14, B100, Urban100, or any folder of images.

    Where the folder has no low-resolution images, MATLAB's bicubic makes them.

    Example:

    ```python
    scores = evaluate_folder(model, "benchmark/Set5")
    print(mean_score(scores).psnr, mean_score(scores).ssim)
    ```

    Args:
        model: As in `evaluate_pairs`.
        folder: In one of `find_pair_files`' layouts.
        scale: High over low resolution.
        value_range: The value of white in the model, 1 or 255.
        shrink: First make each image smaller by this factor, see `make_pair`.
        tile: As in `TiledInference`.

    Returns:
        One score an image, sorted by name.

    Raises:
        KerasNasError: The folder or an image is not as it must be (the file is named), or the
            model enlarges by another factor.
    """
    pairs = read_pairs(find_pair_files(folder, scale), scale, shrink)
    return evaluate_pairs(model, pairs, value_range, tile)


def mean_score(scores: Sequence[ImageScore]) -> ImageScore:
    """The mean of each measure over the images, named "mean".

    Raises:
        KerasNasError: There are no scores.
    """
    if not scores:
        raise UsageError("`scores` must hold one score or more. Received: none")
    measures = ("bicubic_psnr", "bicubic_ssim", "psnr", "ssim")
    means = (float(np.mean([getattr(score, name) for score in scores])) for name in measures)
    return ImageScore("mean", *means)


def score_output(pair: ImagePair, output: np.ndarray) -> ImageScore:
    """Scores one image that a model made of `pair.low`.

    Args:
        pair: The image.
        output: uint8, of the shape of `pair.high`.

    Raises:
        KerasNasError: `output` has another shape, or the image is too small to measure.
    """
    if output.shape != pair.high.shape:
        raise KerasNasError(
            f"The model must enlarge {pair.scale} times, as the images do. Received: "
            f"{output.shape[1]}×{output.shape[0]} from {pair.low.shape[1]}×{pair.low.shape[0]}"
        )
    if min(output.shape[:2]) < _SSIM_WINDOW + 2 * pair.scale:
        raise KerasNasError(
            f"Image `{pair.name}` must have {_SSIM_WINDOW + 2 * pair.scale} pixels or more a "
            f"side to be measured. Received: {output.shape[1]}×{output.shape[0]}"
        )
    measured = []
    for image in (imresize(pair.low, float(pair.scale)), output):
        batch = (pair.high[np.newaxis], image[np.newaxis], pair.scale, 255.0)
        measured += [float(psnr_y(*batch)[0]), float(ssim_y(*batch)[0])]
    return ImageScore(pair.name, *measured)
