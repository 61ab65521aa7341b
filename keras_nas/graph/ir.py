"""The flat picture of a functional model that costs, gates and surgery read: values and nodes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras


@dataclass(eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        index: Its place in the graph, in order of creation.
        shape: Static shape with `None` for what is not known (the batch at least).
        dtype: Name of the dtype.
        producer: The node that makes it, `None` for an input of the graph.
        position: Its place among the producer's flat outputs.
        readers: The nodes that read it, in graph order, each once.
        source: The name of the Keras tensor, for messages.
        options: For an input of the graph, `keras.Input`'s further options (`sparse`, `ragged`,
            `optional`).
        masked: Whether the tensor carries a Keras mask.
    """

    index: int
    shape: tuple[int | None, ...]
    dtype: str
    producer: Node | None = None
    position: int = 0
    readers: list[Node] = field(default_factory=list)
    source: str = ""
    options: dict[str, bool] = field(default_factory=dict)
    masked: bool = False

    @property
    def channels(self) -> int | None:
        """Length of the last axis; `None` for a scalar or an unknown length."""
        return self.shape[-1] if len(self.shape) > 1 else None

    def __repr__(self):
        return f"<Value {self.index} {self.source} {self.shape}>"


@dataclass(eq=False)
class Node:
    """One call of one Keras operation (a layer or an op).

    Attributes:
        index: Its place in the topological order.
        operation: The `keras.layers.Layer` or `keras.Operation`, the model's own (not a copy).
        operation_name: Unique name of the operation in the graph; calls of a shared layer share it.
        name: Unique name of this call.
        args, kwargs: What the operation was called with, `Value`s in place of tensors.
        outputs: Its values, flat.
    """

    index: int
    operation: Any
    operation_name: str
    name: str
    args: tuple
    kwargs: dict[str, Any]
    outputs: list[Value] = field(default_factory=list)

    @property
    def inputs(self) -> list[Value]:
        """The data it reads, flat, in the order of the arguments; repeats stay. No masks."""
        return self._reads[0]

    @property
    def masks(self) -> list[Value]:
        """The values among its arguments that are masks: `mask`, `query_mask` and their like."""
        return self._reads[1]

    def filled(self, inputs: Iterable, masks: Iterable) -> tuple[tuple, dict[str, Any]]:
        """Its arguments with other things in place of `inputs` and `masks`, each in their order."""
        data, conditions = iter(inputs), iter(masks)

        def fill(name: str, argument: Any) -> Any:
            things = conditions if _is_mask(name) else data
            return map_values(lambda _: next(things), argument)

        args = tuple(fill(name, argument) for name, argument in self._named_args())
        return args, {name: fill(name, self.kwargs[name]) for name in sorted(self.kwargs)}

    @functools.cached_property
    def _reads(self) -> tuple[list[Value], list[Value]]:
        inputs: list[Value] = []
        masks: list[Value] = []
        named = [*self._named_args(), *((name, self.kwargs[name]) for name in sorted(self.kwargs))]
        for name, argument in named:
            (masks if _is_mask(name) else inputs).extend(values_in(argument))
        return inputs, masks

    def _named_args(self) -> list[tuple[str, Any]]:
        """The positional arguments, with the names that a layer's `call` gives them."""
        if len(self.args) < 2 or not isinstance(self.operation, keras.layers.Layer):
            return [("", argument) for argument in self.args]
        names = list(inspect.signature(self.operation.call).parameters)
        names += [""] * (len(self.args) - len(names))
        return list(zip(names, self.args, strict=False))

    def __repr__(self):
        return f"<Node {self.name} {type(self.operation).__name__}>"


@dataclass(eq=False)
class Graph:
    """A functional model as a flat list of nodes; nested models are inlined.

    Attributes:
        name: The model's name.
        nodes: All calls, topologically ordered.
        input_struct, output_struct: The model's input and output structures, of `Value`s.
        hides_masks: Whether a nested model is called on a masked tensor: then the layers in it get
            masks that no argument names.
    """

    name: str
    nodes: list[Node]
    input_struct: Any
    output_struct: Any
    hides_masks: bool = False

    @property
    def inputs(self) -> list[Value]:
        return values_in(self.input_struct)

    @property
    def outputs(self) -> list[Value]:
        return values_in(self.output_struct)

    @property
    def values(self) -> list[Value]:
        """Every value: inputs first, then in order of the nodes."""
        return self.inputs + [value for node in self.nodes for value in node.outputs]

    def calls(self) -> dict[str, list[Node]]:
        """The nodes of each operation by `operation_name`, in graph order."""
        calls: dict[str, list[Node]] = {}
        for node in self.nodes:
            calls.setdefault(node.operation_name, []).append(node)
        return calls


def _is_mask(argument: str) -> bool:
    return argument == "mask" or argument.endswith("_mask")


def values_in(struct: Any) -> list[Value]:
    """The `Value`s among the leaves of a structure, in order."""
    return [leaf for leaf in keras.tree.flatten(struct) if isinstance(leaf, Value)]


def map_values(function: Callable[[Value], Any], struct: Any) -> Any:
    """The structure with `function(value)` in place of each `Value`; other leaves stay."""
    return keras.tree.map_structure(
        lambda leaf: function(leaf) if isinstance(leaf, Value) else leaf, struct
    )
