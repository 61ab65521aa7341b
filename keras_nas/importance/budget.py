"""What a network may cost, and what the network under given masks would."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas import gates, surgery
from keras_nas.architecture import Architecture
from keras_nas.costs import LatencyTable
from keras_nas.errors import UsageError
from keras_nas.layers import Gate, ScaledEdge
from keras_nas.regularizers import RESOURCES, Resource
from keras_nas.targets import parse_target

Masks = Mapping[str, np.ndarray]
"""By the gate's name, bool `(channels,)`."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """How milliseconds are read off a table; see `keras_nas.costs.LatencyTable.predict`."""

    table: LatencyTable
    dtype: str = "float32"
    threads: int = 1
    interpolate: bool = False

    @classmethod
    def load(cls, path: str, interpolate: bool = False) -> Latency | None:
        """By the table of a file, as settings name it; None for the empty name."""
        return cls(LatencyTable.load(Path(path)), interpolate=interpolate) if path else None


class Budget:
    """The price of masks in one resource, and the most that it may be.

    Macs, flops and params are those of `surgery.predict_costs`, milliseconds those of
    `keras_nas.regularizers.Resource`.

    Args:
        model: A gated functional model. Its scaled edges stay as they are.
        targets: By the resource's name (`"macs"`, …) a number, or a share of the network with all
            gates open such as `"0.5x"`; None for those that are not given. One must be.
        latency: For `"latency_ms"`.
        align: How surgery will align joins.
        input_shapes: Shapes to read the model at (batch axis included) where it leaves them open.

    Attributes:
        what: The resource.
        full: What the network costs with all gates open.
        target: The most that it may cost, in the resource's unit.

    Raises:
        UsageError: If not one target is given, it is no number or share, or a table lacks.
    """

    def __init__(
        self,
        model: keras.Model,
        targets: Mapping[str, float | str | None],
        latency: Latency | None = None,
        align: str = "auto",
        input_shapes: Any = None,
    ):
        given = {what: target for what, target in targets.items() if target is not None}
        if len(given) != 1:
            raise UsageError(
                f"One of {', '.join(f'`target_{what}`' for what in RESOURCES)} must be given. "
                f"Received: {', '.join(f'target_{what}' for what in given) or 'none'}"
            )
        (self.what, target), *_ = given.items()
        if (self.what == "latency_ms") != (latency is not None):
            raise UsageError(
                "`latency` must be given with `target_latency_ms`, and only then. "
                f"Received: target_{self.what}, latency={latency!r}"
            )
        self._model = model
        self._align = align
        self._input_shapes = input_shapes
        found = gates.find(model)
        self._channels = {g.name: g.channels for g in found if not isinstance(g, ScaledEdge)}
        self._edges = {g.name: _scale(g) for g in found if isinstance(g, ScaledEdge)}
        self._resource = None if latency is None else _resource(model, latency, input_shapes)
        self.full = self.price({name: np.ones(n, bool) for name, n in self._channels.items()})
        self.target = parse_target(f"target_{self.what}", target).of(self.full)

    def price(self, masks: Masks) -> float:
        """What the network that surgery builds under these masks costs."""
        if self._resource is not None:
            return self._milliseconds(masks)
        architecture = Architecture(
            kept_channels={name: np.flatnonzero(mask).tolist() for name, mask in masks.items()},
            channels=self._channels,
            kept_edges=self._edges,
        )
        costs = surgery.predict_costs(
            self._model, architecture, align=self._align, input_shapes=self._input_shapes
        )
        return float(getattr(costs, self.what))

    def _milliseconds(self, masks: Masks) -> float:
        assert self._resource is not None
        edges = {name: np.array([scale > 0]) for name, scale in self._edges.items()}
        every = {name: tf.constant(mask) for name, mask in {**masks, **edges}.items()}
        return float(self._resource(every))


def _resource(model: keras.Model, latency: Latency, input_shapes: Any):
    resource = Resource(
        model,
        "latency_ms",
        input_shapes=input_shapes,
        table=latency.table,
        dtype=latency.dtype,
        threads=latency.threads,
        interpolate=latency.interpolate,
    )
    return resource.exact


def _scale(edge: Gate) -> float:
    return 1.0 if edge.mode == "off" else float(edge.scale_vector(edge.mask())[0])
