"""A user's own rule decides in surgery, in predicted costs and in the regularizer alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.costs import Counts, for_layers
from keras_nas.errors import UsageError
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


@pytest.mark.parametrize("zeros", [False, True], ids=["constants", "zeros"])
def test_a_layer_with_a_rule_loses_its_channels(zeros):
    inputs = keras.Input((5, 5, 3))
    outputs = head(Shift(name="shift")(gated(inputs, zeros)))
    small = exactly_rebuilt(inputs, outputs, random_images())
    assert small.get_layer("shift").offset.shape == (3,)


@pytest.mark.parametrize("zeros", [False, True], ids=["constants", "zeros"])
def test_a_rule_that_says_nothing_keeps_all_and_is_counted_so(zeros):
    inputs = keras.Input((5, 5, 3))
    outputs = head(WholeShift(name="shift")(gated(inputs, zeros)))
    small = exactly_rebuilt(inputs, outputs, random_images())
    assert small.get_layer("shift").offset.shape == (6,)


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
