"""Which layers write one stream: those whose channels meet, each with its like."""

from __future__ import annotations

import keras

from keras_nas.gates.places import GATEABLE
from keras_nas.graph import read
from keras_nas.graph.kinds import kind
from keras_nas.surgery.analysis import open_plan
from keras_nas.surgery.ties import Ties


def streams(model: keras.Model) -> list[tuple[str, ...]]:
    """The layers whose output channels are tied one to one, for gates that they are to share.

    Two layers write one stream where channel c of the one meets channel c of the other, for each c:
    in an addition, a multiplication or another join, or in a depthwise convolution, which writes
    what it reads. So the stem, the projections and the last convolutions of a stage's residual
    blocks are one stream, the expanding and the depthwise convolution of an inverted residual block
    another. Concatenations make none. Where channels meet in part (a shortcut padded with zeros, an
    addition to a concatenation, depth multiples), the layers stay apart: `tied_groups` knows which
    of their channels belong together.

    Example:

    ```python
    supernet = keras_nas.gates.insert(
        model, keras_nas.layers.ScaledSigmoidGate, streams=keras_nas.surgery.streams(model)
    )
    ```

    Args:
        model: A functional or Sequential model.

    Returns:
        For each stream of two layers or more their names, in graph order.

    Raises:
        KerasNasError: If the model cannot be read.
    """
    plan = open_plan(read(model, open_composites=True))
    ties = Ties(plan)
    found: dict[tuple, list[str]] = {}
    for name, calls in plan.graph.calls().items():
        value = calls[0].outputs[0]
        roots = ties.roots(value).tolist()
        if kind(calls[0].operation) in GATEABLE and len(set(roots)) == value.channels:
            found.setdefault((value.dtype, *roots), []).append(name)
    return [tuple(names) for names in found.values() if len(names) > 1]
