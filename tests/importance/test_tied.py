"""Which channels are tied together, on the joins that networks have."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from tests.importance.nets import densenet, gated, mobilenet, resnet


def names(model, **options):
    """The gates of each group, without `_gate`, and how many units it has."""
    return [
        ({name.removesuffix("_gate") for name in group.channels}, group.units)
        for group in kn.importance.tied_groups(model, **options)
    ]


def test_the_streams_of_a_resnet_are_tied_and_what_lies_within_a_block_is_not():
    assert names(gated(resnet())) == [
        ({"stem", "a2"}, 6),
        ({"a1"}, 5),
        ({"b1"}, 7),
        ({"b2", "short"}, 8),
    ]


def test_a_depthwise_convolution_ties_what_it_reads_to_what_it_makes():
    supernet = gated(mobilenet())
    assert names(supernet) == [
        ({"stem", "a_project", "b_project"}, 4),
        ({"a_expand", "a_depth"}, 8),
        ({"b_expand", "b_depth"}, 8),
    ]
    everything = gated(mobilenet(), include="*_e*")
    assert names(everything) == [
        ({"a_expand", "a_excite"}, 8),
        ({"b_expand", "b_excite"}, 8),
    ]


def test_concatenations_tie_nothing():
    assert names(gated(densenet())) == [({"stem"}, 4), ({"a"}, 3), ({"b"}, 3)]


def groups_of(inputs, outputs):
    """Each group's channels as lists, of a model whose gates stand in it already."""
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(outputs)))
    return [
        {name: channels.tolist() for name, channels in group.channels.items()}
        for group in kn.importance.tied_groups(model)
    ]


def gate(x, name):
    return ScaledSigmoidGate(name=name)(x)


INPUTS = keras.Input((6, 6, 3))


def test_depth_multiples_are_one_unit():
    x = gate(layers.Conv2D(2, 1)(INPUTS), "a")
    x = gate(layers.DepthwiseConv2D(3, depth_multiplier=3)(x), "b")
    assert groups_of(INPUTS, x) == [{"a": [[0], [1]], "b": [[0, 1, 2], [3, 4, 5]]}]


def test_a_grouped_convolution_gives_up_whole_groups():
    x = gate(layers.Conv2D(4, 1)(INPUTS), "a")
    x = gate(layers.Conv2D(6, 3, groups=2)(x), "b")
    assert groups_of(INPUTS, x) == [{"a": [[0, 1], [2, 3]], "b": [[0, 1, 2], [3, 4, 5]]}]


def test_a_sum_of_a_concatenation_ties_part_of_a_gate_with_each_operand():
    a = gate(layers.Conv2D(2, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(1, 1)(INPUTS), "b")
    c = gate(layers.Conv2D(3, 1)(INPUTS), "c")
    x = layers.Add()([layers.Concatenate()([a, b]), c])
    assert groups_of(INPUTS, x) == [
        {"a": [[0], [1]], "c": [[0], [1]]},
        {"b": [[0]], "c": [[2]]},
    ]


def test_a_slice_is_tied_to_the_channels_that_it_takes():
    a = gate(layers.Conv2D(4, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(2, 1)(INPUTS), "b")
    assert groups_of(INPUTS, layers.Concatenate()([a[..., 1:3] * b, a])) == [
        {"a": [[0], [3]]},
        {"a": [[1], [2]], "b": [[0], [1]]},
    ]


def test_the_halves_of_a_split_are_tied_to_what_they_meet():
    a = gate(layers.Conv2D(4, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(2, 1)(INPUTS), "b")
    first, second = ops.split(a, 2, axis=-1)
    assert groups_of(INPUTS, layers.Concatenate()([first, second + b])) == [
        {"a": [[0], [1]]},
        {"a": [[2], [3]], "b": [[0], [1]]},
    ]


def test_a_flip_of_the_channels_is_followed():
    a = gate(layers.Conv2D(3, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(3, 1)(INPUTS), "b")
    assert groups_of(INPUTS, ops.flip(a, axis=-1) + b) == [
        {"a": [[0], [1], [2]], "b": [[2], [1], [0]]}
    ]


def test_the_shortcut_that_is_padded_with_zeros_is_tied_where_it_is_not_zero():
    a = gate(layers.Conv2D(2, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(4, 1)(INPUTS), "b")
    x = ops.pad(a, [(0, 0), (0, 0), (0, 0), (1, 1)]) + b
    assert groups_of(INPUTS, x) == [{"a": [[0], [1]], "b": [[1], [2]]}, {"b": [[0], [3]]}]


def test_the_four_channels_of_a_pixel_are_one_unit():
    a = gate(layers.Conv2D(8, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(2, 1)(layers.UpSampling2D()(INPUTS)), "b")
    assert groups_of(INPUTS, ops.depth_to_space(a, 2) + b) == [
        {"a": [[0, 2, 4, 6], [1, 3, 5, 7]], "b": [[0], [1]]}
    ]


def test_one_channel_that_multiplies_all_ties_none_of_them():
    a = gate(layers.Conv2D(3, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(1, 1)(INPUTS), "b")
    assert groups_of(INPUTS, a * b) == [{"a": [[0], [1], [2]]}, {"b": [[0]]}]


def test_an_unknown_layer_ties_nothing():
    a = gate(layers.Conv2D(3, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(3, 1)(INPUTS), "b")
    x = layers.Add()([layers.LayerNormalization()(a), b])
    assert groups_of(INPUTS, x) == [{"a": [[0], [1], [2]]}, {"b": [[0], [1], [2]]}]


def test_the_calls_of_a_shared_layer_are_tied():
    a = gate(layers.Conv2D(2, 1)(INPUTS), "a")
    b = gate(layers.Conv2D(2, 1)(INPUTS), "b")
    shared = layers.Conv2D(2, 1)
    gate_c = ScaledSigmoidGate(name="c")
    x = layers.Concatenate()([gate_c(shared(a)), gate_c(shared(b))])
    assert groups_of(INPUTS, x) == [{"a": [[0], [1]], "b": [[0], [1]]}, {"c": [[0], [1]]}]


@pytest.mark.parametrize("build", [resnet, mobilenet, densenet])
def test_every_channel_of_every_gate_is_in_one_unit(build):
    supernet = gated(build())
    counts = {g.name: np.zeros(g.channels, int) for g in kn.gates.find(supernet)}
    for group in kn.importance.tied_groups(supernet):
        for name, channels in group.channels.items():
            assert len(channels) == group.units
            counts[name][channels.reshape(-1)] += 1
    assert all((count == 1).all() for count in counts.values())


def test_a_model_without_gates_is_refused():
    with pytest.raises(kn.KerasNasError, match=r"has 0 gates by channel.*insert"):
        kn.importance.tied_groups(resnet())


def test_untied_each_channel_is_a_unit():
    found = names(gated(resnet()), tied=False)
    assert sorted(n for gates, n in found) == [5, 6, 6, 7, 8, 8]
    assert all(len(gates) == 1 for gates, _ in found)
