"""Putting gates into any functional model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from keras_nas.errors import KerasNasError
from keras_nas.gates.places import find_places, merged
from keras_nas.graph import Value, read
from keras_nas.graph.copy import copy_graph
from keras_nas.graph.read import free_name
from keras_nas.layers import Gate


def insert(
    model: keras.Model,
    gate: Callable[..., Gate],
    *,
    order: str = "conv_bn_gate_relu",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    streams: Sequence[Sequence[str]] = (),
    name: str | None = None,
) -> keras.Model:
    """Copies a functional model with a gate behind each of its convolutions.

    In a network without convolutions the gates stand behind the hidden Dense layers.

    The copy has the model's weights, shares nothing with it, and equals it exactly as long as the
    gates are off, which they are at first. Nested models come out flat, and so do layers made of
    layers where their `call` can be followed. A layer that is called several times has one gate,
    called as often.

    Example:

    ```python
    supernet = keras_nas.gates.insert(model, keras_nas.layers.ScaledSigmoidGate)
    ```

    Args:
        model: A functional or Sequential `keras.Model`.
        gate: A gate class, or a function that takes `name` and `dtype` and returns a new gate.
        order: `"conv_bn_gate_relu"`, `"conv_gate_bn_relu"` or `"conv_bn_relu_gate"`: where the gate
            stands (DNAL's Fig. 4; the first is the paper's choice). What a convolution has none of
            is passed over.
        include: Names or patterns of the layers to gate, instead of every convolution (or hidden
            Dense layer).
        exclude: Names or patterns of layers that get no gate.
        streams: Layers by name that share a gate, as `keras_nas.surgery.streams(model)` finds them:
            the gate, named after the first, is called behind each. All then keep the same channels,
            so that surgery has nothing to align where they meet, and a penalty counts the gate
            once. Its soft factor acts behind each layer, once on each summand of an addition. None
            by default: each layer has its own gate, as in the papers.
        name: Name of the copy; by default that of `model`.

    Returns:
        The gated model (the supernet).

    Raises:
        KerasNasError: If the model cannot be read, a pattern fits nothing, or no layer is left
            that could be gated.
        UsageError: If one of `streams` names what is no layer, a layer is in two, or those of one
            differ in their channels.
    """
    graph = read(model, open_composites=True)
    places = merged(graph, find_places(graph, order, include, exclude), streams)
    if not places:
        raise KerasNasError(
            f"No layer of '{model.name}' can be gated with include={include!r}, "
            f"exclude={exclude!r}: a gate needs a convolution or Dense layer (one beside "
            "convolutions named in `include`) whose channels do not reach the model's output."
        )
    taken = {node.operation_name for node in graph.nodes}
    gate_of: dict[Value, Gate] = {}
    for place in places:
        layer = graph.calls()[place.layer_name][0].operation
        new = gate(name=free_name(f"{place.layer_name}_gate", taken), dtype=layer.dtype_policy)
        new.mode = "off"
        gate_of.update(dict.fromkeys(place.values, new))

    def after(node, tensors):
        return [
            gate_of[value](tensor) if value in gate_of else tensor
            for value, tensor in zip(node.outputs, tensors, strict=True)
        ]

    return copy_graph(graph, after, name or model.name)
