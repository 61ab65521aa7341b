"""A functional model cut into parts so that little has to be kept between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import keras
import numpy as np
from keras.src.backend.common.masking import get_keras_mask
from keras.src.models.functional import Functional, operation_fn

from keras_nas.graph.read import as_functional

MOST_CUTS = 200
"""Places to cut that are weighed against each other."""
CAPS = 30
"""Sizes of a part that are tried."""


class Part(keras.layers.Layer):
    """Some nodes of a functional model as a layer, over the model's own layers.

    The model and its layers stay as they are: none of them learns that it is called here.

    Args:
        nodes: The nodes, in an order in which they can run.
        inputs: The symbolic tensors that they read from before; kept as `reads`.
        outputs: Those that are read behind; kept as `gives`.

    Input shape:
        A list of tensors, those of `inputs`.

    Output shape:
        A list of tensors, those of `outputs`.
    """

    def __init__(
        self,
        nodes: Sequence,
        inputs: Sequence[keras.KerasTensor],
        outputs: Sequence[keras.KerasTensor],
    ):
        super().__init__(autocast=False)
        operations = {id(node.operation): node.operation for node in nodes}.values()
        self.inner = [each for each in operations if isinstance(each, keras.layers.Layer)]
        self.reads = tuple(inputs)
        self.gives = tuple(outputs)
        self._run = tuple(nodes)
        self.built = True

    def call(self, tensors, training=None):
        held = {id(key): tensor for key, tensor in zip(self.reads, tensors, strict=True)}
        for node in self._run:
            args, kwargs = node.arguments.fill_in(held)
            results = operation_fn(node.operation, training=training)(*args, **kwargs)
            keys = map(id, node.outputs)
            held.update(zip(keys, keras.tree.flatten(results), strict=True))
        return [held[id(key)] for key in self.gives]

    def compute_output_spec(self, tensors, training=None):
        return [keras.KerasTensor(each.shape, each.dtype) for each in self.gives]


def parts_of(model: Functional) -> list[Part]:
    """The model in parts, between which as little is kept as can be, beside the largest of them.

    A part's size is that of all tensors within it, which training holds while it goes backward
    through that part. What crosses a cut is held all the time. Of the ways to cut, the one is taken
    with the least sum of what is held all the time and of the largest part. There is no cut within
    a nested model, nor where a Keras mask crosses.

    Args:
        model: A functional model.
    """
    return _cut(model, _best_cuts(_Sizes(model)))


def whole(model: Functional) -> Part:
    """All of a functional model as one part."""
    return _cut(model, [])[0]


def _cut(model: Functional, places: Sequence[int]) -> list[Part]:
    sizes = _Sizes(model)
    bounds = [0, *places, len(sizes.nodes)]
    parts = []
    for start, end in itertools.pairwise(bounds):
        nodes = sizes.nodes[start:end]
        own = {id(tensor) for node in nodes for tensor in node.outputs}
        read = {id(tensor): tensor for node in nodes for tensor in node.input_tensors}
        inputs = [tensor for key, tensor in read.items() if key not in own]
        outputs = [t for node in nodes for t in node.outputs if sizes.last[id(t)] >= end]
        parts.append(Part(nodes, inputs, outputs))
    return parts


class _Sizes:
    """A model's nodes in order, and what its tensors take: bytes, from where and till where."""

    def __init__(self, model: Functional):
        depths = sorted(model._nodes_by_depth, reverse=True)
        every = [node for depth in depths for node in model._nodes_by_depth[depth]]
        self.nodes = [node for node in every if not node.is_input]
        self.last: dict[int, int] = {}
        for place, node in enumerate(self.nodes):
            self.last.update({id(tensor): -1 for tensor in node.outputs})
            self.last.update({id(tensor): place for tensor in node.input_tensors})
        self.last.update({id(tensor): len(self.nodes) for tensor in model.outputs})
        self.made = np.array([_made(node) for node in self.nodes], float)

    def crossing(self, place: int) -> list[tuple[int, keras.KerasTensor]]:
        """What stands before a place and is read from there on, and where each was made."""
        return [
            (index, tensor)
            for index, node in enumerate(self.nodes[:place])
            for tensor in node.outputs
            if self.last[id(tensor)] >= place
        ]


def _made(node) -> float:
    """The bytes of what a node makes, with what is within a nested model."""
    nested = as_functional(node.operation)
    if nested is None:
        return sum(map(_bytes, node.outputs))
    inner = itertools.chain.from_iterable(nested._nodes_by_depth.values())
    return sum(_made(each) for each in inner if not each.is_input)


def _bytes(tensor: keras.KerasTensor) -> float:
    """Of one example, where the batch's size is open."""
    item = {"16": 2, "64": 8}.get(str(tensor.dtype)[-2:], 4)
    return float(item * math.prod(size or 1 for size in tensor.shape))


def _best_cuts(sizes: _Sizes) -> list[int]:
    """The places of the cuts: numbers of the nodes before them."""
    places, crossing = _candidates(sizes)
    bounds = np.array([0, *places, len(sizes.nodes)])
    before = np.concatenate([[0.0], np.cumsum(sizes.made)])
    within = before[bounds][None, :] - before[bounds][:, None]
    added = np.zeros((len(bounds), len(bounds)))
    for end, tensors in enumerate(crossing, start=1):
        for made, size in tensors:
            added[:, end] += size * (bounds <= made)
    best, found = within[0, -1], [0]
    for cap in np.geomspace(np.diff(before[bounds]).max(), within[0, -1], CAPS):
        kept, chain = _fewest_bytes(within, added, cap * (1 + 1e-9))
        if kept + cap < best:
            best, found = kept + cap, chain
    return [int(bounds[index]) for index in found if index]


def _candidates(sizes: _Sizes) -> tuple[list[int], list[list[tuple[int, float]]]]:
    """Places where less crosses than beside them, and of what crosses, where made and bytes."""
    every = [sizes.crossing(place) for place in range(1, len(sizes.nodes))]
    totals = [sum(_bytes(tensor) for _, tensor in crossing) for crossing in every]
    places = [
        index + 1
        for index, crossing in enumerate(every)
        if totals[index] <= min(totals[max(index - 1, 0) : index + 2])
        and not any(get_keras_mask(tensor) is not None for _, tensor in crossing)
    ]
    places = places[:: max(1, math.ceil(len(places) / MOST_CUTS))]
    return places, [[(made, _bytes(t)) for made, t in every[place - 1]] for place in places]


def _fewest_bytes(within: np.ndarray, added: np.ndarray, cap: float) -> tuple[float, list[int]]:
    """The least that is kept where no part is above `cap`, and the bounds at which parts begin."""
    count = len(within)
    kept = np.full(count, np.inf)
    kept[0] = 0.0
    previous = np.zeros(count, int)
    for end in range(1, count):
        ways = np.where(within[:end, end] <= cap, kept[:end] + added[:end, end], np.inf)
        previous[end] = int(np.argmin(ways))
        kept[end] = ways[previous[end]]
    chain = [int(previous[-1])]
    while chain[0]:
        chain.insert(0, int(previous[chain[0]]))
    return float(kept[-1]), chain
