"""Statistics by hand, against training's, under strategies and policies, and after surgery."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.statistics import reestimate
from tests.random_models import randomize
from tests.training.nets import arrays, small_net


def statistics(model, name="bn"):
    layer = model.get_layer(name)
    return layer.moving_mean.numpy(), layer.moving_variance.numpy()


def one_norm(**options):
    inputs = keras.Input((2, 1))
    return keras.Model(inputs, layers.BatchNormalization(name="bn", **options)(inputs))


# Means 2 and 10, variances (1 + 1) / 2 = 1 and (4 + 4 + 0 + 0) / 4 = 2; one and two examples.
BATCHES = [np.float32([[[1], [3]]]), np.float32([[[8], [12]], [[10], [10]]])]


def test_each_batch_is_weighed_by_its_examples():
    model = one_norm()
    assert reestimate(model, BATCHES) == ["bn"]
    mean, variance = statistics(model)
    np.testing.assert_allclose(mean, [(2 + 2 * 10) / 3], rtol=1e-6)
    np.testing.assert_allclose(variance, [(1 + 2 * 2) / 3], rtol=1e-6)


def test_after_a_training_only_what_lags_is_estimated():
    """0.9^100 is 3e-5 of what was there, 0.99^100 a third; 0.99^460 is a hundredth."""
    inputs = keras.Input((2, 1))
    x = layers.BatchNormalization(momentum=0.9, name="quick")(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(momentum=0.99, name="slow")(x))
    assert reestimate(model, BATCHES, lagging_after=100) == ["slow"]
    np.testing.assert_array_equal(np.ravel(statistics(model, "quick")), [0, 1])
    assert reestimate(model, BATCHES, lagging_after=459) == []
    assert reestimate(model, BATCHES, lagging_after=1) == ["quick", "slow"]


def test_only_the_first_batches_and_targets_are_passed_over():
    model = one_norm(momentum=0.0)
    reestimate(model, [(batch, None) for batch in BATCHES], batches=1)
    np.testing.assert_allclose(np.ravel(statistics(model)), [2, 1], rtol=1e-6)


def test_the_second_layer_sees_the_first_by_its_batch():
    """x = ±a in batch a: normalised to ±1 each, whatever moving statistics say, then doubled."""
    inputs = keras.Input((2, 1))
    x = layers.BatchNormalization(name="first", epsilon=0.0)(inputs)
    x = layers.Dropout(0.9)(layers.Rescaling(2.0)(x))
    model = keras.Model(inputs, layers.BatchNormalization(name="bn")(x))
    model.get_layer("first").moving_mean.assign([100.0])
    data = [np.float32([[[a], [-a]]]) for a in (1.0, 5.0)]
    assert reestimate(model, data) == ["first", "bn"]
    np.testing.assert_allclose(np.ravel(statistics(model, "first")), [0, (1 + 25) / 2], atol=1e-6)
    np.testing.assert_allclose(np.ravel(statistics(model)), [0, 4], rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_called_twice_has_the_mean_of_its_calls():
    inputs = keras.Input((2, 1))
    norm = layers.BatchNormalization(name="bn")
    model = keras.Model(inputs, layers.Add()([norm(inputs), norm(inputs * 3)]))
    reestimate(model, BATCHES[:1])
    np.testing.assert_allclose(np.ravel(statistics(model)), [(2 + 6) / 2, (1 + 9) / 2], rtol=1e-6)


def test_nested_models_may_have_layers_of_one_name():
    """The outer layer sees what the inner one has normalised: ±1, and adds 5 before."""
    inputs = keras.Input((2, 1))
    inner = one_norm(epsilon=0.0)
    norm = layers.BatchNormalization(name="bn")
    model = keras.Model(inputs, norm(layers.Rescaling(1.0, offset=5.0)(inner(inputs))))
    assert len(reestimate(model, BATCHES[:1])) == 2
    np.testing.assert_allclose(np.ravel(statistics(inner)), [2, 1], rtol=1e-6)
    np.testing.assert_allclose(
        np.ravel([norm.moving_mean, norm.moving_variance]), [5, 1], rtol=1e-5
    )


def test_weights_and_what_does_not_learn_stay():
    inputs = keras.Input((8, 8, 2))
    x = inputs
    for name in ("learns", "frozen", "off", "held", "renormalises"):
        options = {"held": {"momentum": 1.0}, "renormalises": {"renorm": True}}.get(name, {})
        norm = layers.BatchNormalization(name=name, trainable=name != "frozen", **options)
        x = norm(x, training=False) if name == "off" else norm(layers.Conv2D(3, 1)(x))
    model = keras.Model(inputs, x)
    randomize(model)
    before = arrays(model)
    data = [np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype("float32")]
    assert reestimate(model, data) == ["learns"]
    changed = {
        path for path, value in arrays(model).items() if not np.array_equal(value, before[path])
    }
    assert changed == {"learns/moving_mean", "learns/moving_variance"}


def test_it_is_where_training_ends_when_nothing_moves_any_more():
    model = small_net()
    randomize(model)
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 2)).astype("float32")
    reestimate(model, [images])
    found = arrays(model)
    for _ in range(80):
        model(images, training=True)
    for path, value in arrays(model).items():
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-5)


def test_masked_steps_do_not_count():
    inputs = keras.Input((3, 1))
    x = layers.Masking(0.0)(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(name="bn")(x))
    reestimate(model, [np.float32([[[1], [3], [0]]])])
    np.testing.assert_allclose(np.ravel(statistics(model)), [2, 1], rtol=1e-6)


def test_half_precision_is_averaged_in_full():
    keras.config.set_dtype_policy("mixed_float16")
    model = one_norm()
    # 1000² is beyond float16; the moments are taken in float32.
    reestimate(model, [np.float32([[[1000], [3000]]]), np.float32([[[2000], [2002]]])])
    mean, variance = statistics(model)
    assert mean.dtype == variance.dtype == np.float32
    np.testing.assert_allclose([mean[0], variance[0]], [2000.5, (1e6 + 1) / 2], rtol=1e-5)


def test_under_a_strategy_every_replica_gets_the_same(mirrored):
    plain = small_net()
    randomize(plain)
    with mirrored.scope():
        model = small_net()
    model.set_weights(plain.get_weights())
    data = list(tf.data.Dataset.from_tensor_slices(tf.random.normal((20, 8, 8, 2))).batch(8))
    reestimate(plain, data)
    reestimate(model, data)
    for one, other in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    for copy in model.get_layer("a_bn").moving_mean.value.values:
        np.testing.assert_array_equal(copy, model.get_layer("a_bn").moving_mean)


def test_after_surgery_the_network_remembers_what_it_now_sees():
    supernet = kn.gates.insert(small_net(), ScaledSigmoidGate)
    randomize(supernet)
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.arange(gate.channels) % 2 == 0)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype("float32")
    assert reestimate(small, [images]) == reestimate(supernet, [images]) == ["a_bn", "b_bn", "c_bn"]
    # Every layer's input has the moments of its statistics now: inference equals training.
    np.testing.assert_allclose(small(images), small(images, training=True), rtol=1e-4, atol=1e-4)
    again = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    np.testing.assert_allclose(small(images), again(images), rtol=1e-4, atol=1e-4)


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization(name="inner")

    def call(self, inputs):
        return self.norm(inputs)


def test_layers_that_the_graph_does_not_show_are_named(caplog):
    inputs = keras.Input((2, 1))
    model = keras.Model(inputs, Block(name="block")(inputs))
    with caplog.at_level(logging.WARNING):
        assert reestimate(model, BATCHES) == []
    assert "does not show: inner" in caplog.text


def test_no_batch_is_refused():
    with pytest.raises(kn.KerasNasError, match="`data` must have a batch or more"):
        reestimate(one_norm(), [])
