"""A user's own rule decides in surgery, in predicted costs and in the regularizer alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.costs import Counts, LayerCosts, for_layers
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledEdge
from keras_nas.surgery import Rule, SameChannels, register_rule
from keras_nas.surgery.channels import Channels
from tests.surgery.exact import exactly_rebuilt, gated


@keras.saving.register_keras_serializable(package="test_register_rule")
class Shift(layers.Layer):
    """Adds a learned number to each channel."""

    def build(self, input_shape):
        self.offset = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs + self.offset


class WholeShift(Shift):
    """As its parent, under a rule that says nothing."""


@keras.saving.register_keras_serializable(package="test_register_rule")
class Composite(layers.Layer):
    """A composite layer, which surgery would open."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.ReLU(name="inner")

    def call(self, inputs):
        return self.inner(inputs)


class Weighted(Shift):
    """As its parent, but no formula counts it: its rule says what it costs."""


class Mixed(layers.Layer):
    """A 1x1 convolution without a formula, under a rule that says what it costs."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 4), initializer="ones")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.kernel)


for_layers(Shift, WholeShift)(lambda call: Counts(params=call.channels_out))


@register_rule(Shift)
class ShiftRule(SameChannels):
    stateful = True

    def constants(self, call):
        offset = np.asarray(call.layer.offset, "float64")
        return [Channels(call.input.axis, call.input.constants + offset)]

    def build(self, call, builder):
        weights = [np.asarray(call.layer.offset)[call.wants[0]]]
        return builder.apply(call, [builder.fetch(call, 0)], weights=weights)


@register_rule(Weighted)
class WeightedRule(ShiftRule):
    def costs(self, call, input_shapes, output_shapes):
        return LayerCosts(params=output_shapes[0][-1])


@register_rule(Mixed)
class MixedRule(Rule):
    """Reads the live channels, and makes those asked for."""

    stateful = reads_all_inputs = True

    def wants(self, call, produced):
        return [np.full(call.input.count, produced[0].any())]

    def produces(self, call, produced, wants):
        return produced

    def costs(self, call, input_shapes, output_shapes):
        read, written = input_shapes[0][-1], output_shapes[0][-1]
        return LayerCosts(macs=25 * read * written, params=read * written)

    def build(self, call, builder):
        kernel = np.asarray(call.layer.kernel)[call.wants[0]][:, call.produces[0]]
        return builder.apply(call, [builder.fetch(call, 0)], weights=[kernel])


@register_rule(WholeShift)
class WholeRule(Rule):
    """Only the default: all channels are read and made."""


@register_rule(Composite)
class CompositeRule(Rule):
    """Keeps the layer shut, and whole."""


def head(x):
    """A convolution without padding, into whose bias constants go."""
    x = layers.Conv2D(2, 3, name="b")(x)
    return layers.Dense(2, name="out")(layers.Flatten()(x))


def random_images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype("float32")


@pytest.mark.parametrize(("layer", "kept"), [(Shift, 3), (WholeShift, 6)], ids=["rule", "silent"])
@pytest.mark.parametrize("zeros", [False, True], ids=["constants", "zeros"])
def test_a_layer_with_a_rule_loses_its_channels_and_keeps_all_if_it_says_nothing(
    zeros, layer, kept
):
    inputs = keras.Input((5, 5, 3))
    outputs = head(layer(name="shift")(gated(inputs, zeros)))
    small = exactly_rebuilt(inputs, outputs, random_images())
    assert small.get_layer("shift").offset.shape == (kept,)


def test_what_a_rule_says_of_costs_is_what_the_regularizer_counts():
    inputs = keras.Input((5, 5, 3))
    outputs = head(Weighted(name="shift")(gated(inputs, zeros=True)))
    small = exactly_rebuilt(inputs, outputs, random_images(), resources=["params"])
    assert small.get_layer("shift").offset.shape == (3,)


def test_costs_of_a_rule_whose_layer_reads_all_its_inputs():
    inputs = keras.Input((5, 5, 3))
    x = Mixed(name="mixed")(layers.Conv2D(5, 1, name="before")(inputs))
    gate = kn.layers.STEGate(name="gate")
    supernet = keras.Model(inputs, head(gate(x)))
    gate.set_mask([1, 0, 0, 1])
    architecture = kn.Architecture.from_gates(supernet)
    for what in ("macs", "params"):
        predicted = kn.surgery.predict_costs(supernet, architecture, align="pad")
        resource = kn.regularizers.Resource(supernet, what)
        assert float(resource()) == getattr(predicted, what) < resource.full()


def test_a_composite_with_a_rule_is_not_opened():
    inputs = keras.Input((5, 5, 3))
    outputs = head(Composite(name="composite")(gated(inputs)))
    small = exactly_rebuilt(inputs, outputs, random_images())
    assert isinstance(small.get_layer("composite"), Composite)


def test_what_depends_on_the_input_goes_by_the_rule():
    inputs = keras.Input((5, 5, 3))
    supernet = keras.Model(inputs, head(Shift(name="shift")(gated(inputs))))
    gate = kn.gates.find(supernet)[0]
    gate.set_mask([0] * 6)
    assert kn.surgery.rescue(supernet) == ["gate"]
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    kept = int(gate.mask().sum())
    assert small.get_layer("shift").offset.shape == (kept,)
    assert 1 <= kept < 6


@pytest.mark.parametrize(
    ("layer_type", "rule", "message"),
    [
        (layers.Dense, ShiftRule, "a class of your own. Received: Dense"),
        ("Shift", ShiftRule, "must be a class of Keras layers. Received: 'Shift'"),
        (Shift, Shift, "derived from kn.surgery.Rule"),
    ],
    ids=["keras", "name", "no_rule"],
)
def test_what_is_no_layer_or_no_rule_is_refused(layer_type, rule, message):
    with pytest.raises(UsageError, match=message):
        register_rule(layer_type)(rule)


@keras.saving.register_keras_serializable(package="test_register_rule")
class Factor(layers.Layer):
    """A learned factor for each channel."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="random_normal")

    def call(self, inputs):
        return inputs * self.factor


@keras.saving.register_keras_serializable(package="test_register_rule")
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
