"""Joins under `align="auto"`: extended, gathered or taken whole, by what each costs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import keras_nas as kn
from keras_nas.costs import AlignPrices
from keras_nas.gates.places import ORDERS
from keras_nas.layers import ScaledSigmoidGate
from tests.importance.nets import gated
from tests.random_models import random_model, randomize
from tests.surgery.counted_operations import moves
from tests.surgery.rebuilt import close_some, is_rebuilt

FREE_MOVES = AlignPrices(gather=0, pad=0, slice=0, partition=0, tile=1)
DEAR_MOVES = AlignPrices(gather=1e6, pad=1e6, slice=1e6, partition=1e9)


def gate(x, name, mask):
    made = ScaledSigmoidGate(name=f"{name}_gate")
    x = made(x)
    made.set_mask(mask)
    return x


def residual(between=None, mask=(1, 0, 1, 0), size: int | None = 8) -> keras.Model:
    """x of a 3×3 convolution keeps 0 and 2, what is added to it 1 and 2."""
    inputs = keras.Input((size, size, 3))
    x = gate(layers.Conv2D(4, 3, padding="same", use_bias=False, name="a")(inputs), "a", mask)
    y = x if between is None else between(x)
    y = layers.Conv2D(4, 3, padding="same", use_bias=False, name="b")(y)
    x = layers.Add(name="join")([x, gate(y, "b", [0, 1, 1, 0])])
    x = layers.Conv2D(2, 3, padding="same", name="last")(x)
    return keras.Model(inputs, x if size is None else layers.Dense(2)(layers.Flatten()(x)))


def test_the_reader_takes_the_join_whole():
    """A gather of 2 channels: 128 · 4.2 + 240 = 778 ns; one more column: 64 · 9 · 8 · 0.075 = 346.

    The rows of zeros are free: 2 outputs and 3 take the time of 8.
    """
    small = is_rebuilt(residual())
    assert not moves(small)
    assert small.get_layer("a").kernel.shape == (3, 3, 3, 3)
    assert small.get_layer("b").kernel.shape == (3, 3, 3, 3)


def test_the_reader_gathers_where_that_is_cheaper():
    """With 0.17 ns a multiply-add the column is 64 · 9 · 8 · 0.17 = 783 ns, above 778."""
    small = is_rebuilt(residual(), prices=AlignPrices(conv=0.17))
    assert moves(small) == {"Take": 1}
    assert small.get_layer("b").kernel.shape == (3, 3, 2, 3)
    small = is_rebuilt(residual(), prices=AlignPrices(conv=0.168))
    assert not moves(small)


def test_operands_are_padded_where_moves_are_free():
    small = is_rebuilt(residual(), prices=FREE_MOVES)
    assert moves(small) == moves(is_rebuilt(residual(), "pad"))
    assert small.get_layer("a").kernel.shape[-1] == small.get_layer("b").kernel.shape[-1] == 2


def test_a_slice_is_weighed_as_a_slice():
    """Channels 0 and 1 of (0, 1, 2): 64 ns, where a column of zeros is 346, and a pad 96.

    At 3 ns an element a slice is 384 ns and a pad 576: the column is left.
    """
    small = is_rebuilt(residual(mask=(1, 1, 0, 0)))
    assert moves(small) == {"GetItem": 1}
    small = is_rebuilt(residual(mask=(1, 1, 0, 0)), prices=AlignPrices(slice=3.0))
    assert moves(small) == {"Pad": 1}
    small = is_rebuilt(residual(mask=(1, 1, 0, 0)), prices=AlignPrices(slice=3.0, pad=3.0))
    assert not moves(small)


@pytest.mark.parametrize(
    "between",
    [layers.ReLU(), layers.MaxPooling2D(3, 1, "same"), layers.DepthwiseConv2D(3, 1, "same")],
)
def test_what_works_on_each_channel_alone_hands_the_join_on(between):
    copy = (
        type(between).from_config({**between.get_config(), "use_bias": False})
        if hasattr(between, "use_bias")
        else between
    )
    small = is_rebuilt(residual(copy))
    assert not moves(small)
    assert small.get_layer("b").kernel.shape[2] == 3


def joined(build, masks, prices):
    """What surgery writes where `build` of gated 3×3 convolutions of the input meets another."""
    inputs = keras.Input((8, 8, 3))
    parts = [
        gate(layers.Conv2D(len(m), 3, padding="same", use_bias=False)(inputs), f"g{n}", m)
        for n, m in enumerate(masks)
    ]
    x = layers.Add(name="join")([build(*parts[:-1]), parts[-1]])
    x = layers.Conv2D(2, 3, padding="same", name="last")(x)
    supernet = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    return moves(is_rebuilt(supernet, prices=prices))


def test_rows_that_two_ways_lead_to_are_paid_once():
    """Channel 0 of a sum of two functions of x: one row of x's convolution, not two.

    A row is 64 · 27 · 0.5 = 864 ns, and 3 elements for each of 64 places are 36; to pad and gather
    three channels takes 64 · 3 · 4.7 + 240 = 1142.
    """

    def both(x):
        return layers.Add()([layers.ReLU()(x), layers.Activation("tanh")(x)])

    masks = [[0, 1, 1, 0], [1, 0, 1, 0]]
    assert not joined(both, masks, AlignPrices(conv=0.5, tile=1))
    assert joined(both, masks, AlignPrices(conv=0.7, tile=1))


def test_a_part_of_a_concatenation_has_tiles_of_its_own():
    """The ninth row of a convolution costs eight, whatever stands beside its channels.

    They are 8 · 64 · 27 · 0.5 = 6912 ns; to pad and gather nine channels takes 9 · 64 · 4.7 + 240
    = 2947, and all fifteen 4752.
    """
    masks = [[1, 1, 1, 0, 1, 1, 1, 1, 1], [1] * 6, [1] * 15]
    assert joined(lambda a, b: layers.Concatenate()([a, b]), masks, AlignPrices(conv=0.5))
    assert not joined(lambda a, b: layers.Concatenate()([a, b]), masks, AlignPrices(conv=0.2))


def test_a_constant_that_is_padded_in_costs_its_addition():
    """3 channels of 64 places: a pad is 96 ns, adding the constant behind it 3 · 64 · p.

    Before the BatchNormalization, which makes it, there are zeros to pad, and one channel more to
    normalize, 64 · p.
    """

    def rescalings(prices):
        inputs = keras.Input((8, 8, 3))
        x = gate(layers.Conv2D(3, 3, padding="same", use_bias=False)(inputs), "a", [1, 1, 0])
        x = layers.BatchNormalization()(x)
        y = layers.Conv2D(3, 3, padding="same", use_bias=False, name="y")(inputs)
        x = layers.Conv2D(2, 3, padding="same")(layers.Add()([x, y]))
        supernet = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
        randomize(supernet)
        supernet.get_layer("a_gate").set_mask([1, 1, 0])
        small = is_rebuilt(supernet, prices=prices)
        assert moves(small) == {"Pad": 1}
        return sum(isinstance(layer, layers.Rescaling) for layer in small.layers)

    assert rescalings(AlignPrices(tile=1, elementwise=0)) == 1
    assert rescalings(AlignPrices(tile=1, elementwise=0.01)) == 0


def test_open_sizes_decide_nothing_by_the_shapes_that_costs_are_asked_at():
    """At 4 · 4 places a column would be cheaper than a gather's partition; built is the gather."""
    supernet = residual(size=None)
    prices = AlignPrices(conv=0.17)
    architecture = kn.Architecture.from_gates(supernet, prices=prices)
    small = kn.surgery.build(supernet, architecture, prices=prices)
    assert moves(small) == {"Take": 1}
    for size in (4, 64):
        planned = kn.surgery.predict_costs(
            supernet, architecture, prices=prices, input_shapes=[(1, size, size, 3)]
        )
        assert planned.macs == kn.costs.count(small, input_shapes=(size, size, 3)).macs


def test_calls_of_a_shared_layer_read_what_they_want():
    inputs = keras.Input((6, 6, 4))
    conv = layers.Conv2D(4, 3, padding="same", use_bias=False, name="shared")
    x = gate(layers.Conv2D(4, 1, use_bias=False, name="a")(inputs), "a", [1, 0, 1, 0])
    y = gate(conv(x), "b", [0, 1, 1, 0])
    x = layers.Add()([layers.Add()([x, y]), conv(x)])
    x = layers.Conv2D(2, 3, padding="same", name="last")(x)
    small = is_rebuilt(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    assert small.get_layer("shared").kernel.shape[2] == 2


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(ORDERS),
    off=st.sampled_from([0.3, 0.6]),
    prices=st.sampled_from([FREE_MOVES, DEAR_MOVES, AlignPrices(gather=1.0, tile=1)]),
)
def test_random_graphs_are_exact_at_any_prices(seed, order, off, prices):
    supernet = gated(random_model(seed), seed, order=order)
    close_some(supernet, off, seed)
    is_rebuilt(supernet, prices=prices)


def test_the_same_prices_plan_the_same():
    supernet = gated(kn.models.small_resnet((16, 16, 3), stage_widths=[8, 12, 16]))
    close_some(supernet, 0.5, 2)
    first, second = (is_rebuilt(supernet, prices=p) for p in (None, AlignPrices()))
    assert [layer.get_config() for layer in first.layers] == [
        layer.get_config() for layer in second.layers
    ]
    assert kn.costs.count(is_rebuilt(supernet, prices=DEAR_MOVES)).macs > (
        kn.costs.count(is_rebuilt(supernet, prices=FREE_MOVES)).macs
    )
    assert np.isfinite(kn.costs.count(first).macs)
