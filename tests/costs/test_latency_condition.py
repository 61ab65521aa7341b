"""Conditions: their work by hand, their sizes, and what is refused."""

from __future__ import annotations

import keras
import pytest

from keras_nas.costs import Condition, layer_costs
from keras_nas.errors import KerasNasError


@pytest.mark.parametrize(
    ("condition", "channels", "flops"),
    [
        (Condition("conv", 8, 6, (3, 3)), (4, 10), 2 * 48 * 9 * 4 * 10),
        (Condition("conv", 8, 6, (3, 3), (2, 2)), (4, 10), 2 * 12 * 9 * 4 * 10),
        (Condition("conv", 7, 7, (3, 3), (2, 2)), (1, 1), 2 * 16 * 9),
        (Condition("conv", 8, 8, (3, 3), padding="valid"), (1, 1), 2 * 36 * 9),
        (Condition("conv", 8, 8, (1, 1), groups=4), (8, 8), 2 * 64 * 2 * 8),
        (Condition("depthwise_conv", 8, 8, (5, 5), (2, 2)), (6, 6), 2 * 16 * 25 * 6),
        (Condition("transposed_conv", 4, 4, (4, 4), (2, 2)), (3, 5), 2 * 16 * 16 * 15),
        (Condition("dense", 1, 1), (20, 10), 2 * 200),
        (Condition("max_pool", 8, 8, (2, 2), (2, 2), padding="valid"), (3, 3), 16 * 4 * 3),
        (Condition("global_average_pool", 7, 7), (5, 5), 49 * 5),
        (Condition("add", 4, 4), (3, 3), 48),
        (Condition("concatenate", 4, 4), (3, 6), 96),
        (Condition("resize", 4, 4, stride=(2, 2)), (3, 3), 64 * 3),
        (Condition("depth_to_space", 4, 4, stride=(2, 2)), (12, 3), 16 * 12),
        (Condition("pad", 4, 4, (3, 3)), (2, 2), 36 * 2),
    ],
)
def test_flops_by_hand(condition, channels, flops):
    assert condition.flops(*channels) == flops


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_convolutions_count_as_costs_do(size, stride, padding):
    layer = keras.layers.Conv2D(6, 3, stride, padding)
    output = layer.compute_output_shape((1, size, size, 4))
    condition = Condition("conv", size, size, (3, 3), (stride, stride), padding=padding)
    assert condition.output_size == output[1:3]
    assert condition.flops(4, 6) == layer_costs(layer, [(1, size, size, 4)], [output]).flops


def test_weights_by_hand():
    assert Condition("conv", 8, 8, (3, 3), groups=2).weights(8, 10) == 9 * 4 * 10
    assert Condition("depthwise_conv", 8, 8, (3, 3)).weights(8, 8) == 72
    assert Condition("add", 8, 8).weights(8, 8) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operation": "convolution"}, "`operation` must be one of conv, depthwise_conv"),
        ({"dtype": "float16"}, "`dtype` must be one of float32, int8"),
        ({"padding": "SAME"}, "`padding` must be one of same, valid"),
        ({"height": 0}, "must be 1 or more"),
        ({"threads": 0}, "must be 1 or more"),
    ],
)
def test_wrong_conditions_are_refused(settings, message):
    with pytest.raises(KerasNasError, match=message):
        Condition(**{"operation": "conv", "height": 4, "width": 4, **settings})


def test_reads_well():
    condition = Condition("conv", 32, 30, (3, 5), (2, 2), 4, "valid", "int8", 2)
    assert str(condition) == "conv 32×30, kernel 3×5, stride 2, 4 groups, valid, int8, 2 threads"
