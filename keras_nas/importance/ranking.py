"""In which order units are given up: layer by layer, globally, or with the layers made alike."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_nas.errors import UsageError
from keras_nas.graph.kinds import kind
from keras_nas.importance.channel_paths import ChannelPaths
from keras_nas.importance.criteria import Scores
from keras_nas.surgery.gate_groups import Group

RANKINGS = ("layer", "global", "normalized", "kind")
NORMS = {
    "mean": lambda values: float(np.mean(values)),
    "l2": lambda values: float(np.sqrt(np.mean(np.square(values)))),
    "max": lambda values: float(np.max(values)),
}


def unit_keys(
    model: keras.Model, groups: Sequence[Group], scores: Scores, ranking: str, norm: str
) -> list[np.ndarray]:
    """What the units of each group are ordered by, over all groups: the higher, the longer kept.

    A unit's score is the sum over its channels. Of two units of one group, the one with the higher
    sum always has the higher key.

    - `"layer"`: the place within the group, so that every group gives up the same share.
    - `"global"`: the sum itself.
    - `"normalized"`: the sum over its mean (or the norm chosen) within the group.
    - `"kind"`: the sum over the same of all groups whose channels are made by the same kinds of
      kernel, such as 3×3 convolutions.

    Worked example: units (1, 3) and (10, 20, 60): by layer the places are (¼, ¾) and (⅙, ½, ⅚);
    normalised by the mean they are (½, 1½) and (⅓, ⅔, 2).

    Args:
        model: The gated model.
        groups: Of `tied_groups`.
        scores: By the gate's name.
        ranking: One of `RANKINGS`.
        norm: `"mean"`, `"l2"` (root of the mean square) or `"max"`.

    Returns:
        For each group float64 `(units,)`.

    Raises:
        UsageError: If `ranking` or `norm` is unknown.
    """
    if ranking not in RANKINGS:
        raise UsageError(f"`ranking` must be one of {RANKINGS}. Received: ranking={ranking!r}")
    if norm not in NORMS:
        raise UsageError(f"`norm` must be one of {tuple(NORMS)}. Received: norm={norm!r}")
    sums = [unit_sums(group, scores) for group in groups]
    if ranking == "global":
        return sums
    if ranking == "layer":
        return [_places(values) for values in sums]
    alike = (
        [str(i) for i in range(len(groups))] if ranking == "normalized" else _kinds(model, groups)
    )
    pooled = {
        name: np.concatenate([v for v, other in zip(sums, alike, strict=True) if other == name])
        for name in alike
    }
    scale = {name: NORMS[norm](values) or 1.0 for name, values in pooled.items()}
    return [values / scale[name] for values, name in zip(sums, alike, strict=True)]


def unit_sums(group: Group, scores: Scores) -> np.ndarray:
    """The sum of the scores of each unit's channels: float64 `(units,)`."""
    return np.sum([scores[name][c].sum(axis=1) for name, c in group.channels.items()], axis=0)


def descending(keys: Sequence[np.ndarray]) -> np.ndarray:
    """All units from the one kept longest on: int `(units, 2)`, its group and its place there.

    Equal keys follow each other by their place within their group, then in the order of groups.
    """
    places = [_places(values) for values in keys]
    group = np.concatenate([np.full(len(values), i) for i, values in enumerate(keys)])
    unit = np.concatenate([np.arange(len(values)) for values in keys])
    order = np.lexsort((group, -np.concatenate(places), -np.concatenate(keys)))
    return np.stack([group[order], unit[order]], axis=1)


def _places(values: np.ndarray) -> np.ndarray:
    """(place from the end + ½) / units; of equal values the first has the better place."""
    order = np.lexsort((np.arange(len(values)), -values))
    places = np.empty(len(values))
    places[order] = (np.arange(len(values))[::-1] + 0.5) / len(values)
    return places


def _kinds(model: keras.Model, groups: Sequence[Group]) -> list[str]:
    """For each group, the kinds of the kernels that make its channels, in words."""
    paths = ChannelPaths(model)
    kinds = {name: _kind(paths, name) for name in paths.gates}
    return [" ".join(sorted({kinds[name] for name in group.channels})) for group in groups]


def _kind(paths: ChannelPaths, gate: str) -> str:
    found = set()
    for step in paths.before(gate, paths.has_kernel):
        if paths.has_kernel(step.node):
            layer = step.node.operation
            found.add(f"{kind(layer)}{getattr(layer, 'kernel_size', '')}")
    return "/".join(sorted(found))
