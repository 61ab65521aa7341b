"""What the small network will cost, read off the plan before anything is built."""

from __future__ import annotations

from dataclasses import replace

import keras

from keras_nas.costs.costs import Costs, LayerCosts
from keras_nas.layers import Gate
from keras_nas.record import ArchitectureRecord
from keras_nas.surgery.analysis import Plan
from keras_nas.surgery.build import make_plan


def predict_costs(
    model: keras.Model,
    architecture: ArchitectureRecord | None,
    *,
    align: str = "auto",
    input_shapes=None,
) -> Costs:
    """Predicts the costs of the network that `surgery.build` would build, without building it.

    `macs`, `params` and `state` are those that `keras_nas.costs.count` finds in the built network.
    `activation_memory` and `memory_access` leave out the copies that alignment adds, and the peak
    is not predicted (0).

    Args:
        model: The gated, functional model.
        architecture: What is kept; None for everything.
        align: As in `surgery.build`.
        input_shapes: Shapes to read the model at (batch axis included) where it leaves them open.

    Raises:
        KerasNasError: If the architecture does not fit the model, or a size is open.
    """
    return plan_costs(make_plan(model, architecture, align=align, input_shapes=input_shapes))


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
