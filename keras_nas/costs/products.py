"""Multiply-adds and params of Dense layers, embeddings, attention and matrix products."""

from __future__ import annotations

import math

from keras import layers

from keras_nas.costs.formulas import Call, Counts, Shape, for_layers, for_ops


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
