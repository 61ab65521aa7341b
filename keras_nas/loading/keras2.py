"""Models of Keras 2's files, rebuilt call by call from their configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_nas.errors import KerasNasError
from keras_nas.graph.copy import rename_clashing_ops
from keras_nas.loading import keras2_operations, keras2_weights
from keras_nas.loading.keras2_layers import LayerReader
from keras_nas.loading.keras2_weights import Layers, Stored

MODELS = ("Functional", "Model", "Sequential")
OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
CONSTANT = "_CONSTANT_VALUE"


def rebuild(
    config: Any, stored: Stored, custom_objects: dict[str, Any] | None
) -> tuple[keras.Model, dict[str, int]]:
    """The model of a file of Keras 2, with its weights, and how often each thing was mended.

    Args:
        config: The JSON of its configuration, read: `class_name` and `config`.
        stored: Its weights by layer.
        custom_objects: As for `load_model`.

    Raises:
        KerasNasError: If Keras 3 cannot do what a layer does, or the weights do not fit.
    """
    config = _decoded(config)
    reader = LayerReader(custom_objects)
    if config.get("class_name") not in MODELS:
        raise KerasNasError(
            f"The file holds a model of the class '{config.get('class_name')}', whose `call` is "
            "not in the file: rebuild it with keras.Model(inputs, outputs)."
        )
    model, layers = _model(config, reader)
    keras2_weights.assign(stored, layers)
    return model, dict(reader.mended)


def _decoded(value: Any) -> Any:
    """JSON's stand-ins for tuples, shapes and ellipses as what they stand for."""
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__ellipsis__":
        return Ellipsis
    if value.get("class_name") in ("__tuple__", "TensorShape"):
        return tuple(_decoded(part) for part in value.get("items") or ())
    return {key: _decoded(part) for key, part in value.items()}


def _model(config: dict[str, Any], reader: LayerReader) -> tuple[keras.Model, Layers]:
    inner = config["config"]
    if config["class_name"] == "Sequential":
        return _sequential(inner, reader)
    return _Functional(inner, reader).build()


def _sequential(config: Any, reader: LayerReader) -> tuple[keras.Model, Layers]:
    listed = config if isinstance(config, list) else config["layers"]
    name = None if isinstance(config, list) else config.get("name")
    layers: Layers = {}
    model = keras.Sequential(name=reader.free_name(name) if name else None)
    shape = None if isinstance(config, list) else config.get("build_input_shape")
    for position, data in enumerate(listed):
        own = data["config"]
        is_input = data["class_name"] == "InputLayer"
        given = own.get("batch_input_shape") or own.get("batch_shape") or shape
        if position == 0 and given:
            model.add(_input(own if is_input else {}, given, reader))
        if is_input:
            continue
        if data["class_name"] in MODELS:
            nested, layers[own["name"]] = _model(data, reader)
            model.add(nested)
            continue
        made = reader.read(data["class_name"], own)
        layers[own["name"]] = made[0]
        for layer in made:
            model.add(layer)
    return model, layers


def _input(config: dict[str, Any], shape: Any, reader: LayerReader) -> keras.KerasTensor:
    name = config.get("name")
    dtype = config.get("dtype")
    return keras.Input(
        batch_shape=tuple(shape),
        dtype=dtype if isinstance(dtype, str) else None,
        sparse=bool(config.get("sparse")),
        ragged=bool(config.get("ragged")),
        name=reader.free_name(name) if name else None,
    )


class _Functional:
    """A functional model under construction.

    Attributes:
        outputs: For each layer's name in the file, the flat outputs of each of its calls.
    """

    def __init__(self, config: dict[str, Any], reader: LayerReader):
        self.config = config
        self.reader = reader
        self.layers: Layers = {}
        self.outputs: dict[str, list[list[keras.KerasTensor]]] = {}
        self._first_call: dict[str, int] = {}

    def build(self) -> tuple[keras.Model, Layers]:
        waiting = []
        for data in self.config["layers"]:
            name = data.get("name") or data["config"]["name"]
            self.outputs[name] = []
            if data["class_name"] == "InputLayer":
                own = data["config"]
                shape = own.get("batch_input_shape") or own.get("batch_shape")
                self.outputs[name].append([_input(own, shape, self.reader)])
                continue
            call = self._callable(data, name)
            self._first_call[name] = self._index_of_first_call(name, len(data["inbound_nodes"]))
            waiting += [(name, index, call, n) for index, n in enumerate(data["inbound_nodes"])]
        self._run(waiting)
        inputs, outputs = (
            self._filled(_unpacked(self.config[key])) for key in ("input_layers", "output_layers")
        )
        rename_clashing_ops(keras.tree.flatten(outputs))
        name = self.reader.free_name(self.config.get("name") or "model")
        return keras.Model(inputs, outputs, name=name), self.layers

    def _callable(self, data: dict[str, Any], name: str) -> Callable:
        if data["class_name"] in OPERATIONS:
            self.reader.mended["TensorFlow's functions are now operations of Keras"] += 1
            return keras2_operations.find(data["config"]["function"], name)
        if data["class_name"] in MODELS:
            model, self.layers[name] = _model(data, self.reader)
            return model
        made = self.reader.read(data["class_name"], data["config"])
        self.layers[name] = made[0]
        return lambda *args, **kwargs: _chained(made, args, kwargs)

    def _index_of_first_call(self, name: str, calls: int) -> int:
        """0; 1 for a nested model, whose node 0 is its own making."""
        leaves = [self.config["output_layers"]]
        leaves += [data["inbound_nodes"] for data in self.config["layers"]]
        return int(max(_references(leaves, name), default=0) == calls)

    def _run(self, waiting: list):
        """Makes the calls in the order in which their inputs come to be."""
        while waiting:
            later = []
            for name, index, call, node in waiting:
                ready = len(self.outputs[name]) == index
                arguments = self._arguments(node) if ready else None
                if arguments is None:
                    later.append((name, index, call, node))
                    continue
                args, kwargs = arguments
                self.outputs[name].append(keras.tree.flatten(call(*args, **kwargs)))
            if len(later) == len(waiting):
                names = ", ".join(sorted({name for name, *_ in later})[:5])
                raise KerasNasError(f"The file's graph leads nowhere: no inputs for {names}.")
            waiting = later

    def _arguments(self, node: Any) -> tuple[tuple, dict[str, Any]] | None:
        """What a call gets, or `None` while some of it is still missing."""
        first: Any = node
        kwargs: dict[str, Any] = {}
        if not isinstance(node, dict):
            leaves = [node] if _is_leaf(node) else node
            first = _unpacked([leaf[:3] for leaf in leaves])
            kwargs = {key: v for leaf in leaves if len(leaf) > 3 for key, v in leaf[3].items()}
            kwargs.pop("name", None)
        try:
            return (self._filled(first),), self._filled(kwargs)
        except IndexError:
            return None

    def _filled(self, value: Any) -> Any:
        """The structure with tensors in place of `[layer, call, output]`; IndexError: not yet."""
        if _is_leaf(value):
            name, call, position = value[:3]
            if name == CONSTANT:
                return position
            if name in self.outputs:
                made = dict(enumerate(self.outputs[name], self._first_call.get(name, 0)))
                if call not in made:
                    raise IndexError(f"call {call} of '{name}' is not made yet")
                return made[call][position]
        if isinstance(value, dict):
            return {key: self._filled(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._filled(part) for part in value)
        return value


def _chained(layers: list[keras.layers.Layer], args: tuple, kwargs: dict[str, Any]) -> Any:
    result = layers[0](*args, **kwargs)
    for layer in layers[1:]:
        result = layer(result)
    return result


def _is_leaf(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def _unpacked(value: Any) -> Any:
    """One tensor where a list holds just one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _references(value: Any, name: str) -> list[int]:
    """The numbers of the calls of a layer that a structure refers to."""
    if _is_leaf(value) and value[0] == name:
        return [value[1]]
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(parts, (str, bytes)) or not hasattr(parts, "__iter__"):
        return []
    return [index for part in parts for index in _references(part, name)]
