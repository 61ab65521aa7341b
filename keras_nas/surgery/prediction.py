"""What the small network will cost, read off the plan before anything is built."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.costs.alignment import Alignment
from keras_nas.costs.costs import Costs, LayerCosts
from keras_nas.graph import Graph, Node, Value
from keras_nas.graph.ir import map_values
from keras_nas.layers import Gate
from keras_nas.record import ArchitectureRecord
from keras_nas.surgery.align import steps
from keras_nas.surgery.build import make_plan
from keras_nas.surgery.plan import Plan


def predict_costs(
    model: keras.Model,
    architecture: ArchitectureRecord | None,
    *,
    align: str = "auto",
    prices: AlignPrices | None = None,
    input_shapes=None,
) -> Costs:
    """Predicts the costs of the network that `surgery.build` would build, without building it.

    `macs`, `params` and `state` are those that `keras_nas.costs.count` finds in the built network.
    `activation_memory` and `memory_access` leave out the copies that alignment adds, and the peak
    is not predicted (0).

    Args:
        model: The gated, functional model.
        architecture: What is kept; None for everything.
        align, prices: As in `surgery.build`.
        input_shapes: Shapes to read the model at (batch axis included) where it leaves them open.

    Raises:
        KerasNasError: If the architecture does not fit the model, or a size is open.
    """
    plan = make_plan(model, architecture, align=align, prices=prices, input_shapes=input_shapes)
    return plan_costs(plan)


def plan_costs(plan: Plan) -> Costs:
    """The costs of the network that a plan describes; as `predict_costs`."""
    by_layer: dict[str, LayerCosts] = {}
    seen: set[str] = set()
    for node in plan.graph.nodes:
        if node not in plan.alive or isinstance(node.operation, Gate):
            continue
        call = plan.calls[node]
        inputs = [
            plan.sample_shape(value, None if mask is None else int(mask.sum()))
            for value, mask in zip(node.inputs, call.wants, strict=True)
            if mask is None or mask.any()
        ]
        outputs = [
            plan.sample_shape(value, None if mask is None else int(mask.sum()))
            for value, mask in zip(node.outputs, call.produces, strict=True)
        ]
        costs = plan.rules[node].costs(call, inputs, outputs)
        if node.operation_name in seen:
            costs = replace(costs, params=0, state=0)
        seen.add(node.operation_name)
        by_layer[node.name] = costs
    return Costs.from_layers(by_layer, peak_activation_memory=0)


def planned_graph(plan: Plan) -> Graph:
    """The graph of the network that a plan describes, at batch 1, as far as costs go.

    Its operations are the gated model's own (those of which groups go are made anew, without
    weights), its values have the sizes to be, and what brings a tensor to the channels that a
    reader wants is an `Alignment`. A factor that a gate leaves behind as a Rescaling is left out.
    """
    return _Planned(plan).graph


class _Planned:
    def __init__(self, plan: Plan):
        self.plan = plan
        self.nodes: list[Node] = []
        self.values: dict[Value, Value] = {}
        self.aligned: dict[tuple[Value, bytes], Value] = {}
        self.count = 0
        for value in plan.graph.inputs:
            self.values[value] = self._value(plan.sample_shape(value, None), value)
        for node in plan.graph.nodes:
            if node in plan.alive:
                self._add(node)
        self.graph = Graph(
            plan.graph.name,
            self.nodes,
            map_values(self.values.__getitem__, plan.graph.input_struct),
            map_values(self._whole, plan.graph.output_struct),
        )

    def _add(self, node: Node) -> None:
        call = self.plan.calls[node]
        inputs = [
            self._fetched(value, wanted)
            for value, wanted in zip(node.inputs, call.wants, strict=True)
            if wanted is None or wanted.any()
        ]
        if isinstance(node.operation, Gate):
            self.values.update((value, inputs[0]) for value in node.outputs)
            return
        shapes = [
            self.plan.sample_shape(value, None if mask is None else int(mask.sum()))
            for value, mask in zip(node.outputs, call.produces, strict=True)
        ]
        operation = self.plan.rules[node].sized(call)
        made = self._node(node.name, node.operation_name, operation, inputs, shapes, node.outputs)
        self.values.update(zip(node.outputs, made, strict=True))

    def _node(self, name, operation_name, operation, inputs, shapes, originals) -> list[Value]:
        node = Node(len(self.nodes), operation, operation_name, name, (inputs,), {})
        self.nodes.append(node)
        for position, (shape, original) in enumerate(zip(shapes, originals, strict=True)):
            node.outputs.append(self._value(shape, original, node, position))
        for value in dict.fromkeys(inputs):
            value.readers.append(node)
        return node.outputs

    def _value(self, shape, original: Value, producer: Node | None = None, position=0) -> Value:
        self.count += 1
        return Value(
            self.count - 1, shape, original.dtype, producer, position, source=original.source
        )

    def _whole(self, value: Value) -> Value:
        channels = self.plan.channels[value]
        return self._fetched(value, None if channels is None else np.ones(channels.count, bool))

    def _fetched(self, value: Value, wanted: np.ndarray | None) -> Value:
        """The value with the channels that are wanted of it."""
        held = self.plan.held[value]
        if wanted is None or held is None or np.array_equal(wanted, held):
            return self.values[value]
        key = value, wanted.tobytes()
        if key not in self.aligned:
            shape = self.plan.sample_shape(value, int(wanted.sum()))
            source = [self.values[value]] if held.any() else []
            name = f"{value.source}_aligned_{len(self.aligned)}"
            written = steps(held, wanted) if held.any() else []
            moves = Alignment(tuple((step.what, len(step.places)) for step in written))
            (self.aligned[key],) = self._node(name, name, moves, source, [shape], [value])
        return self.aligned[key]
