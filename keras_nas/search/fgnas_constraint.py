"""The gate ablations of FGNAS' Tab. 7: how many operations a channel may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_nas.layers import STEGate
from keras_nas.search.fgnas_config import FgnasConfig

MARGIN = 1e-3
"""ψ_on − ψ_off of a gate that a constraint has closed is at most minus this."""


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
    layers: dict[str, list[STEGate]] = {}
    for gate in gates:
        if gate.mixed_layer is not None:
            layers.setdefault(gate.mixed_layer, []).append(gate)
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
