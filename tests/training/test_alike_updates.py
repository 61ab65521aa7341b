"""Updates that are traced once for each shape are the optimizer's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.optimizers import APGNAG
from keras_nas.training.alike_updates import trace_alike_updates_once

SHAPES = [(3,), (2, 3)] * 17


def cosine_sgd():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    return keras.optimizers.SGD(schedule, 0.9, global_clipnorm=1.0)


def accumulating():
    return keras.optimizers.SGD(0.1, 0.9, gradient_accumulation_steps=2)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "nesterov": lambda: keras.optimizers.SGD(0.1, 0.9, nesterov=True),
    "cosine": cosine_sgd,
    "adam": lambda: keras.optimizers.Adam(0.1),
    "apg": lambda: APGNAG(0.1, gamma=1e-2),
    "accumulating": accumulating,
    "loss_scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, 0.9)),
}


def moved(optimizer, alike):
    """Values after five steps in a graph and one outside it; the nodes of the graph."""
    random = np.random.default_rng(0)
    variables = [keras.Variable(random.normal(size=s).astype("float32")) for s in SHAPES]
    gradients = [random.normal(size=s).astype("float32") for s in SHAPES]
    optimizer.build(variables)
    if alike:
        trace_alike_updates_once(getattr(optimizer, "inner_optimizer", optimizer))

    @tf.function
    def step():
        optimizer.apply([tf.constant(gradient) for gradient in gradients], variables)

    for _ in range(5):
        step()
    optimizer.apply([tf.constant(gradient) for gradient in gradients], variables)
    graph = step.get_concrete_function().graph.as_graph_def()
    nodes = len(graph.node) + sum(len(each.node_def) for each in graph.library.function)
    return [np.asarray(v.value) for v in (*variables, *optimizer.variables)], nodes


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_values_and_slots_are_the_optimizers_own(name):
    expected, _ = moved(OPTIMIZERS[name](), alike=False)
    found, _ = moved(OPTIMIZERS[name](), alike=True)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_graph_is_smaller():
    _, nodes = moved(OPTIMIZERS["adam"](), alike=False)
    _, fewer = moved(OPTIMIZERS["adam"](), alike=True)
    assert fewer < 0.6 * nodes
