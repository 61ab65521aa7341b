"""A user's own rule says what may become of a gate's factors."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledEdge
from keras_nas.surgery import SameChannels, register_rule
from keras_nas.surgery.channels import Channels


@keras.saving.register_keras_serializable(package="test_attach")
class Factor(layers.Layer):
    """A learned factor for each channel."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="random_normal")

    def call(self, inputs):
        return inputs * self.factor


@keras.saving.register_keras_serializable(package="test_attach")
class Halve(layers.Layer):
    """Half of its input."""

    def call(self, inputs):
        return inputs / 2


@kn.costs.for_layers(Factor, Halve)
def no_costs(call):
    return kn.costs.Counts()


@register_rule(Factor)
class FactorRule(SameChannels):
    """Holds a gate's factors in its own."""

    stateful = True

    def takes_factors(self, call, binary):
        return True

    def factors(self, call):
        own = np.asarray(call.layer.factor, "float64")
        return own if call.factor is None else own * call.factor

    def constants(self, call):
        return [Channels(call.input.axis, call.input.constants * self.factors(call))]

    def build(self, call, builder):
        weights = [self.factors(call)[call.wants[0]]]
        return builder.apply(call, [builder.fetch(call, 0)], weights=weights)


@register_rule(Halve)
class HalveRule(SameChannels):
    """Lets a gate's factors act before it."""

    def commutes(self, call, binary):
        return True

    def constants(self, call):
        return [Channels(call.input.axis, call.input.constants / 2)]


def with_edge(layer):
    """A convolution, the layer, and an edge of 1/4 that a tanh keeps apart from what follows."""
    inputs = keras.Input((5, 5, 3))
    x = layer(layers.Conv2D(4, 3, name="a")(inputs))
    x = layers.Activation("tanh")(ScaledEdge(name="edge", mode="hard")(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    model.get_layer("edge").scale.assign([0.25])
    small = kn.surgery.build(model, kn.Architecture.from_gates(model), strict=True)
    images = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype("float32")
    np.testing.assert_allclose(small(images), model(images), atol=1e-6)
    assert not any(isinstance(layer, layers.Rescaling) for layer in small.layers)
    return model, small


def test_a_rule_may_take_a_gates_factors():
    model, small = with_edge(Factor(name="factor"))
    before, after = (net.get_layer("factor").factor for net in (model, small))
    np.testing.assert_allclose(after, 0.25 * np.asarray(before), rtol=1e-6)


def test_a_rule_may_let_a_gates_factors_act_before_it():
    model, small = with_edge(Halve(name="halve"))
    before, after = (net.get_layer("a").kernel for net in (model, small))
    np.testing.assert_allclose(after, 0.25 * np.asarray(before), rtol=1e-6)
