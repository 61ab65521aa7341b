"""What a Keras user trains with, as the batches that searches take: arrays, tf.data, PyDataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.data.epochs import EpochDataset
from keras_nas.data.labels import are_one_hot, as_sparse
from keras_nas.data.pipeline import evaluation_data, finished, training_data
from keras_nas.data.subsets import split_indices
from keras_nas.errors import KerasNasError, UsageError

Batches = Any
"""What `keras_nas.training.stage.Data` says."""

_ROWS_AT_ONCE = 1024


def as_batches(
    data: Any,
    batch_size: int = 32,
    *,
    shuffle: bool = False,
    seed: int = 0,
    sparse_labels: bool = True,
    dtype: str | None = None,
) -> Batches:
    """Brings what `model.fit` takes into the batches that searches and evaluations take.

    Example:

    ```python
    train = kn.data.as_batches((x_train, y_train), batch_size=64, shuffle=True)
    validation = kn.data.as_batches((x_test, y_test), batch_size=64)
    ```

    Args:
        data: Arrays `(x, y)`; a `tf.data.Dataset` of batches `(x, y)`; a `keras.utils.PyDataset`
            of such batches, whose `on_epoch_end` is called before each new epoch; or what searches
            take already (an object with `epoch(e, start)`, a function of e), which is returned as
            it is.
        batch_size: Examples a batch, of arrays.
        shuffle: Whether arrays are shuffled anew in each epoch, in an order that depends on `seed`
            and the epoch alone, and the last incomplete batch is left out.
        seed: Of the order.
        sparse_labels: Turn one-hot labels `(batch, classes)` into classes `(batch,)`. Distributions
            and labels with several ones stay. False where the task wants them as they are.
        dtype: That inputs are cast to, such as a model's `inputs[0].dtype`; None to keep integers
            and give floats `keras.config.floatx()`.

    Returns:
        Batches `(x, y)`: an `EpochDataset` of arrays that are shuffled and of a PyDataset, else a
        `tf.data.Dataset`.

    Raises:
        UsageError: Data of another kind, not in batches, with sample weights, or without end.
        KerasNasError: Arrays that are empty, differ in length, or hold NaN or infinity.
    """
    if hasattr(data, "epoch"):
        return data
    if isinstance(data, keras.utils.PyDataset):
        return _of_py_dataset(data, sparse_labels, dtype)
    if isinstance(data, tf.data.Dataset):
        return _of_dataset(data, sparse_labels, dtype)
    if isinstance(data, (tuple, list)):
        arrays = _checked_arrays(data, sparse_labels, dtype)
        if shuffle:
            return training_data(arrays, lambda batch, _: batch, batch_size, seed)
        return evaluation_data(arrays, lambda batch: batch, batch_size)
    if callable(data):
        return data
    raise UsageError(
        "Data must be arrays (x, y), a tf.data.Dataset of batches or a keras.utils.PyDataset. "
        f"Received: {type(data).__name__}"
    )


def from_arrays(
    x: Any,
    y: Any,
    *,
    batch_size: int = 32,
    validation_share: float = 0.1,
    seed: int = 0,
    sparse_labels: bool = True,
    dtype: str | None = None,
) -> tuple[EpochDataset, tf.data.Dataset]:
    """Parts arrays into training and validation batches.

    Example:

    ```python
    train, validation = kn.data.from_arrays(x, y, batch_size=64)
    result = kn.search.dnal(model, train, validation_data=validation)
    ```

    Args:
        x: Inputs (N, …), as the model was trained with.
        y: Targets (N, …), such as classes, int (N,), or one-hot (N, classes).
        batch_size: Examples a batch.
        validation_share: The share that is held back, 0 < share < 1; the classes in equal shares,
            where `y` is of classes.
        seed: Of the choice and of the order.
        sparse_labels, dtype: See `as_batches`.

    Returns:
        `train`, shuffled anew in each epoch, and `validation`, in the order of `x`.

    Raises:
        KerasNasError: As `as_batches`, or a part would be empty.
    """
    arrays = _checked_arrays((x, y), sparse_labels, dtype)
    labels = as_sparse(arrays[1])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        labels = np.zeros(len(labels), np.int64)
    parts = split_indices(labels, validation_share, seed)
    train, validation = (tuple(array[part] for array in arrays) for part in parts)
    return (
        training_data(train, lambda batch, _: batch, batch_size, seed),
        evaluation_data(validation, lambda batch: batch, batch_size),
    )


def _checked_arrays(
    data: Any, sparse_labels: bool, dtype: str | None
) -> tuple[np.ndarray, np.ndarray]:
    x, y = _pair(data)
    inputs, targets = _array("x", x), _array("y", y)
    if not len(inputs) or len(inputs) != len(targets):
        raise KerasNasError(
            "`x` and `y` must have the same number of examples, and not be empty. Received: "
            f"{len(inputs)} and {len(targets)}"
        )
    for name, array in (("x", inputs), ("y", targets)):
        _check_finite(name, array)
    return _cast(inputs, dtype), _targets(targets, sparse_labels)


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        count = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        weights = " (sample weights are not supported)" if count == "3 parts" else ""
        raise UsageError(f"Data must be pairs (x, y). Received: {count}{weights}")
    return batch[0], batch[1]


def _array(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of several lengths
        raise KerasNasError(f"`{name}` must be one array: {str(error).splitlines()[0]}") from error
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise UsageError(
            f"`{name}` must be one array of numbers (N, …); give a tf.data.Dataset for several "
            f"inputs. Received: {type(value).__name__} of {array.dtype}"
        )
    return array


def _check_finite(name: str, array: np.ndarray) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), _ROWS_AT_ONCE):
        rows = array[start : start + _ROWS_AT_ONCE]
        bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if bad.any():
            raise KerasNasError(
                f"`{name}` must be finite. Received: NaN or infinity in example "
                f"{start + int(bad.argmax())}"
            )


def _cast(inputs: np.ndarray, dtype: str | None) -> np.ndarray:
    if dtype is None and inputs.dtype.kind == "f":
        dtype = keras.config.floatx()
    return inputs if dtype is None else inputs.astype(tf.as_dtype(dtype).as_numpy_dtype)


def _targets(targets: np.ndarray, sparse_labels: bool) -> np.ndarray:
    if sparse_labels:
        targets = as_sparse(targets)
    if targets.dtype.kind == "f":
        return targets.astype(keras.config.floatx())
    return targets.astype(np.int64) if targets.ndim == 1 else targets


def _of_dataset(data: tf.data.Dataset, sparse_labels: bool, dtype: str | None) -> tf.data.Dataset:
    inputs, targets = _pair(data.element_spec)
    _check_batched(inputs, targets)
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise UsageError(
            "Data must end: this tf.data.Dataset repeats for ever. Give one epoch of it, for "
            "example `dataset.take(steps)`."
        )
    if dtype is not None and isinstance(inputs, tf.TensorSpec) and inputs.dtype != dtype:
        data = data.map(lambda x, y: (tf.cast(x, dtype), y))
    if sparse_labels and isinstance(targets, tf.TensorSpec) and targets.shape.rank == 2:
        first = next(iter(data.take(1).as_numpy_iterator()), None)
        if first is not None and are_one_hot(first[1]):
            data = data.map(lambda x, y: (x, _classes(y)))
    return data


def _check_batched(inputs: Any, targets: Any) -> None:
    specs = [*tf.nest.flatten(inputs), *tf.nest.flatten(targets)]
    shapes = [spec.shape for spec in specs if isinstance(spec, tf.TensorSpec)]
    known = [shape for shape in shapes if shape.rank is not None]
    sizes = {shape[0] for shape in known if shape.rank and shape[0] is not None}
    if any(not shape.rank for shape in known) or len(sizes) > 1:
        raise UsageError(
            "A tf.data.Dataset must give batches (x, y): call `dataset.batch(32)`. Received: "
            f"elements of shapes {' and '.join(str(shape) for shape in shapes)}"
        )


def _classes(targets: tf.Tensor) -> tf.Tensor:
    ones = tf.equal(targets, tf.ones([], targets.dtype))
    right = tf.reduce_all(tf.equal(tf.reduce_sum(tf.cast(ones, tf.int32), axis=-1), 1))
    message = "Labels were one-hot in the first batch and are not in a later one."
    with tf.control_dependencies([tf.debugging.Assert(right, [message])]):
        return tf.argmax(targets, axis=-1)


def _of_py_dataset(
    data: keras.utils.PyDataset, sparse_labels: bool, dtype: str | None
) -> EpochDataset:
    steps = data.num_batches
    if not steps:
        raise UsageError(
            "A keras.utils.PyDataset must have a length of one batch or more. "
            f"Received: {steps or 'none'} for {type(data).__name__}"
        )
    first = _checked_arrays(data[0], False, dtype)
    sparse = sparse_labels and are_one_hot(first[1])
    read = _reader(data, sparse, dtype)
    specs = [
        tf.TensorSpec((None, *each.shape[1:]), each.dtype)
        for each in (first[0], _targets(first[1], sparse))
    ]

    def element(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parts = tf.numpy_function(read, [index], [spec.dtype for spec in specs])
        return tuple(
            tf.ensure_shape(part, spec.shape) for part, spec in zip(parts, specs, strict=True)
        )

    def batches(start: int) -> tf.data.Dataset:
        indices = tf.data.Dataset.range(start, steps)
        return finished(indices.map(element, num_parallel_calls=max(1, data.workers)))

    begun = 0

    def build_epoch(epoch: int, start: int) -> tf.data.Dataset:
        nonlocal begun
        for _ in range(begun, epoch):
            data.on_epoch_end()
        begun = max(begun, epoch)
        return batches(start)

    return EpochDataset(batches(0), build_epoch)


def _reader(
    data: keras.utils.PyDataset, sparse: bool, dtype: str | None
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inputs, targets = _checked_arrays(data[int(index)], False, dtype)
        if sparse and not are_one_hot(targets):
            raise KerasNasError(
                f"Labels must be one-hot in every batch, as in the first. Batch {int(index)} of "
                f"{type(data).__name__} has others"
            )
        return inputs, _targets(targets, sparse)

    return read
