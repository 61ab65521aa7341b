"""Trying a gated network on a few inputs: does what comes out of it tell them apart?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.graph.read import as_functional
from keras_nas.layers import Gate
from keras_nas.surgery.dependence import Masks

logger = logging.getLogger(__name__)

VISIBLE = 1e-6
"""Outputs differ visibly if they do by this share of their size: 8 steps of float32."""
EXAMPLES = 4
"""Random inputs of each kind."""
OPEN_SIZE = 32
"""Stands in for sizes that a model leaves open."""
DRAWS = (
    lambda random, shape: random.normal(size=shape),
    lambda random, shape: random.random(shape),
    lambda random, shape: 255.0 * random.random(shape),
)
"""The kinds of random inputs."""
COMPILED_AFTER = 8
"""Calls after which the network is traced: tracing takes as long as a few dozen eager calls."""


class Probe:
    """A gated network, tried under masks of which it is left free again.

    Used as a context manager: at the end, the gates' variables and modes are as before.

    Args:
        model: The gated functional model.
        gates: Its gates by name; those in mode "off" are to be left out.
        inputs: A batch of inputs to try, as the model takes it. By default random ones: normal
            ones, and uniform ones up to 1 and to 255, each kind for itself; none for inputs that
            are not numbers.
    """

    def __init__(self, model: keras.Model, gates: Mapping[str, Gate], inputs: Any = None):
        self._model = model
        self._gates = gates
        self._random = inputs is None
        self._told_apart = np.min if inputs is None else np.max
        self._batches = _random_batches(model) if inputs is None else [_first(inputs)]
        self._kinds = len(DRAWS) if inputs is None else 1
        self._saved: list[tuple[keras.Variable, np.ndarray]] = []
        self._calls = 0
        self._function: Any = None
        self._counts = np.zeros(0, bool)

    def __enter__(self) -> Probe:
        self._saved = [
            (variable, np.copy(keras.ops.convert_to_numpy(variable)))
            for gate in self._gates.values()
            for variable in gate.variables
        ]
        if self._batches:
            try:
                self._counts = self._levels({}) > 0
            except (ValueError, tf.errors.OpError) as error:
                if not self._random:
                    raise
                logger.info("'%s' cannot be tried on random inputs: %s", self._model.name, error)
        return self

    def __exit__(self, *_):
        for variable, value in self._saved:
            variable.assign(value)

    def level(self, masks: Masks) -> float:
        """How well the outputs tell inputs apart: log(difference / what is just visible).

        The least over all outputs and kinds of inputs that the open network tells apart; infinite
        where there is none. Gates that `masks` lacks are open.
        """
        if not self._counts.any():
            return float("inf")
        return float(self._levels(masks)[self._counts].min())

    def _levels(self, masks: Masks) -> np.ndarray:
        """The level of each output for each kind of inputs."""
        for name, gate in self._gates.items():
            mask = masks.get(name, np.ones(gate.channels, bool))
            if not np.array_equal(mask, gate.mask()):
                gate.assign_mask(mask)
            gate.mode = "hard"
        results = [self._call(batch) for batch in self._batches]
        outputs = [np.concatenate(parts) for parts in zip(*results, strict=True)]
        return np.array([self._level(x) for y in outputs for x in np.split(y, self._kinds)])

    def _level(self, outputs: np.ndarray) -> float:
        rows = outputs.reshape(len(outputs), -1).astype("float64")
        visible = VISIBLE * np.abs(rows).max(initial=0.0)
        pairs = [np.abs(rows[:i] - rows[i]).max(axis=1) for i in range(1, len(rows))]
        apart = self._told_apart(np.concatenate(pairs)) if pairs else 0.0
        return float(np.log(max(apart, 1e-200) / max(visible, 1e-100)))

    def _call(self, batch) -> list[np.ndarray]:
        self._calls += 1
        if self._calls == COMPILED_AFTER:
            function = tf.function(lambda inputs: self._model(inputs, training=False))
            self._function = function.get_concrete_function(batch)
        call = self._function
        outputs = self._model(batch, training=False) if call is None else call(batch)
        return [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(outputs)]


def _first(inputs: Any) -> Any:
    return keras.tree.map_structure(lambda x: x[: 2 * EXAMPLES], inputs)


def _random_batches(model: keras.Model) -> list[Any]:
    """Batches whose rows are, a third each, of the kinds of `DRAWS`; none where an input takes no
    numbers."""
    functional = as_functional(model)
    if functional is None or any(_is_no_number(tensor.dtype) for tensor in functional.inputs):
        return []
    random = np.random.default_rng(0)
    sizes = {tensor.shape[0] for tensor in functional.inputs} - {None}
    rows = 2 * min(sizes) if sizes else EXAMPLES
    tensors = []
    for tensor in functional.inputs:
        shape = [rows, *(OPEN_SIZE if size is None else size for size in tensor.shape[1:])]
        values = [_random_values(str(tensor.dtype), draw, random, shape) for draw in DRAWS]
        tensors.append(tf.concat(values, axis=0))
    count = len(DRAWS) * rows // min(sizes) if sizes else 1
    parts = zip(*(tf.split(tensor, count) for tensor in tensors), strict=True)
    return [keras.tree.pack_sequence_as(functional._inputs_struct, list(part)) for part in parts]


def _is_no_number(dtype: str) -> bool:
    return not str(dtype).startswith(("float", "bfloat", "int", "uint", "bool"))


def _random_values(dtype: str, draw, random, shape) -> tf.Tensor:
    if "float" in dtype:
        return tf.cast(draw(random, shape), dtype)
    return tf.cast(random.integers(0, 256 if dtype == "uint8" else 2, shape), dtype)
