"""Surgery that writes no gather, pad or slice: `align="never"`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

import export.tflite
import keras_nas as kn
from keras_nas.gates.places import ORDERS
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.surgery import rules
from tests.importance.nets import NETS, gated, resnet
from tests.random_models import random_model
from tests.surgery.counted_operations import MOVES, moves
from tests.surgery.rebuilt import close_some, is_rebuilt

TFLITE_MOVES = {"GATHER", "GATHER_ND", "PAD", "PADV2", "SLICE", "STRIDED_SLICE"}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", NETS)
def test_gates_on_branches_are_rebuilt_without_moving_channels(name, order):
    supernet = gated(NETS[name](), order=order)
    close_some(supernet, seed=3)
    assert not moves(is_rebuilt(supernet, "never"))


def test_a_residual_network_by_hand(tmp_path):
    """Both stage's streams hold what any of their writers keeps, and their readers take it all."""
    supernet = gated(resnet())
    masks = {
        "stem_gate": [1, 1, 0, 0, 0, 0], "a2_gate": [0, 1, 0, 1, 0, 0],
        "b2_gate": [1, 0, 0, 0, 0, 0, 0, 1], "short_gate": [0, 0, 0, 0, 1, 0, 0, 1],
    }  # fmt: skip
    for gate in kn.gates.find(supernet):
        gate.set_mask(masks.get(gate.name, np.arange(gate.channels) < 3))
    small = is_rebuilt(supernet, "never")
    kernels = {
        name: small.get_layer(name).kernel.shape[2:]
        for name in ("stem", "a1", "a2", "b1", "b2", "short")
    }
    assert kernels == {
        "stem": (3, 3), "a1": (3, 3), "a2": (3, 3), "b1": (3, 3), "b2": (3, 3), "short": (3, 3),
    }  # fmt: skip
    # Channel 3 of the stem is a row of zeros; a1 need not read it, and does.
    assert not np.any(small.get_layer("stem").kernel[..., 2] * small.get_layer("stem_bn").gamma[2])
    assert moves(is_rebuilt(supernet, "pad"))["Take"] > 0
    found = export.tflite.convert(small, tmp_path / "small.tflite").operators
    assert found["CONV_2D"] == 6
    assert not TFLITE_MOVES & found.keys()


def outside(x, name):
    """A convolution and its gate."""
    return ScaledSigmoidGate(name=f"{name}_gate")(layers.Conv2D(x.shape[-1], 1, name=name)(x))


def built(outputs, inputs, closed):
    """The small network, with channels closed by the gate's name."""
    x = layers.Conv2D(2, 3, padding="same", name="last")(outputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    for gate in kn.gates.find(model):
        gate.set_mask(~np.isin(np.arange(gate.channels), closed.get(gate.name, [])))
    return is_rebuilt(model, "never")


INPUTS = keras.Input((6, 6, 4))


def test_a_padded_shortcut_pads_by_what_its_join_keeps():
    x = outside(INPUTS, "a")
    shortcut = ops.pad(x, [(0, 0), (0, 0), (0, 0), (2, 2)])
    y = ScaledSigmoidGate(name="b_gate")(layers.Conv2D(8, 1, name="b")(x))
    small = built(layers.Add()([y, shortcut]), INPUTS, {"a_gate": [1], "b_gate": [0, 3, 6, 7]})
    assert moves(small) == {"Pad": 1}
    pad = next(n for n in kn.graph.read(small).nodes if type(n.operation).__name__ == "Pad")
    assert tuple(map(tuple, pad.operation.pad_width))[-1] == (1, 0)
    assert small.get_layer("a").kernel.shape[-1] == 3


def test_what_chooses_channels_stays_as_it_is():
    x = outside(INPUTS, "a")
    first, second = ops.split(x, 2, axis=-1)
    small = built(layers.Concatenate()([second, first]), INPUTS, {"a_gate": [1, 2]})
    assert not moves(small)
    assert small.get_layer("a").kernel.shape[-1] == 4
    picked = built(ops.take(outside(INPUTS, "b"), [3, 0], axis=-1), INPUTS, {"b_gate": [1]})
    assert moves(picked) == {"Take": 1}


def test_a_grouped_convolution_reads_equal_groups():
    x = outside(INPUTS, "a")
    y = layers.Conv2D(4, 3, padding="same", groups=2, name="b")(x)
    closed = {"a_gate": [0], "b_gate": [0, 1, 2]}
    small = built(layers.Add()([ScaledSigmoidGate(name="b_gate")(y), x]), INPUTS, closed)
    assert not moves(small)


def test_calls_of_a_shared_layer_read_the_same():
    conv = layers.Conv2D(4, 3, padding="same", name="shared")
    a, b = outside(INPUTS, "a"), outside(INPUTS, "b")
    x = layers.Add()([conv(a), conv(a), conv(b), a])
    assert not moves(built(x, INPUTS, {"a_gate": [0, 1], "b_gate": [1, 2]}))


class Half(layers.Layer):
    """Hands its channels on; its rule will not make those that are constants."""

    def call(self, inputs):
        return inputs * 0.5


def test_what_cannot_be_made_is_refused_by_name(monkeypatch):
    class HalfRule(kn.surgery.SameChannels):
        def constants(self, call):
            return [call.input]

        def produces(self, call, produced, wants):
            return [produced[0] & call.input.live]

    monkeypatch.setattr(rules, "_OWN", {Half: HalfRule()})
    x = Half(name="half")(outside(INPUTS, "a"))
    x = layers.Maximum(name="join")([x, outside(INPUTS, "b")])
    message = r"align='never' is impossible at 'join': .* 'half' does not make"
    with pytest.raises(kn.KerasNasError, match=message):
        built(x, INPUTS, {"a_gate": [0, 1], "b_gate": [1, 2]})


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(ORDERS),
    off=st.sampled_from([0.3, 0.6, 0.9]),
)
def test_random_graphs_are_exact_and_get_no_move_of_channels(seed, order, off):
    model = random_model(seed)
    supernet = gated(model, seed, order=order)
    random = np.random.default_rng(seed)
    for gate in kn.gates.find(supernet):
        mask = random.random(gate.channels) >= off
        gate.set_mask(mask if random.random() > 0.15 else np.zeros_like(mask))
    before, after = moves(model), moves(is_rebuilt(supernet, "never"))
    assert all(after[kind] <= before[kind] for kind in MOVES)
