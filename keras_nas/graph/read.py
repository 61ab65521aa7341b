"""Reading a functional Keras model into the flat picture of `keras_nas.graph.ir`."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras.src.backend.common.masking import get_keras_mask
from keras.src.models.functional import Functional

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph.ir import Graph, Node, Value, values_in
from keras_nas.graph.open import open_composite
from keras_nas.graph.sample_shapes import output_spec

INPUT_OPTIONS = ("sparse", "ragged", "optional")


def read(model: keras.Model, input_shapes=None, open_composites: bool = False) -> Graph:
    """Reads a functional (or built Sequential) model; the model is untouched.

    Nested functional models are inlined; a layer called several times gives several nodes with one
    `operation_name`.

    Args:
        model: The model.
        input_shapes: Where the model leaves sizes open, the shapes to read it at: one shape, or a
            list with one shape an input (batch axis included, `None` allowed).
        open_composites: Whether the user's layers that are made of layers are looked into, where
            `open_composite` can; the nodes then hold copies of the inner layers.

    Returns:
        The `Graph`.

    Raises:
        KerasNasError: If the model is subclassed or not built, or a shape does not fit.
    """
    functional = as_functional(model)
    if functional is None:
        raise KerasNasError(_refusal(model))
    reader = _Reader(open_composites, {tensor.name for tensor in functional.inputs})
    shapes = _checked_shapes(functional, input_shapes)
    inputs = [
        reader.new_value(shape, tensor.dtype, source=tensor.name)
        for tensor, shape in zip(functional.inputs, shapes, strict=True)
    ]
    for value, tensor in zip(inputs, functional.inputs, strict=True):
        layer = tensor._keras_history.operation
        value.options = {name: True for name in INPUT_OPTIONS if getattr(layer, name, False)}
    output_struct = reader.inline(functional, inputs, prefix="", training=None)
    input_struct = keras.tree.pack_sequence_as(functional._inputs_struct, inputs)
    graph = Graph(model.name, reader.nodes, input_struct, output_struct, reader.hides_masks)
    for node in graph.nodes:
        for value in dict.fromkeys([*node.inputs, *node.masks]):
            value.readers.append(node)
    return graph


def as_functional(operation: Any) -> Functional | None:
    """The functional model behind an operation, or `None` where there is none to look into."""
    if isinstance(operation, keras.Sequential):
        if type(operation).call is not keras.Sequential.call or not operation.built:
            return None
        return operation._functional
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def _refusal(model: Any) -> str:
    name = getattr(model, "name", type(model).__name__)
    if isinstance(model, keras.Sequential):
        return (
            f"Sequential model '{name}' has no input shape yet: start it with keras.Input(shape) "
            "or call model.build(input_shape) first."
        )
    return (
        f"`model` must be a functional or Sequential keras.Model, whose graph can be read. "
        f"Received: '{name}' of the subclassed type {type(model).__name__}, whose `call` is "
        "Python code; rebuild it with keras.Model(inputs, outputs)."
    )


def _checked_shapes(model: Functional, input_shapes) -> list[tuple[int | None, ...]]:
    own = [tuple(tensor.shape) for tensor in model.inputs]
    if input_shapes is None:
        return own
    if not input_shapes or not isinstance(input_shapes[0], (tuple, list)):
        input_shapes = [input_shapes]
    given = [tuple(shape) for shape in input_shapes]
    fits = len(given) == len(own) and all(
        len(a) == len(b) and all(x is None or x == y for x, y in zip(a, b, strict=True))
        for a, b in zip(own, given, strict=True)
    )
    if not fits:
        raise UsageError(
            f"`input_shapes` must fit the inputs of '{model.name}', {own} (batch axis included). "
            f"Received: {given}"
        )
    return given


class _Reader:
    """Walks models and collects nodes."""

    def __init__(self, open_composites: bool, taken: set[str]):
        self.nodes: list[Node] = []
        self.hides_masks = False
        self._open_composites = open_composites
        self._opened: dict[int, Functional | None] = {}
        self._values = 0
        self._operation_names: dict[int, str] = {}
        self._taken = taken
        self._calls: dict[int, int] = {}

    def new_value(self, shape, dtype, producer=None, position=0, source="") -> Value:
        value = Value(self._values, tuple(shape), str(dtype), producer, position, source=source)
        self._values += 1
        return value

    def inline(self, model: Functional, inputs: list[Value], prefix: str, training) -> Any:
        """Adds the nodes of `model` read at `inputs`; returns its output structure of values."""
        same_shapes = all(
            tuple(tensor.shape) == value.shape
            for tensor, value in zip(model.inputs, inputs, strict=True)
        )
        known = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for keras_node in model._nodes_by_depth[depth]:
                if keras_node.is_input or any(
                    id(tensor) not in known for tensor in keras_node.input_tensors
                ):
                    continue
                self._read_call(keras_node, known, same_shapes, prefix, training)
        return keras.tree.map_structure(lambda tensor: known[id(tensor)], model._outputs_struct)

    def _read_call(self, keras_node, known, same_shapes, prefix, training):
        args, kwargs = keras.tree.map_structure(
            lambda leaf: known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
            (tuple(keras_node.arguments.args), dict(keras_node.arguments.kwargs)),
        )
        operation = keras_node.operation
        call = Node(-1, operation, operation.name, operation.name, args, kwargs)
        nested, inputs = as_functional(operation), call.inputs
        if nested is not None:
            self._check_masks(call, keras_node, known)
        else:
            nested, inputs = self._open(call), [*call.inputs, *call.masks]
        if nested is not None:
            inner = kwargs.get("training")
            struct = self.inline(
                nested,
                inputs,
                prefix=f"{prefix}{operation.name}_",
                training=training if inner is None else inner,
            )
            outputs = values_in(struct)
        else:
            if training is not None and _takes_training(operation):
                kwargs.setdefault("training", training)
            outputs = self._add_node(operation, args, kwargs, keras_node, same_shapes, prefix)
        for tensor, value in zip(keras_node.outputs, outputs, strict=True):
            known[id(tensor)] = value

    def _check_masks(self, call: Node, keras_node, known):
        """Sees to the masks that a nested model gets: its layers find them on their tensors."""
        own = [known.get(id(get_keras_mask(tensor))) for tensor in keras_node.input_tensors]
        if not set(call.masks) <= set(own):
            raise KerasNasError(
                f"Nested model '{call.name}' is called with a mask that its input does not carry, "
                "which cannot be followed into it: call its layers directly, or let a Masking "
                "layer make the mask."
            )
        self.hides_masks |= any(value.masked for value in call.inputs)

    def _open(self, call: Node) -> Functional | None:
        """The opened layer, but where masks would reach the layers in it unseen."""
        if not self._open_composites or self.hides_masks:
            return None
        if any(value.masked for value in call.inputs):
            return None
        if id(call.operation) not in self._opened:
            self._opened[id(call.operation)] = open_composite(call)
        return self._opened[id(call.operation)]

    def _add_node(self, operation, args, kwargs, keras_node, same_shapes, prefix) -> list[Value]:
        operation_name = self._name_operation(operation, prefix)
        call = self._calls.get(id(operation), 0)
        self._calls[id(operation)] = call + 1
        name = (
            operation_name if call == 0 else free_name(f"{operation_name}_call{call}", self._taken)
        )
        node = Node(len(self.nodes), operation, operation_name, name, args, kwargs)
        specs = keras_node.outputs
        if not same_shapes:
            specs = keras.tree.flatten(output_spec(node))
        node.outputs = [
            self.new_value(spec.shape, spec.dtype, node, position, source=name)
            for position, spec in enumerate(specs)
        ]
        for value, tensor in zip(node.outputs, keras_node.outputs, strict=True):
            value.masked = get_keras_mask(tensor) is not None
        self.nodes.append(node)
        return node.outputs

    def _name_operation(self, operation, prefix) -> str:
        if id(operation) not in self._operation_names:
            wanted = operation.name
            if wanted in self._taken:
                wanted = f"{prefix}{operation.name}"
            self._operation_names[id(operation)] = free_name(wanted, self._taken)
        return self._operation_names[id(operation)]


def free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or with a number behind it, as none of `taken`, to which it is added."""
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def _takes_training(operation) -> bool:
    return "training" in inspect.signature(operation.call).parameters
