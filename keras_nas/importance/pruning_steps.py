"""Pruning in several steps, with training between."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_nas import gates
from keras_nas.architecture import Architecture
from keras_nas.errors import UsageError
from keras_nas.importance.criteria import Scores, score
from keras_nas.importance.prune import prune


def prune_in_steps(
    model: keras.Model,
    criterion: str | Callable[[keras.Model], Scores],
    train: Callable[[keras.Model], Any],
    **options: Any,
) -> Architecture:
    """Prunes to one target after the other; what is left is trained and scored anew in between.

    `train` gets the gated model itself, with what was closed held closed: its closed channels are
    0 and the gates do not learn, so training it by `fit` or by hand trains the small network. After
    the last target nothing is trained: build the small network and finetune that.

    Example:

    ```python
    def train(network):
        network.compile("adam", "sparse_categorical_crossentropy")
        network.fit(data, epochs=1)

    architecture = keras_nas.importance.prune_in_steps(
        supernet, "l1", train, target_macs=keras_nas.importance.shares(0.5, steps=3)
    )
    ```

    Args:
        model: A gated functional model.
        criterion: As in `score`; for one with settings, a function of the model.
        train: Trains the gated model in place.
        **options: Those of `prune` (without `reopen`), a target being a sequence, from large to
            small; several are equally long. One that is no sequence is kept in every step.

    Returns:
        The last `Architecture`, whose `settings` have the whole sequence.

    Raises:
        UsageError: If no target is a sequence of one or more, or two differ in length.
        KerasNasError: As `prune`.
    """
    given = {name: value for name, value in options.items() if name.startswith("target_")}
    steps = {
        name: value
        for name, value in given.items()
        if isinstance(value, Sequence) and not isinstance(value, str)
    }
    lengths = {len(targets) for targets in steps.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise UsageError(
            "`prune_in_steps` needs a target that is a sequence, as target_macs=['0.7x', '0.5x'], "
            f"and all of them equally long. Received: {given or 'none'}"
        )
    reached: dict[str, list[Any]] = {name: [] for name in steps}
    for number in range(*lengths):
        if number:
            with _frozen_gates(model):
                train(model)
        scores = score(model, criterion)
        present = {name: targets[number] for name, targets in steps.items()}
        architecture = prune(model, scores, **{**options, **present, "reopen": False})
        for name, values in reached.items():
            values.append(architecture.settings[name])
    return dataclasses.replace(architecture, settings={**architecture.settings, **reached})


def shares(last: float, steps: int) -> list[str]:
    """Shares that fall by the same factor to `last`: `shares(0.25, 2)` is `["0.5x", "0.25x"]`.

    Raises:
        UsageError: If `last` is not between 0 and 1, or `steps` is below 1.
    """
    if not 0 < last <= 1 or steps < 1:
        raise UsageError(
            "`last` must be above 0 and at most 1, and `steps` 1 or more. "
            f"Received: last={last}, steps={steps}"
        )
    return [f"{last ** (step / steps):.6g}x" for step in range(1, steps + 1)]


@contextlib.contextmanager
def _frozen_gates(model: keras.Model) -> Iterator[None]:
    trainable = [(gate, gate.trainable) for gate in gates.find(model)]
    for gate, _ in trainable:
        gate.trainable = False
    try:
        yield
    finally:
        for gate, value in trainable:
            gate.trainable = value
