"""A rematerialized network gives the model's values, gradients, losses and moves."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import gates, models
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.layers.edge_scales import join_scales
from keras_nas.models import DsoSpace
from keras_nas.search import DnalConfig, DsoConfig, FgnasConfig, Session, TrainConfig, run_stage
from keras_nas.search.dnal_stages import GateStage, JointStage
from keras_nas.search.dso.edge_gammas import fixed_gammas
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.search.dso.edge_stage import EdgeStage, scaled_edges
from keras_nas.search.fgnas.folded_gates import fold_gates
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.tasks import Classification
from keras_nas.training.alike_segments import segments_of
from keras_nas.training.rematerialization import Rematerialized
from keras_nas.training.trainer import TrainStage
from tests.training.nets import arrays, random_images

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
SPACE = DsoSpace(
    input_shape=(8, 8, 3), num_classes=4, stage_widths=(4, 6), stage_blocks=(2, 1), levels=1,
    operations=("sep3", "max3"),
)  # fmt: skip


def chain(dropout=0.0, activity=0.0):
    """A plain chain; dropout and an activity regularizer where they are given."""
    inputs = x = keras.Input((8, 8, 3))
    penalty = keras.regularizers.L2(activity) if activity else None
    for index in range(6):
        x = keras.layers.Conv2D(
            8, 3, padding="same", activity_regularizer=penalty, name=f"conv_{index}"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.8, name=f"norm_{index}")(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.Dropout(dropout, seed=index)(x) if dropout else x
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4, dtype="float32", name="logits")(x))


def in_policy(policy, make):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


def around():
    """Two inputs, two outputs, and a skip connection over everything."""
    image, hint = keras.Input((8, 8, 3), name="image"), keras.Input((8, 8, 4), name="hint")
    start = x = keras.layers.Conv2D(4, 3, padding="same")(image)
    for _ in range(4):
        x = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(x)
    x = keras.layers.Add()([x, start, hint])
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model([image, hint], {"map": x, "logits": keras.layers.Dense(4)(pooled)})


def shared():
    """A layer that is called three times, and an operation that is no layer."""
    layer = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = x = keras.Input((8, 8, 3))
    for _ in range(3):
        x = keras.ops.tanh(layer(x))
    return keras.Model(inputs, keras.layers.Flatten()(x))


def folded():
    supernet = gates.insert(chain(), STEGate, order="conv_bn_relu_gate")
    random = np.random.default_rng(1)
    for gate in gates.find(supernet):
        gate.mode = "soft"
        gate.logits.assign(random.normal(size=gate.logits.shape))
    return fold_gates(supernet)


def sequential():
    layers = [keras.layers.Conv2D(4, 3, activation="relu", padding="same") for _ in range(4)]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


def nested():
    inputs = x = keras.Input((8, 8, 3))
    for _ in range(3):
        x = keras.layers.Conv2D(3, 3, padding="same")(sequential()(x))
    return keras.Model(inputs, x)


def inputs_for(model):
    random = np.random.default_rng(0)
    found = [random.normal(size=(4, *each.shape[1:])).astype("float32") for each in model.inputs]
    return [tf.constant(each) for each in found] if len(found) > 1 else tf.constant(found[0])


def stepped(make, rematerialize, steps=2):
    """Outputs, layers' losses, gradients and all variables after steps in training."""
    keras.utils.set_random_seed(1)
    model = make()
    forward = Rematerialized(model) if rematerialize else model
    if rematerialize:
        assert len(forward.parts) > 1
    batch = inputs_for(model)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            outputs = forward(batch, training=True)
            parts = [tf.reduce_mean(tf.square(tf.cast(each, tf.float32)))
                     for each in keras.tree.flatten(outputs)]  # fmt: skip
            loss = tf.add_n([*parts, *model.losses])
        weights = [variable.value for variable in model.trainable_variables]
        return outputs, tf.add_n([tf.zeros(()), *model.losses]), tape.gradient(loss, weights)

    for _ in range(steps):
        found = step()
    return keras.tree.map_structure(lambda each: each.numpy(), found), arrays(model)


CASES = {
    "chain": chain,
    "dropout": lambda: chain(dropout=0.4),
    "activity": lambda: chain(activity=0.1),
    "bfloat16": lambda: in_policy("mixed_bfloat16", lambda: chain(dropout=0.2)),
    "resnet": lambda: models.create("resnet20_cifar", input_shape=(8, 8, 3), num_classes=4),
    "around": around,
    "shared": shared,
    "folded": folded,
    "sequential": sequential,
    "nested": nested,
}


@pytest.mark.parametrize("case", CASES)
def test_values_gradients_losses_and_moves_are_the_models(case):
    (outputs, losses, gradients), variables = stepped(CASES[case], rematerialize=False)
    (found, others, again), moved = stepped(CASES[case], rematerialize=True)
    keras.tree.assert_same_structure(found, outputs)
    for mine, theirs in zip(keras.tree.flatten(found), keras.tree.flatten(outputs), strict=True):
        np.testing.assert_allclose(
            mine.astype("float32"), theirs.astype("float32"), rtol=1e-5, atol=1e-6
        )
    assert others == pytest.approx(losses, rel=1e-5)
    for mine, theirs in zip(again, gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * max(1, np.abs(theirs).max()))
    check_variables(moved, variables, 1e-5)


def check_variables(found, expected, tolerance):
    """Compares them by their places: names count on from model to model."""
    for (name, mine), theirs in zip(found.items(), expected.values(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance, err_msg=name)


def test_without_a_graph_it_is_the_same():
    model = chain()
    weights = [variable.value for variable in model.trainable_variables]
    found = []
    for forward in (model, Rematerialized(model)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(forward(tf.constant(IMAGES), training=True)))
        found.append([loss, *tape.gradient(loss, weights)])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


def test_the_users_layers_do_not_learn_of_it():
    model = chain()
    Rematerialized(model)(IMAGES, training=True)
    assert model.get_layer("norm_3").output is not None
    assert len(model.get_layer("norm_3")._inbound_nodes) == 1


def test_alike_blocks_of_a_supernet_are_traced_once():
    def gradients(rematerialize):
        keras.utils.set_random_seed(1)
        model = dataclasses.replace(SPACE, stage_blocks=(3, 1)).supernet()
        join_scales(scaled_edges(model))
        forward = Rematerialized(model, segments_of(model)) if rematerialize else model
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(forward(tf.constant(IMAGES), training=True)))
        weights = [variable.value for variable in model.trainable_variables]
        return forward, tape.gradient(loss, weights), arrays(model)

    _, expected, variables = gradients(False)
    forward, found, moved = gradients(True)
    kinds = {id(call) for call, _ in forward._calls}
    assert len(kinds) < len(forward._calls)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * max(1, np.abs(theirs).max()))
    check_variables(moved, variables, 1e-5)


def training(config, data):
    model = in_policy("mixed_float16", lambda: small(dropout=0.3))
    return TrainStage("weights", model, data, None, Classification.of(model), config)


def small(dropout=0.0):
    inputs = x = keras.Input((8, 8, 2))
    for name in "abcd":
        x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.8, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = keras.layers.Dropout(dropout, seed=1)(x) if dropout else x
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4, dtype="float32", name="logits")(x))


def dnal(kind):
    def stage(config, data):
        supernet = gates.insert(small(), ScaledSigmoidGate, order="conv_bn_gate_relu")
        settings = DnalConfig(lambda_a=0.01, weights=config, architecture=config, delta_max=3.0)
        return kind(supernet, data, None, Classification.of(supernet), settings)

    return stage


def fgnas(config, data):
    supernet = gates.insert(small(), STEGate, order="conv_bn_relu_gate")
    settings = FgnasConfig(
        lambda_r=1e-6, gate_optimizer="sgd", gate_learning_rate=0.01, search=config
    )
    return FgnasStage(supernet, data, None, Classification.of(supernet), settings)


def dso(config, data):
    supernet = dataclasses.replace(SPACE, input_shape=(8, 8, 2)).supernet()
    graph = EdgeGraph(supernet)
    settings = DsoConfig(gamma=0.05, patience=0, edge_learning_rate=0.05, architecture=config)
    return EdgeStage(
        supernet, data, data, data, Classification.of(supernet), settings, graph,
        fixed_gammas(graph, settings.gamma),
    )  # fmt: skip


STAGES = {
    "training": (training, 2e-3),
    "gates": (dnal(GateStage), 1e-5),
    "joint": (dnal(JointStage), 1e-4),
    "fgnas": (fgnas, 1e-4),
    "dso": (dso, 1e-4),
}


@pytest.mark.parametrize("case", STAGES)
def test_every_stage_learns_the_same(case):
    make, tolerance = STAGES[case]

    def learned(rematerialize):
        keras.utils.set_random_seed(0)
        config = TrainConfig(epochs=1, learning_rate=0.01, rematerialize=rematerialize)
        stage = make(config, random_images(32, 8))
        assert isinstance(stage.network, Rematerialized) == rematerialize
        before = arrays(stage.model)
        records = run_stage(stage, Session(progress="off"))
        return records, before, arrays(stage.model)

    records, before, expected = learned(False)
    others, _, found = learned(True)
    assert others[-1]["loss"] == pytest.approx(records[-1]["loss"], rel=1e-3)
    assert max(np.abs(expected[name] - value).max() for name, value in before.items()) > 1e-3
    check_variables(found, expected, tolerance)


def test_replicas_learn_the_same(mirrored):
    def learned(rematerialize):
        keras.utils.set_random_seed(0)
        with mirrored.scope():
            model = small()
            config = TrainConfig(epochs=1, learning_rate=0.01, rematerialize=rematerialize)
            task = Classification.of(model)
            stage = TrainStage("weights", model, random_images(32, 8), None, task, config)
            run_stage(stage, Session(progress="off"))
        return arrays(model)

    check_variables(learned(True), learned(False), 1e-4)


def test_cuts_lie_where_little_crosses():
    parts = Rematerialized(models.create("resnet20_cifar")).parts
    assert len(parts) > 3
    assert all(len(part.gives) == 1 for part in parts)
    assert all(len(part.inner) < 20 for part in parts)


class Thrown(keras.layers.Layer):
    """Random numbers without a seed of Keras'."""

    def call(self, inputs):
        return inputs + tf.random.normal(tf.shape(inputs))


class Global(keras.layers.Layer):
    """Random numbers by Keras' own seed, which is no layer's."""

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))


@pytest.mark.parametrize(
    ("layer", "message"),
    [(Thrown, "RandomStandardNormal"), (Global, "a variable of no layer")],
    ids=["tensorflow", "keras"],
)
def test_what_cannot_be_repeated_is_refused(layer, message):
    inputs = x = keras.Input((8, 8, 3))
    x = layer()(x)
    for _ in range(3):
        x = keras.layers.Conv2D(3, 3, padding="same")(x)
    with pytest.raises(UsageError, match=message):
        Rematerialized(keras.Model(inputs, x))(IMAGES, training=True)


def test_a_model_of_code_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(UsageError, match="needs a functional or Sequential model"):
        Rematerialized(Own())
