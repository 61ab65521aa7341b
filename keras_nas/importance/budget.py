"""What a network may cost, and what the network under given masks would."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_nas import gates, surgery
from keras_nas.architecture import Architecture
from keras_nas.choices import BUDGETS, FORMS_OF
from keras_nas.costs import AlignPrices, LatencyTable, arena_bytes, tflite_bytes
from keras_nas.errors import UsageError
from keras_nas.graph import Graph
from keras_nas.layers import Gate, ScaledEdge
from keras_nas.targets import parse_target

SAFETY = {"bytes": 1.017}
"""By how much a real file may be larger than predicted; a budget leaves that."""
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

    def of(self, graph: Graph) -> float:
        """The milliseconds of a network that surgery plans, its gathers and pads included.

        Args:
            graph: As `surgery.planned_graph` has it.

        Raises:
            KerasNasError: The table lacks an operation.
        """
        return self.table.predict(graph, self.dtype, self.threads, self.interpolate)


class Budget:
    """What masks cost in one resource or several, and the most that they may cost in each.

    Macs, flops and params are those of `surgery.predict_costs`, milliseconds those of the planned
    network with all that surgery writes at joins (`Latency.of`). Bytes of the .tflite and of its
    activations' arena are those of `keras_nas.costs.tflite_bytes` and `arena_bytes` of the same
    network.

    Args:
        model: A gated functional model. Its scaled edges stay as they are.
        targets: By the resource's name (`"macs"`, …) a number, or a share of the network with all
            gates open such as `"0.5x"`; None for those that are not given. One at least must be.
            `"bytes"` and `"ram"` (the arena) are of a format or dtype, as in `"int8:200k"` or
            `"int8:0.5x"`; without one of float32.
        latency: For `"latency_ms"`.
        align, prices: How surgery will align joins, as in `surgery.build`.
        input_shapes: Shapes to read the model at (batch axis included) where it leaves them open.

    Attributes:
        full: By resource, what the network costs with all gates open.
        targets: By resource, the most that it may cost.

    Raises:
        UsageError: If no target is given, one is no number or share, or a table lacks.
    """

    def __init__(
        self,
        model: keras.Model,
        targets: Mapping[str, float | str | None],
        latency: Latency | None = None,
        align: str = "auto",
        input_shapes: Any = None,
        prices: AlignPrices | None = None,
    ):
        given = {what: target for what, target in targets.items() if target is not None}
        if not given:
            raise UsageError(
                f"One of {', '.join(f'`target_{what}`' for what in BUDGETS)} must be given. "
                "Received: none"
            )
        if ("latency_ms" in given) != (latency is not None):
            raise UsageError(
                "`latency` must be given with `target_latency_ms`, and only then. "
                f"Received: {', '.join(f'target_{what}' for what in given)}, latency={latency!r}"
            )
        self._asked = {
            what: parse_target(f"target_{what}", target, forms=FORMS_OF.get(what, ()))
            for what, target in given.items()
        }
        self._name = model.name
        self._model = model
        self._align, self._prices = align, prices
        self._input_shapes = input_shapes
        found = gates.find(model)
        self._channels = {g.name: g.channels for g in found if not isinstance(g, ScaledEdge)}
        self._edges = {g.name: _scale(g) for g in found if isinstance(g, ScaledEdge)}
        self._latency = latency
        self.full = self.costs({name: np.ones(n, bool) for name, n in self._channels.items()})
        self.targets = {what: asked.of(self.full[what]) for what, asked in self._asked.items()}

    def costs(self, masks: Masks) -> dict[str, float]:
        """By resource, what the network that surgery builds under these masks costs."""
        found: dict[str, float] = {}
        plan = self._plan(masks)
        of_graph = FORMS_OF.keys() | {"latency_ms"}
        if self._asked.keys() & of_graph:
            graph = surgery.planned_graph(plan)
        if self._asked.keys() - of_graph:
            costs = surgery.plan_costs(plan)
        for what, asked in self._asked.items():
            if what == "latency_ms":
                assert self._latency is not None
                found[what] = self._latency.of(graph)
            elif what == "bytes":
                found[what] = float(tflite_bytes(graph, asked.form))
            elif what == "ram":
                found[what] = float(arena_bytes(graph, asked.form))
            else:
                found[what] = float(getattr(costs, what))
        return found

    def price(self, masks: Masks) -> float:
        """The largest of the costs, each divided by its target: 1 at the most keeps all of them."""
        return self.price_of(self.costs(masks))

    def price_of(self, costs: Mapping[str, float]) -> float:
        """The same of costs that are known."""
        return max(self._share(what, costs) for what in self.targets)

    def tightest(self, costs: Mapping[str, float]) -> str:
        """The resource of which the costs take the largest part of what they may."""
        return max(self.targets, key=lambda what: self._share(what, costs))

    def _share(self, what: str, costs: Mapping[str, float]) -> float:
        return costs[what] * SAFETY.get(what, 1.0) / self.targets[what]

    def refusal(self, least: Mapping[str, float], left: str) -> str:
        """What is wrong with targets that even the least network is over.

        Args:
            least: What it costs.
            left: What it has, in words.
        """
        over = [what for what in self.targets if self._share(what, least) > 1]
        need = {what: least[what] * SAFETY.get(what, 1.0) for what in over}
        least_of = [
            f"`target_{what}` must be {self.spelt(what, need[what])} or more" for what in over
        ]
        received = ", ".join(
            f"{self.spelt(what, self.targets[what])} "
            f"(the full network has {self.spelt(what, self.full[what])})"
            for what in over
        )
        return (
            f"{' and '.join(least_of)}: what is left of '{self._name}' with {left}. "
            f"Received: {received}"
        )

    def named(self) -> str:
        """The targets' names, for messages."""
        return " and ".join(f"`target_{what}`" for what in self.targets)

    def spelt(self, what: str, cost: float) -> str:
        """A cost in a resource, for messages."""
        form = self._asked[what].form
        return f"{form}:{cost:,.0f}" if form else f"{cost:,.6g}"

    def forms_of(self, what: str) -> list[str]:
        """The format or dtype of the target in `what`, in a list; none where it is not given."""
        return [self._asked[what].form] if what in self._asked else []

    def settings(self) -> dict[str, float | str]:
        """The targets in their resources' units, as `target_macs` and so on take them."""
        return {
            f"target_{what}": f"{self._asked[what].form}:{target:.0f}"
            if self._asked[what].form
            else target
            for what, target in self.targets.items()
        }

    def _plan(self, masks: Masks) -> surgery.Plan:
        architecture = Architecture(
            kept_channels={name: np.flatnonzero(mask).tolist() for name, mask in masks.items()},
            channels=self._channels,
            kept_edges=self._edges,
        )
        return surgery.make_plan(
            self._model,
            architecture,
            align=self._align,
            prices=self._prices,
            input_shapes=self._input_shapes,
        )


def _scale(edge: Gate) -> float:
    return 1.0 if edge.mode == "off" else float(edge.scale_vector(edge.mask())[0])
