"""Turning the convolutions of any functional model into mixed layers, trained weights kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_nas.errors import KerasNasError
from keras_nas.gates.blocks import block_beginnings
from keras_nas.gates.convolution_segments import (
    Segment,
    activation_of,
    has_own_activation,
    is_homogeneous,
    segment_of,
)
from keras_nas.gates.find import find
from keras_nas.gates.mixed import (
    ACTIVATIONS,
    ORIGINAL,
    TYPES,
    Branch,
    apply_branches,
    check_kernels,
    check_names,
    make_activation,
)
from keras_nas.gates.places import find_places
from keras_nas.graph import Graph, Node, kinds, read
from keras_nas.graph.copy import GraphBuilder, call_copy, copy_operation, zero_initialized
from keras_nas.graph.kinds import kind
from keras_nas.graph.state import copy_state
from keras_nas.layers import STEGate

MIXES = ("all", "normal", "depthwise")


def widen(
    model: keras.Model,
    kernels: Sequence[int] = (),
    activations: Sequence[str] = (),
    types: Sequence[str] = (),
    *,
    mix: str = "all",
    entries: bool = False,
    pretrained: bool = True,
    original_only: bool = False,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    name: str | None = None,
) -> keras.Model:
    """Copies a functional model with mixed layers in place of its convolutions.

    A convolution with the BatchNormalization and the activation behind it, where they are, is one
    operation. The mixed layer has it and, beside it, the same with other kernel sizes, types and
    activations: every convolution once, every activation on every convolution. Each operation's
    channels have an `STEGate`, and the mean over the M operations goes on, Eq. (1).

    New operations start from the layers' own initializers; the original ones start from the
    weights that `model` has. What becomes of the mean's 1/M depends on what these weights are:

    - `pretrained=True`, for a trained network: the original operation is multiplied by M, in its
      normalisation or convolution where the activation allows it, else by a constant factor. So
      the copy equals `model` where only the original operations are open, up to rounding.
    - `pretrained=False`, for a network that is trained from scratch, as in the paper: the plain
      mean, in which no operation stands above the others.

    A convolution with padding "valid" gets no other kernel sizes; one without an activation, no
    other activations; one that is called several times, nothing but a gate. A layer whose channels
    reach the model's output gets no gate, as with `keras_nas.gates.insert`.

    Example:

    ```python
    supernet = keras_nas.gates.widen(model, kernels=(1, 3, 5), activations=("relu", "tanh"))
    result = keras_nas.search.fgnas(supernet, train_data, config=config)
    ```

    Args:
        model: A functional or Sequential `keras.Model`.
        kernels: Further kernel sizes, odd; of each convolution's own type.
        activations: Further activations, of `"relu"`, `"prelu"`, `"tanh"`.
        types: Further types of a normal convolution: `"depthwise"` adds depthwise convolutions of
            all its kernel sizes where the output channels are a multiple of the input's.
        mix: `"all"`, `"normal"` or `"depthwise"`: the convolutions that become mixed layers; the
            others get a gate and no further operations.
        entries: Put a gated 1×1 convolution (at first the identity) before the first convolution of
            each residual or dense block that follows an identity connection, so that the block may
            read fewer channels than the connection has (section 3.4); see `block_beginnings`.
        original_only: Close all but the original operations; by default all are open. With
            `pretrained` the copy then equals `model`.
        include: Names or patterns of the layers to treat, instead of every convolution.
        exclude: Names or patterns of layers that stay as they are.
        name: Name of the copy; by default that of `model`.

    Returns:
        The supernet, gates in mode "soft".

    Raises:
        KerasNasError: If an option is not allowed, the model cannot be read, or nothing is left to
            be gated.

    References:
        Kim et al., Fine-Grained Neural Architecture Search, Eq. (1) to (3), Fig. 3 and Tab. 2.
    """
    check_kernels(kernels)
    check_names("activations", activations, ACTIVATIONS)
    check_names("types", types, TYPES)
    check_names("mix", (mix,), MIXES)
    graph = read(model, open_composites=True)
    places = find_places(graph, "conv_bn_relu_gate", include, exclude)
    if not places:
        raise KerasNasError(
            f"No layer of '{model.name}' can be widened with include={include!r}, "
            f"exclude={exclude!r}: that needs a convolution whose channels do not reach the output."
        )
    segments = {place.layer_name: segment_of(graph, place.layer_name) for place in places}
    options = _Options(tuple(kernels), tuple(activations), tuple(types), mix, entries, pretrained)
    builder = _Widener(graph, segments, options)
    supernet = builder.build(name or model.name)
    if original_only:
        close_new_operations(supernet)
    return supernet


def close_new_operations(supernet: keras.Model):
    """Closes every operation of the mixed layers but the original ones, which are opened."""
    for gate in find(supernet):
        if isinstance(gate, STEGate) and gate.operation is not None:
            mode = gate.mode
            gate.set_mask(np.full(gate.channels, gate.operation == ORIGINAL))
            gate.mode = mode


@dataclasses.dataclass(frozen=True)
class _Options:
    kernels: tuple[int, ...]
    activations: tuple[str, ...]
    types: tuple[str, ...]
    mix: str
    entries: bool
    pretrained: bool

    def mixes(self, layer: Any) -> bool:
        """Whether a convolution gets further operations."""
        own = "depthwise" if kind(layer) in kinds.DEPTHWISE_CONVOLUTIONS else "normal"
        return self.mix in ("all", own)


class _Widener:
    """Copies a graph with mixed layers in place of its segments."""

    def __init__(self, graph: Graph, segments: dict[str, Segment], options: _Options):
        self.graph = graph
        self.segments = segments
        self.options = options
        self.builder = GraphBuilder(graph)
        self.copies: dict[str, Any] = {}
        self.gates: dict[str, STEGate] = {}
        self.entered = block_beginnings(graph) if options.entries else set()

    def build(self, name: str) -> keras.Model:
        done: set[Node] = set()
        for node in self.graph.nodes:
            if node in done:
                continue
            segment = self.segments.get(node.operation_name)
            if segment is None or len(self.graph.calls()[node.operation_name]) > 1:
                outputs = self._copy(node)
                if segment is not None:
                    outputs = [self._gate(node)(outputs[0])]
                self.builder.tensors.update(zip(node.outputs, outputs, strict=True))
            else:
                done.update(segment.nodes)
                self.builder.tensors[segment.output] = self._mix(segment)
        return self.builder.finish(name)

    def _copy(self, node: Node) -> list[keras.KerasTensor]:
        args, kwargs = self.builder.arguments(node)
        return keras.tree.flatten(self._layer(node, *args, **kwargs))

    def _layer(self, node: Node, *args, **kwargs):
        """Calls the copy of a node's operation, made at its first call."""
        copy = self.copies.get(node.operation_name)
        if copy is not None:
            return copy(*args, **kwargs)
        copy, outputs = call_copy(node.operation, node.operation_name, args, kwargs)
        self.copies[node.operation_name] = copy
        return outputs

    def _gate(self, node: Node) -> STEGate:
        name = node.operation_name
        if name not in self.gates:
            self.gates[name] = STEGate(name=f"{name}_gate", dtype=node.operation.dtype_policy)
        return self.gates[name]

    def _mix(self, segment: Segment) -> keras.KerasTensor:
        convolution = segment.convolution
        layer = convolution.operation
        x = self.builder.tensors[convolution.inputs[0]]
        if convolution in self.entered and kinds.is_channels_last(layer):
            x = self._entry(x, convolution)
        activations = self._activations(segment)
        mixes = self.options.mixes(layer)
        variants = _variants(layer, convolution, self.options) if mixes else []
        count = len(activations) * (1 + len(variants))
        branches = [self._original(segment, activations, count)]
        branches += [self._new(segment, activations, variant) for variant in variants]
        return apply_branches(x, branches, convolution.operation_name, dtype=layer.dtype_policy)

    def _entry(self, x, node: Node) -> keras.KerasTensor:
        name, policy = f"{node.operation_name}_entry", node.operation.dtype_policy
        rank, width = len(x.shape) - 2, x.shape[-1]
        kinds_by_rank = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
        layer = kinds_by_rank[rank](width, 1, use_bias=False, name=name, dtype=policy)
        with zero_initialized(layer):
            y = layer(x)
        layer.kernel.assign(np.eye(width, dtype="float32").reshape((1,) * rank + (width, width)))
        return STEGate(name=f"{name}_gate", dtype=policy)(y)

    def _activations(self, segment: Segment) -> list[str]:
        """The names of the activations, the original's first; `[""]` where there is none."""
        own = activation_of(segment)
        if own is None:
            return [""]
        mixes = self.options.mixes(segment.convolution.operation)
        return [own, *(a for a in self.options.activations if mixes and a != own)]

    def _original(self, segment: Segment, names: list[str], count: int) -> Branch:
        convolution, normalization = segment.convolution, segment.normalization
        prefix = f"{convolution.operation_name}_{ORIGINAL}"
        gain = count if self.options.pretrained else 1
        by_weights = len(names) == 1 and is_homogeneous(segment)

        def apply(x):
            y = self._linear(convolution, x)
            if normalization is not None:
                y = self._layer(normalization, y)
            if by_weights and gain > 1:
                self._multiply(segment, gain)
            return y

        factor = 1.0 if by_weights else float(gain)
        activations = {"": self._scaled(self._own_activation(segment), factor, convolution)}
        for name in names[1:]:
            activations[name] = make_activation(name, f"{prefix}_{name}", _policy(convolution))
        return Branch(ORIGINAL, apply, activations)

    def _scaled(self, activation: Callable, factor: float, node: Node) -> Callable:
        if factor == 1.0:
            return activation
        name, policy = f"{node.operation_name}_{ORIGINAL}_scale", _policy(node)
        rescaling = layers.Rescaling(factor, name=name, dtype=policy)
        return lambda y: rescaling(activation(y))

    def _linear(self, convolution: Node, x) -> keras.KerasTensor:
        """The convolution without an activation of its own, which becomes a layer."""
        layer = convolution.operation
        copy = copy_operation(layer, convolution.operation_name, {"activation": None})
        copy.activation = keras.activations.linear
        with zero_initialized(copy):
            y = copy(x)
        copy_state(layer, copy)
        self.copies[convolution.operation_name] = copy
        return y

    def _own_activation(self, segment: Segment) -> Callable:
        layer = segment.convolution.operation
        activation = segment.activation
        if activation is not None:
            return lambda y: keras.tree.flatten(self._layer(activation, y))[0]
        if has_own_activation(layer):
            name = f"{segment.convolution.operation_name}_activation"
            return layers.Activation(layer.activation, name=name, dtype=layer.dtype_policy)
        return lambda y: y

    def _multiply(self, segment: Segment, count: int) -> None:
        """Multiplies what the original operation gives by `count`, in its weights."""
        last = segment.normalization or segment.convolution
        copy = self.copies[last.operation_name]
        if segment.normalization is not None:
            variables = [copy.gamma] + ([copy.beta] if copy.center else [])
        else:
            variables = [copy.kernel] + ([copy.bias] if copy.use_bias else [])
        for variable in variables:
            variable.assign(variable * count)

    def _new(self, segment: Segment, names: list[str], variant: tuple[str, int]) -> Branch:
        type_name, size = variant
        convolution = segment.convolution
        branch_name = f"{type_name}{size}x{size}"
        prefix = f"{convolution.operation_name}_{branch_name}"

        def apply(x):
            y = _make_convolution(convolution, type_name, size, prefix)(x)
            if segment.normalization is not None:
                old = segment.normalization.operation
                y = copy_operation(old, f"{prefix}_bn", {"scale": True})(y)
            return y

        activations: dict[str, Callable] = {}
        for name in names:
            if not name:
                activations[name] = lambda y: y
            elif name in ACTIVATIONS:
                activations[name] = make_activation(name, f"{prefix}_{name}", _policy(convolution))
            else:
                activations[name] = self._again(segment, f"{prefix}_{name}")
        return Branch(branch_name, apply, activations)

    def _again(self, segment: Segment, name: str) -> Callable:
        """A fresh copy of the original activation."""
        if segment.activation is None:
            layer = segment.convolution.operation
            return layers.Activation(layer.activation, name=name, dtype=layer.dtype_policy)
        return copy_operation(segment.activation.operation, name)


def _variants(layer, node: Node, options: _Options) -> list[tuple[str, int]]:
    """The (type, kernel size) of the convolutions beside the original one."""
    own_type = "depthwise" if kind(layer) == "DepthwiseConv2D" else "normal"
    if kind(layer) not in ("Conv2D", "DepthwiseConv2D"):
        return []
    own_size = layer.kernel_size[0] if layer.kernel_size[0] == layer.kernel_size[1] else 0
    same = layer.padding == "same" and layer.data_format == "channels_last"
    sizes = sorted({*options.kernels, own_size} - {0}) if same else []
    found = [("conv" if own_type == "normal" else "depthwise", size) for size in sizes]
    if own_type == "normal" and "depthwise" in options.types and layer.groups == 1:
        inputs, outputs = node.inputs[0].channels, node.outputs[0].channels
        if inputs and outputs and outputs % inputs == 0:
            found += [("depthwise", size) for size in sizes]
    own = ("conv" if own_type == "normal" else "depthwise", own_size)
    return [variant for variant in found if variant != own]


def _make_convolution(node: Node, type_name: str, size: int, name: str) -> keras.layers.Layer:
    layer = node.operation
    changes = {"kernel_size": (size, size), "activation": None}
    if type_name == "conv" or kind(layer) == "DepthwiseConv2D":
        return copy_operation(layer, name, changes)
    multiplier = int(node.outputs[0].channels or 1) // int(node.inputs[0].channels or 1)
    return layers.DepthwiseConv2D(
        size,
        layer.strides,
        padding="same",
        depth_multiplier=multiplier,
        dilation_rate=layer.dilation_rate,
        use_bias=layer.use_bias,
        name=name,
        dtype=layer.dtype_policy,
    )


def _policy(node: Node) -> Any:
    return node.operation.dtype_policy
