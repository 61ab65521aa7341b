"""What is known of an activation function: by its name, or by trying it on numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from keras_nas.graph.kinds import (
    ELEMENTWISE_ACTIVATIONS,
    HOMOGENEOUS_ACTIVATIONS,
    NON_ZERO_AT_ZERO,
    activation_name,
)

COUNT = 120
"""How many numbers a function is tried on."""


@dataclass(frozen=True)
class Activation:
    """What an activation does.

    Attributes:
        elementwise: Whether each value of the output depends on the value in its place alone, and
            on nothing else.
        keeps_zero: Whether it is elementwise and f(0) = 0.
        homogeneous: Whether it is elementwise and f(a x) = a f(x) for every a > 0.
    """

    elementwise: bool = False
    keeps_zero: bool = False
    homogeneous: bool = False

    def lets_through(self, binary: bool) -> bool:
        """Whether factors by channel behind it may as well act before it.

        Args:
            binary: Whether they are zeros and ones; else any that are not negative.
        """
        return self.homogeneous or (binary and self.keeps_zero)


_UNKNOWN = Activation()
_TRIED: WeakKeyDictionary[Any, dict[int, Activation]] = WeakKeyDictionary()


def activation_of(activation: Any, rank: int) -> Activation:
    """What is known of a function, layer or other callable on tensors of `rank` axes.

    Keras' own functions are known by name. Any other is tried, once a rank: on the same numbers in
    tensors of several shapes, in another order, and beside other numbers; the results must be the
    same. One that fails, has weights or answers in another shape or dtype is not elementwise.
    """
    if activation is None:
        return activation_of(keras.activations.linear, rank)
    name = activation_name(activation)
    if name:
        if name not in ELEMENTWISE_ACTIVATIONS:
            return _UNKNOWN
        return Activation(True, name not in NON_ZERO_AT_ZERO, name in HOMOGENEOUS_ACTIVATIONS)
    try:
        known = _TRIED.setdefault(activation, {})
    except TypeError:  # neither hashable nor weakly referable
        known = {}
    if rank not in known:
        known[rank] = _tried(activation, rank)
    return known[rank]


def _tried(activation: Any, rank: int) -> Activation:
    if getattr(activation, "weights", None):
        return _UNKNOWN
    try:
        with tf.init_scope():
            return _try(activation, rank)
    except Exception:  # noqa: BLE001  (the user's function may raise anything)
        return _UNKNOWN


def _try(activation: Any, rank: int) -> Activation:
    random = np.random.default_rng(0)
    numbers = (random.normal(size=COUNT) * 10.0 ** random.integers(-2, 3, COUNT)).astype("float32")

    def f(x, shape):
        result = np.asarray(activation(keras.ops.convert_to_tensor(x.reshape(shape))))
        if result.shape != shape or result.dtype != x.dtype:
            raise TypeError("The output is not like the input.")
        return result.reshape(-1)

    shapes = list(_shapes(rank))
    expected = f(numbers, shapes[0])
    order, others = random.permutation(COUNT), random.random(COUNT) < 0.5
    mixed = np.where(others, 3.0 * numbers[order] + 1.0, numbers).astype("float32")
    for shape in shapes:
        if not (
            _close(f(numbers, shape), expected)
            and _close(f(numbers[order], shape), expected[order])
            and _close(f(mixed, shape)[~others], expected[~others])
        ):
            return _UNKNOWN
    factors = [np.float32(factor) for factor in (1e-3, 0.5, 2.0, 37.0, 1e4)]
    return Activation(
        elementwise=True,
        keeps_zero=not f(np.zeros(COUNT, "float32"), shapes[0]).any(),
        homogeneous=all(_close(f(a * numbers, shapes[0]) / a, expected, 1e-5) for a in factors),
    )


def _shapes(rank: int) -> Iterator[tuple[int, ...]]:
    """Shapes of `COUNT` elements: all on one axis, and spread over the axes in turn."""
    for axis in range(rank):
        yield (1,) * axis + (COUNT,) + (1,) * (rank - axis - 1)
    spread = {1: (120,), 2: (10, 12), 3: (4, 5, 6)}.get(rank, (2, 3, 4, 5) + (1,) * (rank - 4))
    for turn in range(rank):
        yield spread[turn:] + spread[:turn]


def _close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-6) -> bool:
    return np.allclose(a, b, rtol=tolerance, atol=1e-7, equal_nan=True)
