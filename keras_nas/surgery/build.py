"""Building the small model that a plan describes."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.errors import KerasNasError
from keras_nas.gates.apply import mask_of
from keras_nas.gates.places import exposed_values
from keras_nas.graph import Graph, Value, kinds, read
from keras_nas.graph.copy import GraphBuilder, call_copy, copy_graph
from keras_nas.graph.state import quantization
from keras_nas.layers import Gate
from keras_nas.record import ArchitectureRecord
from keras_nas.surgery import masks
from keras_nas.surgery.align import align as align_channels
from keras_nas.surgery.align import anchored, constant_tensor
from keras_nas.surgery.analysis import analyse
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules.base import Call
from keras_nas.surgery.rules.convolution import DenseLike

logger = logging.getLogger(__name__)

HEADS = frozenset(["Softmax", "Activation", "ops.Softmax", "ops.LogSoftmax"])
"""Operations that are no gap in the rules where the model's outputs, whole anyway, are theirs."""


def build(
    model: keras.Model,
    architecture: ArchitectureRecord | None,
    *,
    strict: bool = False,
    align: str = "auto",
    prices: AlignPrices | None = None,
    name: str | None = None,
) -> keras.Model:
    """Rebuilds a gated model as the smaller network that its architecture describes.

    The result has stock Keras layers only, the gated model's inputs and outputs, and its outputs:
    with hard gates the two agree to float rounding. The gated model is untouched. A layer that
    surgery does not know keeps all its channels and is named in the log.

    Args:
        model: The gated, functional model.
        architecture: The `keras_nas.Architecture` (what its `kept_channels` does not name stays);
            None keeps everything.
        strict: Whether a layer that surgery does not know is an error.
        align: How operands of a join get the same channels: `"extend"`, `"pad"`, `"auto"` (at each
            place what takes less time by `prices`), or `"never"`: no gather, pad or slice is
            written. Producers then keep rows of zeros, and what reads a tensor reads all of it; the
            network's own slices stay as they are.
        prices: What `"auto"` weighs by: those of your device (`keras_nas.costs.AlignPrices.load`);
            None for the default, an x86 core's.
        name: Name of the small model; by default that of `model`.

    Returns:
        A functional `keras.Model` that loads without keras_nas.

    Raises:
        KerasNasError: If the architecture does not fit the model, a layer is unknown and `strict`,
            every channel on the way to an open-sized tensor is constant, or `"never"` is impossible
            somewhere.
    """
    plan = make_plan(model, architecture, align=align, prices=prices)
    unknown = unknown_layers(plan)
    if unknown and strict:
        raise KerasNasError(
            f"Surgery of '{model.name}' knows no rule for: {', '.join(unknown)}. They would keep "
            "all their channels; pass strict=False to let them."
        )
    if unknown:
        logger.warning(
            "surgery of '%s': unknown layers keep all their channels: %s",
            model.name,
            ", ".join(unknown),
        )
    return Surgeon(plan).operate(name or model.name)


def make_plan(
    model: keras.Model,
    architecture: ArchitectureRecord | None,
    *,
    align: str = "auto",
    prices: AlignPrices | None = None,
    input_shapes=None,
) -> Plan:
    """The channel analysis of a gated model under an architecture; see `analysis.Plan`.

    Where the model leaves sizes open, `input_shapes` are those of the plan's tensors; what is kept
    of these is decided without them, as `build` does.

    Raises:
        KerasNasError: If the architecture names a gate that the model lacks, or a channel that the
            gate lacks.
    """
    graph = read(model)
    if graph.hides_masks:
        model = copy_graph(graph, lambda node, tensors: tensors, graph.name)
        graph = read(model)
    plan = analyse(graph, gate_scales(graph, architecture), align, prices)
    return plan if input_shapes is None else plan.at(read(model, input_shapes))


def gate_scales(graph: Graph, architecture: ArchitectureRecord | None) -> dict[str, np.ndarray]:
    """What each gate of the graph multiplies its channels by under an architecture."""
    gates = {
        name: nodes[0].operation
        for name, nodes in graph.calls().items()
        if isinstance(nodes[0].operation, Gate)
    }
    kept = {} if architecture is None else architecture.kept_channels
    edges = {} if architecture is None else architecture.kept_edges
    strangers = sorted({*kept, *edges} - set(gates))
    if strangers:
        raise KerasNasError(
            f"The architecture names gates that model '{graph.name}' lacks: {strangers[:5]}. "
            f"The model has {sorted(gates)[:5]}… ({len(gates)} gates)."
        )
    scales = {}
    for name, gate in gates.items():
        mask = np.ones(gate.channels, bool)
        if name in kept:
            mask = mask_of(kept[name], gate.channels, name)
        scales[name] = np.array([edges[name]]) if name in edges else gate.scale_vector(mask)
    return scales


def unknown_layers(plan: Plan) -> list[str]:
    """The layers, `'name' (Type, …)`, that keep all channels for want of a rule, in graph order.

    Those with an activation of their own that mixes channels are among them. Not so what stands at
    the model's end, such as a softmax: the channels of an output stay in any case; nor `Masking`,
    which has to read every channel.
    """
    opaque, exposed = set(plan.opaque), exposed_values(plan.graph)
    names = []
    for node in plan.graph.nodes:
        rule, call = plan.rules[node], plan.calls[node]
        mixes = isinstance(rule, DenseLike) and rule.mixes(call)
        at_the_end = all(value in exposed for value in node.outputs)
        if (mixes or (node in opaque and kinds.kind(node.operation) in HEADS)) and at_the_end:
            continue
        if kinds.kind(node.operation) == "Masking" or all(
            value.dtype == "bool" for value in node.outputs
        ):
            continue
        if mixes or (node in opaque and any(channels is not None for channels in call.inputs)):
            names.append(f"'{node.operation_name}' ({_described(node)})")
    return list(dict.fromkeys(names))


def _described(node) -> str:
    """The type of a node's operation, with what keeps it from being cut where that is known."""
    mode = quantization(node.operation)
    reason = f", quantised to {mode}" if mode else ""
    if kinds.kind(node.operation) in masks.JOINS and any(value.masked for value in node.inputs):
        reason = ", joins Keras masks"
    return f"{type(node.operation).__name__}{reason}"


class Surgeon:
    """Runs the rules' `build` over a plan; the `Builder` that they ask."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.graph = GraphBuilder(plan.graph)
        self._copies: dict[tuple[str, str], Any] = {}
        self._aligned: dict[tuple[Value, bytes], keras.KerasTensor] = {}
        self._names: dict[str, int] = {}
        self._looked_for = masks.looked_for(plan.graph)

    def operate(self, name: str) -> keras.Model:
        """Builds all that is alive; returns the small model."""
        for node in self.plan.graph.nodes:
            if node in self.plan.alive:
                call = self.plan.calls[node]
                tensors = self.plan.rules[node].build(call, self)
                for value, tensor in zip(node.outputs, tensors, strict=True):
                    self.graph.tensors[value] = self._as_masked(value, tensor)
        return self.graph.finish(name, outputs=lambda value: self._whole(value))

    def _as_masked(self, value: Value, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """A value's new tensor, masked if the old one was."""
        if value in self._looked_for and not masks.has_mask(tensor):
            raise masks.lost(value)
        return masks.without(tensor) if masks.has_mask(tensor) and not value.masked else tensor

    def fetch(self, call: Call, position: int) -> keras.KerasTensor:
        value, wanted = call.node.inputs[position], call.wants[position]
        return self._fetch(value, wanted)

    def apply(self, call, inputs, changes=None, weights=None) -> list[keras.KerasTensor]:
        node = call.node
        flat = keras.tree.flatten(inputs)
        if len(flat) == len(node.inputs):
            args, kwargs = node.filled(flat, [self._whole(value) for value in node.masks])
        else:
            args, kwargs = tuple(inputs), node.kwargs
        return self._run(node, args, kwargs, changes, weights)

    def run(self, call, args, kwargs) -> list[keras.KerasTensor]:
        return self._run(call.node, args, kwargs)

    def as_tensor(self, array) -> keras.KerasTensor:
        return anchored(array, self.graph.tensors[self.plan.graph.inputs[0]])

    def _run(self, node, args, kwargs, changes=None, weights=None) -> list[keras.KerasTensor]:
        # The calls of a layer with weights agree; without, each has a configuration of its own.
        key = (node.operation_name, "" if weights else repr(changes))
        if key in self._copies:
            return keras.tree.flatten(self._copies[key](*args, **kwargs))
        name = self._free(node.operation_name)
        copy, outputs = call_copy(node.operation, name, args, kwargs, changes, weights)
        self._copies[key] = copy
        return keras.tree.flatten(outputs)

    def rescale(self, call, tensor, scale, offset):
        return self._rescale(f"{call.node.name}_scale", tensor, scale, offset)

    def _rescale(self, name, tensor, scale, offset) -> keras.KerasTensor:
        layer = keras.layers.Rescaling(
            scale=_number_or_list(scale),
            offset=_number_or_list(offset),
            name=self._free(name),
            dtype=tensor.dtype,
        )
        return layer(tensor)

    def _whole(self, value: Value) -> keras.KerasTensor:
        channels = self.plan.channels[value]
        return self._fetch(value, None if channels is None else np.ones(channels.count, bool))

    def _fetch(self, value: Value, wanted: np.ndarray | None) -> keras.KerasTensor:
        channels, held = self.plan.channels[value], self.plan.held[value]
        if wanted is None or channels is None or held is None or np.array_equal(wanted, held):
            return self.graph.tensors[value]
        key = (value, wanted.tobytes())
        if key not in self._aligned:
            tensor = self._align(value, channels, held, wanted)
            if value in self._looked_for:
                source = self.graph.tensors.get(value)
                tensor = masks.carry(source, tensor, value, self._free(f"{value.source}_mask"))
            self._aligned[key] = tensor
        return self._aligned[key]

    def _align(self, value, channels, held, wanted) -> keras.KerasTensor:
        if not held.any():
            reference = self.graph.tensors[self.plan.graph.inputs[0]]
            return constant_tensor(value, channels, wanted, reference)
        tensor, offsets = align_channels(self.graph.tensors[value], channels, held, wanted)
        if not np.any(offsets):
            return tensor
        if channels.is_last(value):
            ones = np.ones_like(offsets)
            return self._rescale(f"{value.source}_constants", tensor, ones, offsets)
        shape = [1] * len(value.shape)
        shape[channels.axis] = len(offsets)
        return tensor + offsets.reshape(shape).astype(value.dtype)

    def _free(self, name: str) -> str:
        number = self._names.get(name, 0)
        self._names[name] = number + 1
        return name if number == 0 else f"{name}_{number}"


def _number_or_list(values: np.ndarray):
    return float(values[0]) if np.all(values == values[0]) else [float(v) for v in values]
