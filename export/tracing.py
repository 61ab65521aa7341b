"""From a Keras model to one frozen TensorFlow function of fixed input shapes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from export.errors import ExportError

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class TracedModel:
    """A model's inference as a concrete function, with the names of its inputs and outputs.

    `owner` keeps the variables alive, which the function itself refers to weakly.
    """

    function: Any
    input_names: list[str]
    output_names: list[str]
    input_shapes: list[Shape]
    owner: Any

    def places_of(self, operation: str) -> list[str]:
        """Returns the names of the layers that use a TensorFlow operation, e.g. "Erfinv"."""
        names = [op.name for op in self.function.graph.get_operations() if op.type == operation]
        return sorted({_layer(name) for name in names})


def trace(
    model: Any, input_shape: Shape | Sequence[Shape] | None = None, dynamic: bool = False
) -> TracedModel:
    """Traces `model` for inference (training=False).

    Args:
        model: a `keras.Model` or `tf_keras.Model`; layers in half precision compute in float32
            in the trace, as TFLite's kernels do.
        input_shape: full shape of the input with its batch axis, or a list of them for several
            inputs. By default the model's own shape with batch 1.
        dynamic: whether sizes may stay None (the batch is 1 all the same).

    Raises:
        ExportError: The shape is not known or not the model's.
    """
    names, shapes, dtypes = _inputs(model, input_shape)
    for name, shape in zip(names, shapes, strict=True):
        if None in shape and not dynamic:
            raise ExportError(
                f"`input_shape` must be given for the input `{name}`, whose shape {shape} is not "
                "fixed, e.g. input_shape=(1, 224, 224, 3); or ask for a dynamic model by `sizes`."
            )
    call, output_names = flat_call(model)
    signature = [
        tf.TensorSpec(shape, dtype, name=_identifier(name))
        for name, shape, dtype in zip(names, shapes, dtypes, strict=True)
    ]

    def infer(*inputs):
        outputs = keras.tree.flatten(call(list(inputs)))
        return [tf.identity(output) for output in outputs]

    function = tf.function(infer, input_signature=signature, autograph=False)
    concrete = function.get_concrete_function()
    if not output_names:
        output_names = [f"output_{i}" for i in range(len(concrete.outputs))]
    return TracedModel(concrete, names, output_names, shapes, owner=call)


def input_names(model: Any) -> list[str]:
    """Returns the names of a model's inputs, in the order of the exported file's inputs."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return ["input"]
    names = [str(tensor.name).split(":")[0] for tensor in inputs]
    return _distinct(["input" if name.startswith("keras_tensor") else name for name in names])


def as_float32(model: keras.Model) -> keras.Model:
    """Returns the model with every layer computing in float32; itself if they all do already."""
    if all(layer.compute_dtype in ("float32", None) for layer in _layers(model)):
        return model

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if "dtype" in config and layer.compute_dtype in ("float16", "bfloat16"):
            config["dtype"] = "float32"
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def flat_call(model: Any) -> tuple[Callable[[list[Any]], Any], list[str]]:
    """Returns a model's inference as a function of the flat list of inputs.

    Returns:
        The function, which computes in float32, and the outputs' names if they are known.
    """
    if not isinstance(model, keras.Model):  # a tf_keras model
        names = [name.removeprefix("quant_") for name in model.output_names]
        return lambda inputs: model(_only(inputs), training=False), names
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        return lambda inputs: model(_only(inputs), training=False), []
    model = as_float32(model)
    flat = keras.Model(list(model.inputs), list(model.outputs))
    return lambda inputs: flat(inputs, training=False), _distinct(list(flat.output_names))


def _inputs(
    model: Any, input_shape: Shape | Sequence[Shape] | None
) -> tuple[list[str], list[Shape], list[str]]:
    known = list(getattr(model, "inputs", None) or [])
    if not known and input_shape is None:
        raise ExportError(
            "`input_shape` must be given for a subclassed model, e.g. input_shape=(1, 224, 224, 3)."
        )
    names = input_names(model)
    if input_shape is None:
        shapes = [(1, *tuple(tensor.shape)[1:]) for tensor in known]
    else:
        several = input_shape and isinstance(input_shape[0], (tuple, list))
        given: Any = input_shape if several else [input_shape]
        shapes = [tuple(shape) for shape in given]
    if len(shapes) != len(names):
        raise ExportError(
            f"`input_shape` must hold one shape for each of the inputs {names}. "
            f"Received: input_shape={input_shape}"
        )
    for name, shape, tensor in zip(names, shapes, known, strict=bool(known)):
        own = tuple(tensor.shape)
        if len(own) != len(shape) or any(
            a is not None and b is not None and a != b
            for a, b in zip(own[1:], shape[1:], strict=True)
        ):
            raise ExportError(
                f"`input_shape` must fit the input `{name}` of shape {own}. "
                f"Received: input_shape={shape}"
            )
    dtypes = [tf.as_dtype(tensor.dtype).name for tensor in known] if known else ["float32"]
    return names, shapes, ["float32" if d in ("float16", "bfloat16") else d for d in dtypes]


def _layers(model: Any) -> list[keras.layers.Layer]:
    layers = []
    for layer in getattr(model, "layers", []):
        layers += [layer, *_layers(layer)]
    return layers


def _only(inputs: list[Any]) -> Any:
    return inputs[0] if len(inputs) == 1 else inputs


def _layer(operation: str) -> str:
    parts = operation.split("/")
    return "/".join(parts[1:-1] or parts)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name] - 1}")
    return distinct
