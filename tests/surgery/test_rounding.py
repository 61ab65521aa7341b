"""Widths as multiples: of each gate, and of what is left where gates' channels meet."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.surgery.rounding import rounded_mask
from tests.importance.nets import gated, resnet
from tests.surgery.counted_operations import moves
from tests.surgery.rebuilt import is_rebuilt


@pytest.mark.parametrize(
    ("kept", "round_to", "expected"),
    [
        (3, 1, 3),
        (3, 2, 4),
        (3, 4, 4),
        (1, 4, 4),
        (5, 4, 4),
        (6, 4, 8),
        (7, 3, 6),
        (0, 4, 0),
        (8, 3, 8),
    ],
)
def test_rounded_width(kept, round_to, expected):
    gate = ScaledSigmoidGate()
    gate.build((None, 8))
    gate.logits.assign([1.0] * kept + [-1.0] * (8 - kept))
    assert rounded_mask(gate, round_to, gate.mask()).sum() == expected


def test_rounding_follows_the_gates_own_order():
    gate = ScaledSigmoidGate()
    gate.build((None, 5))
    gate.logits.assign([3.0, 1.0, -1.0, 2.0, -2.0])
    assert rounded_mask(gate, 2, gate.mask()).tolist() == [True, True, True, True, False]
    gate.logits.assign([3.0, 1.0, -1.0, 2.0, 0.5])
    assert rounded_mask(gate, 3, gate.mask()).tolist() == [True, True, False, True, False]


def close(supernet, masks):
    """Closes the gates named, by scores of 1 and −1; the others keep four of their channels."""
    for gate in kn.gates.find(supernet):
        mask = np.array(masks.get(gate.name, np.arange(gate.channels) < 4), bool)
        gate.set_mask(mask)
        gate.assign_scores(np.where(mask, 1.0, -1.0))


def rounded(supernet, round_to, **options):
    """What is kept, as strings of 0 and 1 by gate, after the gates are set to it."""
    architecture = kn.Architecture.from_gates(supernet, round_to=round_to, **options)
    kn.gates.apply(supernet, architecture)
    return {
        gate.name.removesuffix("_gate"): "".join(map(str, gate.mask().astype(int)))
        for gate in kn.gates.find(supernet)
    }


RESNET = {
    "stem_gate": [1, 1, 1, 0, 0, 0], "a2_gate": [0, 1, 0, 1, 0, 1],
    "b2_gate": [1, 0, 0, 0, 0, 0, 0, 1], "short_gate": [0, 0, 0, 0, 1, 0, 0, 1],
}  # fmt: skip


def test_what_meets_at_a_join_is_rounded_together():
    """The streams would hold 5 channels of 6 and 3 of 8."""
    supernet = gated(resnet())
    close(supernet, RESNET)
    supernet.get_layer("b2_gate").assign_scores([1, -1, -1, -0.5, -1, -1, -1, 1])
    assert rounded(supernet, 4) == {
        "stem": "111111", "a1": "11110", "a2": "111111",
        "b1": "1111000", "b2": "10011001", "short": "10011001",
    }  # fmt: skip
    small = is_rebuilt(supernet, "auto")
    assert small.get_layer("b_add").output.shape[-1] == 4
    assert not moves(small)


def test_gate_by_gate_the_streams_are_as_wide_as_they_come():
    supernet = gated(resnet())
    close(supernet, RESNET)
    found = rounded(supernet, 2, round_streams=False)
    assert [mask.count("1") for mask in found.values()] == [4, 4, 4, 4, 2, 2]
    small = is_rebuilt(supernet, "extend")
    assert small.get_layer("b_add").output.shape[-1] == 3


def test_a_branch_that_is_gone_stays_gone():
    supernet = gated(resnet())
    close(supernet, {**RESNET, "a2_gate": [0] * 6})
    found = rounded(supernet, 2)
    assert (found["stem"], found["a2"]) == ("111100", "000000")


def test_where_channels_pass_both_of_two_gates_those_of_both_count():
    """Of 0 to 5 and 2 to 7 four channels are left, which is a multiple."""
    inputs = keras.Input((6, 6, 3))
    x = ScaledSigmoidGate(name="a_gate")(layers.Conv2D(8, 1, name="a")(inputs))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="b")(x)
    x = ScaledSigmoidGate(name="b_gate")(x)
    supernet = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))
    close(supernet, {"a_gate": np.arange(8) < 6, "b_gate": np.arange(8) >= 2})
    assert rounded(supernet, 4) == {"a": "11111100", "b": "00111111"}
    assert is_rebuilt(supernet).get_layer("b").output.shape[-1] == 4
    assert rounded(supernet, 3) == {"a": "11111100", "b": "11111111"}


def test_operations_of_mixed_layers_are_rounded_gate_by_gate():
    supernet = kn.gates.widen(resnet(), kernels=(5,))
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.arange(gate.channels) < 3)
    masks = kn.surgery.Rounding(supernet, 2).masks()
    assert {int(mask.sum()) for mask in masks.values()} == {4}
    assert all(isinstance(gate, STEGate) for gate in kn.gates.find(supernet))


def test_grouped_convolutions_are_rounded_gate_by_gate():
    inputs = keras.Input((6, 6, 3))
    x = ScaledSigmoidGate(name="a_gate")(layers.Conv2D(8, 1, name="a")(inputs))
    x = ScaledSigmoidGate(name="b_gate")(layers.Conv2D(8, 3, groups=2, name="b")(x))
    supernet = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))
    close(supernet, {"a_gate": [1, 0, 1, 0, 1, 0, 1, 0], "b_gate": [1, 1, 0, 0, 1, 0, 0, 0]})
    assert rounded(supernet, 2) == {"a": "10101010", "b": "11101000"}


def test_a_multiple_below_one_is_refused():
    with pytest.raises(kn.errors.UsageError, match="`round_to` must be 1 or more"):
        kn.surgery.Rounding(gated(resnet()), 0)
