"""The formulas, layer by layer: sums by hand, real weights, and convolutions of ones.

A convolution of an image of ones with a kernel of ones, without padding, sums up to its number of
multiply-adds: an independent way to count.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers, ops

import keras_nas as kn
from keras_nas.costs import layer_costs
from keras_nas.errors import KerasNasError


def costs_of(layer, *shapes):
    """`layer_costs` of a layer or function, built on inputs of these shapes without batch."""
    inputs = [keras.Input(shape) for shape in shapes]
    output = layer(inputs if len(inputs) > 1 else inputs[0])
    operation = output._keras_history.operation
    return layer_costs(operation, [tensor.shape for tensor in inputs], [output.shape])


def real_params(layer):
    return sum(math.prod(variable.shape) for variable in layer.trainable_weights)


def real_state(layer):
    return sum(math.prod(variable.shape) for variable in layer.non_trainable_weights)


class TestByHand:
    """Input h·w·c, then the sum."""

    def test_conv2d(self):
        # 10·10·4 ─ conv 3×3, 8 ─ 10·10·8: 100 places · 8 channels · (3·3·4) = 28,800
        costs = costs_of(layers.Conv2D(8, 3, padding="same"), (10, 10, 4))
        assert (costs.macs, costs.flops) == (28_800, 57_600)
        assert costs.params == 3 * 3 * 4 * 8 + 8
        assert costs.activation_memory == 4 * 800
        assert costs.memory_access == 4 * (400 + 800 + 296)

    def test_strided_conv2d(self):
        # 10·10·4 ─ conv 3×3 / 2 ─ 5·5·8: 25 · 8 · 36 = 7,200
        assert costs_of(layers.Conv2D(8, 3, 2, padding="same"), (10, 10, 4)).macs == 7_200

    def test_dilated_conv2d(self):
        # 10·10·4 ─ conv 3×3, dilation 2, valid ─ 6·6·8: 36 · 8 · 36 = 10,368
        assert costs_of(layers.Conv2D(8, 3, dilation_rate=2), (10, 10, 4)).macs == 10_368

    def test_grouped_conv2d(self):
        # 10·10·4 ─ conv 3×3, 2 groups ─ 10·10·8: 100 · 8 · (3·3·2) = 14,400
        costs = costs_of(layers.Conv2D(8, 3, padding="same", groups=2), (10, 10, 4))
        assert costs.macs == 14_400
        assert costs.params == 3 * 3 * 2 * 8 + 8

    def test_channels_first_conv2d(self):
        conv = layers.Conv2D(8, 3, padding="same", data_format="channels_first")
        costs = layer_costs(conv, [(None, 4, 10, 12)], [(None, 8, 10, 12)])
        assert costs.macs == 120 * 8 * 36
        assert costs.params == 36 * 8 + 8

    def test_depthwise_conv2d(self):
        # 10·10·4 ─ depthwise 3×3, multiplier 2 ─ 10·10·8: 100 · 8 · 9 = 7,200
        layer = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)
        costs = costs_of(layer, (10, 10, 4))
        assert costs.macs == 7_200
        assert costs.params == 9 * 8 + 8

    def test_separable_conv2d(self):
        # 10·10·4 ─ depthwise 3×3 ─ 10·10·4 ─ 1×1 ─ 10·10·8: 100 · (4·9 + 4·8) = 6,800
        costs = costs_of(layers.SeparableConv2D(8, 3, padding="same"), (10, 10, 4))
        assert costs.macs == 6_800
        assert costs.params == 4 * 9 + 4 * 8 + 8

    def test_transposed_conv2d(self):
        # 5·5·4 ─ transposed conv 3×3 / 2 ─ 11·11·8: each of 25·4 values meets 3·3·8 weights
        costs = costs_of(layers.Conv2DTranspose(8, 3, 2), (5, 5, 4))
        assert costs.macs == 25 * 4 * 72
        assert costs.params == 3 * 3 * 4 * 8 + 8

    def test_dense(self):
        costs = costs_of(layers.Dense(7), (5,))
        assert (costs.macs, costs.params) == (35, 42)

    def test_dense_on_a_sequence(self):
        costs = costs_of(layers.Dense(7, use_bias=False), (6, 5))
        assert (costs.macs, costs.params) == (6 * 35, 35)

    def test_one_by_one_memory_access_is_shufflenets(self):
        # hw (c1 + c2) + c1 c2 = 36 · (4 + 8) + 32, in float32
        costs = costs_of(layers.Conv2D(8, 1, use_bias=False), (6, 6, 4))
        assert costs.memory_access == 4 * (36 * 12 + 32)

    def test_einsum_dense(self):
        # (6, 4) ─ bc,cde->bde ─ (6, 2, 3): 6·4·2·3 = 144; kernel 4·2·3, bias 2·3
        layer = layers.EinsumDense("abc,cde->abde", (6, 2, 3), bias_axes="de")
        costs = costs_of(layer, (6, 4))
        assert (costs.macs, costs.params) == (144, 24 + 6)

    def test_einsum_dense_with_ellipsis(self):
        costs = costs_of(layers.EinsumDense("...x,xy->...y", 3), (5, 6, 4))
        assert (costs.macs, costs.params) == (30 * 12, 12)

    def test_multi_head_attention(self):
        # 6 queries and 9 keys of 8 channels, 2 heads of 3, values of 4:
        # q 6·8·6, k 9·8·6, v 9·8·8, scores 6·9·6, weighted 6·9·8, out 6·8·8
        layer = layers.MultiHeadAttention(2, 3, value_dim=4)
        inputs = keras.Input((6, 8)), keras.Input((9, 8))
        output = layer(*inputs)
        costs = layer_costs(layer, [tensor.shape for tensor in inputs], [output.shape])
        assert costs.macs == 288 + 432 + 576 + 324 + 432 + 384
        assert costs.params == real_params(layer)

    def test_self_attention_of_one_length(self):
        layer = layers.MultiHeadAttention(2, 4, use_bias=False)
        x = keras.Input((6, 8))
        layer(x, x)
        costs = layer_costs(layer, [x.shape, x.shape], [x.shape])
        assert costs.macs == 4 * 6 * 64 + 2 * 6 * 6 * 8
        assert costs.params == real_params(layer) == 4 * 64

    def test_products_of_tensors(self):
        # (5, 6) @ (6, 7): 5·6·7
        assert costs_of(lambda xs: ops.matmul(*xs), (5, 6), (6, 7)).macs == 210
        assert costs_of(lambda xs: ops.einsum("bij,bkj->bik", *xs), (5, 6), (7, 6)).macs == 210
        assert costs_of(layers.Dot(axes=(2, 2)), (5, 6), (7, 6)).macs == 210

    def test_embedding_looks_up(self):
        embedding = layers.Embedding(100, 8)
        costs = layer_costs(embedding, [(None, 5)], [(None, 5, 8)])
        assert (costs.macs, costs.params) == (0, 800)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.BatchNormalization(), (6, 5, 4)),
        (layers.BatchNormalization(scale=False), (6, 5, 4)),
        (layers.BatchNormalization(axis=1, center=False), (6, 5, 4)),
        (layers.LayerNormalization(), (6, 5, 4)),
        (layers.LayerNormalization(axis=[1, 3], center=False), (6, 5, 4)),
        (layers.GroupNormalization(2), (6, 5, 4)),
        (layers.RMSNormalization(), (6, 5, 4)),
        (layers.Normalization(), (6, 5, 4)),
        (layers.Normalization(axis=None), (6, 5, 4)),
        (layers.Normalization(mean=[0.0] * 4, variance=[1.0] * 4), (6, 5, 4)),
        (layers.PReLU(), (6, 5, 4)),
        (layers.PReLU(shared_axes=[1, 2]), (6, 5, 4)),
        (layers.Conv1D(8, 3, groups=2), (6, 4)),
        (layers.Conv3D(8, (1, 2, 3)), (6, 5, 4, 4)),
        (layers.DepthwiseConv1D(3, depth_multiplier=2, use_bias=False), (6, 4)),
        (layers.SeparableConv1D(8, 3, depth_multiplier=2), (6, 4)),
        (layers.Conv1DTranspose(8, 3), (6, 4)),
        (layers.Conv3DTranspose(8, 3, use_bias=False), (6, 5, 4, 4)),
    ],
    ids=lambda value: value.name if isinstance(value, layers.Layer) else None,
)
def test_params_and_state_equal_the_real_weights(layer, shape):
    costs = costs_of(layer, shape)
    assert costs.counted
    assert (costs.params, costs.state) == (real_params(layer), real_state(layer))


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["conv", "depthwise", "transposed"]))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    strides = draw(st.integers(1, 2))
    common = {"kernel_size": kernel, "strides": strides, "use_bias": draw(st.booleans())}
    if kind == "conv":
        filters = groups * draw(st.integers(1, 3))
        layer = layers.Conv2D(filters, groups=groups, kernel_initializer="ones", **common)
    elif kind == "depthwise":
        multiplier = draw(st.integers(1, 2))
        layer = layers.DepthwiseConv2D(
            depth_multiplier=multiplier, depthwise_initializer="ones", **common
        )
    else:
        layer = layers.Conv2DTranspose(draw(st.integers(1, 4)), kernel_initializer="ones", **common)
    return layer, (*draw(st.tuples(st.integers(3, 6), st.integers(3, 6))), channels)


@given(convolutions())
def test_convolutions_of_ones_sum_up_to_their_macs(case):
    layer, shape = case
    outputs = layer(np.ones((1, *shape), "float32"))
    costs = layer_costs(layer, [(None, *shape)], [outputs.shape])
    assert costs.macs == round(float(np.sum(outputs)))
    assert costs.params == real_params(layer)


class TestShapesToBe:
    """Costs of a layer as it would be with other channels, without its weights."""

    def test_pruned_convolution(self):
        conv = layers.Conv2D(64, 3, padding="same")
        conv.build((None, 8, 8, 32))
        smaller = layers.Conv2D(7, 3, padding="same")
        smaller.build((None, 8, 8, 10))
        shapes = [(None, 8, 8, 10)], [(None, 8, 8, 7)]
        assert layer_costs(conv, *shapes) == layer_costs(smaller, *shapes)
        assert layer_costs(conv, *shapes).params == real_params(smaller)

    def test_groups_and_bias_may_be_said(self):
        conv = layers.Conv2D(8, 3, groups=4, use_bias=False)
        shapes = [(None, 5, 5, 6)], [(None, 3, 3, 4)]
        costs = layer_costs(conv, *shapes, groups=2, use_bias=True)
        assert (costs.macs, costs.params) == (9 * 4 * 27, 4 * 27 + 4)

    @pytest.mark.parametrize(
        "layer",
        [
            layers.Dense(9), layers.DepthwiseConv2D(3), layers.SeparableConv2D(9, 3),
            layers.Conv2DTranspose(9, 3),
        ],
        ids=lambda layer: type(layer).__name__,
    )  # fmt: skip
    def test_a_bias_may_be_said_for_every_kind(self, layer):
        width = 5 if isinstance(layer, layers.DepthwiseConv2D) else 4
        shapes = [(None, 6, 6, 5)], [(None, 6, 6, width)]
        without = layer_costs(layer, *shapes, use_bias=False)
        assert layer_costs(layer, *shapes).params == without.params + width

    def test_open_sizes_are_refused(self):
        conv = layers.Conv2D(8, 3, name="first_conv")
        with pytest.raises(KerasNasError, match=r"'first_conv'.*None"):
            layer_costs(conv, [(None, None, 10, 4)], [(None, 8, 8, 8)])


class TestDtypes:
    def test_half_precision_halves_activations_but_not_weights(self):
        conv = layers.Conv2D(8, 1, use_bias=False, dtype="mixed_float16")
        costs = layer_costs(conv, [(None, 6, 6, 4)], [(None, 6, 6, 8)])
        assert costs.activation_memory == 2 * 36 * 8
        assert costs.memory_access == 2 * 36 * 12 + 4 * 32

    def test_dtypes_of_the_tensors_may_be_said(self):
        costs = layer_costs(
            layers.Rescaling(2.0), [(None, 10)], [(None, 10)],
            input_dtypes=["uint8"], output_dtypes=["float32"],
        )  # fmt: skip
        assert (costs.activation_memory, costs.memory_access) == (40, 50)


class TestFreeAndUnknown:
    @pytest.mark.parametrize(
        "function",
        [
            layers.ReLU(), layers.Activation("silu"), layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(), layers.UpSampling2D(), layers.ZeroPadding2D(),
            layers.Softmax(), lambda x: ops.relu(x), lambda x: x * 2.0, lambda x: x[..., :2],
            lambda x: ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, 1]]),
            lambda x: keras.activations.relu(x, max_value=6.0),
            lambda x: ops.mean(x, axis=(1, 2)), lambda x: ops.depth_to_space(x, 2),
        ],
    )  # fmt: skip
    def test_convention_counts_no_macs(self, function):
        costs = costs_of(function, (6, 6, 4))
        assert costs.counted
        assert costs.macs == costs.params == 0
        assert costs.activation_memory > 0

    @pytest.mark.parametrize(
        "function",
        [
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Reshape((-1,)),
            lambda x: ops.reshape(x, (-1, 4)),
        ],
        ids=["dropout", "flatten", "reshape", "ops_reshape"],
    )
    def test_views_move_nothing(self, function):
        costs = costs_of(function, (6, 6, 4))
        assert costs == kn.costs.LayerCosts()

    def test_merging_reads_every_input(self):
        costs = costs_of(layers.Add(), (6, 6, 4), (6, 6, 4))
        assert costs.memory_access == 4 * 3 * 144

    def test_a_layer_that_no_formula_knows_is_said_to_be_uncounted(self):
        layer = layers.LSTM(5)
        costs = costs_of(layer, (6, 4))
        assert not costs.counted
        assert costs.macs == 0
        assert costs.params == real_params(layer)

    def test_products_by_constants_are_uncounted(self):
        costs = costs_of(lambda x: ops.tensordot(x, np.ones((4, 5), "float32"), 1), (6, 4))
        assert not costs.counted

    def test_a_subclass_that_keeps_call_is_counted(self):
        class Named(layers.Dense):
            pass

        assert costs_of(Named(3), (4,)).macs == 12

    def test_a_subclass_that_changes_call_is_uncounted(self):
        class Twice(layers.Dense):
            def call(self, inputs):
                return super().call(super().call(inputs))

        layer = Twice(4)
        costs = costs_of(layer, (4,))
        assert not costs.counted
        assert costs.params == real_params(layer)

    def test_frozen_weights_of_unknown_layers_are_still_params(self):
        layer = layers.LSTM(5, trainable=False)
        assert costs_of(layer, (6, 4)).params == 4 * (5 * 4 + 5 * 5 + 5)

    def test_lora_counts_as_the_kernel_it_is_added_to(self):
        layer = layers.Dense(8)
        layer.build((None, 4))
        before = layer_costs(layer, [(None, 4)], [(None, 8)])
        layer.enable_lora(2)
        assert layer_costs(layer, [(None, 4)], [(None, 8)]) == before

    def test_quantised_layers_are_uncounted(self):
        layer = layers.Dense(8)
        layer.build((None, 4))
        layer.quantize("int8")
        assert not layer_costs(layer, [(None, 4)], [(None, 8)]).counted

    def test_a_formula_may_be_added(self):
        class Scale(layers.Layer):
            def call(self, inputs):
                return 2 * inputs

        assert not costs_of(Scale(), (4,)).counted

        @kn.costs.for_layers(Scale)
        def scale(call):
            return kn.costs.Counts(macs=math.prod(call.outputs[0]))

        assert costs_of(Scale(), (4,)).macs == 4

    def test_gates_vanish(self):
        costs = costs_of(kn.layers.ScaledSigmoidGate(), (6, 6, 4))
        assert costs == kn.costs.LayerCosts()
