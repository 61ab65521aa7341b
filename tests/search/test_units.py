"""Channels that open and close together, and the plan that closes them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_nas import gates
from keras_nas.layers import STEGate
from keras_nas.search.units import Units
from tests.training.nets import small_net


def mobile_net():
    """Expansion, depthwise, projection and a shortcut: the first two gates' channels are tied."""
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 1, name="stem_conv")(inputs)
    y = keras.layers.ReLU()(keras.layers.Conv2D(10, 1, name="wide_conv")(x))
    y = keras.layers.ReLU()(keras.layers.DepthwiseConv2D(3, padding="same", name="deep_conv")(y))
    y = keras.layers.Conv2D(4, 1, name="last_conv")(y)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    return gates.insert(
        keras.Model(inputs, keras.layers.Dense(3)(x)), STEGate, order="conv_bn_relu_gate"
    )


def units(min_share=0.0):
    model = mobile_net()
    found = {gate.name: gate for gate in gates.find(model)}
    return Units(model, list(found.values()), min_share), found


def set_gaps(gate, gaps):
    half = np.asarray(gaps, "float32") / 2
    gate.logits.assign(np.stack([half, -half], axis=-1))


def kept(found):
    return {name: np.flatnonzero(gate.mask()).tolist() for name, gate in found.items()}


def test_a_unit_has_the_mean_gap_of_its_channels():
    tied, found = units()
    wide, deep = found["wide_conv_gate"], found["deep_conv_gate"]
    set_gaps(wide, np.linspace(0.1, 1.0, 10))
    set_gaps(deep, np.linspace(0.3, 1.2, 10))
    assert tied.tied
    assert sorted(tied.gaps())[-10:] == pytest.approx(np.linspace(0.2, 1.1, 10))
    tied.assign(tied.gaps())
    np.testing.assert_allclose(wide.scores(), np.linspace(0.2, 1.1, 10), rtol=1e-5)
    np.testing.assert_array_equal(wide.scores(), deep.scores())
    scores = tied.scores()
    total = scores["wide_conv_gate"] + scores["deep_conv_gate"]
    np.testing.assert_allclose(total, np.linspace(0.2, 1.1, 10), rtol=1e-5)


def test_as_many_close_as_the_limit_asks_for_those_nearest_to_closed_first():
    tied, found = units()
    for gate in found.values():
        set_gaps(gate, np.linspace(0.1, 1.0, gate.channels)[::-1])
    tied.close_until(lambda mask: mask.sum(), 24)  # of 28, in steps of two
    assert kept(found) == {
        "stem_conv_gate": [0, 1, 2],
        "wide_conv_gate": list(range(9)),
        "deep_conv_gate": list(range(9)),
        "last_conv_gate": [0, 1, 2],
    }
    gaps = tied.gaps()
    tied.close_until(lambda mask: mask.sum(), 24)
    np.testing.assert_array_equal(tied.gaps(), gaps)  # nothing more was asked for


def test_floors_hold_against_any_limit_and_are_restored():
    tied, found = units(min_share=0.25)
    for gate in found.values():
        set_gaps(gate, np.linspace(0.1, 1.0, gate.channels))
    tied.close_until(lambda mask: mask.sum(), 0)
    least = {
        "stem_conv_gate": [3],
        "wide_conv_gate": [7, 8, 9],
        "deep_conv_gate": [7, 8, 9],
        "last_conv_gate": [3],
    }
    assert kept(found) == least
    set_gaps(found["deep_conv_gate"], np.linspace(-2.0, -1.0, 10))
    assert tied.keep_floor()
    assert kept(found) == least
    assert not tied.keep_floor()
    assert tied.floor_mask().sum() == 8


def test_channels_of_mixed_layers_are_units_of_their_own():
    model = gates.widen(small_net(), kernels=(1,))
    found = gates.find(model)
    apart = Units(model, found, min_share=0.5)
    assert not apart.tied
    assert len(apart.gaps()) == sum(gate.channels for gate in found)
    mixed = [gate for gate in found if gate.mixed_layer is not None]
    assert apart.floor_mask().sum() == sum(gate.channels / 2 for gate in found if gate not in mixed)


def test_the_level_lies_between_the_last_that_has_to_close_and_the_next():
    """Of 14 units, tied or not, with gaps 0 to 13, five stay: the level is between 8 and 9."""
    tied, _ = units()
    tied.assign(np.arange(14.0))
    sizes = np.bincount(np.concatenate([[0, 1, 2, 3] * 2, np.tile(np.arange(10) + 4, 2)]))
    assert tied.gaps().tolist() == list(range(14))

    def cost(mask):
        return float(mask.sum())

    assert tied.level(cost, sizes[9:].sum()) == pytest.approx(8.5)
    assert tied.level(cost, sizes.sum()) is None
    assert tied.level(cost, 0) == pytest.approx(13.0)
    tied.lower(8.5, floor=1.0)
    assert tied.gaps().tolist() == pytest.approx([i - 8.5 for i in range(14)])
    few, _ = units(min_share=0.25)
    few.assign(np.arange(14.0))
    few.lower(20.0, floor=1.0)
    assert (few.gaps() == 1.0).sum() == 1 + 3


def test_units_that_fall_faster_close_before_their_gaps_are_the_lowest():
    """Gaps 0 to 13, those from 9 on at rate 4: of 5 that close, 9 and 10 do at 2.25 and 2.5."""
    tied, _ = units()
    tied.assign(np.arange(14.0))
    rates = np.where(np.arange(14) < 9, 1.0, 4.0)
    level = tied.level(lambda mask: float(mask.sum()), 2 * 9, rates)
    assert level == pytest.approx((2.5 + 2.75) / 2)
    tied.lower(level, floor=1.0, rates=rates)
    gaps = tied.gaps()
    assert gaps.tolist() == pytest.approx((np.arange(14) - level * rates).tolist())
    assert np.flatnonzero(gaps < 0).tolist() == [0, 1, 2, 9, 10]
