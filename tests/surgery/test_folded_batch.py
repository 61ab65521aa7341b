"""Space folded into the batch, and a batch on another axis: built exactly, and counted a sample."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.graph.sample_shapes import sample_shape
from tests.surgery.exact import exactly_rebuilt, gated, head

X = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32")


def into_windows(x):
    """(B, 6, 6, C) to four windows a sample, (4 B, 9, C)."""
    x = ops.transpose(ops.reshape(x, (-1, 2, 3, 2, 3, 6)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, 9, 6))


def out_of_windows(x):
    x = ops.transpose(ops.reshape(x, (-1, 2, 2, 3, 3, 6)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, 6, 6, 6))


def convolved(x):
    return layers.Conv1D(6, 3, padding="same", activation="relu")(layers.Dense(6)(x))


def attended(x):
    y = layers.LayerNormalization()(x)
    return x + layers.MultiHeadAttention(2, 3)(y, y)


def rows_as_samples(x):
    """(B, 6, 6, C) to every row a sample of its own, (6 B, 6, C)."""
    y = convolved(ops.reshape(x, (-1, 6, 6)))
    return ops.reshape(y, (-1, 6, 6, 6))


def batch_on_the_second_axis(x):
    x = ops.transpose(ops.reshape(x, (-1, 36, 6)), (1, 0, 2))
    x = layers.Dense(6, activation="relu")(x)
    return ops.reshape(ops.transpose(layers.Conv1D(6, 1)(x), (1, 0, 2)), (-1, 6, 6, 6))


FOLDS = {
    "windows": lambda x: out_of_windows(convolved(into_windows(x))),
    "attention in windows": lambda x: out_of_windows(attended(into_windows(x))),
    "windows and a shortcut": lambda x: out_of_windows(
        layers.Add()([into_windows(x), convolved(into_windows(x))])
    ),
    "rows": rows_as_samples,
    "batch on the second axis": batch_on_the_second_axis,
    "time distributed": lambda x: layers.TimeDistributed(layers.Conv1D(6, 3, padding="same"))(x),
}


@pytest.mark.parametrize("name", FOLDS)
def test_built_exactly_and_counted_a_sample(name):
    inputs = keras.Input((6, 6, 3))
    exactly_rebuilt(inputs, head(FOLDS[name](gated(inputs))), X)


def test_macs_of_windows_worked_by_hand():
    """Four windows of 9 positions: the Dense layer does 36 · 6 · 6 a sample, not 9 · 6 · 6."""
    inputs = keras.Input((6, 6, 6))
    model = keras.Model(inputs, layers.Dense(6, name="d")(into_windows(inputs)))
    assert kn.costs.count(model).macs == 36 * 36
    graph = kn.graph.read(model)
    assert sample_shape(graph.outputs[0]) == (4, 9, 6)
    assert sample_shape(graph.outputs[0], samples=2) == (8, 9, 6)
    assert kn.surgery.predict_costs(model, None).macs == 36 * 36


@pytest.mark.parametrize("fold", ["windows", "batch on the second axis"])
def test_constant_rows_are_as_many_as_the_original_has(fold):
    """Everything before is closed, and a padded convolution reads constants where they are."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 1, name="a")(inputs)
    gate = kn.layers.ScaledSigmoidGate()
    y = gate(x)
    gate.set_mask([0] * 6)
    y = FOLDS[fold](layers.BatchNormalization()(y))
    exactly_rebuilt(inputs, head(layers.Concatenate()([y, inputs])), X)


def test_wrapped_layers_count_once():
    """A 3×3 convolution of 3 to 5 channels on 4×4 positions, and the vector of the power method."""
    inputs = keras.Input((6, 6, 3))
    wrapped = layers.SpectralNormalization(layers.Conv2D(5, 3))
    costs = kn.costs.count(keras.Model(inputs, wrapped(inputs)))
    assert (costs.macs, costs.params, costs.state) == (16 * 27 * 5, 28 * 5, 5)
    assert costs.uncounted == ()

    lstm = layers.Bidirectional(layers.LSTM(4))
    costs = kn.costs.count(keras.Model(inputs, lstm(layers.Reshape((36, 3))(inputs))))
    assert costs.params == 2 * 4 * 4 * (3 + 4 + 1)
    assert costs.uncounted

    rows = layers.TimeDistributed(layers.Conv1D(5, 3, padding="same"))
    costs = kn.costs.count(keras.Model(inputs, rows(inputs)))
    assert (costs.macs, costs.params) == (36 * 9 * 5, 10 * 5)
