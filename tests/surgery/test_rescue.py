"""After a rescue every output depends on the input, whatever gates were emptied."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.graph import read
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.surgery.dependence import Dependence
from keras_nas.surgery.probe import Probe
from tests.random_models import randomize


def layer_normalized():
    """A softmax classifier with LayerNormalization behind each convolution."""
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = layers.LayerNormalization()(x)
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(x))


def recurrent():
    inputs = keras.Input((12, 6))
    x = layers.Conv1D(8, 3, padding="same", activation="relu")(inputs)
    x = layers.LSTM(8, return_sequences=True)(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv1D(8, 3, padding="same")(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(layers.LSTM(6)(x)))


def small_vgg():
    """VGG16's first two stages: "same" convolutions, so that a cut leaves a border that is live."""
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for width in (8, 8, 16, 16):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(5)(layers.Flatten()(layers.MaxPooling2D(4)(x))))


def edsr(blocks=1):
    return kn.models.create("edsr", scale=2, blocks=blocks, filters=8)


def application(name):
    make = getattr(keras.applications, name)
    return make(input_shape=(32, 32, 3), weights=None, classes=10, classifier_activation=None)


def resnet20():
    return kn.models.create("resnet20_cifar", input_shape=(32, 32, 3), num_classes=10)


def randomized(model):
    """Random statistics and biases, and kernels large enough that deep networks stay awake."""
    randomize(model)
    for variable in model.variables:
        if "kernel" in variable.path:
            variable.assign(2.0 * variable)
    return model


def differences(model):
    """How far the outputs for two inputs that `rescue` has not seen are apart, each output."""
    random = np.random.default_rng(7)
    a, b = (
        [random.normal(size=(1, *(size or 16 for size in t.shape[1:]))) for t in model.inputs]
        for _ in range(2)
    )
    outputs = (keras.tree.flatten(model(x if len(x) > 1 else x[0], training=False)) for x in (a, b))
    return [float(np.abs(ops.subtract(*pair)).max()) for pair in zip(*outputs, strict=True)]


def empty(gates, chosen):
    for index, gate in enumerate(gates):
        gate.set_mask(np.full(gate.channels, index not in chosen))


def check_each_gate_and_all(model, order="conv_bn_gate_relu"):
    supernet = kn.gates.insert(randomized(model), ScaledSigmoidGate, order=order)
    gates = kn.gates.find(supernet)
    for chosen in [*([index] for index in range(len(gates))), range(len(gates))]:
        empty(gates, chosen)
        reopened = kn.surgery.rescue(supernet)
        emptied = [gates[index].name for index in chosen]
        assert set(reopened) <= set(emptied)
        assert min(differences(supernet)) > 0, emptied


@pytest.mark.parametrize("make", [layer_normalized, recurrent, small_vgg, edsr])
def test_every_gate_emptied_and_all_of_them(make):
    check_each_gate_and_all(make())


@pytest.mark.slow
@pytest.mark.parametrize("order", ["conv_bn_gate_relu", "conv_bn_relu_gate", "conv_gate_bn_relu"])
@pytest.mark.parametrize(
    "make",
    [
        resnet20,
        lambda: edsr(blocks=4),
        lambda: application("VGG16"),
        lambda: application("MobileNetV2"),
    ],
    ids=["resnet20", "edsr", "vgg16", "mobilenet_v2"],
)
def test_every_gate_of_a_real_network_emptied_and_all_of_them(make, order):
    check_each_gate_and_all(make(), order)


def cut_by_shifts():
    """A closed gate, then a shift by BatchNormalization and a convolution with a border of 0."""
    inputs = keras.Input((6, 6, 3))
    x = STEGate(name="cut")(layers.Conv2D(4, 3, padding="same")(inputs))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(4, 3, padding="same")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    randomize(model)
    return model


def test_a_border_that_is_not_constant_depends_on_no_input():
    model = cut_by_shifts()
    gate = model.get_layer("cut")
    dependence = Dependence(read(model), {"cut": gate})
    assert dependence.possible.tolist() == [True]
    assert dependence.of({"cut": np.zeros(4, bool)}).tolist() == [False]
    assert dependence.of({"cut": np.arange(4) == 2}).tolist() == [True]
    gate.set_mask(np.zeros(4))
    assert differences(model) == [0.0]
    assert kn.surgery.rescue(model) == ["cut"]
    assert 0 < gate.mask().sum() < 4
    assert differences(model)[0] > 0


def test_a_squeeze_branch_may_go_and_what_it_multiplies_may_not():
    inputs = keras.Input((6, 6, 3))
    trunk = STEGate(name="trunk")(layers.Conv2D(4, 1)(inputs))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(trunk)
    squeezed = STEGate(name="squeeze")(layers.Conv2D(4, 1, activation="relu")(squeezed))
    scale = layers.Conv2D(4, 1, activation="sigmoid")(squeezed)
    x = layers.Multiply()([trunk, scale])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    empty(kn.gates.find(model), [0, 1])
    assert kn.surgery.rescue(model) == ["trunk"]


def test_channels_that_meet_none_of_the_others_cut_too():
    """Channel 0 times closed channel 0, closed channel 1 times channel 1: all products are 0."""
    inputs = keras.Input((6, 6, 3))
    a, b = (STEGate(name=name)(layers.Conv2D(2, 1)(inputs)) for name in "ab")
    x = layers.GlobalMaxPooling2D()(layers.Multiply()([a, b]))
    model = keras.Model(inputs, layers.Dense(2)(x))
    model.get_layer("a").set_mask([True, False])
    model.get_layer("b").set_mask([False, True])
    assert kn.surgery.rescue(model) == ["b"]
    assert model.get_layer("b").mask().all()
    assert differences(model)[0] > 0


def test_one_of_two_inputs_is_enough_and_each_output_counts():
    left, right = keras.Input((6,)), keras.Input((6,))
    a, b = (
        STEGate(name=name)(layers.Dense(4, activation="tanh")(x))
        for name, x in (("a", left), ("b", right))
    )
    both = layers.Dense(2, name="both")(layers.Add()([a, b]))
    alone = layers.Dense(2, name="alone")(STEGate(name="c")(layers.Dense(4)(a)))
    model = keras.Model([left, right], {"both": both, "alone": alone})
    empty(kn.gates.find(model), range(3))
    assert kn.surgery.rescue(model) == ["a", "c"]
    assert min(differences(model)) > 0


def test_channels_that_nobody_reads_do_not_count():
    """The gate's best channels are 0 and 1; only 2 and 3 are read."""
    inputs = keras.Input((6, 6, 3))
    x = STEGate(name="cut")(layers.Conv2D(4, 1)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(x[..., 2:])))
    gate = model.get_layer("cut")
    gate.logits.assign(np.stack([[-1.0, -2.0, -3.0, -4.0], np.zeros(4)], axis=-1))
    assert kn.surgery.rescue(model) == ["cut"]
    assert gate.mask().any()
    assert differences(model)[0] > 0


def test_a_channel_that_is_0_behind_its_relu_is_not_enough():
    inputs = keras.Input((6, 6, 3))
    x = STEGate(name="cut")(layers.Conv2D(4, 1, kernel_initializer="ones", name="conv")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(layers.ReLU()(x))))
    model.get_layer("conv").bias.assign([-1e4, 1.0, 1.0, 1.0])
    gate = model.get_layer("cut")
    gate.set_mask(np.zeros(4))
    assert kn.surgery.rescue(model) == ["cut"]
    assert gate.mask().tolist() == [True, True, False, False]


def test_a_closed_value_of_an_attention_is_found_by_trying():
    """Attention over constant values is a constant, though its queries are live."""
    inputs = keras.Input((6, 4))
    value = STEGate(name="value")(layers.Conv1D(4, 1, use_bias=False)(inputs))
    x = layers.MultiHeadAttention(2, 4)(inputs, value, inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))
    model.get_layer("value").set_mask(np.zeros(4))
    assert differences(model) == [0.0]
    assert kn.surgery.rescue(model) == ["value"]
    assert differences(model)[0] > 0


def test_trying_leaves_the_gates_as_they_were():
    model = cut_by_shifts()
    gate = model.get_layer("cut")
    gate.logits.assign(np.arange(8.0).reshape(4, 2) - 3)
    gate.mode = "soft"
    before = np.copy(gate.logits)
    with Probe(model, {"cut": gate}) as probe:
        assert probe.level({"cut": np.zeros(4, bool)}) < 0 < probe.level({})
        assert gate.mode == "hard"
    np.testing.assert_array_equal(gate.logits, before)
    assert gate.mode == "soft"


def test_the_users_own_inputs_are_tried():
    model = cut_by_shifts()
    gate = model.get_layer("cut")
    same = np.ones((3, 6, 6, 3), "float32")
    with Probe(model, {"cut": gate}, same) as probe:
        assert probe.level({"cut": np.zeros(4, bool)}) == np.inf  # not even the open network does
    with Probe(model, {"cut": gate}, same * np.arange(3)[:, None, None, None]) as probe:
        assert probe.level({"cut": np.zeros(4, bool)}) < 0


@pytest.mark.parametrize(
    "inputs",
    [
        lambda: keras.Input(batch_shape=(1, 6, 6, 3)),
        lambda: keras.Input((None, None, 3)),
        lambda: keras.Input((6, 6, 3), dtype="uint8"),
        lambda: keras.Input((6, 6, 3), dtype="float16"),
    ],
)
def test_any_form_of_input_can_be_tried(inputs):
    inputs = inputs()
    x = layers.Rescaling(0.5)(inputs)
    x = STEGate(name="cut")(layers.Conv2D(4, 1)(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    gate = model.get_layer("cut")
    with Probe(model, {"cut": gate}) as probe:
        assert probe.level({"cut": np.zeros(4, bool)}) < 0 < probe.level({}) < np.inf


def test_a_rescue_of_many_gates_asks_seldom(monkeypatch):
    """80 emptied branches beside shortcuts: they all go at once, not one by one."""
    inputs = keras.Input((4,))
    x = inputs
    for index in range(80):
        x = layers.Add()([x, STEGate(name=f"branch{index}")(layers.Dense(4)(x))])
    model = keras.Model(inputs, STEGate(name="last")(layers.Dense(4)(x)))
    empty(kn.gates.find(model), range(81))
    asked = []
    plain = Dependence.of
    monkeypatch.setattr(Dependence, "of", lambda self, m: asked.append(m) or plain(self, m))
    assert kn.surgery.rescue(model) == ["last"]
    assert len(asked) < 20
