"""Small batches with accumulated gradients move the variables as one batch of all of them does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import gates
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.models import DsoSpace
from keras_nas.search import DnalConfig, DsoConfig, FgnasConfig, Session, TrainConfig, run_stage
from keras_nas.search.dnal_stages import GateStage, JointStage
from keras_nas.search.dso.edge_gammas import fixed_gammas
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.search.dso.edge_stage import EdgeStage
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.tasks import Classification
from keras_nas.training.trainer import TrainStage
from tests.training.nets import PAPER, arrays, random_images

QUIET = Session(progress="off")


def net(dtype=None):
    """Two convolutions without BatchNormalization, and a classifier."""
    inputs = x = keras.Input((8, 8, 2))
    for name in ("a", "b"):
        x = keras.layers.Conv2D(8, 3, activation="tanh", name=f"{name}_conv", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="classifier", dtype="float32")(x))


def training(model, data, config):
    return TrainStage("weights", model, data, None, Classification.of(model), config)


def dnal(kind):
    def stage(model, data, config):
        supernet = gates.insert(model, ScaledSigmoidGate, order="conv_bn_relu_gate")
        settings = DnalConfig(lambda_a=0.01, weights=config, architecture=config, delta_max=3.0)
        return kind(supernet, data, None, Classification.of(model), settings)

    return stage


def fgnas(model, data, config):
    supernet = gates.insert(model, STEGate, order="conv_bn_relu_gate")
    settings = FgnasConfig(**PAPER, gate_learning_rate=0.01, lambda_r=1e-6, search=config)
    return FgnasStage(supernet, data, None, Classification.of(model), settings)


def moved(make, config, batch, dtype=None, examples=64):
    """The variables that a stage has learned in batches of a size."""
    keras.utils.set_random_seed(0)
    model = net(dtype)
    stage = make(model, random_images(examples, batch), config)
    before = arrays(stage.model)
    run_stage(stage, QUIET)
    return {path: value - before[path] for path, value in arrays(stage.model).items()}


@pytest.mark.parametrize(
    "make",
    [training, dnal(GateStage), dnal(JointStage), fgnas],
    ids=["training", "dnal", "dnal_joint", "fgnas"],
)
def test_accumulated_batches_move_as_one_large_batch(make):
    settings = {"epochs": 3, "learning_rate": 0.1, "weight_decay": 0.01, "clip_norm": 0.5}
    expected = moved(make, TrainConfig(**settings), 32)
    found = moved(make, TrainConfig(**settings, accumulate_steps=4), 8)
    assert max(np.abs(value).max() for value in expected.values()) > 1e-3
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "piecewise"])
def test_a_schedule_goes_by_the_steps_of_the_optimizer(schedule):
    settings = {"epochs": 3, "optimizer": "adam", "learning_rate": 0.01, "schedule": schedule,
                "boundaries": (1.0,)}  # fmt: skip
    expected = moved(training, TrainConfig(**settings), 32)
    found = moved(training, TrainConfig(**settings, accumulate_steps=4), 8)
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-3, atol=1e-5, err_msg=path)


def test_with_float16_the_loss_scale_stands_outside_of_the_sum():
    settings = {"epochs": 2, "learning_rate": 0.1, "weight_decay": 0.01}
    expected = moved(training, TrainConfig(**settings), 32, "mixed_float16")
    found = moved(training, TrainConfig(**settings, accumulate_steps=4), 8, "mixed_float16")
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=0.05, atol=2e-3, err_msg=path)


def edges(batch, **options):
    """The edges' λ after three epochs of DSO's alternating steps, the weights all but standing.

    Where they move, the last of the accumulated batches of λ sees the weights' new values.
    """
    keras.utils.set_random_seed(0)
    space = DsoSpace((8, 8, 2), 4, stage_widths=(4,), stage_blocks=(1,), levels=1,
                     operations=("avg3",))  # fmt: skip
    supernet = without_norms(space.supernet())
    graph = EdgeGraph(supernet)
    config = DsoConfig(
        gamma=0.05,
        patience=0,
        edge_learning_rate=0.05,
        architecture=TrainConfig(epochs=3, learning_rate=1e-9, **options),
    )
    stage = EdgeStage(
        supernet, random_images(64, batch, seed=1), random_images(64, batch, seed=2), None,
        Classification.of(supernet), config, graph, fixed_gammas(graph, config.gamma),
    )  # fmt: skip
    run_stage(stage, QUIET)
    return stage.strengths()


def without_norms(model):
    """The model with BatchNormalization that divides by its moving statistics, which stand."""

    def frozen(layer):
        copy = type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.layers.BatchNormalization):
            copy.trainable = False
        return copy

    return keras.models.clone_model(model, clone_function=frozen)


def test_edges_take_their_proximal_step_once_the_batches_are_together():
    expected, found = edges(32), edges(8, accumulate_steps=4)
    assert max(abs(value - 1) for value in expected.values()) > 1e-2
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_replicas_do_not_accumulate():
    config = TrainConfig(epochs=2, learning_rate=0.1, accumulate_steps=2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    refused = pytest.raises(UsageError, match="accumulate_steps=2 with 2 replicas")
    with strategy.scope(), refused:
        moved(training, config, 16)


def test_less_than_one_batch_is_refused():
    with pytest.raises(UsageError, match="`accumulate_steps` must be 1 or more"):
        TrainConfig(accumulate_steps=0)
