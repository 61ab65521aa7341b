"""Which pixels a trained classifier wants, found by trying it on pictures of known classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_nas.data.labels import as_sparse
from keras_nas.data.normalization import Normalization, normalization_of
from keras_nas.data.pixels import STANDARDIZED
from keras_nas.data.subsets import balanced_subset
from keras_nas.errors import UsageError
from keras_nas.tasks.classification import Classification, is_among_largest, is_right_at_best
from keras_nas.tasks.task import shown_shape

CANDIDATES = ("0..255", "0..1", "-1..1", STANDARDIZED, "torch", "caffe")
"""What is tried: every range there is, by one name; the last two on three channels alone."""

_DEVIATIONS_FROM_CHANCE = 3.0
_DEVIATIONS_OF_A_TIE = 2.0
_BATCH = 64


def is_better_than_chance(top1: float, chance: float, examples: int) -> bool:
    """Whether a classifier knows more than which class is the most frequent.

    Args:
        top1: The share of the examples that it is right about.
        chance: The share of the most frequent class.
        examples: How many there are.

    Returns:
        Whether `top1` is three deviations, √(chance (1 − chance) / examples), above `chance`.
    """
    deviation = math.sqrt(chance * (1.0 - chance) / examples)
    return top1 > chance + _DEVIATIONS_FROM_CHANCE * deviation


@dataclass(frozen=True)
class PixelGuess:
    """What came of trying a classifier on pictures in several ranges.

    Attributes:
        pixels: The range it is best with, one of `keras_nas.data.pixels.PIXELS`.
        top1: The share of the pictures it is right about, by range, the best first.
        loss: Its mean loss, by range.
        tied: The other ranges that it is not clearly worse with. Of the pictures that just one of
            the two is right about, the best has at most two deviations, 2 √(b + c), more: b − c.
        chance: The share of the most frequent class, which is what always saying it would reach.
        examples: How many pictures were tried.
    """

    pixels: str
    top1: Mapping[str, float]
    loss: Mapping[str, float]
    tied: tuple[str, ...]
    chance: float
    examples: int

    @property
    def better_than_chance(self) -> bool:
        """Whether the best is; see `is_better_than_chance`."""
        return is_better_than_chance(self.top1[self.pixels], self.chance, self.examples)

    @property
    def certain(self) -> bool:
        """Whether one range is better than chance, and clearly better than all others."""
        return self.better_than_chance and not self.tied

    def describe(self) -> str:
        """One line for the console.

        Example: "pixels 0..255, by trying: top-1 0.75 of 256 pictures (caffe 0.41, 0..1 0.1)".
        """
        others = ", ".join(f"{n} {v:.2g}" for n, v in self.top1.items() if n != self.pixels)
        line = (
            f"pixels {self.pixels}, by trying: top-1 {self.top1[self.pixels]:.2g} of "
            f"{self.examples} pictures" + (f" ({others})" if others else "")
        )
        if not self.better_than_chance:
            return (
                f"{line}; that is no better than always saying one class ({self.chance:.2g}): are "
                "these the classes it was trained on, in their order?"
            )
        if self.tied:
            return f"{line}; not clearly better than {', '.join(self.tied)}"
        return line


def _answers(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """The network's own, without what `predict` of some models does to the pictures before."""
    batches = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
    return np.concatenate(
        [keras.ops.convert_to_numpy(model(batch, training=False)) for batch in batches]
    )


def candidates_for(channels: int, candidates: Sequence[str] = CANDIDATES) -> list[str]:
    """Those of the ranges that pictures of so many channels can be brought to."""
    return [name for name in candidates if channels == 3 or name not in ("torch", "caffe")]


def guess_pixels(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    candidates: Sequence[str] = CANDIDATES,
    standardization: Normalization | None = None,
    examples: int = 256,
    seed: int = 0,
) -> PixelGuess:
    """Finds out which pixels a trained classifier wants, by its top-1 in each range.

    Layers such as `Rescaling` inside the model need no care: a model that scales by itself is best
    with 0..255. Of ranges with the same top-1 the one with the lowest loss counts as the best.

    Example:

    ```python
    guess = guess_pixels(model, images, labels)
    print(guess.describe())
    data = kn.data.load("class_folders", data_dir="photos", pixels=guess.pixels)
    ```

    Args:
        model: A classifier with one input, of images; see `Classification.of`.
        images: uint8 (N, height, width, channels); brought to the model's size where it has one.
        labels: Classes, int (N,), or one-hot (N, classes).
        candidates: The ranges to try, of `keras_nas.data.pixels.PIXELS`.
        standardization: The data's own mean and deviation; by default those of `images`.
        examples: How many of the pictures to try, the classes in equal shares.
        seed: Of their choice.

    Raises:
        UsageError: The model is no classifier of one image, the pictures have other channels than
            it takes, or there is a label that it has no output for.
    """
    task = Classification.of(model)
    images = np.asarray(images)
    labels = as_sparse(np.asarray(labels)).reshape(-1).astype(np.int64)
    _check(model, task, images, labels)
    chosen = balanced_subset(labels, min(examples, len(labels)), seed)
    images, labels = images[chosen], labels[chosen]
    own = normalization_of(images) if standardization is None else standardization
    channels = images.shape[-1]
    tried = candidates_for(channels, candidates)
    hits, losses = {}, {}
    for name in tried:
        pixels = _resized(own.of_pixels(name).apply(images), model)
        outputs = _answers(model, pixels)
        hits[name] = _hits(task, labels, outputs)
        loss = float(np.mean(keras.ops.convert_to_numpy(task.loss(labels, outputs))))
        losses[name] = loss if math.isfinite(loss) else math.inf
    order = sorted(tried, key=lambda name: (-hits[name].sum(), losses[name]))
    best = order[0]
    return PixelGuess(
        pixels=best,
        top1={name: float(hits[name].mean()) for name in order},
        loss={name: losses[name] for name in order},
        tied=tuple(name for name in order[1:] if _is_tied(hits[best], hits[name])),
        chance=float(np.bincount(labels).max() / len(labels)),
        examples=len(labels),
    )


def _check(
    model: keras.Model, task: Classification, images: np.ndarray, labels: np.ndarray
) -> None:
    shapes = [tuple(each.shape)[1:] for each in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise UsageError(
            f"`model` must take one image (height, width, channels). Received: '{model.name}', "
            f"which takes {' and '.join(map(shown_shape, shapes))}"
        )
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or len(images) != len(labels)
        or not len(images)
    ):
        raise UsageError(
            "`images` must be uint8 (N, height, width, channels), with one label each. Received: "
            f"{images.dtype} {images.shape} and {len(labels)} labels"
        )
    if shapes[0][-1] not in (None, images.shape[-1]):
        raise UsageError(
            f"`images` must have the {shapes[0][-1]} channels that model '{model.name}' takes. "
            f"Received: {images.shape[-1]}"
        )
    classes = max(task.classes, 2)
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"`labels` must be of the {classes} classes that model '{model.name}' tells apart, 0 "
            f"to {classes - 1}. Received: {labels.min()} to {labels.max()}"
        )


def _resized(pixels: tf.Tensor, model: keras.Model) -> np.ndarray:
    wanted = tuple(model.inputs[0].shape)[1:3]
    size = [
        own if side is None else side for side, own in zip(wanted, pixels.shape[1:3], strict=True)
    ]
    if tuple(size) == tuple(pixels.shape[1:3]):
        return pixels.numpy()
    return tf.image.resize(pixels, size, antialias=True).numpy()


def _hits(task: Classification, labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    if task.sigmoid:
        found = is_right_at_best(task.right_outputs(labels), outputs)
    else:
        found = is_among_largest(labels, outputs, 1)
    return keras.ops.convert_to_numpy(found)


def _is_tied(best: np.ndarray, other: np.ndarray) -> bool:
    """McNemar's test, without its correction."""
    for_best, for_other = int(np.sum(best & ~other)), int(np.sum(other & ~best))
    return for_best - for_other <= _DEVIATIONS_OF_A_TIE * math.sqrt(for_best + for_other)
