"""The criteria, by numbers worked by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.importance.criteria import _CRITERIA
from keras_nas.layers import Gate, ScaledSigmoidGate
from tests.importance.nets import densenet, gated, mobilenet, resnet

score = kn.importance.score


def two_layers(order="conv_bn_gate_relu"):
    """1×1 convolutions of 1 → 2 → 1 channels, kernels (3, −4) and (1, 2), γ = (−0.5, 2)."""
    inputs = keras.Input((2, 2, 1))
    x = layers.Conv2D(2, 1, use_bias=False, name="a")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Conv2D(1, 1, use_bias=False, name="b")(x)
    model = keras.Model(inputs, layers.Flatten()(x))
    model.get_layer("a").set_weights([np.float32([[[[3, -4]]]])])
    model.get_layer("b").set_weights([np.float32([[[[1], [2]]]])])
    model.get_layer("bn").gamma.assign([-0.5, 2])
    return kn.gates.insert(model, ScaledSigmoidGate, order=order)


def one_gate(layer, weights, shape, reader=None):
    inputs = keras.Input(shape)
    x = ScaledSigmoidGate(name="g")(layer(inputs))
    x = layers.Conv2D(1, 1)(x) if reader is None else reader(x)
    model = keras.Model(inputs, x)
    layer.set_weights([np.float32(w) for w in weights])
    return model


@pytest.mark.parametrize(
    ("criterion", "settings", "expected"),
    [
        ("l1", {}, [3, 4]),
        ("l2", {}, [3, 4]),
        ("l1", {"consumers": True}, [4, 6]),
        ("gamma", {}, [0.5, 2]),
    ],
)
def test_weights_of_two_layers(criterion, settings, expected):
    np.testing.assert_allclose(score(two_layers(), criterion, **settings)["a_gate"], expected)


def test_l1_and_l2_of_a_filter():
    kernel = np.zeros((1, 2, 1, 2))
    kernel[0, :, 0, 0], kernel[0, :, 0, 1] = (3, -4), (1, 1)
    model = one_gate(layers.Conv2D(2, (1, 2)), [kernel, [9, 9]], (2, 2, 1))
    np.testing.assert_allclose(score(model, "l1")["g"], [7, 2])
    np.testing.assert_allclose(score(model, "l2")["g"], [5, np.sqrt(2)])


def test_depthwise_filters_by_output_channel():
    kernel = np.arange(6).reshape(1, 1, 2, 3) - 2
    layer = layers.DepthwiseConv2D(1, depth_multiplier=3, use_bias=False)
    model = one_gate(layer, [kernel], (2, 2, 2))
    np.testing.assert_allclose(score(model)["g"], [2, 1, 0, 1, 2, 3])


def test_transposed_kernels_have_their_axes_the_other_way_round():
    kernel = np.float32([[[[1, 2], [10, 20], [100, -200]]]])
    layer = layers.Conv2DTranspose(3, 1, use_bias=False)
    model = one_gate(layer, [kernel], (2, 2, 2))
    np.testing.assert_allclose(score(model)["g"], [3, 30, 300])


def test_consumers_of_every_kind():
    """What reads channel c of four: a group, a depthwise filter, a separable one, a Dense slice."""
    inputs = keras.Input((1, 1, 4))
    x = ScaledSigmoidGate(name="g")(layers.Conv2D(4, 1, use_bias=False, name="a")(inputs))
    grouped = layers.Conv2D(2, 1, groups=2, use_bias=False, name="grouped")
    depth = layers.DepthwiseConv2D(1, depth_multiplier=2, use_bias=False, name="depth")
    separable = layers.SeparableConv2D(1, 1, depth_multiplier=2, use_bias=False, name="separable")
    dense = layers.Dense(1, use_bias=False, name="dense")
    outputs = [grouped(x), depth(x), separable(x), dense(layers.Flatten()(x))]
    model = keras.Model(inputs, outputs)
    model.get_layer("a").set_weights([np.zeros((1, 1, 4, 4))])
    dense.set_weights([np.zeros((4, 1))])
    depth.set_weights([np.zeros((1, 1, 4, 2))])
    separable.set_weights([np.ones((1, 1, 4, 2)), np.zeros((1, 1, 8, 1))])
    grouped.set_weights([np.float32([[[[1, 3], [2, 4]]]])])
    expected = np.array([1.0, 2, 3, 4])
    np.testing.assert_allclose(score(model, consumers=True)["g"], expected)
    depth.set_weights([np.arange(8).reshape(1, 1, 4, 2)])
    expected += [1, 5, 9, 13]
    np.testing.assert_allclose(score(model, consumers=True)["g"], expected)
    separable.set_weights([np.ones((1, 1, 4, 2)), -np.arange(8).reshape(1, 1, 8, 1)])
    expected += [1, 5, 9, 13]
    np.testing.assert_allclose(score(model, consumers=True)["g"], expected)
    dense.set_weights([np.float32([[10], [20], [30], [40]])])
    np.testing.assert_allclose(
        score(model, consumers=True)["g"], expected + np.array([10, 20, 30, 40])
    )


def test_a_flattened_map_is_read_at_every_place():
    inputs = keras.Input((1, 2, 1))
    x = ScaledSigmoidGate(name="g")(layers.Conv2D(2, 1, use_bias=False, name="a")(inputs))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False, name="b")(layers.Flatten()(x)))
    model.get_layer("a").set_weights([np.zeros((1, 1, 1, 2))])
    model.get_layer("b").set_weights([np.float32([[1], [10], [2], [20]])])
    np.testing.assert_allclose(score(model, consumers=True)["g"], [3, 30])


def test_a_gate_behind_a_join_has_the_sum_of_the_filters_that_meet_there():
    inputs = keras.Input((1, 1, 1))
    convs = [layers.Conv2D(2, 1, use_bias=False, name=name) for name in "ab"]
    x = ScaledSigmoidGate(name="g")(layers.Add()([conv(inputs) for conv in convs]))
    model = keras.Model(inputs, layers.Conv2D(1, 1)(x))
    convs[0].set_weights([np.float32([[[[1, 2]]]])])
    convs[1].set_weights([np.float32([[[[-10, 20]]]])])
    np.testing.assert_allclose(score(model)["g"], [11, 22])


def test_a_shared_layer_counts_once():
    inputs = keras.Input((1, 1, 1))
    conv, gate = layers.Conv2D(2, 1, use_bias=False, name="a"), ScaledSigmoidGate(name="g")
    x = layers.Add()([gate(conv(inputs)), gate(conv(-inputs))])
    model = keras.Model(inputs, layers.Conv2D(1, 1)(x))
    conv.set_weights([np.float32([[[[1, 2]]]])])
    np.testing.assert_allclose(score(model)["g"], [1, 2])


def test_a_gate_that_no_kernel_feeds_is_refused_by_the_norms():
    inputs = keras.Input((2, 2, 3))
    model = keras.Model(inputs, layers.Conv2D(1, 1)(ScaledSigmoidGate(name="g")(inputs)))
    with pytest.raises(kn.KerasNasError, match="No kernel makes channel 0 of gate 'g'"):
        score(model, "l2")


@pytest.mark.parametrize("order", ["conv_bn_gate_relu", "conv_gate_bn_relu", "conv_bn_relu_gate"])
def test_gamma_is_found_on_either_side_of_the_gate(order):
    np.testing.assert_allclose(score(two_layers(order), "gamma")["a_gate"], [0.5, 2])


def test_gamma_of_a_network_that_normalises_first_is_that_of_the_first_readers():
    supernet = gated(densenet())
    a, b, last = (
        np.abs(supernet.get_layer(f"{name}_bn").gamma.numpy()) for name in ("a", "b", "last")
    )
    scores = score(supernet, "gamma")
    np.testing.assert_allclose(scores["stem_gate"], a + b[:4] + last[:4], rtol=1e-6)
    np.testing.assert_allclose(scores["a_gate"], b[4:] + last[4:7], rtol=1e-6)
    np.testing.assert_allclose(scores["b_gate"], last[7:], rtol=1e-6)


def test_gamma_of_a_network_without_normalisation_is_refused():
    model = one_gate(layers.Conv2D(2, 1), [np.ones((1, 1, 1, 2)), np.zeros(2)], (2, 2, 1))
    with pytest.raises(kn.KerasNasError, match=r"No BatchNormalization .* of gate 'g'"):
        score(model, "gamma")


def linear_net():
    """y = Σ_places Σ_c b_c a_c x with a = (3, −4), b = (1, 2): y = 3 X − 8 X."""
    inputs = keras.Input((1, 2, 1))
    x = layers.Conv2D(2, 1, use_bias=False, name="a")(inputs)
    x = layers.Conv2D(1, 1, use_bias=False, name="b")(ScaledSigmoidGate(name="g", mode="off")(x))
    model = keras.Model(inputs, layers.Flatten()(x))
    model.get_layer("a").set_weights([np.float32([[[[3, -4]]]])])
    model.get_layer("b").set_weights([np.float32([[[[1], [2]]]])])
    return model


def sum_of_outputs(targets, outputs):
    return keras.ops.sum(outputs, axis=-1)


IMAGES = np.float32([[[[1], [2]]], [[[-4], [0]]], [[[1], [0]]]])


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        # Σ_places x = 3, −4, 1; ∂y/∂g = 3 X and −8 X.
        ("example", [3 * (3 + 4 + 1) / 3, 8 * (3 + 4 + 1) / 3]),
        ("batch", [3 * (1 + 1) / 3, 8 * (1 + 1) / 3]),
        ("data", [0, 0]),
    ],
)
def test_taylor_by_hand(over, expected):
    data = [(IMAGES[:2], np.zeros(2)), (IMAGES[2:], np.zeros(1))]
    found = score(linear_net(), "taylor", data=data, loss=sum_of_outputs, over=over)
    np.testing.assert_allclose(found["g"], expected, rtol=1e-6)


def test_taylor_takes_the_mean_of_a_batch_and_the_first_batches():
    data = [(IMAGES[:2], np.zeros(2)), (IMAGES[2:], np.zeros(1))]

    def mean(targets, outputs):
        return keras.ops.mean(keras.ops.sum(outputs, axis=-1))

    found = score(linear_net(), "taylor", data=data, loss=mean, batches=1)
    np.testing.assert_allclose(found["g"], [3 * 3.5, 8 * 3.5], rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
def test_taylor_by_a_keras_loss_is_the_same_under_any_reduction_and_strategy(reduction, mirrored):
    """(y − t)² with y = −5 X, X = 3, −4 and t = 1: ∂/∂g = 2 (y − t) · (3 X, −8 X)."""
    data = [(IMAGES[:2], np.ones((2, 1), "float32"))]
    model = linear_net()
    summed = layers.Dense(1, use_bias=False, name="sum")
    model = keras.Model(model.inputs, summed(model.outputs[0]))
    summed.set_weights([np.ones((2, 1))])
    expected = np.array([2 * 16 * 9 + 2 * 19 * 12, 2 * 16 * 24 + 2 * 19 * 32]) / 2
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    np.testing.assert_allclose(score(model, "taylor", data=data, loss=loss)["g"], expected)
    with mirrored.scope():
        np.testing.assert_allclose(score(model, "taylor", data=data, loss=loss)["g"], expected)
    np.testing.assert_allclose(score(model, "taylor", data=data, loss="mse")["g"], expected)


def test_a_batch_may_name_the_inputs_of_a_model_that_lists_them():
    one, two = keras.Input((1, 2, 1), name="one"), keras.Input((1, 2, 1), name="two")
    inner = linear_net()
    model = keras.Model([one, two], inner(one) + 0 * layers.Flatten()(two))
    expected = score(inner, "taylor", data=[(IMAGES, np.zeros(3))], loss=sum_of_outputs)
    for batch in ({"two": IMAGES, "one": IMAGES}, [IMAGES, IMAGES], (IMAGES, IMAGES)):
        found = score(model, "taylor", data=[(batch, np.zeros(3))], loss=sum_of_outputs)
        np.testing.assert_allclose(found["g"], expected["g"])


def test_a_closed_gate_has_taylor_score_0_and_an_open_one_counts_what_is_left():
    model = linear_net()
    model.get_layer("g").set_mask([False, True])
    found = score(model, "taylor", data=[(IMAGES, np.zeros(3))], loss=sum_of_outputs)
    np.testing.assert_allclose(found["g"], [0, 8 * 8 / 3], rtol=1e-6)


class FreeGate(Gate):
    """A gate whose factors are variables, that may be any numbers."""

    def build(self, input_shape):
        super().build(input_shape)
        self.free = self.add_weight(name="free", shape=(self.channels,), initializer="ones")

    def probabilities(self):
        return keras.ops.convert_to_tensor(self.free)

    def indicator(self):
        return keras.ops.ones((self.channels,))


@pytest.mark.parametrize("build", [resnet, mobilenet, densenet])
def test_taylor_is_the_derivative_of_the_loss_as_a_channel_begins_to_close(build):
    """(L(g = 1 + h) − L(g = 1 − h)) / 2h in float64, for every other channel of every gate."""
    keras.config.set_dtype_policy("float64")
    supernet = gated(build(), gate=FreeGate)
    random = np.random.default_rng(1)
    x, y = random.normal(size=(4, 8, 8, 3)), random.integers(0, 3, 4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")
    before = {v.path: v.numpy() for v in supernet.variables}
    found = score(supernet, "taylor", data=[(x, y)], loss=loss, over="data")
    for variable in supernet.variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])
    kn.gates.set_mode(supernet, "soft")
    for gate in kn.gates.find(supernet):
        for channel in range(0, gate.channels, 2):
            losses = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                gate.free.assign(np.where(np.arange(gate.channels) == channel, factor, 1.0))
                losses.append(float(loss(y, supernet(x, training=False))))
            slope = (losses[0] - losses[1]) / 2e-5
            np.testing.assert_allclose(found[gate.name][channel], abs(slope), rtol=1e-4, atol=1e-7)
        gate.free.assign(np.ones(gate.channels))


def test_taylor_is_the_loss_of_closing_a_channel_where_the_loss_is_linear():
    supernet = linear_net()
    gate = supernet.get_layer("g")
    found = score(supernet, "taylor", data=[(IMAGES[:1], [0])], loss=sum_of_outputs)["g"]
    full = float(sum_of_outputs(None, supernet(IMAGES[:1]))[0])
    for channel in range(2):
        gate.set_mask(np.arange(2) != channel)
        closed = float(sum_of_outputs(None, supernet(IMAGES[:1]))[0])
        assert found[channel] == pytest.approx(abs(closed - full))


def test_taylor_asks_for_what_it_lacks():
    with pytest.raises(kn.KerasNasError, match="'taylor' needs `data`"):
        score(linear_net(), "taylor")
    with pytest.raises(kn.KerasNasError, match="`over` must be one of"):
        score(linear_net(), "taylor", data=[], loss="mse", over="all")
    with pytest.raises(kn.KerasNasError, match="must have a batch or more"):
        score(linear_net(), "taylor", data=[], loss="mse")


def test_random_is_fixed_by_its_seed():
    supernet = gated(resnet())
    one, same, other = (score(supernet, "random", seed=seed) for seed in (0, 0, 1))
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
        assert not np.any(one[name] == other[name])
        assert (one[name] >= 0).all()
        assert (one[name] < 1).all()


@pytest.fixture(autouse=True)
def only_the_library_s_criteria(monkeypatch):
    """The guide's blocks enter one of their own, and may have run before."""
    for name in set(_CRITERIA) - {"gamma", "l1", "l2", "random", "taylor"}:
        monkeypatch.delitem(_CRITERIA, name)


def test_a_criterion_of_ones_own_and_one_entered_by_name(monkeypatch):
    supernet = gated(densenet())

    def last(model, factor=1.0):
        return {g.name: factor * np.arange(g.channels) for g in kn.gates.find(model)}

    np.testing.assert_array_equal(score(supernet, last)["stem_gate"], [0, 1, 2, 3])
    monkeypatch.setitem(_CRITERIA, "last", last)
    kn.importance.register(last)
    assert kn.importance.criteria() == ["gamma", "l1", "l2", "last", "random", "taylor"]
    np.testing.assert_array_equal(score(supernet, "last", factor=2.0)["a_gate"], [0, 2, 4])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "'stem_gate' is missing"),
        ({"stem_gate": [1, 2, 3]}, "'stem_gate' must be 4 finite numbers"),
        ({"stem_gate": [1, 2, 3, np.nan]}, "1 of them not finite"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, message):
    with pytest.raises(kn.KerasNasError, match=message):
        score(gated(densenet()), lambda model: scores)


def test_an_unknown_criterion_is_refused():
    with pytest.raises(kn.KerasNasError, match="one of gamma, l1, l2, random, taylor"):
        score(gated(densenet()), "fisher")
