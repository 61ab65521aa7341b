"""Images beside the classes of their pixels, in VOC's colours: truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from keras_nas.errors import UsageError
from keras_nas.tasks.segmentation import IGNORE, colored, palette


def segmentation_images(
    images: np.ndarray, truth: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Draws a row for each image: the image, its true classes, the predicted ones.

    Pixels that do not count are void (light yellow) in both. The legend names the classes that are
    seen.

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
