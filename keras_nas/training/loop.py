"""The one loop that runs every stage of every method."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.training.checkpoints import Checkpoints, clear
from keras_nas.training.divergence import DivergedError, diverged_message, first_bad_tensor
from keras_nas.training.hosts import numbers_of_hosts
from keras_nas.training.progress import make_progress
from keras_nas.training.records import TensorBoardWriter, write_records
from keras_nas.training.session import Session
from keras_nas.training.stage import Stage, epoch_of, steps_of
from keras_nas.training.step import halted_by

HELD_BYTES = 2**28
"""How much the batches may take that are held until their steps' losses are read."""

_NO_KERNEL = re.compile(r"trying to compile graph .* on XLA_\w+: (\w+) \(.*?node (\S+?)\}\}")


class InterruptedSearchError(KerasNasError):
    """The search was asked to stop (SIGTERM) and has saved what it needs to go on."""


def run_stage(stage: Stage, session: Session | None = None) -> list[dict[str, Any]]:
    """Runs a stage to its end, or goes on with it where its last checkpoint stands.

    The step is traced once. Its losses stay on the device and are read every `session.fetch_every`
    steps (and before anything is shown, saved or ended), so that a GPU need not wait for Python in
    between; a step that diverges halts the learning of those behind it until then. Under a
    `tf.distribute` strategy's scope it runs on every replica, and a batch of the data is the global
    batch. After each epoch, the record (losses, metrics, what `stage.after_epoch` gives) goes to
    metrics.jsonl and TensorBoard, and a checkpoint is saved.

    Args:
        stage: What to run; see `stage.py`.
        session: Where to write and what to show; by default nothing is written.

    Returns:
        One record an epoch: `{"stage", "epoch", "steps", "seconds", "loss", ...}`, JSON-able.

    Raises:
        DivergedError: If a loss, gradient or output is not finite: names the tensor and the step.
        InterruptedSearchError: On SIGTERM, after saving; on several hosts, when one of them got it,
            at the next checkpoint that all make.
        KerasNasError: If the data does not fit, a checkpoint cannot be written or read, it was made
            under other settings, or XLA cannot compile what it is asked to.
        UsageError: If a step is to be compiled for several replicas.
    """
    return _Run(stage, session or Session()).run()


class _Run:
    def __init__(self, stage: Stage, session: Session):
        self.stage = stage
        self.session = session
        self.strategy = tf.distribute.get_strategy()
        self.records: list[dict[str, Any]] = []
        self.epoch = 0
        self.step = 0
        self.done = False
        self.sums: dict[str, float] = {}
        self.seconds = 0.0
        self.function: Any = None
        self.names: tuple[str, ...] = ()
        self.unread: list[_Unread] = []
        self.halted = tf.zeros(())
        self.saved: str | None = None
        self.saved_at = self.shown_at = time.monotonic()
        self.reporter = make_progress(session.progress)

    def run(self) -> list[dict[str, Any]]:
        if self.session.jit_compile and self.strategy.num_replicas_in_sync > 1:
            raise UsageError(
                "`jit_compile` compiles the step for one device. Received: jit_compile=True with "
                f"{self.strategy.num_replicas_in_sync} replicas"
            )
        self.steps = steps_of(epoch_of(self.stage.data, 0))
        with self.strategy.scope():
            self.stage.begin(self.steps)
        self.checkpoints = self._open_checkpoints()
        if self.done:
            return self.records
        writer = self._open_tensorboard()
        self.reporter.start(self.stage.name, self._global_step(), self.steps * self.stage.epochs)
        try:
            with _terminated() as terminated:
                while self.epoch < self.stage.epochs and not self.done:
                    self._run_epoch(terminated, writer)
        finally:
            self.reporter.end()
            writer.close()
        if not self.done:  # no epoch at all
            self.done = True
            self._save()
        return self.records

    def _open_tensorboard(self) -> TensorBoardWriter:
        if not self.session.tensorboard or self.session.directory is None or worker_index() != 0:
            return TensorBoardWriter(None)
        return TensorBoardWriter(self.session.directory / "tensorboard" / self.stage.name)

    def _open_checkpoints(self) -> Checkpoints | None:
        if self.session.directory is None:
            return None
        directory = checkpoint_directory(self.session.directory, self.stage.name)
        if self.session.overwrite:
            clear(directory)
        state = {
            **self.stage.state(),
            "metrics": [v for metric in self.stage.metrics for v in metric.variables],
        }
        checkpoints = Checkpoints(directory, state, self.session.settings, self.session.keep)
        if self.session.resume:
            progress = checkpoints.restore(self.reporter.say)
            if progress is not None:
                self._continue(progress)
        elif checkpoints.found():
            raise KerasNasError(
                f"Stage '{self.stage.name}' has checkpoints in {directory}: `--resume` continues "
                "from them, `--overwrite` starts the stage again."
            )
        return checkpoints

    def _continue(self, progress: dict[str, Any]) -> None:
        self.records = progress["records"]
        self.epoch, self.step = progress["epoch"], progress["step"]
        self.done, self.sums = progress["done"], progress["sums"]
        self.seconds = progress["seconds"]
        if self.done:
            self.reporter.say(f"Stage '{self.stage.name}' is complete in its checkpoint.")
        else:
            self.reporter.say(
                f"Stage '{self.stage.name}' goes on at epoch {self.epoch + 1}, "
                f"step {self.step + 1}."
            )

    def _global_step(self) -> int:
        return self.epoch * self.steps + self.step

    def _run_epoch(self, terminated: threading.Event, writer: TensorBoardWriter) -> None:
        began = time.monotonic() - self.seconds
        if self.step == 0:
            self.sums = {}
            for metric in self.stage.metrics:
                metric.reset_state()
        self.stage.before_epoch(self.epoch)
        for batch in self._batches():
            self.stage.before_step(self.epoch, self.step, self.steps)
            self._run_step(batch)
            self.step += 1
            self.seconds = time.monotonic() - began
            self._show()
            if self.stage.satisfied():
                break
            if self.step < self.steps:
                self._save_if_due(terminated)
        self._end_epoch(began, writer)
        self._stop_if(terminated)

    def _batches(self):
        dataset = epoch_of(self.stage.data, self.epoch, self.step)
        distributed = self.strategy.experimental_distribute_dataset(dataset)
        if self.function is None:
            flag = tf.TensorSpec((), tf.float32)
            self.function = tf.function(
                self._step,
                input_signature=[distributed.element_spec, flag],
                autograph=False,
                jit_compile=self.session.jit_compile or None,
            )
        return distributed

    def _step(self, batch, halted):
        losses, bad = self.strategy.run(self._replica_step, args=(batch, halted))
        losses = {
            name: self.strategy.reduce("SUM", value, axis=None) for name, value in losses.items()
        }
        bad = tf.cast(self.strategy.reduce("SUM", bad, axis=None), tf.float32)
        return losses, bad, tf.maximum(halted, tf.reduce_max(bad))

    def _replica_step(self, batch, halted):
        with halted_by(halted):
            report = self.stage.train_step(batch)
        self.names = report.names
        return dict(report.losses), report.bad

    def _run_step(self, batch) -> None:
        try:
            losses, bad, self.halted = self.function(batch, self.halted)
        except tf.errors.OpError as error:
            missing = _NO_KERNEL.search(str(error.message))
            if missing is None:
                raise
            raise KerasNasError(
                f"Stage '{self.stage.name}' cannot be compiled by XLA, which has no {missing[1]} "
                f"({missing[2]}): leave out `--jit_compile`."
            ) from error
        self.unread.append(_Unread(self.step, batch, losses, bad))
        if len(self.unread) >= min(self.session.fetch_every, HELD_BYTES // _bytes_of(batch)):
            self._fetch()

    def _fetch(self) -> None:
        """Reads the losses of the steps since the last call; raises if one was not finite."""
        unread, self.unread = self.unread, []
        if not unread:
            return
        for step, bad in zip(unread, _stacked([step.bad for step in unread]), strict=True):
            if bad.any():
                self._raise_diverged(step, self.names[int(np.argmax(bad > 0))])
        for name in unread[0].losses:
            for loss in _stacked([step.losses[name] for step in unread]):
                self.sums[name] = self.sums.get(name, 0.0) + float(loss)

    def _raise_diverged(self, step: _Unread, reported: str) -> None:
        tensor = first_bad_tensor(reported, self.stage.replay(step.batch))
        raise DivergedError(
            diverged_message(
                self.stage.name, self.epoch, step.number, tensor, self.saved, self.stage.flags
            )
        )

    def _means(self) -> dict[str, float]:
        means = {name: total / self.step for name, total in self.sums.items()}
        means.update({metric.name: float(metric.result()) for metric in self.stage.metrics})
        return means

    def _show(self) -> None:
        # Reading a metric is a collective of all hosts, whose clocks differ.
        now = time.monotonic()
        if _hosts() > 1 or now - self.shown_at < self.reporter.due_seconds:
            return
        self.shown_at = now
        self._fetch()
        epoch = f"{self.epoch + 1}/{self.stage.epochs}"
        self.reporter.step(self._global_step(), epoch, {**self._means(), **self.stage.status()})

    def _end_epoch(self, began: float, writer: TensorBoardWriter) -> None:
        self._fetch()
        record = {
            "stage": self.stage.name,
            "epoch": self.epoch + 1,
            "steps": self.step,
            **self._means(),
            **self.stage.after_epoch(self.epoch),
        }
        record["seconds"] = round(time.monotonic() - began, 3)
        self.records.append(record)
        self._show_epoch(record)
        self.epoch, self.step, self.seconds, self.sums = self.epoch + 1, 0, 0.0, {}
        self.done = self.epoch == self.stage.epochs or self.stage.finished(self.records)
        self._write(record, writer)
        self._save()

    def _write(self, record: dict[str, Any], writer: TensorBoardWriter) -> None:
        directory = self.session.directory
        if directory is None or self.checkpoints is None or worker_index() != 0:
            return
        images = self.stage.images() if self.session.tensorboard else {}
        try:
            write_records(directory / "metrics.jsonl", self.stage.name, self.records)
            writer.write(self._global_step(), record, self.stage.histograms(), images)
        except (OSError, tf.errors.OpError) as error:
            what = f"The records of epoch {record['epoch']} could not be written to {directory}"
            raise self.checkpoints.not_written(what, error) from error

    def _show_epoch(self, record: dict[str, Any]) -> None:
        shown = {
            name: value
            for name, value in record.items()
            if isinstance(value, float) and name != "seconds"
        }
        epoch = f"{self.epoch + 1}/{self.stage.epochs}"
        self.reporter.step(self._global_step(), epoch, {**shown, **self.stage.status()})
        self.shown_at = time.monotonic()

    def _save_if_due(self, terminated: threading.Event) -> None:
        every, minutes = self.session.checkpoint_every, self.session.checkpoint_minutes
        by_step = every and self._global_step() % every == 0
        by_time = minutes and time.monotonic() - self.saved_at >= 60 * minutes
        alone = _hosts() == 1
        if by_step or (alone and (by_time or terminated.is_set())):
            self._save()
            self._stop_if(terminated)

    def _save(self) -> None:
        self._fetch()
        if self.checkpoints is None:
            return
        progress = {
            "records": self.records,
            "epoch": self.epoch,
            "step": self.step,
            "done": self.done,
            "sums": self.sums,
            "seconds": self.seconds,
        }
        self.saved = self.checkpoints.save(self._global_step(), progress)
        self.saved_at = time.monotonic()

    def _stop_if(self, terminated: threading.Event) -> None:
        """Stops if this host or another was told to; called where every host has just saved."""
        if any(numbers_of_hosts(int(terminated.is_set()))):
            where = f": {self.saved} is saved, `--resume` continues" if self.saved else ""
            raise InterruptedSearchError(
                f"Stage '{self.stage.name}' was told to stop at epoch {self.epoch + 1}, "
                f"step {self.step + 1}{where}."
            )


@dataclasses.dataclass(frozen=True)
class _Unread:
    """A step whose outcome is still on the device, with its batch to look for what went bad."""

    number: int
    batch: Any
    losses: dict[str, tf.Tensor]
    bad: tf.Tensor


def _stacked(tensors: list[tf.Tensor]) -> np.ndarray:
    """The tensors as one array: one copy from the device."""
    return tf.stack(tensors).numpy()


def _bytes_of(batch: Any) -> int:
    """The size of a batch; of a distributed one, of all that this host holds."""
    strategy = tf.distribute.get_strategy()
    tensors = [
        tensor
        for parts in keras.tree.flatten(batch)
        for tensor in strategy.experimental_local_results(parts)
    ]
    return max(1, sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in tensors))


@contextlib.contextmanager
def _terminated() -> Iterator[threading.Event]:
    """An event that SIGTERM sets while the block runs (in the main thread; elsewhere never)."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, previous)


def checkpoint_directory(run_directory: Path, stage: str) -> Path:
    """Where a stage's checkpoints stand; each of several hosts has its own."""
    worker = worker_index()
    return run_directory / "checkpoint" / (f"{stage}.worker{worker}" if worker else stage)


def worker_index() -> int:
    """This process' place among the hosts of the present strategy; 0 is the chief."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    return (resolver.task_id or 0) if resolver is not None else 0


def _hosts() -> int:
    resolver = tf.distribute.get_strategy().cluster_resolver
    spec = resolver.cluster_spec() if resolver is not None else None
    return max(1, spec.num_tasks("worker")) if spec and "worker" in spec.jobs else 1
