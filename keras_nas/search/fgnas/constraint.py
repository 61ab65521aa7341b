"""What FGNAS' gates may not do: the ablations of Tab. 7, and cutting the network in two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers import STEGate
from keras_nas.layers.ste_gate import opened
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.search.units import MARGIN
from keras_nas.surgery import Dependence


def make_constraint(gates: Sequence[STEGate], config: FgnasConfig) -> Callable[[], None] | None:
    """What moves the logits of mixed layers back to what is allowed, to be called after each step.

    - Type (1), `prune_channels=False`: a channel of which every operation is closed gets its best
      one back.
    - Type (2), `multiple_operations=False`: of the operations of a channel, all but the best (by
      ψ_on − ψ_off; the first among equals) are closed.

    Args:
        gates: The supernet's gates; those of one mixed layer belong together.
        config: The settings.

    Returns:
        The function, or None where nothing is forbidden.
    """
    layers = _mixed_layers(gates)
    if not layers or (config.prune_channels and config.multiple_operations):
        return None

    def constrain() -> None:
        for together in layers.values():
            _constrain(together, config.prune_channels, config.multiple_operations)

    return constrain


def _constrain(gates: list[STEGate], prune_channels: bool, multiple_operations: bool) -> None:
    logits = [tf.convert_to_tensor(gate.logits) for gate in gates]
    gaps = tf.stack([pair[:, 0] - pair[:, 1] for pair in logits])
    best = tf.one_hot(tf.argmax(gaps, axis=0), len(gates), on_value=True, off_value=False, axis=0)
    allowed = gaps
    if not multiple_operations:
        allowed = tf.where(best, allowed, tf.minimum(allowed, -MARGIN))
    if not prune_channels:
        allowed = tf.where(best, tf.maximum(allowed, MARGIN), allowed)
    moved = allowed != gaps
    for gate, pair, mine, wanted in zip(
        gates, logits, tf.unstack(moved), tf.unstack(allowed / 2), strict=True
    ):
        gate.logits.assign(tf.where(mine[:, None], tf.stack([wanted, -wanted], -1), pair))


class Protection:
    """Keeps the best channel open of each gate that has no way round it.

    Once emptied, such a gate gives the weights nothing to learn from, and the search goes on with a
    constant. The operations of a mixed layer are ways round each other: the best channel of all of
    them stays.

    Args:
        gates: The supernet's gates.
        dependence: Whom to ask for the gates that cut.

    Attributes:
        groups: The gates that must not all be empty at once.
    """

    def __init__(self, gates: Sequence[STEGate], dependence: Dependence):
        layers = _mixed_layers(gates)
        alone = [[gate] for gate in gates if gate.mixed_layer is None]
        self.groups = [
            group
            for group in [*alone, *layers.values()]
            if not dependence.holds({gate.name: np.zeros(gate.channels, bool) for gate in group})
        ]

    def open_best(self, emptied: np.ndarray) -> None:
        """Opens the best channel of each group that `emptied`, bool `(groups,)`, names."""
        for index in np.flatnonzero(emptied):
            gate = max(self.groups[index], key=lambda gate: gate.scores().max())
            mask = np.zeros(gate.channels, bool)
            mask[int(np.argmax(gate.scores()))] = True
            open_channels(gate, mask)

    def emptied(self) -> tf.Tensor:
        """Which groups have no open channel: bool `(groups,)`; to be asked after each step."""
        gates = [(index, gate) for index, group in enumerate(self.groups) for gate in group]
        if not gates:
            return tf.zeros(0, tf.bool)
        group = np.repeat([index for index, _ in gates], [gate.channels for _, gate in gates])
        kept = tf.cast(opened([gate for _, gate in gates]), tf.int32)
        return tf.math.unsorted_segment_max(kept, group, len(self.groups)) == 0


def open_channels(gate: STEGate, mask: np.ndarray) -> None:
    """Moves the logits of the channels in `mask` that are closed until they are just open."""
    logits = np.copy(keras.ops.convert_to_numpy(gate.logits))
    closed = mask & (logits[:, 0] < logits[:, 1])
    logits[closed] = (MARGIN / 2, -MARGIN / 2)
    gate.logits.assign(logits)


def _mixed_layers(gates: Sequence[STEGate]) -> dict[str, list[STEGate]]:
    layers: dict[str, list[STEGate]] = {}
    for gate in gates:
        if gate.mixed_layer is not None:
            layers.setdefault(gate.mixed_layer, []).append(gate)
    return layers
