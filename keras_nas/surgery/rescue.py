"""Keeping a network in one piece: a gate that cuts every way through gets its best channel back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_nas.gates.find import find
from keras_nas.graph import read
from keras_nas.surgery.dependence import Dependence, Masks
from keras_nas.surgery.probe import Probe


def rescue(model: keras.Model, inputs: Any = None) -> list[str]:
    """Reopens the best channel of emptied gates, where no way round them is left.

    A branch beside a shortcut may go whole. But every output of the model that depends on the
    inputs while the gates are open has to depend on them still: where each way leads through
    emptied gates, gates are reopened, as few of them as will do, each by the one channel with the
    highest score. The network is then tried on a few inputs. Where its outputs do not tell them
    apart (one channel may be 0 behind its ReLU for every input, or too faint for float32), gates
    get more of their best channels, in powers of two. The reopened gates' masks are set (mode
    "hard"). A gate in mode "off" is open.

    Args:
        model: A gated functional model.
        inputs: A batch of inputs to try the network on; by default random numbers.

    Returns:
        The names of the gates that were reopened, in graph order.
    """
    gates = {gate.name: gate for gate in find(model) if gate.mode != "off"}
    masks = {name: gate.mask() for name, gate in gates.items()}
    scores = {name: np.asarray(gate.scores()) for name, gate in gates.items()}
    dependence = Dependence(read(model), gates)
    found = rescued(masks, scores, dependence)
    with Probe(model, gates, inputs) as probe:
        if probe.level(found) < 0:
            found = _visible(masks, scores, dependence, probe)
    reopened = [name for name in gates if not np.array_equal(found[name], masks[name])]
    for name in reopened:
        gates[name].set_mask(found[name])
    return reopened


def rescued(
    masks: Masks, scores: Mapping[str, np.ndarray], dependence: Dependence
) -> dict[str, np.ndarray]:
    """The masks with as few gates reopened as let every output depend on an input that can.

    Args:
        masks: The channels that each gate keeps.
        scores: Which channels of each gate come first.
        dependence: Whom to ask.
    """
    if dependence.holds(masks):
        return dict(masks)
    opened = _needed(masks, dependence.holds)
    current = {**masks, **_full(masks, opened)}
    for name in opened:
        current[name] = _fewest(name, masks[name], scores[name], current, dependence.holds)
    return current


def _visible(masks, scores, dependence: Dependence, probe: Probe) -> dict[str, np.ndarray]:
    """As `rescued`, and so that the outputs tell the probe's inputs apart.

    Each gate in turn may make the differences fainter by an equal share of what there is to lose.
    """

    def holds(level: float) -> Callable[[Masks], bool]:
        return lambda masks: dependence.holds(masks) and probe.level(masks) >= level

    opened = _needed(masks, holds(0.0))
    current = {**masks, **_full(masks, opened)}
    level = probe.level(current)
    for index, name in enumerate(opened):
        left = level * (1 - (index + 1) / len(opened))
        current[name] = _fewest(name, masks[name], scores[name], current, holds(left))
    return current


def _needed(masks: Masks, holds: Callable[[Masks], bool]) -> list[str]:
    """The gates to reopen, as few as will do, the first ones rather closed than the later.

    Only emptied gates where that is enough, else any with closed channels.
    """
    candidates = [name for name, mask in masks.items() if not mask.any()]
    if not holds({**masks, **_full(masks, candidates)}):
        candidates = [name for name, mask in masks.items() if not mask.all()]
    opened: list[str] = []
    blocks = [candidates]
    waiting = list(candidates)
    while blocks:
        block = blocks.pop()
        rest = [name for name in waiting if name not in block]
        if holds({**masks, **_full(masks, opened + rest)}):
            waiting = rest
        elif len(block) == 1:
            waiting = rest
            opened += block
        else:
            half = len(block) // 2
            blocks += [block[half:], block[:half]]
    return [name for name in masks if name in opened]


def _full(masks: Masks, names: list[str]) -> dict[str, np.ndarray]:
    return {name: np.ones_like(masks[name]) for name in names}


def _fewest(name: str, mask, scores, current: Masks, holds) -> np.ndarray:
    """The gate's mask with its best 1, 2, 4, … closed channels reopened: the first that holds."""
    closed = np.flatnonzero(~mask)
    order = closed[np.argsort(-scores[closed], kind="stable")]
    count = 1
    while count < len(order):
        tried = mask.copy()
        tried[order[:count]] = True
        if holds({**current, name: tried}):
            return tried
        count *= 2
    return np.ones_like(mask)
