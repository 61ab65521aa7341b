from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.training.divergence import DivergedError
from keras_nas.training.loop import InterruptedSearchError, run_stage
from keras_nas.training.session import Session
from keras_nas.training.stage import MixedData, steps_of
from keras_nas.training.step import Learned, descend, global_mean
from tests.training.nets import ToyData, ToyStage


def quiet(directory=None, **options):
    return Session(directory=directory, progress="off", **options)


def reference(epochs=2, momentum=0.9, steps_to=None):
    """The same descent in NumPy: (w, mean loss of each epoch)."""
    w = velocity = np.float32(0)
    means, count = [], 0
    for epoch in range(epochs):
        losses = []
        for x, y in ToyData().epoch(epoch).as_numpy_iterator():
            losses.append(np.mean((w * x - y) ** 2))
            gradient = np.mean(2 * (w * x - y) * x)
            velocity = np.float32(momentum * velocity - 0.1 * gradient)
            w = np.float32(w + velocity)
            count += 1
            if count == steps_to:
                return w, means
        means.append(np.mean(losses))
    return w, means


def test_records_follow_the_descent():
    stage = ToyStage(ToyData())
    records = run_stage(stage, quiet())
    w, means = reference()
    assert stage.weight.numpy() == pytest.approx(w, rel=1e-5)
    assert [record["loss"] for record in records] == pytest.approx(means, rel=1e-5)
    assert [record["epoch"] for record in records] == [1, 2]
    assert [record["steps"] for record in records] == [4, 4]
    assert records[1]["w"] == pytest.approx(w, rel=1e-5)


def test_step_is_traced_once_over_ragged_batches_and_epochs():
    stage = ToyStage(ToyData(examples=7, batch=2), epochs=3)
    run_stage(stage, quiet())
    assert stage.traces == 1


def test_hooks_are_called_in_order():
    stage = ToyStage(ToyData(examples=4, batch=2))
    run_stage(stage, quiet())
    assert stage.calls == [
        ("begin", 2),
        ("epoch", 0), ("step", 0, 0), ("step", 0, 1),
        ("epoch", 1), ("step", 1, 0), ("step", 1, 1),
    ]  # fmt: skip


def test_a_stage_may_end_early():
    records = run_stage(ToyStage(ToyData(), epochs=9, stop_after=3), quiet())
    assert len(records) == 3


@pytest.mark.parametrize(
    "data",
    [lambda epoch: ToyData().epoch(epoch), ToyData().epoch(0)],
    ids=["function", "dataset"],
)
def test_data_may_be_a_function_or_a_data_set(data):
    assert len(run_stage(ToyStage(data), quiet())) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ToyData().epoch(0).repeat(), "must end"),
        (ToyData(examples=1, batch=2).epoch(0).skip(1), "empty"),
        ([1, 2], "Received: list"),
    ],
)
def test_data_that_cannot_be_one_epoch_are_refused(data, message):
    with pytest.raises(KerasNasError, match=message):
        run_stage(ToyStage(data), quiet())


def test_unknown_cardinality_is_counted():
    data = ToyData().epoch(0).filter(lambda x, y: True)
    assert run_stage(ToyStage(data), quiet())[0]["steps"] == 4


def stop_at(stage, epoch, step, how):
    def on_step(e, s):
        if (e, s) == (epoch, step):
            how()

    stage.on_step = on_step


class KilledError(Exception):
    pass


def kill():
    raise KilledError


@pytest.mark.parametrize(
    ("epoch", "step", "every"), [(0, 1, 1), (0, 3, 2), (1, 0, 0), (1, 2, 3), (2, 3, 1)]
)
def test_a_killed_run_resumes_to_the_unbroken_run(tmp_path, epoch, step, every):
    unbroken = ToyStage(ToyData(), epochs=3)
    expected = run_stage(unbroken, quiet(tmp_path / "a"))
    killed = ToyStage(ToyData(), epochs=3)
    stop_at(killed, epoch, step, kill)
    with pytest.raises(KilledError):
        run_stage(killed, quiet(tmp_path / "b", checkpoint_every=every))
    resumed = ToyStage(ToyData(), epochs=3)
    records = run_stage(resumed, quiet(tmp_path / "b", resume=True))
    assert resumed.weight.numpy() == unbroken.weight.numpy()
    assert without_seconds(records) == without_seconds(expected)
    lines = (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    assert without_seconds(map(json.loads, lines)) == without_seconds(expected)


def without_seconds(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_a_finished_stage_is_not_run_again(tmp_path):
    first = ToyStage(ToyData())
    expected = run_stage(first, quiet(tmp_path))
    again = ToyStage(ToyData())
    assert run_stage(again, quiet(tmp_path, resume=True)) == expected
    assert again.weight.numpy() == first.weight.numpy()
    assert again.traces == 0


def test_checkpoints_are_not_overwritten_unasked(tmp_path):
    run_stage(ToyStage(ToyData()), quiet(tmp_path))
    with pytest.raises(KerasNasError, match="--resume"):
        run_stage(ToyStage(ToyData()), quiet(tmp_path))
    stage = ToyStage(ToyData(), epochs=1)
    assert len(run_stage(stage, quiet(tmp_path, overwrite=True))) == 1


def test_torn_newest_checkpoint_falls_back(tmp_path, capsys):
    killed = ToyStage(ToyData(), epochs=3)
    stop_at(killed, 1, 3, kill)
    with pytest.raises(KilledError):
        run_stage(killed, quiet(tmp_path, checkpoint_every=1))
    newest = tmp_path / "checkpoint" / "toy" / "ckpt-7.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:10])
    resumed = ToyStage(ToyData(), epochs=3)
    session = Session(directory=tmp_path, resume=True, progress="lines")
    run_stage(resumed, session)
    said = capsys.readouterr().err
    assert "ckpt-7 cannot be read" in said
    assert "goes on at epoch 2, step 3" in said
    unbroken = ToyStage(ToyData(), epochs=3)
    run_stage(unbroken, quiet())
    assert resumed.weight.numpy() == unbroken.weight.numpy()


def test_all_checkpoints_torn_is_an_error(tmp_path):
    run_stage(ToyStage(ToyData()), quiet(tmp_path))
    for file in (tmp_path / "checkpoint" / "toy").glob("*.data*"):
        file.write_bytes(b"")
    with pytest.raises(KerasNasError, match="None of the 2 checkpoints"):
        run_stage(ToyStage(ToyData()), quiet(tmp_path, resume=True))


def test_a_lost_list_of_checkpoints_does_not_matter(tmp_path):
    expected = run_stage(ToyStage(ToyData()), quiet(tmp_path))
    (tmp_path / "checkpoint" / "toy" / "checkpoint").unlink()
    assert run_stage(ToyStage(ToyData()), quiet(tmp_path, resume=True)) == expected


def test_a_changed_setting_is_refused_by_name(tmp_path):
    run_stage(ToyStage(ToyData()), quiet(tmp_path, settings={"lambda_a": 1e-4, "seed": 1}))
    with pytest.raises(KerasNasError, match=r"`lambda_a` was 0.0001 .* is 0.0005 now"):
        run_stage(
            ToyStage(ToyData()),
            quiet(tmp_path, resume=True, settings={"lambda_a": 5e-4, "seed": 1}),
        )


def test_sigterm_saves_and_the_run_goes_on(tmp_path):
    stage = ToyStage(ToyData(), epochs=3)
    stop_at(stage, 1, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(InterruptedSearchError, match=r"epoch 2, step 3.*--resume"):
        run_stage(stage, quiet(tmp_path))
    assert stage.weight.numpy() == pytest.approx(reference(3, steps_to=6)[0], rel=1e-5)
    resumed, unbroken = ToyStage(ToyData(), epochs=3), ToyStage(ToyData(), epochs=3)
    run_stage(resumed, quiet(tmp_path, resume=True))
    run_stage(unbroken, quiet())
    assert resumed.weight.numpy() == unbroken.weight.numpy()


def test_numpy_and_python_generators_are_resumed(tmp_path):
    import random

    stage = ToyStage(ToyData(), epochs=2)
    stop_at(stage, 1, 1, kill)
    with pytest.raises(KilledError):
        run_stage(stage, quiet(tmp_path))
    expected = (np.random.rand(), random.random())
    np.random.seed(9)
    random.seed(9)
    resumed = ToyStage(ToyData(), epochs=2)
    drawn = []
    stop_at(resumed, 1, 0, lambda: drawn.append((np.random.rand(), random.random())))
    run_stage(resumed, quiet(tmp_path, resume=True))
    assert drawn == [expected]


def test_divergence_names_stage_step_and_tensor_and_keeps_the_weights(tmp_path):
    def data(epoch):
        x = np.ones(6, "float32")
        if epoch == 1:
            x[3] = np.nan
        return tf.data.Dataset.from_tensor_slices((x, 3 * x)).batch(2)

    stage = ToyStage(data, epochs=3)
    with pytest.raises(DivergedError, match=r"'toy' diverged in epoch 2, step 2: .* is the loss"):
        run_stage(stage, quiet(tmp_path))
    assert np.isfinite(stage.weight.numpy())
    saved = sorted(p.name for p in (tmp_path / "checkpoint" / "toy").glob("*.index"))
    assert saved == ["ckpt-3.index"]


def bad_third_batch(epoch):
    x = np.linspace(0.5, 1.5, 24, dtype="float32")
    x[4] = np.nan
    return tf.data.Dataset.from_tensor_slices((x, 3 * x)).batch(2)


def test_a_step_that_diverged_is_named_when_its_losses_are_read():
    stage, two_steps = (ToyStage(bad_third_batch, momentum=0.0, epochs=1) for _ in range(2))
    two_steps.data = bad_third_batch(0).take(2)
    run_stage(two_steps, quiet())
    with pytest.raises(DivergedError, match=r"epoch 1, step 3: .* is the loss"):
        run_stage(stage, quiet(fetch_every=5))
    assert stage.calls[-1] == ("step", 0, 4)
    assert stage.weight.numpy() == two_steps.weight.numpy()


def test_nothing_is_saved_behind_a_step_that_diverged(tmp_path):
    stage = ToyStage(bad_third_batch, epochs=1)
    with pytest.raises(DivergedError, match=r"step 3.*last good checkpoint is .*ckpt-2\."):
        run_stage(stage, quiet(tmp_path, fetch_every=100, checkpoint_every=1))
    saved = sorted(p.name for p in (tmp_path / "checkpoint" / "toy").glob("*.index"))
    assert saved == ["ckpt-1.index", "ckpt-2.index"]


def test_records_do_not_depend_on_how_often_losses_are_read():
    often, seldom = (
        run_stage(ToyStage(ToyData(examples=31), epochs=2), quiet(fetch_every=every))
        for every in (1, 7)
    )
    assert without_seconds(often) == without_seconds(seldom)


def test_a_gradient_may_be_the_first_bad_tensor():
    class Root(ToyStage):
        def train_step(self, batch):
            return descend(
                batch,
                lambda x: tf.sqrt(self.weight.value * x),
                lambda _, outputs: {"loss": global_mean(outputs)},
                [Learned([self.weight], self.optimizer)],
            )

    with pytest.raises(DivergedError, match="gradient of w"):
        run_stage(Root(ToyData()), quiet())


def test_disk_full_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    stage = ToyStage(ToyData(), epochs=2)

    def fill(epoch, step):
        if epoch == 1 and step == 1:

            def save(*_, **__):
                raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

            monkeypatch.setattr(tf.train.CheckpointManager, "save", save)

    stage.on_step = fill
    with pytest.raises(KerasNasError, match=r"ckpt-4 is kept\): No space left on device"):
        run_stage(stage, quiet(tmp_path))
    monkeypatch.undo()
    resumed = ToyStage(ToyData(), epochs=2)
    assert len(run_stage(resumed, quiet(tmp_path, resume=True))) == 2


def test_tensorboard_gets_scalars(tmp_path):
    run_stage(ToyStage(ToyData()), quiet(tmp_path, tensorboard=True))
    (events,) = (tmp_path / "tensorboard" / "toy").iterdir()
    tags = set()
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        tags |= {value.tag for value in event.summary.value}
    assert {"loss", "w", "seconds"} <= tags


def test_plain_lines_when_not_a_terminal(capsys):
    run_stage(ToyStage(ToyData()), Session(progress="auto"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:3] for line in lines if "step" in line][-1] == [
        "toy", "epoch 2/2", "step 8/8",
    ]  # fmt: skip


def test_a_bar_shows_the_stage_loss_and_time_left():
    from rich.console import Console

    from keras_nas.training.progress import BarReporter

    console = Console(force_terminal=True, width=160, record=True)
    bar = BarReporter(console)
    bar.start("architecture", 0, 10)
    bar.step(4, "2/5", {"loss": 0.5, "top1": 0.9, "kept": 0.75})
    bar.end()
    shown = console.export_text()
    for part in ("architecture", "epoch 2/5", "4/10", "loss 0.5", "top1 0.9", "kept 0.75", "left"):
        assert part in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"progress": "loud"}, "progress='loud'"),
        ({"resume": True, "overwrite": True, "directory": "x"}, "exclude"),
        ({"resume": True}, "directory=None"),
        ({"keep": 0}, "`keep` must be 1 or more. Received: keep=0"),
        ({"fetch_every": 0}, "`fetch_every` must be 1 or more. Received: fetch_every=0"),
        ({"checkpoint_minutes": -1.0}, "checkpoint_minutes=-1.0"),
    ],
)
def test_session_refuses_what_does_not_go_together(options, message):
    with pytest.raises(UsageError, match=message):
        Session(**options)


def test_two_data_sets_are_mixed_evenly_and_nothing_is_lost():
    first, second = (tf.data.Dataset.range(*ends).batch(2) for ends in ((0, 8), (100, 104)))
    mixed = MixedData(first, second)
    assert steps_of(mixed.epoch(0)) == 6
    batches = [batch.tolist() for batch in mixed.epoch(0).as_numpy_iterator()]
    assert batches == [[0, 1], [100, 101], [2, 3], [4, 5], [102, 103], [6, 7]]
    assert [batch.tolist() for batch in mixed.epoch(0, 4).as_numpy_iterator()] == batches[4:]


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    with pytest.raises(OSError, match="No space left"), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize(("epoch", "step", "kept"), [(1, 1, "ckpt-5"), (0, 3, "ckpt-3")])
def test_the_old_checkpoint_survives_and_the_run_goes_on(small_disk, epoch, step, kept):
    """Full before a checkpoint within the epoch, and before the records at its end."""

    def on_step(e, s):
        if (e, s) == (epoch, step):
            fill(small_disk / "filler")

    stage = ToyStage(ToyData(), epochs=3)
    stage.on_step = on_step
    run = {"directory": small_disk / "run", "checkpoint_every": 1, "progress": "off"}
    with pytest.raises(KerasNasError, match=f"{kept} is kept.*space.*--resume") as error:
        run_stage(stage, Session(**run))
    assert "\n" not in str(error.value)
    (small_disk / "filler").unlink()
    resumed, unbroken = ToyStage(ToyData(), epochs=3), ToyStage(ToyData(), epochs=3)
    run_stage(resumed, Session(resume=True, **run))
    run_stage(unbroken, Session(progress="off"))
    assert resumed.weight.numpy() == unbroken.weight.numpy()
