"""Gates folded into BatchNormalization: the same network, without passes over its activations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import gates
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.search.fgnas.folded_gates import FoldedGate, fold_gates
from tests.training.nets import arrays, small_net


def gated(gate=STEGate, dtype=None, **options):
    """The small net with gates in mode "soft", every third of them closed, random weights."""
    keras.utils.set_random_seed(0)
    model = gates.insert(small_net(dtype=dtype), gate, **options)
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if "logits" not in variable.path:
            variable.assign(variable + random.normal(0, 0.3, variable.shape))
    for found in gates.find(model):
        found.set_mask(np.arange(found.channels) % 3 > 0)
        found.mode = "soft"
    return model


def step(model, forward, x):
    """Output, gradients by path and moved variables of a training step."""
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        outputs = forward(x, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    by_path = {v.path: np.array(g) for v, g in zip(variables, gradients, strict=True)}
    return np.array(outputs), by_path, arrays(model)


def folded_layers(model):
    return [layer for layer in model.layers if isinstance(layer, FoldedGate)]


X = np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype("float32")


@pytest.mark.parametrize(
    ("gate", "dtype", "tolerance"),
    [(STEGate, None, 1e-4), (STEGate, "mixed_bfloat16", 3e-2), (ScaledSigmoidGate, None, 1e-4)],
)
def test_values_gradients_and_statistics_are_the_models(gate, dtype, tolerance):
    plain, model = gated(gate, dtype), gated(gate, dtype)
    forward = fold_gates(model)
    assert len(folded_layers(forward)) == 3
    expected_outputs, expected_gradients, expected_variables = step(plain, plain, X)
    outputs, gradients, variables = step(model, forward, X)
    if gate is STEGate:
        np.testing.assert_array_equal(outputs, expected_outputs)
    close_to(outputs, expected_outputs, tolerance)
    for path, expected in expected_gradients.items():
        close_to(gradients[path], expected, tolerance)
    moved = {path: value for path, value in variables.items() if "moving" in path}
    assert len(moved) == 6
    for path, value in moved.items():
        close_to(value, expected_variables[path], tolerance)


def close_to(value, expected, tolerance):
    assert np.abs(value - expected).max() <= tolerance * np.abs(expected).max()


def test_no_variables_of_its_own_and_the_gated_model_still_saves(tmp_path):
    model = gated()
    forward = fold_gates(model)
    assert {v.path for v in forward.variables} == {v.path for v in model.variables}
    model.save(tmp_path / "supernet.keras")
    loaded = keras.models.load_model(tmp_path / "supernet.keras")
    np.testing.assert_array_equal(loaded(X), model(X))


def test_mode_may_change_after_folding():
    model = gated()
    forward = fold_gates(model)
    for mode in ("hard", "off", "soft"):
        gates.set_mode(model, mode)
        np.testing.assert_array_equal(forward(X), model(X))


def tail_net():
    """Gates behind activations: before a depthwise convolution, poolings and a Dense layer."""
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(inputs)
    x = STEGate(name="first_gate")(x)
    wide = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="wide")(
        keras.layers.ZeroPadding2D()(x)
    )
    side = keras.layers.Conv2D(12, 1, name="side")(x)
    x = keras.layers.ReLU()(keras.layers.Add()([wide, side]))
    x = STEGate(name="second_gate")(x)
    x = keras.layers.Dropout(0.0)(keras.layers.AveragePooling2D(2)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(x))


def test_gates_behind_activations_are_folded_into_the_layers_that_read_them():
    keras.utils.set_random_seed(0)
    model = tail_net()
    for gate in gates.find(model):
        gate.set_mask(np.arange(gate.channels) % 3 > 0)
        gate.mode = "soft"
    forward = fold_gates(model)
    assert [layer.name for layer in folded_layers(forward)] == [
        "wide_with_first_gate", "side_with_first_gate", "head_with_second_gate",
    ]  # fmt: skip
    expected_outputs, expected_gradients, _ = step(model, model, X)
    outputs, gradients, _ = step(model, forward, X)
    np.testing.assert_array_equal(outputs, expected_outputs)
    for path, expected in expected_gradients.items():
        close_to(gradients[path], expected, 1e-5)
    closed = expected_gradients["first_gate/logits"][::3]
    assert np.abs(closed).min() > 0  # the task still speaks to closed gates


def test_a_closed_gate_before_a_max_pooling_learns_from_the_largest_value():
    inputs = keras.Input((2, 2, 1))
    gate = STEGate()
    x = keras.layers.MaxPooling2D()(gate(keras.layers.ReLU()(inputs)))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, kernel_initializer="ones")(x))
    gate.set_mask([False])
    gate.mode = "soft"
    forward = fold_gates(model)
    x = np.array([1.0, 2.0, 4.0, 3.0], "float32").reshape(1, 2, 2, 1)
    with tf.GradientTape() as tape:
        output = forward(x, training=True)
    gradient = tape.gradient(output, gate.logits.value).numpy()
    p = 1 / (1 + np.exp(0.1))  # a gate closed by hand lies 0.1 below the tie
    assert float(output[0, 0, 0, 0]) == 0
    np.testing.assert_allclose(gradient, [[4 * p * (1 - p), -4 * p * (1 - p)]], rtol=1e-6)


def test_frozen_normalisation_keeps_its_variables():
    model = gated()
    model.get_layer("a_bn").trainable = False
    before = arrays(model)
    outputs = fold_gates(model)(X, training=True)
    after = arrays(model)
    for path in before:
        if path.startswith("a_bn"):
            np.testing.assert_array_equal(after[path], before[path], err_msg=path)
    np.testing.assert_array_equal(outputs, model(X, training=True))


def test_a_gate_that_a_join_reads_stays_as_it_is():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(3, 1, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Add()([STEGate()(x), x]))
    assert fold_gates(model) is model


def test_a_norm_that_others_read_too_or_that_is_called_twice_stays_as_it_is():
    inputs = keras.Input((4, 4, 3))
    norm, twice = keras.layers.BatchNormalization(), keras.layers.BatchNormalization()
    x = norm(inputs)
    y = keras.layers.Add()([STEGate()(x), x])
    z = STEGate()(twice(y)) + STEGate()(twice(x))
    bare = STEGate()(keras.layers.BatchNormalization(scale=False)(z))
    model = keras.Model(inputs, bare)
    assert fold_gates(model) is model


def test_two_replicas_move_the_statistics_as_the_model_does():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    results = []
    for fold in (False, True):
        with strategy.scope():
            model = gated()
            forward = fold_gates(model) if fold else model
        halves = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(X[3 * context.replica_id_in_sync_group :][:3])
        )
        strategy.run(tf.function(lambda x, net=forward: net(x, training=True)), args=(halves,))
        results.append(arrays(model))
    plain, folded = results
    assert any("moving_mean" in path for path in plain)
    for path, value in plain.items():
        np.testing.assert_array_equal(folded[path], value, err_msg=path)
