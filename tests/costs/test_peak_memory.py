"""The peak of the activation memory: little graphs, sizes in floats, one byte count at the end."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.costs import count


def peak(inputs, outputs):
    """In floats."""
    return count(keras.Model(inputs, outputs)).peak_activation_memory / 4


def test_chain():
    """x 8 ─ 16 ─ 4: the worst is the first layer, 8 + 16."""
    x = keras.Input((8,))
    assert peak(x, layers.Dense(4)(layers.Dense(16)(x))) == 24


def test_tensors_die_after_their_last_reader():
    """x 2 ─ 10 ─ 3 ─ 9 ─ 1: 2+10, 10+3, 3+9, 9+1."""
    x = keras.Input((2,))
    y = x
    for units in (10, 3, 9, 1):
        y = layers.Dense(units)(y)
    assert peak(x, y) == 13


def test_a_shortcut_stays_alive():
    """
    x 4 ─ a 6 ─┬─ b 20 ─ c 6 ─┐
               └──────────────┴─ add 6      at c: a 6 + b 20 + c 6
    """
    x = keras.Input((4,))
    a = layers.Dense(6)(x)
    c = layers.Dense(6)(layers.Dense(20)(a))
    assert peak(x, layers.Add()([a, c])) == 32


def test_an_output_stays_to_the_end():
    """x 4 ─ a 30 (an output) ─ b 2 ─ c 10: at c: 30 + 2 + 10."""
    x = keras.Input((4,))
    a = layers.Dense(30)(x)
    assert peak(x, [a, layers.Dense(10)(layers.Dense(2)(a))]) == 42


def test_elementwise_operations_work_in_place():
    """x 4 ─ 16 ─ bn ─ relu ─ 2: 20 at the first layer, no second 16."""
    x = keras.Input((4,))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Dense(16)(x)))
    assert peak(x, layers.Dense(2)(y)) == 20


def test_but_not_where_another_still_reads():
    """
    x 4 ─ 16 ─┬─ relu 16 ─┐
              └───────────┴─ concat 32      16 + 16 + 32
    """
    x = keras.Input((4,))
    y = layers.Dense(16)(x)
    assert peak(x, layers.Concatenate()([y, layers.ReLU()(y)])) == 64


def test_nor_on_the_models_own_input():
    x = keras.Input((16,))
    assert peak(x, layers.ReLU()(x)) == 32


def test_softmax_needs_room_of_its_own():
    x = keras.Input((2,))
    assert peak(x, layers.Softmax()(layers.Dense(16)(x))) == 32


def test_views_and_gates_take_no_room():
    """x 2·8 ─ conv 2·6 ─ gate ─ flatten 12 ─ dropout ─ 1: 16 + 12."""
    x = keras.Input((2, 8))
    y = kn.layers.ScaledSigmoidGate()(layers.Conv1D(6, 1)(x))
    y = layers.Dropout(0.5)(layers.Flatten()(y))
    assert peak(x, layers.Dense(1)(y)) == 28


def test_a_view_keeps_its_source_alive():
    """
    x 2 ─ a 12 ─ reshape 3·4 ─────────────┐
          └───── b 1 ─ c 20 ─ d 12 ─ r ───┴─ add    at d: 12 + 20 + 12
    """
    x = keras.Input((2,))
    a = layers.Dense(12)(x)
    view = layers.Reshape((3, 4))(a)
    d = layers.Dense(12)(layers.Dense(20)(layers.Dense(1)(a)))
    assert peak(x, layers.Add()([view, layers.Reshape((3, 4))(d)])) == 44


def test_outputs_that_nobody_reads_die_at_once():
    """x 12 split into 4, 4 and 4, the last two unread: 12 + 12, then 4 + 20."""
    x = keras.Input((12,))
    first, _, _ = ops.split(x, 3, axis=-1)
    assert peak(x, layers.Dense(20)(first)) == 24


@pytest.mark.parametrize("seed", range(4))
def test_equals_a_plain_simulation_of_random_graphs(seed):
    """Allocates and frees tensor by tensor, for layers that neither alias nor work in place."""
    random = np.random.default_rng(seed)
    tensors = [keras.Input((int(random.integers(1, 9)),))]
    reads = []
    for _ in range(12):
        chosen = [int(i) for i in random.choice(len(tensors), min(len(tensors), 2), replace=False)]
        joined = [tensors[index] for index in chosen]
        merged = layers.Concatenate()(joined) if len(joined) > 1 else joined[0]
        if len(joined) > 1:
            reads.append(chosen)
            tensors.append(merged)
            chosen = [len(tensors) - 1]
        reads.append(chosen)
        tensors.append(layers.Dense(int(random.integers(1, 30)))(merged))
    read_by_nobody = set(range(len(tensors))) - {index for chosen in reads for index in chosen}
    outputs = sorted(read_by_nobody)
    model = keras.Model(tensors[0], [tensors[index] for index in outputs])
    assert count(model).peak_activation_memory == 4 * max(
        peak_of(order, [tensor.shape[-1] for tensor in tensors], reads, outputs)
        for order in [run_order(model, tensors)]
    )


def run_order(model, tensors):
    """The places in `tensors` of what the model's graph writes, in graph order."""
    names = [tensor._keras_history.operation.name for tensor in tensors]
    return [names.index(node.operation_name) for node in kn.graph.read(model).nodes]


def peak_of(order, sizes, reads, outputs):
    sources = {index + 1: chosen for index, chosen in enumerate(reads)}
    alive, worst = {0}, sizes[0]
    for step, index in enumerate(order):
        alive.add(index)
        worst = max(worst, sum(sizes[place] for place in alive))
        needed = {source for later in order[step + 1 :] for source in sources[later]}
        alive = {place for place in alive if place in needed or place in outputs}
    return worst
