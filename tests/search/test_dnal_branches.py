"""DNAL in what is left when whole branches have gone."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search import DistillConfig, DnalConfig, Session, TrainConfig, dnal
from keras_nas.search.dnal_fading import FadingStage
from tests.training.nets import killed_and_resumed, random_images

QUIET = Session(progress="off")
CONFIG = DnalConfig(
    branches=2,
    target_macs="0.3x",
    weights=TrainConfig(epochs=1, learning_rate=0.1),
    architecture=TrainConfig(epochs=2, weight_decay=0.0),
    finetune=TrainConfig(epochs=0, learning_rate=0.1),
)


def net(blocks=3):
    """A stem, blocks of two convolutions beside a shortcut, and a classifier."""
    inputs = keras.Input((8, 8, 2), name="image")
    x = inputs
    for name in ("stem", *(f"block{number}" for number in range(blocks))):
        y = x
        for part in ("1", "2"):
            y = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_{part}_conv")(y)
            y = layers.BatchNormalization(momentum=0.8, name=f"{name}_{part}_bn")(y)
            y = layers.ReLU(name=f"{name}_{part}_relu")(y) if part == "1" else y
        x = layers.ReLU(name=f"{name}_relu")(y if name == "stem" else layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="classifier")(x), name="net")


def additions(model):
    return sum(isinstance(layer, layers.Add) for layer in model.layers)


@pytest.mark.parametrize("strategy", ["fading", "sequential"])
def test_two_branches_go_and_the_rest_meets_the_target_of_the_whole(strategy):
    keras.utils.set_random_seed(0)
    model, data = net(), random_images()
    config = dataclasses.replace(CONFIG, strategy=strategy, reestimate_batches=0)
    found = dnal(model, data, validation_data=data, config=config, session=QUIET)
    assert additions(model) == 3
    assert additions(found.small) == 1
    full, small = kn.costs.count(model).macs, kn.costs.count(found.small).macs
    assert 0.25 * full < small <= 0.3 * full
    costs = found.architecture.costs
    assert (costs["before"]["macs"], costs["after"]["macs"]) == (full, small)
    surgery = next(record for record in found.history if record["stage"] == "surgery")
    assert surgery["val_loss"] == pytest.approx(surgery["gated_loss"], rel=1e-4)
    images = next(iter(data))[0]
    np.testing.assert_allclose(
        found.supernet(images, training=False), found.small(images, training=False),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    gone = [name for name, kept in found.architecture.kept_channels.items() if not len(kept)]
    blocks = {name[:6] for name in gone}
    assert len(blocks) == 2
    assert set(gone) == {f"{block}_{part}_conv_gate" for block in blocks for part in "12"}


def test_what_went_is_said(capsys):
    keras.utils.set_random_seed(0)
    dnal(net(), random_images(), config=CONFIG, session=Session(progress="lines"))
    (said,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("Without")]
    assert "_2_conv, block" in said
    assert "of the whole network" in said


def test_the_architecture_is_one_of_the_whole_network():
    keras.utils.set_random_seed(0)
    model = net()
    found = dnal(model, random_images(), config=CONFIG, session=QUIET)
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    built = kn.surgery.build(supernet, found.architecture)
    assert [weight.shape for weight in built.weights] == [w.shape for w in found.small.weights]


def test_several_targets_are_of_the_whole_network():
    keras.utils.set_random_seed(0)
    model = net()
    config = dataclasses.replace(CONFIG, branches=1, target_bytes="int8:0.7x", target_macs="0.6x")
    found = dnal(model, random_images(), config=config, session=QUIET)
    size = kn.costs.tflite_bytes(found.small, "int8") / kn.costs.tflite_bytes(model, "int8")
    macs = kn.costs.count(found.small).macs / kn.costs.count(model).macs
    assert additions(found.small) == 2
    assert size <= 0.7
    assert macs <= 0.6
    assert max(size / 0.7, macs / 0.6) > 0.8


def test_the_teacher_is_the_whole_network(monkeypatch):
    from keras_nas.search import method

    taught = []
    train = method.train

    def seen(*arguments, teacher=None, **options):
        if teacher is not None:
            taught.append(additions(teacher))
        return train(*arguments, teacher=teacher, **options)

    monkeypatch.setattr(method, "train", seen)
    config = dataclasses.replace(
        CONFIG,
        finetune=TrainConfig(epochs=1, learning_rate=0.1),
        finetune_distill=DistillConfig(weight=0.5),
    )
    dnal(net(), random_images(), config=config, session=QUIET)
    assert taught == [3]


def test_excluded_layers_stay():
    config = dataclasses.replace(
        CONFIG, branches=1, target_macs="0.6x", exclude=("block1_*", "block2_*")
    )
    found = dnal(net(), random_images(), config=config, session=QUIET)
    left = [layer.name for layer in found.small.layers]
    assert "block0_2_conv" not in left
    assert {"block1_2_conv", "block2_2_conv"} <= set(left)


def test_a_killed_search_resumes_to_the_same_network(tmp_path, monkeypatch):
    def search(directory, resume):
        keras.utils.set_random_seed(7)
        keras.backend.clear_session()
        session = Session(tmp_path / directory, progress="off", checkpoint_every=3, resume=resume)
        return dnal(net(), random_images(), config=CONFIG, session=session)

    where = ("architecture", 1, 2)
    expected, found = killed_and_resumed(monkeypatch, search, FadingStage, where)
    assert found.architecture == expected.architecture
    for a, b in zip(found.small.get_weights(), expected.small.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branches": 4}, "`branches` must be 3 or less, the branches of 'net'"),
        ({"branches": -1}, "`branches` must be 0 or more"),
        ({"strategy": "joint", "target_macs": 0.0}, "another strategy than 'joint'"),
        ({"streams": "groups"}, "streams='branches'. Received: .* and streams='groups'"),
        ({"order": "conv_gate_bn_relu"}, "another `order`. Received: order='conv_gate_bn_relu'"),
    ],
)
def test_what_cannot_be_is_said_before_training(changes, message):
    with pytest.raises(UsageError, match=message):
        dnal(net(), random_images(), config=dataclasses.replace(CONFIG, **changes), session=QUIET)


def test_a_network_of_gates_of_its_own_is_refused():
    inputs = keras.Input((8, 8, 2))
    stem = layers.Conv2D(8, 3, padding="same")(inputs)
    x = layers.Conv2D(8, 3, padding="same", name="branch")(stem)
    x = layers.Add()([stem, ScaledSigmoidGate(name="mine")(x)])
    x = layers.Conv2D(4, 3, name="last")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="gated")
    with pytest.raises(UsageError, match="a model without gates of its own"):
        dnal(
            model,
            random_images(),
            config=dataclasses.replace(CONFIG, branches=1),
            session=QUIET,
        )
