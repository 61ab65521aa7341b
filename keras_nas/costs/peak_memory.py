"""The most activation memory alive at once, when a graph runs in order."""

from __future__ import annotations

import math
from itertools import accumulate

from keras_nas.costs.free_operations import is_elementwise, is_view
from keras_nas.costs.layer_costs import closed_shape, itemsize
from keras_nas.graph import Graph, Node, Value
from keras_nas.layers import Gate


def peak_activation_memory(graph: Graph) -> int:
    """Bytes of the tensors alive at the worst moment; all shapes of the graph must be known.

    A tensor lives from the operation that writes it (the model's inputs from the start) to the last
    that reads it (the model's outputs to the end). It is of the Keras graph, where nothing is fused
    or planned; what a .tflite takes is `arena_bytes`.

    Views and gates hand on their input's buffer;
    so does an element-wise operation of one tensor, where that tensor ends there.

    Worked example, sizes in brackets: x (8) → conv → a (16) → relu → b (16) → conv → c (4): at the
    first convolution x and a are alive, 24; b takes a's place; at the second b and c, 20.
    """
    end = len(graph.nodes)
    owner = _owners(graph)
    last_use = dict.fromkeys(graph.values, -1)
    for value in graph.values:
        reads = [reader.index for reader in value.readers]
        reads += [end] if value in graph.outputs else []
        born = -1 if value.producer is None else value.producer.index
        last_use[owner[value]] = max(last_use[owner[value]], born, *reads)
    buffer = {value: value for value in graph.inputs}
    death = {value: last_use[value] for value in graph.inputs}
    for node in graph.nodes:
        for value in node.outputs:
            if owner[value] is not value:
                continue
            home = _buffer_taken_over(node, value, owner, buffer, death)
            buffer[value] = home or value
            death[buffer[value]] = last_use[value]
    return _highest(death, end)


def _owners(graph: Graph) -> dict[Value, Value]:
    """For each value, the value whose memory it is: its own, or the one that it is a view of."""
    owner: dict[Value, Value] = {value: value for value in graph.inputs}
    for node in graph.nodes:
        handed_on = is_view(node.operation) or isinstance(node.operation, Gate)
        for value in node.outputs:
            owner[value] = owner[node.inputs[0]] if handed_on else value
    return owner


def _buffer_taken_over(node: Node, value: Value, owner, buffer, death) -> Value | None:
    if not is_elementwise(node.operation) or len(node.inputs) != 1:
        return None
    home = buffer[owner[node.inputs[0]]]
    ends_here = death[home] == node.index
    return home if ends_here and home.producer is not None and _size(home) == _size(value) else None


def _highest(death: dict[Value, int], end: int) -> int:
    change = [0] * (end + 3)
    for value, last in death.items():
        born = -1 if value.producer is None else value.producer.index
        change[born + 1] += _size(value)
        change[last + 2] -= _size(value)
    return max(accumulate(change))


def _size(value: Value) -> int:
    return math.prod(closed_shape(value.shape, value.source)) * itemsize(value.dtype)
