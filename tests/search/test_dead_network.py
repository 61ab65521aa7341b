"""A search ends with a network that works, or with an error that says which gates went."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nas as kn
from keras_nas import gates, surgery
from keras_nas.layers import STEGate
from keras_nas.runs import workbench
from keras_nas.runs.config import STAGES, RunConfig
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.run import run
from keras_nas.search import DeadNetworkError, DnalConfig, Session, TrainConfig, dnal
from keras_nas.search.dead_network import best_value, check_alive, nearly_empty
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.search.fgnas.method import Fgnas
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.tasks import Classification, Segmentation, SuperResolution, Task
from keras_nas.training.session import SessionSettings
from tests.training.nets import PAPER, MadeData, random_images, small_net

FOUND = kn.Architecture({"a": [], "b": [0, 1]}, {"a": 8, "b": 2})
GOOD = [{"stage": "weights", "val_top1": 0.9}]
CLOSING = DnalConfig(
    lambda_a=100.0,
    weights=TrainConfig(epochs=2, learning_rate=0.1),
    architecture=TrainConfig(epochs=2, learning_rate=0.1, weight_decay=0.0),
    finetune=TrainConfig(epochs=0),
)


def vectors(examples=200, seed=0):
    """Two classes, told by the first number of four."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(examples, 4)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, (x[:, 0] > 0).astype("int32"))).batch(50)


def classifier(first, second, *before):
    """Logits `first · x₀` and `second · x₀` (behind other layers)."""
    inputs = keras.Input((4,))
    x = inputs
    for layer in before:
        x = layer(x)
    dense = keras.layers.Dense(2)
    model = keras.Model(inputs, dense(x))
    kernel = np.zeros((4, 2), "float32")
    kernel[0] = first, second
    dense.set_weights([kernel, np.float32([0.0, 100.0])])
    return model


def check(model, records=GOOD, value=None, task=None, data=None, held_out=None):
    data = vectors() if data is None else data
    check_alive(
        lambda: model, FOUND, task or Classification(2), data, held_out,
        value=value, records=records, remedy="Do less.",
    )  # fmt: skip


def test_equal_outputs_are_dead_whatever_came_before():
    with pytest.raises(DeadNetworkError, match=r"same for every input.*'a' 0 of 8\. Do") as got:
        check(classifier(0, 0), records=[])
    assert got.value.architecture is FOUND


def test_outputs_that_tell_nothing_are_dead_where_others_did():
    """Always class 1, and what little the outputs vary by has nothing to do with the class."""
    inputs = keras.Input((4,))
    noise = keras.Model(inputs, keras.layers.Rescaling([0.0, 1.0], [0.0, 9.0])(inputs[:, 1:3]))
    with pytest.raises(DeadNetworkError, match=r"than a constant: top1 is 0\.[45].*0\.9 was"):
        check(noise, held_out=vectors(seed=1))
    check(noise, records=[])  # nothing was ever better than a constant
    check(noise, records=[{"stage": "weights", "val_top1": 0.5}])


def test_outputs_that_are_off_but_tell_the_class_are_alive():
    """The bias is off by 100, so that the metric is a constant's; finetuning mends it at once."""
    check(classifier(0, 1), held_out=vectors(seed=1))


def test_stale_statistics_are_no_death():
    norm = keras.layers.BatchNormalization()
    model = classifier(0, 1, norm, keras.layers.ReLU())
    norm.moving_mean.assign(np.full(4, 1e6))
    norm.moving_variance.assign(np.ones(4))
    assert np.ptp(model(next(iter(vectors()))[0]), axis=0).max() == 0
    check(model)


def test_a_good_metric_needs_no_trial():
    def never():
        raise AssertionError

    check_alive(
        never, FOUND, Classification(2), vectors(), vectors(seed=1),
        value=0.8, records=[], remedy="",
    )  # fmt: skip


def test_images_are_compared_with_the_mean_colour():
    random = np.random.default_rng(0)
    high = random.random((8, 8, 8, 3)).astype("float32") * random.random((8, 1, 1, 1))
    low = high[:, ::2, ::2]
    data = tf.data.Dataset.from_tensor_slices((low, high.astype("float32"))).batch(2)
    inputs = keras.Input((None, None, 3))
    task = SuperResolution(2, 1.0)
    upsampled = keras.layers.UpSampling2D(2)
    alive = keras.Model(inputs, upsampled(inputs))
    noise = tf.constant(random.normal(size=(1, 8, 8, 3)), "float32")
    nearly = keras.Model(inputs, 0.3 + 0.2 * noise + 1e-4 * upsampled(inputs[:, ::-1]))
    records = [{"val_psnr_y": 30.0}]
    check(alive, records, task=task, data=data, held_out=data)
    with pytest.raises(DeadNetworkError, match="psnr_y"):
        check(nearly, records, task=task, data=data, held_out=data)


def test_segmentation_leaves_out_what_does_not_count():
    targets = np.array([[[0, 0, 1, 255]]])
    assert Segmentation(2).right_outputs(targets)[0, 0].tolist() == [[1, 0], [1, 0], [0, 1], [0, 0]]


def test_a_task_of_ones_own_is_judged_by_its_outputs_alone():
    class Regression(Task):
        monitor = "mae"

        def loss(self, targets, outputs):
            return (keras.ops.cast(targets, "float32") - outputs[:, 0]) ** 2

        def metrics(self):
            return [keras.metrics.MeanAbsoluteError(name="mae")]

    check(classifier(0, 1), task=Regression())
    with pytest.raises(DeadNetworkError, match="same for every input"):
        check(classifier(0, 0), task=Regression())


def test_records_and_gates_are_read():
    assert best_value([{"top1": 0.7}, {"val_top1": 0.5}, {"val_top1": 0.4}], "top1") == 0.5
    assert best_value([{"loss": 1.0}], "top1") is None
    assert nearly_empty(FOUND) == "Gates that keep next to nothing (1 of 2): 'a' 0 of 8."
    assert nearly_empty(kn.Architecture({}, {}, kept_edges={"e": 0.0, "f": 0.5})).startswith("1 of")


def test_dnal_refuses_what_a_rescue_cannot_keep(monkeypatch):
    monkeypatch.setattr(surgery, "rescue", lambda *_: [])
    keras.utils.set_random_seed(0)
    with pytest.raises(DeadNetworkError, match=r"same for every input.*Give a target"):
        dnal(small_net(), random_images(), config=CLOSING, session=Session(progress="off"))


def test_what_a_dead_run_found_stands_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(workbench, "load_data", lambda *_, **__: MadeData())
    monkeypatch.setattr(surgery, "rescue", lambda *_: [])
    small_net().save(tmp_path / "net.keras")
    config = RunConfig(
        run_dir=str(tmp_path / "run"), stages=STAGES, session=SessionSettings(progress="off"),
        deterministic=False, model=str(tmp_path / "net.keras"),
    )  # fmt: skip
    with pytest.raises(DeadNetworkError, match="same for every input"):
        run(config, CLOSING)
    folder = RunFolder(tmp_path / "run")
    assert kn.Architecture.load(folder.architecture).kept_share() == 0
    assert folder.load_model(folder.supernet, "architecture").name == "small_net"
    assert folder.read_results()["rows"]["gated"]["top1"] < 0.5
    assert not folder.small.exists()
    later = dataclasses.replace(config, stages=("surgery", "finetune"))
    with pytest.raises(DeadNetworkError, match="same for every input"):
        run(later, CLOSING)


def fgnas_stage(config, model=None):
    keras.utils.set_random_seed(0)
    net = Fgnas(config).make_supernet(model or small_net())
    gates.set_mode(net, "soft")
    return FgnasStage(net, random_images(), None, Classification.of(net), config)


def protect(searched):
    searched.protection.open_best(searched.protection.emptied().numpy())


def test_fgnas_protects_what_has_no_way_round():
    searched = fgnas_stage(FgnasConfig(**PAPER, gate_learning_rate=0.01, target_flops="0.5x"))
    a, b, c = searched.gates
    assert searched.protection.groups == [[a], [b]]  # c stands beside a shortcut
    a.logits.assign(np.stack([-np.arange(8.0) - 1, np.zeros(8)], axis=-1))
    c.set_mask(np.zeros(8))
    protect(searched)
    assert a.mask().tolist() == [True] + [False] * 7
    assert b.mask().all()
    assert not c.mask().any()


def test_operations_of_a_mixed_layer_are_ways_round_each_other():
    searched = fgnas_stage(
        FgnasConfig(**PAPER, gate_learning_rate=0.01, target_flops="0.5x", kernels=(1,))
    )
    protected = [[gate.name for gate in group] for group in searched.protection.groups]
    assert [len(group) for group in protected] == [2, 2]
    first = searched.protection.groups[0]
    first[0].set_mask(np.zeros(8))
    protect(searched)
    assert not first[0].mask().any()
    first[1].logits.assign(np.stack([np.full(8, -0.01), np.zeros(8)], axis=-1))
    protect(searched)
    assert [gate.mask().sum() for gate in first] == [0, 1]


def test_gates_that_cut_together_are_counted_as_a_rescue_leaves_them():
    """Two branches of a sum: either may go, and both together may not."""
    inputs = keras.Input((8, 8, 2))
    branches = []
    for name in "ab":
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"{name}_conv")(inputs)
        branches.append(STEGate(name=name)(keras.layers.ReLU()(x)))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(branches))
    searched = fgnas_stage(
        FgnasConfig(**PAPER, gate_learning_rate=0.01, target_macs="0.3x"),
        keras.Model(inputs, keras.layers.Dense(4)(x)),
    )
    a, b = searched.gates
    assert searched.protection.groups == []
    for gate, value in ((a, -1.0), (b, -2.0)):
        gate.logits.assign(np.stack([np.full(4, value), np.zeros(4)], axis=-1))
    one_channel = 8 * 8 * 9 * 2 + 4
    assert searched.measured() == 0
    assert searched.left() == one_channel
    assert searched.is_met()
    searched.mend()
    assert [gate.mask().sum() for gate in (a, b)] == [0, 1]


def test_channels_that_closed_alike_come_back_by_turns():
    """λ has closed every channel of a and b in one step: each gets its share back."""
    searched = fgnas_stage(FgnasConfig(**PAPER, gate_learning_rate=0.01, target_flops="0.4x"))
    a, b, c = searched.gates
    for gate in (a, b):
        gate.logits.assign(np.stack([np.full(8, -0.5), np.zeros(8)], axis=-1))
    assert searched.satisfied()
    kept = [int(gate.mask().sum()) for gate in (a, b)]
    assert min(kept) >= 3
    assert kept[0] - kept[1] in (-1, 0, 1)
    assert 0.3 * searched.full < searched.left() <= searched.target
    assert c.mask().all()


def test_a_branch_that_does_not_fit_keeps_no_other_channels_closed():
    """The branch's last gate is the nearest to open, but costs the whole branch, which is wide."""
    inputs = keras.Input((8, 8, 2))
    stem = keras.layers.Conv2D(4, 3, padding="same", name="stem_conv")(inputs)
    stem = STEGate(name="stem")(keras.layers.ReLU()(stem))
    y = keras.layers.Conv2D(64, 3, padding="same", name="wide_conv")(stem)
    y = keras.layers.Conv2D(4, 3, padding="same", name="last_conv")(keras.layers.ReLU()(y))
    x = keras.layers.Add()([stem, STEGate(name="last")(y)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    searched = fgnas_stage(FgnasConfig(**PAPER, gate_learning_rate=0.01, target_macs="0.1x"), model)
    gate, last = searched.gates
    gate.logits.assign(np.stack([np.full(4, -2.0), np.zeros(4)], axis=-1))
    last.logits.assign(np.stack([np.full(4, -1.0), np.zeros(4)], axis=-1))
    assert searched.satisfied()
    assert (gate.mask().sum(), last.mask().sum()) == (4, 0)


def test_protection_leaves_open_gates_alone():
    searched = fgnas_stage(FgnasConfig(**PAPER, gate_learning_rate=0.01, target_flops="0.5x"))
    before = [np.array(gate.logits) for gate in searched.gates]
    protect(searched)
    for gate, logits in zip(searched.gates, before, strict=True):
        np.testing.assert_array_equal(gate.logits, logits)
