"""Held-out images beside what networks make of them, a figure for each task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from keras_nas.data.bicubic import imresize
from keras_nas.data.image_pairs import ImagePair
from keras_nas.errors import UsageError
from keras_nas.tasks.segmentation import IGNORE, colored, palette
from keras_nas.tasks.super_resolution_evaluation import score_output
from keras_nas.tasks.super_resolution_metrics import rgb_to_y

COLUMNS = 6
RIGHT, WRONG = "#1f6fb4", "#c0392b"
FRAME = "#ff5a1f"


def classification_images(
    images: np.ndarray,
    truth: np.ndarray,
    answers: Mapping[str, np.ndarray],
    class_names: Sequence[str],
) -> Figure:
    """Draws the images, each under its class and above the networks' answers, wrong ones red.

    Args:
        images: uint8 (N, height, width, 1 or 3).
        truth: Classes, integers (N,).
        answers: For each network, by its name, the classes that it gives, integers (N,).
        class_names: One name a class.

    Returns:
        The figure; `keras_nas.reporting.plots.save` writes it as PNG.

    Raises:
        KerasNasError: The numbers of images, classes and answers differ, or there is no image.
    """
    lengths = {len(images), len(truth), *(len(given) for given in answers.values())}
    if len(lengths) > 1 or not len(images):
        raise UsageError(
            "`images`, `truth` and each of `answers` must have the same length, from 1. "
            f"Received: lengths {sorted(lengths)}"
        )
    rows = math.ceil(len(images) / COLUMNS)
    size = (1.55 * COLUMNS, rows * (1.95 + 0.25 * len(answers)))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle("Held-out images: the class above, the networks' answers below", fontsize=9)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for index, (place, image) in enumerate(zip(axes, images, strict=False)):
        place.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray")
        place.set_title(class_names[truth[index]], fontsize=8)
        for line, (name, given) in enumerate(answers.items()):
            place.text(
                0.5, -0.1 - 0.14 * line, f"{name}: {class_names[given[index]]}",
                transform=place.transAxes, ha="center", va="center", fontsize=6.5,
                color=RIGHT if given[index] == truth[index] else WRONG,
            )  # fmt: skip
    return figure


def segmentation_images(
    images: np.ndarray, truth: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Draws a row for each image: the image, its true classes, the predicted ones.

    The colours are VOC's; pixels that do not count are void (light yellow). The legend names the
    classes that are seen.

    Args:
        images: uint8 (N, height, width, 1 or 3).
        truth: Classes, uint8 (N, height, width), 255 for void.
        predictions: Classes, integers (N, height, width).
        class_names: One name a class.

    Returns:
        The figure; `keras_nas.reporting.plots.save` writes it as PNG.

    Raises:
        KerasNasError: The shapes do not fit, or there is no image.
    """
    if not len(images) or not images.shape[:3] == truth.shape == predictions.shape:
        raise UsageError(
            "`images`, `truth` and `predictions` must be of one shape (N, height, width), with N "
            f"from 1. Received: {images.shape}, {truth.shape} and {predictions.shape}"
        )
    shown = np.where(truth == IGNORE, IGNORE, predictions).astype(np.uint8)
    height = 2.4 * images.shape[1] / images.shape[2]
    figure = Figure(figsize=(7.6, height * len(images) + 0.9), layout="constrained")
    axes = figure.subplots(len(images), 3, squeeze=False)
    for row, columns in enumerate(zip(images, colored(truth), colored(shown), strict=True)):
        for column, image in enumerate(columns):
            gray = image.shape[-1] == 1
            axes[row, column].imshow(image[..., 0] if gray else image, cmap="gray")
            axes[row, column].set_axis_off()
    for column, title in enumerate(("image", "truth", "prediction")):
        axes[0, column].set_title(title, fontsize=9)
    seen = np.union1d(truth, shown)
    colors = palette() / 255
    patches = [
        Patch(facecolor=colors[number], edgecolor="black", linewidth=0.4,
              label="void" if number == IGNORE else class_names[number])
        for number in seen
    ]  # fmt: skip
    figure.legend(handles=patches, loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    return figure


def triptych(pair: ImagePair, output: np.ndarray, label: str = "ours", zoom: int = 96) -> Figure:
    """Draws bicubic enlargement, the model's and the truth side by side.

    Above is the whole image with the place of the zoom framed, below that place, every pixel a
    square. The place is where bicubic errs most, whatever the model does there. Captions give PSNR
    (dB) and SSIM of the whole image, on luma with the border shaved.

    Args:
        pair: The image.
        output: The model's image, uint8, of the shape of `pair.high`.
        label: What the model is called.
        zoom: Pixels a side of the part that is zoomed in on; cut to the image.

    Returns:
        The figure; `keras_nas.reporting.plots.save` writes it as PNG.

    Raises:
        KerasNasError: `output` is not uint8 of the right shape, or `zoom` is under 1.
    """
    if output.dtype != np.uint8 or output.shape != pair.high.shape:
        raise UsageError(
            f"`output` must be uint8 of shape {pair.high.shape}. "
            f"Received: {output.dtype} {output.shape}"
        )
    if zoom < 1:
        raise UsageError(f"`zoom` must be 1 or more. Received: zoom={zoom}")
    bicubic = imresize(pair.low, float(pair.scale))
    score = score_output(pair, output)
    captions = (
        f"bicubic  {score.bicubic_psnr:.2f} dB / {score.bicubic_ssim:.4f}",
        f"{label}  {score.psnr:.2f} dB / {score.ssim:.4f}  ({score.gain:+.2f} dB)",
        "truth",
    )
    size = min(zoom, *pair.high.shape[:2])
    row, column = worst_place(bicubic, pair.high, size)
    height, width = pair.high.shape[:2]
    figure = Figure(figsize=(12.0, 4.6 + 4.0 * height / width), layout="constrained")
    figure.suptitle(f"{pair.name}, ×{pair.scale}")
    axes = figure.subplots(2, 3, height_ratios=(height / width, 1.0))
    for index, image in enumerate((bicubic, output, pair.high)):
        above, below = axes[0, index], axes[1, index]
        above.imshow(image)
        above.add_patch(Rectangle((column, row), size, size, fill=False, ec=FRAME, lw=1.5))
        above.set_title(captions[index], fontsize=10)
        below.imshow(image[row : row + size, column : column + size], interpolation="nearest")
        for panel in (above, below):
            panel.set_xticks([])
            panel.set_yticks([])
        below.spines[:].set_color(FRAME)
    return figure


def worst_place(image: np.ndarray, truth: np.ndarray, size: int) -> tuple[int, int]:
    """Row and column of the square of `size` pixels where luma errs most, summed in absolute value.

    Args:
        image, truth: uint8, shape (height, width, 3), both sides `size` or more.
        size: Pixels a side.
    """
    error = np.abs(np.asarray(rgb_to_y(image)) - np.asarray(rgb_to_y(truth)))[..., 0]
    sums = np.pad(error.astype(np.float64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    squares = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    row, column = np.unravel_index(np.argmax(squares), squares.shape)
    return int(row), int(column)
