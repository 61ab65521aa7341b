"""Whether what masks leave of a network still hears its input."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from keras_nas import surgery
from keras_nas.architecture import Architecture
from keras_nas.graph import Node, Value
from keras_nas.importance.channel_paths import ChannelPaths


class Liveness:
    """Tells whether every output of a gated model depends on an input under given masks.

    It asks for more than surgery's analysis, to which a constant behind a border of zeros is no
    constant: a network whose stem is closed may still have outputs that are live in that sense.

    Args:
        model: A gated functional model.
        edges: The scale of each scaled edge by name, as in `Architecture.kept_edges`.
    """

    def __init__(self, model: keras.Model, edges: Mapping[str, float]):
        self._model = model
        self._edges = edges
        self._paths = ChannelPaths(model)

    def __call__(self, masks: Mapping[str, np.ndarray]) -> bool:
        """Whether every output does, under bool `(channels,)` by the gate's name."""
        kept = {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
        channels = {name: len(mask) for name, mask in masks.items()}
        architecture = Architecture(kept, channels, kept_edges=self._edges)
        known = surgery.make_plan(self._model, architecture).channels
        live = {value.index: None if c is None else c.live for value, c in known.items()}
        graph = self._paths.plan.graph
        hears: dict[Value, np.ndarray] = {}
        for value in graph.inputs:
            hears[value] = np.ones(self._width(value), bool)
        for node in graph.nodes:
            heard = self._through(node, hears)
            for value in node.outputs:
                found = np.broadcast_to(heard, self._width(value))
                alive = live[value.index]
                hears[value] = found if alive is None else found & alive
        return all(hears[value].any() for value in graph.outputs)

    def _width(self, value: Value) -> int:
        channels = self._paths.plan.channels[value]
        return 1 if channels is None else channels.count

    def _through(self, node: Node, hears: Mapping[Value, np.ndarray]) -> np.ndarray:
        """Which of the first output's channels read a channel that depends on an input."""
        heard = np.zeros(self._width(node.outputs[0]), bool) if node.outputs else np.zeros(1, bool)
        for value, link in zip(node.inputs, self._paths.links(node), strict=True):
            if link is None:
                heard |= hears[value].any()
            else:
                heard[link.left[hears[value][link.right]]] = True
        return heard if len(node.outputs) == 1 else heard.any(keepdims=True)
