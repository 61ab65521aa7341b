"""From a Keras model to one frozen TensorFlow function of fixed input shapes."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from export.errors import ExportError
from export.precision import HALVES, computing_in
from export.samples import Shape


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
    model: Any,
    input_shape: Shape | Sequence[Shape] | None = None,
    dynamic: bool = False,
    unroll: bool = False,
) -> TracedModel:
    """Traces `model` for inference (training=False).

    Args:
        model: A `keras.Model` or `tf_keras.Model`; layers in half precision compute in float32
            in the trace, as TFLite's kernels do.
        input_shape: Full shape of the input with its batch axis, or a list of them for several
            inputs. By default the model's own shape, with batch 1 where it is open.
        dynamic: Whether sizes may stay None (the batch is 1 all the same).
        unroll: Whether recurrent layers are written out step by step, without a loop.

    Raises:
        ExportError: The shape is not known or not the model's, or the model does not run at it.
    """
    names, shapes, dtypes = _inputs(model, input_shape)
    for name, shape, dtype in zip(names, shapes, dtypes, strict=True):
        if dtype == "string":
            raise ExportError(_string_message(model, name))
        if None in shape and not dynamic:
            raise ExportError(_open_message(name, shape))
    signature = [
        tf.TensorSpec(shape, dtype, name=_identifier(name))
        for name, shape, dtype in zip(names, shapes, dtypes, strict=True)
    ]

    def infer(*inputs):
        outputs = keras.tree.flatten(call(model, list(inputs)))
        return [tf.identity(output) for output in outputs]

    function = tf.function(infer, input_signature=signature, autograph=False)
    try:
        with computing_in(model, "float32"), _plain_arg_reductions(), _unrolled(model, unroll):
            concrete = function.get_concrete_function()
    except Exception as error:
        raise ExportError(
            f"The model cannot be called with inputs of the shapes {shapes}: {one_line(error)}"
        ) from error
    outputs = output_names(model) or [f"output_{i}" for i in range(len(concrete.outputs))]
    return TracedModel(concrete, names, outputs, shapes, owner=model)


def call(model: Any, inputs: list[Any]) -> Any:
    """Calls a `keras.Model` or `tf_keras.Model` for inference with the flat list of its inputs.

    It is the model's own `call` that runs, with the inputs in the structure that it was built for.
    """
    return model(_structured(model, inputs), training=False)


def input_names(model: Any) -> list[str]:
    """Returns the names of a model's inputs, in the order of the exported file's inputs."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return ["input"]
    names = [str(tensor.name).split(":")[0] for tensor in inputs]
    return _distinct(["input" if name.startswith("keras_tensor") else name for name in names])


def open_shapes(model: Any) -> list[Shape]:
    """Returns the shapes of a model's inputs, None where a size is open.

    A `keras.Sequential` that was built by its first call holds that call's batch, which means
    nothing: its batch is open.
    """
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    if isinstance(model, keras.Sequential):
        return [(None, *shape[1:]) for shape in shapes]
    return shapes


def output_names(model: Any) -> list[str]:
    """Returns the names of a model's outputs, in their flat order; none if they are not known.

    They are the keys of a dictionary of outputs, else the names of the layers.
    """
    if not isinstance(model, keras.Model):  # a tf_keras model
        return [name.removeprefix("quant_") for name in model.output_names]
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        return []
    own = [tensor._keras_history.operation.name for tensor in model.outputs]
    structure = None if isinstance(model, keras.Sequential) else getattr(model, "output", None)
    if isinstance(structure, dict):
        paths = [path for path, _ in keras.tree.flatten_with_path(structure)]
        own = ["_".join(map(str, path)) for path in paths]
    return _distinct(own)


def one_line(error: BaseException) -> str:
    """Returns another library's message as one line of at most 300 characters.

    Keras puts the cause of an error in a layer between its name and the call's arguments.
    """
    text = re.sub(r"\x1b\[\d*m", "", str(error)).split("Arguments received by")[0]
    text = re.sub(r"\S+\.py:\d+:\d+: ", "", text)
    return " ".join(text.split())[:300]


def _structured(model: Any, inputs: list[Any]) -> Any:
    structure = None if isinstance(model, keras.Sequential) else getattr(model, "input", None)
    if isinstance(model, keras.Model) and getattr(model, "inputs", None) and structure is not None:
        return keras.tree.pack_sequence_as(structure, inputs)
    return inputs[0] if len(inputs) == 1 else inputs


@contextlib.contextmanager
def _unrolled(model: Any, wanted: bool) -> Iterator[None]:
    """While open, and if wanted, the recurrent layers of a `keras.Model` run without a loop."""
    layers = model._flatten_layers() if wanted and isinstance(model, keras.Model) else []
    looping = [layer for layer in layers if isinstance(layer, keras.layers.RNN)]
    before = [layer.unroll for layer in looping]
    try:
        for layer in looping:
            layer.unroll = True
        yield
    finally:
        for layer, unroll in zip(looping, before, strict=True):
            layer.unroll = unroll


@contextlib.contextmanager
def _plain_arg_reductions() -> Iterator[None]:
    """While open, Keras' argmax and argmin are TensorFlow's.

    Keras orders -0.0 before 0.0 in them, by operations on bits that TFLite does not build in.
    Where the largest value is zero in two places, one of them -0.0, the index differs.
    """
    functions = keras.src.backend.numpy
    own = {name: getattr(functions, name) for name in ("argmax", "argmin")}

    def plain(name: str) -> Callable[..., Any]:
        def reduce(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
            x = tf.convert_to_tensor(x)
            flat = tf.reshape(x, [-1]) if axis is None else x
            y = getattr(tf, name)(flat, axis=0 if axis is None else axis, output_type="int32")
            if not keepdims:
                return y
            return tf.reshape(y, [1] * len(x.shape)) if axis is None else tf.expand_dims(y, axis)

        return reduce

    try:
        for name in own:
            setattr(functions, name, plain(name))
        yield
    finally:
        for name, function in own.items():
            setattr(functions, name, function)


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
        shapes = _own_shapes(open_shapes(model))
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
    return names, shapes, ["float32" if d in HALVES else d for d in dtypes]


def _own_shapes(shapes: list[Shape]) -> list[Shape]:
    """Gives an open batch the size of the other inputs' fixed one, if they agree, else 1."""
    fixed = {shape[0] for shape in shapes if shape and shape[0] is not None}
    batch = fixed.pop() if len(fixed) == 1 else 1
    return [(batch, *shape[1:]) if shape and shape[0] is None else shape for shape in shapes]


def _open_message(name: str, shape: Shape) -> str:
    example = tuple(
        {4: 224, 5: 64}.get(len(shape), 128) if size is None else size for size in shape
    )
    dynamic = "; or ask for a dynamic model by `sizes`" if len(shape) == 4 else ""
    return (
        f"`input_shape` must be given for the input `{name}`, whose shape {shape} is not "
        f"fixed, e.g. input_shape={example}{dynamic}."
    )


def _string_message(model: Any, name: str) -> str:
    lookups = [
        layer.name
        for layer in getattr(model, "layers", [])
        if isinstance(layer, (keras.layers.StringLookup, keras.layers.TextVectorization))
    ]
    after = f", behind {', '.join(f'`{layer}`' for layer in lookups)}" if lookups else ""
    return (
        f"The input `{name}` takes strings, which .tflite models do not compute with: look them up "
        f"before the model and export the part that takes numbers{after}."
    )


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
