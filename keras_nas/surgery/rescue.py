"""Keeping a network in one piece: a gate that cuts every way through gets its best channel back."""

from __future__ import annotations

import keras
import numpy as np

from keras_nas.gates.find import find
from keras_nas.graph import read
from keras_nas.layers import Gate
from keras_nas.surgery.analysis import constant_outputs


def rescue(model: keras.Model) -> list[str]:
    """Reopens the best channel of emptied gates, where no way round them is left.

    A branch beside a shortcut may go whole. But where every way from the inputs to an output of the
    model leads through emptied gates, that output would be a constant: there, gates are reopened,
    each by the one channel with the highest score, and as few of them as will do. The gates'
    masks are set by it (mode "hard").

    Args:
        model: A gated functional model.

    Returns:
        The names of the gates that were reopened, in graph order.
    """
    graph = read(model)
    gates = find(model)
    masks = {gate.name: gate.mask() for gate in gates}
    empty = [gate for gate in gates if not masks[gate.name].any()]

    def cut(closed: set[str]) -> int:
        scales = {
            gate.name: gate.scale_vector(
                np.ones_like(masks[gate.name])
                if not masks[gate.name].any() and gate.name not in closed
                else masks[gate.name]
            )
            for gate in gates
        }
        return constant_outputs(graph, scales)

    least = cut(set())
    closed: set[str] = set()
    reopened: list[Gate] = []
    for gate in empty:
        if cut(closed | {gate.name}) > least:
            reopened.append(gate)
        else:
            closed.add(gate.name)
    for gate in reopened:
        mask = np.zeros(gate.channels, bool)
        mask[int(np.argmax(gate.scores()))] = True
        gate.set_mask(mask)
    return [gate.name for gate in reopened]
