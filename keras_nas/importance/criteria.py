"""Scoring the channels of a gated model by a criterion, named or one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_nas import gates
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.gates.find import is_channel_gate
from keras_nas.importance.channel_paths import ChannelPaths

Scores = Mapping[str, np.ndarray]
"""By the gate's name, a number for each channel: the higher, the more it is worth."""

Criterion = Callable[..., Scores]

_CRITERIA: dict[str, Criterion] = {}


def register(function: Criterion) -> Criterion:
    """Enters a criterion under the name of its function, as a decorator.

    A criterion takes the gated model and settings by keyword, and returns for each gate by name an
    array with one number a channel.
    """
    _CRITERIA[function.__name__] = function
    return function


def criteria() -> list[str]:
    """The names that `score` knows."""
    return sorted(_CRITERIA)


def score(
    model: keras.Model, criterion: str | Criterion = "l1", **settings: Any
) -> dict[str, np.ndarray]:
    """Scores each channel of each gate: the higher, the more it is worth.

    Example:

    ```python
    scores = keras_nas.importance.score(supernet, "taylor", data=train_data, loss=loss, batches=8)
    ```

    Args:
        model: A gated functional model, in whatever modes its gates are.
        criterion: `"l1"`, `"l2"`, `"gamma"`, `"taylor"`, `"random"`, a name entered by `register`,
            or a function of the model.
        **settings: Handed to the criterion.

    Returns:
        By the gate's name, float64 `(channels,)`, in graph order.

    Raises:
        UsageError: If no criterion has the name, or what it returned does not fit the gates.
        KerasNasError: If the model has no gates by channel, or the criterion does not apply to it.
    """
    function = _CRITERIA.get(criterion) if isinstance(criterion, str) else criterion
    if function is None:
        raise UsageError(
            f"`criterion` must be a function or one of {', '.join(criteria())}. "
            f"Received: criterion={criterion!r}"
        )
    return checked(model, function(model, **settings))


def checked(model: keras.Model, scores: Scores) -> dict[str, np.ndarray]:
    """The scores as float64 arrays in the order of the gates.

    Raises:
        UsageError: If a gate has no scores, or others than one finite number a channel.
        KerasNasError: If the model has no gates by channel.
    """
    found = [gate for gate in gates.find(model) if is_channel_gate(gate)]
    if not found:
        raise KerasNasError(
            f"Model '{model.name}' has no gates by channel: insert them with "
            "keras_nas.gates.insert first."
        )
    arrays: dict[str, np.ndarray] = {}
    for gate in found:
        if gate.name not in scores:
            raise UsageError(
                f"`scores` must have an entry for each gate of '{model.name}': '{gate.name}' is "
                f"missing. Received: {list(scores)[:5]}"
            )
        array = np.asarray(scores[gate.name], "float64")
        if array.shape != (gate.channels,) or not np.isfinite(array).all():
            raise UsageError(
                f"`scores` of gate '{gate.name}' must be {gate.channels} finite numbers, one a "
                f"channel. Received: shape {array.shape}, "
                f"{int((~np.isfinite(array)).sum())} of them not finite"
            )
        arrays[gate.name] = array
    return arrays


@register
def random(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """A number between 0 and 1 for each channel, the same for the same seed and the same gates.

    Args:
        model: A gated functional model.
        seed: Of the generator that draws gate by gate in graph order.

    Returns:
        By the gate's name, float64 `(channels,)`.
    """
    generator = np.random.default_rng(seed)
    found = ChannelPaths(model).gates
    return {name: generator.random(gate.channels) for name, gate in found.items()}
