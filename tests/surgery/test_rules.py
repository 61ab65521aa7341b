"""Hand-worked cases: one small graph each, what is kept, and the numbers in the weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from tests.random_models import randomize

X = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")


def gate(x, mask, name=None):
    layer = ScaledSigmoidGate(name=name)
    y = layer(x)
    layer.set_mask(mask)
    return y


def rebuilt(inputs, outputs, align="auto", seed=0):
    """Surgery of a gated model under random weights; checks that its outputs are equal."""
    supernet = keras.Model(inputs, outputs)
    masks = {g.name: g.mask() for g in kn.gates.find(supernet)}
    randomize(supernet, seed)
    for g in kn.gates.find(supernet):
        g.set_mask(masks[g.name])
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align=align)
    a, b = np.asarray(supernet(X, training=False)), np.asarray(small(X, training=False))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(a).max(), 1e-3))
    return small


def layer_types(model):
    return [type(o).__name__ for o in model.operations if type(o).__name__ != "InputLayer"]


def test_chain_keeps_live_rows_and_columns():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="a")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU()(gate(x, [1, 0, 1, 0]))
    small = rebuilt(inputs, layers.Conv2D(5, 3, padding="same", name="b")(x))
    assert small.get_layer("a").kernel.shape == (3, 3, 3, 2)
    assert small.get_layer("bn").gamma.shape == (2,)
    assert small.get_layer("b").kernel.shape == (3, 3, 2, 5)


def test_constant_folds_into_the_bias_of_a_pointwise_convolution():
    """Gate before BN: off channels leave it as beta - gamma mean / sigma, here 3 - 0.5."""
    inputs = keras.Input((6, 6, 3))
    conv = layers.Conv2D(2, 1, use_bias=False, name="a")
    bn = layers.BatchNormalization(epsilon=0.0, name="bn")
    head = layers.Conv2D(1, 1, use_bias=False, name="b")
    supernet = keras.Model(inputs, head(bn(gate(conv(inputs), [1, 0], name="g"))))
    bn.set_weights([np.ones(2), np.full(2, 3.0), np.full(2, 0.5), np.ones(2)])
    head.set_weights([np.float32([[[[2.0], [10.0]]]])])
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    assert small.get_layer("b").kernel.shape == (1, 1, 1, 1)
    np.testing.assert_allclose(small.get_layer("b").bias, [10.0 * (3.0 - 0.5)])
    np.testing.assert_allclose(small(X), supernet(X), atol=1e-5)


@pytest.mark.parametrize(("padding", "kept"), [("same", 2), ("valid", 1)])
def test_constant_before_zero_padding_stays(padding, kept):
    """At the border a padded window sees fewer of the constants: no bias is right everywhere."""
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(2, 1, use_bias=False)(inputs), [1, 0])
    x = layers.BatchNormalization()(x)
    small = rebuilt(inputs, layers.Conv2D(3, 3, padding=padding, name="b")(x))
    assert small.get_layer("b").kernel.shape == (3, 3, kept, 3)


def join(align, a_mask=(1, 1, 0, 0, 0), b_mask=(0, 1, 1, 0, 0)):
    inputs = keras.Input((6, 6, 3))
    a = gate(layers.Conv2D(5, 3, padding="same", name="a")(inputs), a_mask)
    b = gate(layers.Conv2D(5, 3, padding="same", name="b")(inputs), b_mask)
    x = layers.Add(name="sum")([a, b])
    return rebuilt(inputs, layers.Conv2D(2, 1, name="head")(x), align)


def test_join_extends_to_the_union():
    small = join("extend")
    assert small.get_layer("a").filters == small.get_layer("b").filters == 3
    np.testing.assert_array_equal(np.asarray(small.get_layer("a").kernel)[..., 2], 0)
    assert layer_types(small).count("Pad") == 0


def test_join_pads_to_the_union():
    small = join("pad")
    assert small.get_layer("a").filters == small.get_layer("b").filters == 2
    assert layer_types(small).count("Pad") == 2
    assert small.get_layer("head").kernel.shape == (1, 1, 3, 2)


def test_emptied_branch_becomes_its_shortcut():
    small = join("auto", b_mask=(0,) * 5)
    names = [o.name for o in small.operations]
    assert "b" not in names
    assert "sum" not in names


def test_emptied_residual_blocks_vanish():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    for block in range(3):
        y = layers.Conv2D(8, 3, padding="same", name=f"block{block}_a")(x)
        y = layers.Conv2D(4, 3, padding="same", name=f"block{block}_b")(layers.ReLU()(y))
        x = layers.Add()([x, gate(y, [block == 1] * 4)])
    small = rebuilt(inputs, layers.Conv2D(2, 1)(x))
    assert sum("block" in o.name for o in small.operations) == 2


def test_gate_that_cannot_move_is_a_gather_or_a_rescaling():
    """The gated tensor is an input: nothing before it can take the zeros."""
    inputs = keras.Input((6, 6, 3))
    small = rebuilt(inputs, gate(inputs, [1, 0, 1]), align="pad")
    assert "Rescaling" not in layer_types(small)
    small = rebuilt(inputs, gate(inputs, [1, 0, 1]), align="extend")
    assert layer_types(small) == ["Rescaling"]


def test_flatten_into_dense():
    """(2, 2, 3) flattens to 12; channel 1 sits at 1, 4, 7, 10."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 1, name="a")(layers.MaxPooling2D(3)(inputs))
    x = layers.Flatten()(gate(x, [0, 1, 0]))
    head = layers.Dense(2, name="head")
    supernet = keras.Model(inputs, head(x))
    randomize(supernet)
    (found,) = kn.gates.find(supernet)
    found.set_mask([0, 1, 0])
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    np.testing.assert_array_equal(
        small.get_layer("head").kernel, np.asarray(head.kernel)[[1, 4, 7, 10]]
    )
    np.testing.assert_allclose(small(X), supernet(X), atol=1e-5)


def test_depthwise_follows_its_input_and_keeps_all_multiples():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1)(inputs), [1, 0, 0, 1])
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="d", use_bias=False)(x)
    small = rebuilt(inputs, layers.Conv2D(2, 1, name="head")(x))
    assert small.get_layer("d").kernel.shape == (3, 3, 2, 2)
    assert small.get_layer("head").kernel.shape == (1, 1, 4, 2)


@pytest.mark.parametrize("filters", [1, 4])
def test_convolution_with_one_input_channel_is_no_depthwise_one(filters):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(1, 3, padding="same", name="thin")(inputs)
    x = gate(layers.Conv2D(filters, 3, padding="same", name="wide")(x), [1] + [0] * (filters - 1))
    small = rebuilt(inputs, layers.Conv2D(2, 1)(x))
    assert small.get_layer("thin").kernel.shape == (3, 3, 3, 1)
    assert small.get_layer("wide").kernel.shape == (3, 3, 1, 1)


def grouped(mask):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1, name="a")(inputs)
    x = gate(layers.Conv2D(6, 3, groups=2, padding="same", name="g")(x), mask)
    return rebuilt(inputs, layers.Conv2D(2, 1)(x))


def test_whole_group_goes():
    small = grouped([1, 0, 1, 0, 0, 0])
    assert small.get_layer("g").groups == 1
    assert small.get_layer("g").kernel.shape == (3, 3, 2, 2)
    assert small.get_layer("a").filters == 2


def test_groups_that_stay_are_filled_to_equal_width():
    small = grouped([1, 1, 0, 1, 0, 0])
    assert small.get_layer("g").groups == 2
    assert small.get_layer("g").kernel.shape == (3, 3, 2, 4)


def test_squeeze_and_excitation_of_a_dead_channel():
    """The excitation of a dead channel is sigmoid(bias), but it scales a zero: both go."""
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 3, padding="same", name="a")(inputs), [1, 0, 1, 1])
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(2, 1, activation="relu", name="reduce")(s)
    s = layers.Conv2D(4, 1, activation="sigmoid", name="expand")(s)
    small = rebuilt(inputs, layers.Conv2D(2, 1)(layers.Multiply()([x, s])))
    assert small.get_layer("reduce").kernel.shape == (1, 1, 3, 2)
    assert small.get_layer("expand").filters == 3


def test_emptied_squeeze_is_a_constant_scale():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = gate(layers.Conv2D(2, 1, activation="relu", name="reduce")(s), [0, 0])
    s = layers.Conv2D(4, 1, activation="sigmoid", name="expand")(s)
    small = rebuilt(inputs, layers.Conv2D(2, 1)(layers.Multiply()([x, s])))
    assert "Rescaling" in layer_types(small)
    assert not {"reduce", "expand"} & {o.name for o in small.operations}


def test_shared_layer_keeps_what_any_call_needs_and_stays_shared():
    inputs = keras.Input((6, 6, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="shared")
    a = gate(conv(inputs), [1, 0, 0])
    b = gate(conv(a), [0, 1, 0])
    outputs = layers.Conv2D(2, 1)(layers.Concatenate()([a, b]))
    small = rebuilt(inputs, outputs, align="pad")
    assert small.get_layer("shared").filters == 2
    assert len(kn.graph.read(small).calls()["shared"]) == 2


@pytest.mark.parametrize(
    "shared", [layers.Rescaling([1.0, 2.0, 3.0], offset=0.5), layers.Reshape((6, 6, 1, 3))]
)
def test_calls_of_a_shared_layer_without_weights_keep_channels_of_their_own(shared):
    inputs = keras.Input((6, 6, 3))
    a, b = (
        layers.Flatten()(shared(gate(layers.Conv2D(3, 1)(inputs), mask)))
        for mask in ([1, 0, 0], [0, 1, 1])
    )
    rebuilt(inputs, layers.Dense(2)(layers.Concatenate()([a, b])), align="pad")


def test_prelu_with_and_without_shared_axes():
    for axes, shape in (([1, 2], (1, 1, 2)), (None, (6, 6, 2))):
        inputs = keras.Input((6, 6, 3))
        x = gate(layers.Conv2D(3, 3, padding="same")(inputs), [1, 0, 1])
        x = layers.PReLU(shared_axes=axes, name="p")(x)
        small = rebuilt(inputs, layers.Conv2D(2, 1)(x))
        assert small.get_layer("p").alpha.shape == shape


def test_permute_and_back():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1, name="a")(inputs), [1, 0, 1, 0])
    x = layers.ReLU()(layers.Permute((3, 1, 2))(x))
    small = rebuilt(inputs, layers.Conv2D(2, 1, name="b")(layers.Permute((2, 3, 1))(x)))
    assert small.get_layer("b").kernel.shape == (1, 1, 2, 2)


def test_channel_split_by_slicing():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1, name="a")(inputs), [1, 0, 1, 0])
    x = layers.Concatenate()([x[..., 2:], x[:, :, :, :2]])
    small = rebuilt(inputs, layers.Conv2D(2, 1, name="b")(x))
    assert small.get_layer("b").kernel.shape == (1, 1, 2, 2)


def test_channel_shuffle_is_not_understood_and_kept_whole():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1, name="a")(inputs), [1, 0, 1, 0])
    x = layers.Reshape((6, 6, 2, 2))(x)
    x = layers.Reshape((6, 6, 4))(ops.transpose(x, (0, 1, 2, 4, 3)))
    small = rebuilt(inputs, layers.Conv2D(2, 1, name="b")(x))
    assert small.get_layer("b").kernel.shape == (1, 1, 4, 2)


@keras.saving.register_keras_serializable(package="tests")
class Mirror(layers.Layer):
    """A user's layer that mixes channels."""

    def call(self, x):
        return ops.flip(x, axis=-1) + x


def unknown_model():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1, name="a")(inputs), [1, 0, 1, 0])
    return keras.Model(inputs, layers.Conv2D(2, 1, name="b")(Mirror(name="mirror")(x)))


def test_unknown_layer_gets_the_full_tensor_and_is_named(caplog):
    supernet = unknown_model()
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    assert small.get_layer("b").kernel.shape == (1, 1, 4, 2)
    np.testing.assert_allclose(small(X), supernet(X), atol=1e-6)
    assert "'mirror' (Mirror)" in caplog.text


def test_strict_refuses_unknown_layers():
    supernet = unknown_model()
    with pytest.raises(kn.KerasNasError, match=r"no rule for: 'mirror' \(Mirror\)"):
        kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), strict=True)


def test_layer_normalization_reads_all_channels():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1)(inputs), [1, 0, 1, 0])
    small = rebuilt(inputs, layers.Conv2D(2, 1, name="b")(layers.LayerNormalization()(x)))
    assert small.get_layer("b").kernel.shape == (1, 1, 4, 2)


@pytest.mark.parametrize("align", ["auto", "pad", "extend"])
def test_outputs_keep_their_shape(align):
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1)(inputs), [1, 0, 0, 1])
    assert rebuilt(inputs, layers.ReLU()(x), align).output_shape == (None, 6, 6, 4)


def test_cut_network_is_a_constant():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1)(inputs), [0, 0, 0, 0])
    small = rebuilt(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    assert small.count_params() == 0


@keras.saving.register_keras_serializable(package="tests")
def doubled_softmax(x):
    return ops.softmax(2 * x)


@pytest.mark.parametrize("head", ["softmax", "log_softmax", doubled_softmax])
def test_nothing_but_constants_into_an_activation_that_mixes(head):
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1)(inputs), [0, 0, 0, 0])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    rebuilt(inputs, layers.Dense(3, activation=head)(x))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_dead_branch_before_a_convolution_with_softmax(padding):
    inputs = keras.Input((6, 6, 3))
    trunk = layers.Conv2D(4, 1 if padding == "same" else 3)(inputs)
    dead = gate(layers.Conv2D(5, 1)(inputs), [0, 0, 0, 0, 0])
    branch = layers.Conv2D(4, 3, padding=padding, activation="softmax")(dead)
    rebuilt(inputs, layers.Dense(2)(layers.Flatten()(layers.Add()([trunk, branch]))))


def test_cut_network_of_open_size_is_refused():
    inputs = keras.Input((None, None, 3))
    x = gate(layers.Conv2D(4, 1)(inputs), [0, 0, 0, 0])
    supernet = keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="out")(x))
    with pytest.raises(kn.KerasNasError, match=r"'out'.*size is open"):
        kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))


def test_rescue_reopens_only_what_cuts_the_network():
    inputs = keras.Input((6, 6, 3))
    x = gate(layers.Conv2D(4, 1)(inputs), [0, 0, 0, 0], name="cut")
    y = gate(layers.Conv2D(4, 3, padding="same")(x), [0, 0, 0, 0], name="branch")
    x = layers.Add()([x, y])
    supernet = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    cut = supernet.get_layer("cut")
    cut.logits.assign([-3.0, -1.0, -2.0, -4.0])
    assert kn.surgery.rescue(supernet) == ["cut"]
    assert cut.mask().tolist() == [False, True, False, False]
    assert not supernet.get_layer("branch").mask().any()


def test_mixed_precision_model():
    inputs = keras.Input((6, 6, 3))
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = gate(layers.BatchNormalization()(x), [1, 0, 1, 0])
    outputs = layers.Dense(2, dtype="float32")(layers.Flatten()(layers.ReLU()(x)))
    supernet = keras.Model(inputs, outputs)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    np.testing.assert_allclose(small(X), supernet(X), atol=2e-2)
    assert small.layers[1].compute_dtype == "bfloat16"


def test_architecture_of_another_model_is_refused():
    supernet = unknown_model()
    with pytest.raises(kn.KerasNasError, match=r"names gates that model .* lacks"):
        kn.surgery.build(supernet, kn.Architecture({"stranger": [0]}, {"stranger": 2}))
    with pytest.raises(kn.KerasNasError, match="`align` must be one of"):
        kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align="stretch")


def test_the_supernet_is_untouched():
    supernet = unknown_model()
    before = [np.array(w) for w in supernet.get_weights()]
    nodes = [len(o._inbound_nodes) for o in supernet.operations]
    kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    assert nodes == [len(o._inbound_nodes) for o in supernet.operations]
    for a, b in zip(before, supernet.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_scale_of_an_edge_folds_into_the_convolution_behind_it():
    """The edge's input has another reader, so only the 1x1 convolution can take over 0.25."""
    inputs = keras.Input((6, 6, 3))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(inputs))
    edge = kn.layers.ScaledEdge(mode="hard", name="edge")
    head = layers.Conv2D(2, 1, name="head")
    supernet = keras.Model(inputs, layers.Add()([head(edge(x)), layers.Conv2D(2, 1)(x)]))
    randomize(supernet)
    edge.scale.assign([0.25])
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    assert "Rescaling" not in layer_types(small)
    np.testing.assert_allclose(small.get_layer("head").kernel, 0.25 * np.asarray(head.kernel))
    np.testing.assert_allclose(small(X), supernet(X), atol=1e-5)


def test_names_of_added_ops_do_not_clash_with_the_users_layers():
    inputs = keras.Input((6, 6, 3))
    a = gate(layers.Conv2D(4, 1, name="pad")(inputs), [1, 0, 1, 0])
    b = gate(layers.Conv2D(4, 1, name="take")(inputs), [0, 1, 1, 0])
    x = layers.Add(name="add")([a, b])
    small = rebuilt(inputs, layers.Conv2D(2, 1)(x) + 1.0, align="pad")
    names = [operation.name for operation in small.operations]
    assert len(names) == len(set(names))
    assert {"pad", "take", "add"} <= set(names)
