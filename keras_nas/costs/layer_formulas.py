"""Formulas of the layer families: what they multiply and add, their params and state.

Normalisations and PReLU multiply, but no macs are counted. A layer that runs another one has that
layer's costs, at the shapes that it sees.

Worked example: Conv2D(8, 3, groups=2, padding="same") on 10 × 10 × 4 does, for each of the 100 × 8
output values, 3 · 3 · (4 / 2) = 18 multiply-adds: 14,400. Its kernel has 18 · 8 = 144 values, its
bias 8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from keras import layers

from keras_nas.costs.formulas import Call, Counts, Shape, find, for_layers, for_ops


@for_layers(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(call: Call) -> Counts:
    groups = call.operation.groups if call.groups is None else call.groups
    kernel = math.prod(call.operation.kernel_size) * (call.channels_in // groups)
    return Counts(
        macs=call.positions_out * call.channels_out * kernel,
        params=call.channels_out * (kernel + call.has_bias),
    )


@for_layers(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise_convolution(call: Call) -> Counts:
    kernel = math.prod(call.operation.kernel_size)
    return Counts(
        macs=call.positions_out * call.channels_out * kernel,
        params=call.channels_out * (kernel + call.has_bias),
    )


@for_layers(layers.SeparableConv1D, layers.SeparableConv2D)
def separable_convolution(call: Call) -> Counts:
    middle = call.channels_in * call.operation.depth_multiplier
    kernel = math.prod(call.operation.kernel_size)
    weights = middle * kernel + middle * call.channels_out
    return Counts(
        macs=call.positions_out * weights,
        params=weights + call.channels_out * call.has_bias,
    )


@for_layers(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed_convolution(call: Call) -> Counts:
    """Each input value meets the whole kernel once; what falls off the border counts too."""
    kernel = math.prod(call.operation.kernel_size) * call.channels_in
    return Counts(
        macs=call.positions_in * call.channels_out * kernel,
        params=call.channels_out * (kernel + call.has_bias),
    )


@for_layers(layers.Dense)
def dense(call: Call) -> Counts:
    """On more than two axes, Dense works on every position of the last one."""
    inputs, units = call.inputs[0][-1], call.outputs[0][-1]
    return Counts(
        macs=math.prod(call.outputs[0]) * inputs,
        params=units * (inputs + call.has_bias),
    )


@for_layers(layers.Embedding)
def embedding(call: Call) -> Counts:
    """A look-up multiplies nothing."""
    return Counts(params=call.operation.input_dim * call.outputs[0][-1])


@for_layers(layers.EinsumDense)
def einsum_dense(call: Call) -> Counts | None:
    """Product of all indices' sizes: `abc,cde->abde` does a·b·c·d·e multiply-adds."""
    equation = call.operation.equation.replace(" ", "")
    terms, result = equation.split("->")
    data, kernel = terms.split(",")
    sizes = {**_sizes(data, call.inputs[0]), **_sizes(result, call.outputs[0])}
    bias_axes = call.operation.bias_axes if call.use_bias in (None, True) else None
    bias = math.prod(sizes[axis] for axis in bias_axes) if bias_axes else 0
    return Counts(
        macs=math.prod(sizes.values()),
        params=math.prod(sizes[axis] for axis in kernel) + bias,
    )


@for_layers(layers.MultiHeadAttention)
def multi_head_attention(call: Call) -> Counts | None:
    """Four projections, and the two products of T × S scores a head.

    With T queries of width q, S keys and values of width v, and H heads of K (values: V) channels:
    T (q HK + HV out) + S v (HK + HV) + T S (HK + HV). Keys of another shape than the values, masks
    as tensors and more than one attention axis are not counted.
    """
    config = call.operation.get_config()
    query, *others = call.inputs
    ambiguous = len(others) not in (1, 2) or len(set(others)) != 1 or len(others[0]) != 3
    own_axes = tuple(config["attention_axes"] or (1,)) != (1,)
    if ambiguous or own_axes or config.get("use_gate"):
        return None
    batch, queries, query_width = query
    _, keys, width = others[0]
    key_dim = config["num_heads"] * config["key_dim"]
    value_dim = config["num_heads"] * (config["value_dim"] or config["key_dim"])
    out_width = call.outputs[0][-1]
    outer = query_width * key_dim + value_dim * out_width
    inner = width * (key_dim + value_dim)
    scores = queries * keys * (key_dim + value_dim)
    biases = (2 * key_dim + value_dim + out_width) * config["use_bias"]
    return Counts(
        macs=batch * (queries * outer + keys * inner + scores), params=outer + inner + biases
    )


@for_layers(layers.Dot)
def dot(call: Call) -> Counts:
    axes = call.operation.axes
    first = axes[0] if isinstance(axes, (tuple, list)) else axes
    return Counts(macs=math.prod(call.outputs[0]) * call.inputs[0][first])


@for_ops("Matmul")
def matmul(call: Call) -> Counts | None:
    if len(call.inputs) != 2:
        return None
    return Counts(macs=math.prod(call.outputs[0]) * call.inputs[0][-1])


@for_ops("Einsum")
def einsum(call: Call) -> Counts | None:
    """Product of all indices' sizes for two factors; other numbers are not counted."""
    equation = call.operation.subscripts.replace(" ", "")
    terms, arrow, result = equation.partition("->")
    factors = terms.split(",")
    if not arrow or len(factors) != 2 or len(call.inputs) != 2:
        return None
    sizes: dict[str, int] = {}
    for labels, shape in zip([*factors, result], [*call.inputs, call.outputs[0]], strict=True):
        sizes.update(_sizes(labels, shape))
    return Counts(macs=math.prod(sizes.values()))


def _sizes(labels: str, shape: Shape) -> dict[str, int]:
    """Sizes by index letter; what an ellipsis stands for is one entry, `...`."""
    before, ellipsis, after = labels.partition("...")
    sizes = dict(zip(before, shape[: len(before)], strict=True))
    if ellipsis:
        sizes["..."] = math.prod(shape[len(before) : len(shape) - len(after)])
        sizes.update(zip(after, shape[len(shape) - len(after) :], strict=True))
    return sizes


@for_layers(layers.BatchNormalization)
def batch_normalization(call: Call) -> Counts:
    layer = call.operation
    channels = call.inputs[0][layer.axis]
    return Counts(params=channels * (layer.scale + layer.center), state=2 * channels)


@for_layers(layers.LayerNormalization)
def layer_normalization(call: Call) -> Counts:
    layer = call.operation
    size = _size(call, layer.axis)
    return Counts(params=size * (layer.scale + layer.center))


@for_layers(layers.GroupNormalization)
def group_normalization(call: Call) -> Counts:
    layer = call.operation
    return Counts(params=call.inputs[0][layer.axis] * (layer.scale + layer.center))


@for_layers(layers.RMSNormalization)
def rms_normalization(call: Call) -> Counts:
    return Counts(params=_size(call, call.operation.axis))


@for_layers(layers.Normalization)
def normalization(call: Call) -> Counts:
    """Its mean, variance and count are state, unless they were given as arguments."""
    layer = call.operation
    if layer.input_mean is not None:
        return Counts()
    return Counts(state=2 * _size(call, () if layer.axis is None else layer.axis) + 1)


@for_layers(layers.PReLU)
def prelu(call: Call) -> Counts:
    shared = set(call.operation.shared_axes or ())
    sizes = (size for axis, size in enumerate(call.inputs[0]) if axis > 0 and axis not in shared)
    return Counts(params=math.prod(sizes))


def _size(call: Call, axes: int | Iterable[int]) -> int:
    axes = [axes] if isinstance(axes, int) else axes
    return math.prod(call.inputs[0][axis] for axis in axes)


@for_layers(layers.SpectralNormalization)
def spectral_normalization(call: Call) -> Counts | None:
    """At inference the wrapped layer is all that runs; one vector of its outputs is kept beside."""
    inner = call.operation.layer
    counts = _inner(inner, call.inputs[0], call.outputs[0])
    if counts is None:
        return None
    kernel = getattr(inner, "kernel", getattr(inner, "embeddings", None))
    return counts._replace(state=counts.state + (0 if kernel is None else kernel.shape[-1]))


@for_layers(layers.TimeDistributed)
def time_distributed(call: Call) -> Counts | None:
    """The wrapped layer runs on batch × time samples."""
    first, last = call.inputs[0], call.outputs[0]
    if len(call.inputs) != 1 or len(call.outputs) != 1:
        return None
    return _inner(call.operation.layer, _folded(first), _folded(last))


def _folded(shape: Shape) -> Shape:
    return (math.prod(shape[:2]), *shape[2:])


def _inner(layer, inputs: Shape, outputs: Shape) -> Counts | None:
    formula = find(layer)
    return None if formula is None else formula(Call(layer, [inputs], [outputs]))
