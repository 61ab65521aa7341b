"""What is wrong with a compression's data, found before anything is trained."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from numbers import Number
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.data import DataSet, as_batches
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.tasks import Classification, Task
from keras_nas.tasks.task import Shape, fits, shown_shape
from keras_nas.training.divergence import DivergedError
from keras_nas.training.stage import Data, epoch_of

FIRST = 16
"""Batches that are looked at beforehand; all are, where training stumbles over a later one."""


def batches_of(
    name: str, data: Any, model: keras.Model, task: Task, batch_size: int, shuffle: bool = False
) -> Data:
    """`as_batches` for a model, with its errors under the argument's name.

    The first batches are compared with the model and the task.

    Args:
        name: Of the argument.
        data: What was given.
        model, task: What it is for.
        batch_size, shuffle: As in `as_batches`.

    Raises:
        UsageError: The data is of another kind than the model and the task take.
        KerasNasError: It is empty, or holds NaN or infinity.
    """
    _check_kind(name, data, model)
    _check_columns(name, data, task)
    dtype = model.inputs[0].dtype if len(model.inputs) == 1 else None
    try:
        batches = as_batches(data, batch_size, shuffle=shuffle, dtype=dtype)
    except KerasNasError as error:
        raise type(error)(f"`{name}`: {error}") from error
    check_batches(name, batches, model, task, FIRST)
    return batches


def counting_shape(model: keras.Model, data: Any) -> tuple[int, ...]:
    """What costs are counted at, as in `make_recipe`: of a model of open size, the first batch's.

    Args:
        model: The model, of one input where its size is open.
        data: Batches that fit it.

    Returns:
        The shape without the batch axis; () for the model's own.
    """
    if len(model.inputs) != 1 or None not in tuple(model.inputs[0].shape)[1:]:
        return ()
    inputs = next(iter(epoch_of(data, 0)))[0]
    return tuple(int(size) for size in tf.nest.flatten(inputs)[0].shape[1:])


def check_batches(
    name: str, data: Data, model: keras.Model, task: Task, most: int | None = None
) -> None:
    """Compares batches with the model and the task; raises as `batches_of`.

    Args:
        name: Of the argument.
        data: The batches.
        model, task: What they are for.
        most: How many are looked at; None for an epoch's.
    """
    epoch = epoch_of(data, 0)
    if not isinstance(epoch, tf.data.Dataset):
        raise UsageError(
            f"`{name}` must give a tf.data.Dataset of batches for an epoch. Received: "
            f"{shown_kind(epoch)} from {shown_kind(data)}"
        )
    count = 0
    try:
        for batch in itertools.islice(epoch, most):
            _check_inputs(name, batch, model, count)
            _check_targets(name, batch, model, task)
            count += 1
    except tf.errors.OpError as error:
        said = re.search(r"(?:KerasNasError|UsageError): (.*)", error.message)
        if said is None:  # it is the user's own function's
            raise
        raise KerasNasError(f"`{name}`: {said[1]}") from error
    if not count:
        raise KerasNasError(
            f"`{name}` must have one batch or more. Received: none (fewer examples than a batch, "
            "with drop_remainder?)"
        )


@contextlib.contextmanager
def blamed_on_data(
    model: keras.Model, task: Task, data: Mapping[str, Data | None]
) -> Iterator[None]:
    """Where TensorFlow fails, looks at all the data, and says what is wrong with it.

    Args:
        model, task: What the data is for.
        data: By the argument's name; None for none.

    Raises:
        KerasNasError: As `check_batches`. What the data is not to blame for is raised as it was.
    """
    try:
        yield
    except (tf.errors.OpError, DivergedError):
        for name, batches in data.items():
            if batches is not None:
                check_batches(name, batches, model, task)
        raise


def _check_kind(name: str, data: Any, model: keras.Model) -> None:
    """Refuses what is no data, with what to do about it."""
    advice, parts = "", data.element_spec if isinstance(data, tf.data.Dataset) else data
    if isinstance(parts, (tuple, list)) and len(parts) == 3:
        raise UsageError(
            f"`{name}` must be pairs (x, y): sample weights are not supported, leave them out. "
            "Received: 3 parts"
        )
    if isinstance(data, (str, os.PathLike)):
        advice = ": read its files first, or use `python -m apps.compress --data`"
    elif isinstance(data, Number):
        advice = ": part arrays by keras_nas.data.from_arrays(x, y, validation_share=0.1)"
    elif isinstance(data, DataSet):
        advice = ": give its parts, `data.train` and `data.validation`"
    elif isinstance(data, (np.ndarray, tf.Tensor)):
        advice = ": labels are missing, give (x, y)"
    elif isinstance(data, type):
        advice = ": make one of the class"
    elif isinstance(parts, tf.TypeSpec):
        advice = ": labels are missing, give batches (x, y)"
    elif isinstance(data, tf.data.Dataset):
        _check_spec(name, parts, model)
        return
    elif hasattr(data, "epoch") or not callable(data):
        return
    else:
        try:
            inspect.signature(data).bind(0)
            return
        except TypeError:
            advice = ": a function must take the epoch's number"
    raise UsageError(
        f"`{name}` must be arrays (x, y), a tf.data.Dataset of batches or a keras.utils.PyDataset"
        f"{advice}. Received: {shown_kind(data)}"
    )


def _check_spec(name: str, parts: Any, model: keras.Model) -> None:
    """Texts in a dataset, which TensorFlow would fail to make numbers of, and unknown shapes."""
    specs = [spec for spec in tf.nest.flatten(parts) if isinstance(spec, tf.TensorSpec)]
    if any(spec.shape.rank is None for spec in specs):
        raise UsageError(
            f"`{name}` must say the shapes of its batches: `tf.ensure_shape(x, ...)` in "
            "`dataset.map`, behind a tf.py_function. Received: an unknown shape"
        )
    if specs and specs[0].dtype == tf.string and model.inputs[0].dtype != "string":
        raise UsageError(
            f"`{name}` must give numbers, as model '{model.name}' takes. Received: texts (paths?): "
            "read the files by `dataset.map`"
        )


def _check_columns(name: str, data: Any, task: Task) -> None:
    """One-hot labels, which `as_batches` makes classes of, against the number of classes."""
    parts = data.element_spec if isinstance(data, tf.data.Dataset) else data
    if not isinstance(task, Classification) or not isinstance(parts, (tuple, list)):
        return
    shape: Any = getattr(parts[1], "shape", None) if len(parts) == 2 else None
    if shape is None or len(shape) != 2:
        return
    if shape[1] not in (None, 1, task.classes, max(task.classes, 2)):
        raise UsageError(
            f"`{name}` must have one-hot labels of {task.classes} columns, since the task has "
            f"{task.classes} classes. Received: {shape[1]}"
        )


def _check_inputs(name: str, batch: Any, model: keras.Model, number: int) -> None:
    """Counts, shapes, dtypes and values of a batch's inputs."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise UsageError(f"`{name}` must give pairs (x, y). Received: {shown_kind(batch)}")
    given = [np.asarray(x) for x in tf.nest.flatten(batch[0])]
    if len(given) != len(model.inputs):
        raise UsageError(
            f"`{name}` must give {len(model.inputs)} inputs, as model '{model.name}' takes: a "
            f"tf.data.Dataset of ((a, b), y) gives two. Received: {len(given)}"
        )
    named = isinstance(batch[0], dict)
    for x, wanted in zip(given, model.inputs, strict=True):
        own = tuple(wanted.shape)[1:]
        if not named and not _takes(x.shape[1:], own):
            raise UsageError(
                f"`{name}` must give inputs of {shown_shape(own)}, as model '{model.name}' takes. "
                f"Received: {shown_shape(x.shape[1:])}{_advice(x.shape, own)}"
            )
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise KerasNasError(
                f"`{name}` must be finite. Received: NaN or infinity in batch {number}: mend or "
                "leave out what holds it"
            )


def _takes(given: Shape, wanted: Shape) -> bool:
    """Whether inputs fit, by Keras's rule that a last axis of one may lack or be too many."""
    return (
        fits(given, wanted)
        or (wanted[-1:] == (1,) and fits(given, wanted[:-1]))
        or (given[-1:] == (1,) and fits(given[:-1], wanted))
    )


def _advice(batch: Shape, wanted: Shape) -> str:
    """What to do about inputs of another shape."""
    if fits(batch, wanted):
        return " (the axis of examples lacks: x[None])"
    if len(batch) == 4 and len(wanted) == 3:
        if fits((*batch[2:], batch[1]), wanted):
            return " (channels come last: x.transpose(0, 2, 3, 1))"
        if batch[3] == wanted[2] and None not in wanted:
            return f" (keras.layers.Resizing({wanted[0]}, {wanted[1]}) resizes pictures)"
    return ""


def _check_targets(name: str, batch: Any, model: keras.Model, task: Task) -> None:
    if len(model.outputs) == 1 and type(task).check_targets is not Task.check_targets:
        if tf.nest.is_nested(batch[1]):
            raise UsageError(
                f"`{name}` must give one array of targets. Received: {shown_kind(batch[1])}"
            )
        task.check_targets(np.asarray(batch[1]), tuple(model.outputs[0].shape), f"`{name}`")


def shown_kind(value: Any) -> str:
    """A value in a message: a text or number itself, of anything else its kind."""
    if value is None or isinstance(value, (str, Number)):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{type(value).__name__} of shape {shape}"
