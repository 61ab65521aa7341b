"""How far the gates are decided: what DNAL's Fig. 3 shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_nas.layers import Gate

BINS = 20
"""Bins of the histogram over [0, 1]."""
DECIDED = 1e-3
"""A gate is decided within this distance of 0 or 1."""


def probabilities(gates: Sequence[Gate]) -> np.ndarray:
    """The factors of all channels of all gates, in order: float32 `(channels,)`."""
    if not gates:
        return np.zeros(0, "float32")
    return np.concatenate([ops.convert_to_numpy(gate.probabilities()) for gate in gates])


def gate_statistics(gates: Sequence[Gate]) -> dict[str, Any]:
    """Counts over all channels.

    Returns:
        `channels`; `kept` (p > 0.5); `kept_share`; `undecided` (further than 1e-3 from 0 and 1);
        `histogram`, the counts in 20 equal bins of [0, 1].
    """
    p = probabilities(gates)
    kept = int(np.sum(p > 0.5))
    return {
        "channels": len(p),
        "kept": kept,
        "kept_share": kept / max(1, len(p)),
        "undecided": int(np.sum((p > DECIDED) & (p < 1 - DECIDED))),
        "histogram": np.histogram(p, BINS, (0.0, 1.0))[0].tolist(),
    }
