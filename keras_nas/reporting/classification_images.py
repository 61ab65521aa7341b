"""Held-out images with the class they have and the classes that networks give them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_nas.errors import UsageError

COLUMNS = 6
RIGHT, WRONG = "#1f6fb4", "#c0392b"


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
