from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import gates
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search import DivergedError, Session, TrainConfig, run_stage, train
from keras_nas.tasks import Classification
from keras_nas.training.trainer import TrainStage, kernels, needs_loss_scaling, weight_penalty
from tests.training.nets import arrays, random_images, small_net

QUIET = Session(progress="off")
COMPILED = Session(progress="off", jit_compile=True)
CONFIG = TrainConfig(epochs=1, learning_rate=0.05, weight_decay=0.01)


def trained(model, config, data=None, validation_data=None):
    """The records of a stage of training."""
    data, task = data or random_images(), Classification.of(model)
    return train(model, data, validation_data, config, task=task, session=QUIET)


class CountedStage(TrainStage):
    """A training stage that counts its traces."""

    def __init__(self, model, data, validation_data=None):
        task, config = Classification.of(model), TrainConfig(epochs=2, learning_rate=0.05)
        super().__init__("weights", model, data, validation_data, task, config)
        self.traces = 0

    def train_step(self, batch):
        self.traces += 1
        return super().train_step(batch)


def test_penalty_is_half_the_squared_norm_of_the_kernels_alone():
    model = small_net()
    squares = sum(
        np.sum(value**2) for path, value in arrays(model).items() if path.endswith("kernel")
    )
    found = kernels(model)
    assert [v.path for v in found] == [
        "a_conv/kernel", "b_conv/kernel", "c_conv/kernel", "classifier/kernel",
    ]  # fmt: skip
    assert float(weight_penalty(CONFIG, found)) == pytest.approx(0.01 * squares / 2, rel=1e-5)
    norm = dataclasses.replace(CONFIG, weight_norm="norm")
    assert float(weight_penalty(norm, found)) == pytest.approx(0.01 * squares**0.5, rel=1e-5)
    assert float(weight_penalty(dataclasses.replace(CONFIG, weight_decay=0.0), found)) == 0


def test_gradient_of_the_penalty_is_the_usual_weight_decay():
    model = small_net()
    (kernel, *_) = found = kernels(model)
    with tf.GradientTape() as tape:
        penalty = weight_penalty(CONFIG, found)
    assert tape.gradient(penalty, kernel.value).numpy() == pytest.approx(
        0.01 * kernel.numpy(), rel=1e-5
    )


def test_an_epoch_equals_keras_fit():
    """Same updates as fit with SGD and an L2 regularizer of λ_w / 2 on each kernel."""
    ours, theirs = small_net(), small_net()
    theirs.set_weights(ours.get_weights())
    for layer in theirs.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.regularizer = keras.regularizers.L2(0.005)
    records = trained(ours, CONFIG)
    theirs.compile(
        keras.optimizers.SGD(0.05, 0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = theirs.fit(random_images(), epochs=1, shuffle=False, verbose=0)
    assert records[0]["loss"] == pytest.approx(history.history["loss"][0], rel=1e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_gates_keep_their_logits_and_the_step_is_traced_once():
    supernet = gates.insert(small_net(), ScaledSigmoidGate)
    stage = CountedStage(supernet, random_images(40), random_images())
    run_stage(stage, QUIET)
    assert stage.traces == 1
    assert all((gate.logits.numpy() == 0).all() for gate in gates.find(supernet))


def test_losses_that_layers_add_are_counted():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Flatten()(inputs)
    outputs = keras.layers.Dense(
        4, kernel_regularizer=keras.regularizers.L1(0.5), kernel_initializer="ones"
    )(x)
    model = keras.Model(inputs, outputs)
    config = TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
    records = trained(model, config)
    plain = keras.losses.sparse_categorical_crossentropy(
        np.zeros(1, int), np.zeros((1, 4), "float32"), from_logits=True
    )
    assert records[0]["task_loss"] == pytest.approx(0.5 * 512 + float(plain[0]), rel=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_training_learns_and_records_the_validation(policy):
    model = small_net(dtype=policy)
    assert needs_loss_scaling(model) == (policy == "mixed_float16")
    config = TrainConfig(epochs=3, learning_rate=0.1, weight_decay=1e-4)
    records = trained(model, config, validation_data=random_images(seed=1))
    assert records[-1]["val_top1"] > 0.9
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["loss"] > records[-1]["task_loss"]
    assert all(v.dtype == "float32" for v in model.trainable_variables)


def test_divergence_names_the_layer():
    model = small_net()
    model.get_layer("b_conv").kernel.assign(model.get_layer("b_conv").kernel * 3e38)
    with pytest.raises(DivergedError, match=r"epoch 1, step 1: .* output of layer 'b_conv'"):
        trained(model, CONFIG)
    assert all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)


def test_divergence_names_the_inputs():
    model = small_net()
    bad = random_images().map(lambda x, y: (x * np.nan, y))
    with pytest.raises(DivergedError, match="inputs of the batch"):
        trained(model, CONFIG, bad)


def test_adam_and_nesterov_are_had_by_name():
    model = small_net()
    stage = TrainStage(
        "train", model, random_images(), None, Classification.of(model),
        dataclasses.replace(CONFIG, optimizer="adam"),
    )  # fmt: skip
    stage.begin(4)
    assert isinstance(stage.optimizer, keras.optimizers.Adam)
    stage.config = dataclasses.replace(CONFIG, nesterov=True)
    stage.begin(4)
    assert stage.optimizer.nesterov


def test_a_network_without_weights_is_refused_in_one_line():
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="emptied")
    with pytest.raises(KerasNasError, match="Stage 'train' has nothing to train: model 'emptied'"):
        train(model, random_images(), None, TrainConfig(epochs=1), task=Classification(2))


class Written(keras.layers.Layer):
    """Goes through text, which XLA does not know."""

    def call(self, inputs):
        return tf.strings.to_number(tf.strings.as_string(inputs))


def test_a_compiled_step_is_traced_once_and_gives_the_same_losses():
    found = {}
    for session in (Session(progress="off"), COMPILED):
        keras.utils.set_random_seed(0)
        stage = CountedStage(small_net(), random_images(40, 16))  # the last batch has 8 examples
        found[session.jit_compile] = run_stage(stage, session)
        assert stage.traces == 1
    for compiled, plain in zip(found[True], found[False], strict=True):
        assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-5)
        assert compiled["top1"] == plain["top1"]


def test_an_operation_that_xla_does_not_have_is_named():
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, small_net()(Written(name="written")(inputs)))
    with pytest.raises(KerasNasError, match=r"^Stage 'weights' cannot .* no AsString \(.*written"):
        run_stage(CountedStage(model, random_images()), COMPILED)


def test_a_step_of_several_replicas_is_not_compiled(mirrored):
    with mirrored.scope():
        stage = CountedStage(small_net(), random_images())
        with pytest.raises(UsageError, match="jit_compile=True with 2 replicas"):
            run_stage(stage, COMPILED)
