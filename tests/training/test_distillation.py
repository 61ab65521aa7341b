from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.search import DistillConfig, Session, TrainConfig, run_stage, train
from keras_nas.tasks import Classification
from keras_nas.tasks.soft_targets import softmax_divergence
from keras_nas.training.distillation import Distillation
from keras_nas.training.trainer import TrainStage
from tests.training.nets import arrays, random_images, small_net

QUIET = Session(progress="off")
STILL = TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
HALF = DistillConfig(weight=0.25, temperature=3.0)
IMAGES = random_images(40, 16)  # the last batch has 8 examples


def thin_net(width=4, classes=4):
    """A smaller student: layers of `small_net`'s names and sizes, of fewer channels."""
    x = inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(width, 3, padding="same", name="a_conv")(x)
    x = keras.layers.ReLU(name="a_relu")(x)
    x = keras.layers.Conv2D(width, 3, padding="valid", name="b_conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="classifier")(x), name="thin")


def distilled(model, teacher, distill, config=STILL, data=IMAGES, session=QUIET):
    task = Classification.of(model)
    return train(
        model, data, None, config, task=task, session=session, teacher=teacher, distill=distill
    )


def images_and_labels(data=IMAGES):
    pairs = list(data)
    return (np.concatenate([np.asarray(pair[place]) for pair in pairs]) for place in (0, 1))


def test_the_loss_is_a_weighted_mean_of_task_and_teacher():
    teacher, model = small_net(), thin_net()
    (record,) = distilled(model, teacher, HALF)
    images, labels = images_and_labels()
    outputs, taught = model(images), teacher(images, training=False)
    batches = [slice(0, 16), slice(16, 32), slice(32, 40)]
    task = Classification(4).loss(labels, outputs).numpy()
    distance = softmax_divergence(taught, outputs, 3.0).numpy()
    task, distance = (np.mean([x[b].mean() for b in batches]) for x in (task, distance))
    assert record["task_loss"] == pytest.approx(task, rel=1e-5)
    assert record["distill_loss"] == pytest.approx(distance, rel=1e-5)
    assert record["loss"] == pytest.approx(0.75 * task + 0.25 * distance, rel=1e-5)


def test_a_student_learns_what_only_its_teacher_knows():
    """The labels are all the same: with w = 1 they count for nothing."""
    teacher = small_net()
    fit = TrainConfig(epochs=4, learning_rate=0.1)
    train(teacher, random_images(), None, fit, task=Classification.of(teacher), session=QUIET)
    before = arrays(teacher)
    blind = random_images(256).map(lambda x, y: (x, tf.zeros_like(y)))
    model = thin_net(8)
    config = TrainConfig(epochs=12, learning_rate=0.02)
    records = distilled(model, teacher, DistillConfig(weight=1.0), config, blind)
    assert records[-1]["distill_loss"] < 0.1 * records[0]["distill_loss"]
    images, labels = images_and_labels(random_images(seed=3))
    assert (model(images).numpy().argmax(-1) == labels).mean() > 0.9
    for path, value in arrays(teacher).items():
        np.testing.assert_array_equal(value, before[path])


def test_checkpoints_hold_nothing_of_the_teacher_and_the_step_is_traced_once():
    traces = []

    class Counted(TrainStage):
        def train_step(self, batch):
            traces.append(1)
            return super().train_step(batch)

    teacher, model = small_net(), thin_net()
    task = Classification.of(model)
    distillation = Distillation.of(teacher, model, task, HALF)
    config = dataclasses.replace(STILL, epochs=2)
    stage = Counted("finetune", model, IMAGES, None, task, config, distillation)
    run_stage(stage, QUIET)
    saved = {id(v) for group in stage.state().values() for v in group}
    assert not saved & {id(v) for v in teacher.variables}
    assert {id(v) for v in stage.state()["model"]} == {id(v) for v in model.variables}
    assert len(traces) == 1


def test_features_are_drawn_together_by_their_attention_maps():
    """`a_relu` has 4 channels of the teacher's 8, `pool` as many as it."""
    teacher, model = small_net(), thin_net(8)
    settings = DistillConfig(features=("a_relu", "pool"), feature_weight=2.0)
    (record,) = distilled(model, teacher, settings, data=random_images(16))
    images, _ = images_and_labels(random_images(16))

    def vectors(network, name, training):
        part = keras.Model(network.input, network.get_layer(name).output)
        found = part(images, training=training).numpy()
        found = (found**2).mean(-1).reshape(16, -1) if name == "a_relu" else found
        return found / np.linalg.norm(found, axis=-1, keepdims=True)

    expected = sum(
        np.mean(1 - (vectors(teacher, name, False) * vectors(model, name, True)).sum(-1))
        for name in ("a_relu", "pool")
    )
    assert record["feature_loss"] == pytest.approx(expected, rel=1e-4)
    assert record["loss"] == pytest.approx(record["task_loss"] + 2 * expected, rel=1e-4)
    assert "distill_loss" not in record
    assert 0 <= record["top1"] <= 1
    narrow = thin_net(4)
    records = distilled(
        narrow, teacher, DistillConfig(features=("a_relu",), feature_weight=5.0),
        TrainConfig(epochs=12, learning_rate=0.02), random_images(256),
    )  # fmt: skip
    assert records[-1]["feature_loss"] < 0.7 * records[0]["feature_loss"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_from_a_teacher(policy):
    model = small_net(dtype=policy)
    settings = DistillConfig(weight=0.5, features=("a_relu",))
    records = distilled(
        model, small_net(dtype=policy), settings, TrainConfig(epochs=3, learning_rate=0.1),
        random_images(),
    )  # fmt: skip
    assert records[-1]["top1"] > 0.8
    assert np.isfinite(records[-1]["distill_loss"])


def test_two_replicas_and_a_compiled_step_give_the_losses_of_one(mirrored):
    def records(session=QUIET):
        keras.utils.set_random_seed(0)
        settings = DistillConfig(weight=0.5, features=("a_relu",))
        config = TrainConfig(epochs=2, learning_rate=0.05)
        return distilled(thin_net(), small_net(), settings, config, session=session)

    plain = records()
    compiled = records(Session(progress="off", jit_compile=True))
    with mirrored.scope():
        replicated = records()
    for found in (compiled, replicated):
        for one, other in zip(found, plain, strict=True):
            for name in ("loss", "distill_loss", "feature_loss"):
                assert one[name] == pytest.approx(other[name], rel=1e-4), name


def softmax_net():
    net = small_net()
    return keras.Model(net.input, keras.layers.Softmax()(net.output), name="by_softmax")


@pytest.mark.parametrize(
    ("teacher", "settings", "message"),
    [
        (lambda: small_net(classes=5), HALF, "needs the network's outputs: .* has 5, 'thin' has 4"),
        (softmax_net, HALF, "teacher 'by_softmax' ends in softmax, 'thin' in no softmax"),
        (small_net, DistillConfig(features=("z",)), "'z', which 'small_net' has not"),
        (small_net, DistillConfig(features=("b_conv",)), "'b_conv', 8×8×8 in the teacher and 6×6"),
        (small_net, DistillConfig(features=("pool",)), "'pool', 8 in the teacher and 4"),
        (small_net, None, "Distillation needs a `teacher`, and a `weight`"),
        (lambda: None, HALF, "Distillation needs a `teacher`.* teacher=None"),
    ],
    ids=["classes", "head", "no layer", "positions", "channels", "no settings", "no teacher"],
)
def test_what_does_not_fit_is_said_in_one_line(teacher, settings, message):
    with pytest.raises(UsageError, match=message) as error:
        distilled(thin_net(), teacher(), settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": 1.5}, "`weight` must be from 0 to 1"),
        ({"weight": -0.5}, "`weight` must be 0 or more"),
        ({"temperature": 0.0}, "`temperature` must be greater than 0"),
        ({"feature_weight": -1.0}, "`feature_weight` must be 0 or more"),
    ],
    ids=["weight above 1", "weight below 0", "temperature", "feature weight"],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(UsageError, match=message):
        DistillConfig(**changes)
