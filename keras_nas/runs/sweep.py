"""Runs the searches of a sweep, each in a process of its own, one after another or by device."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from keras_nas.errors import KerasNasError
from keras_nas.runs.sweep_plan import Job, Sweep, share_weights
from keras_nas.settings import text_of


def run_sweep(
    sweep: Sweep,
    command: Sequence[str],
    devices: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> list[str]:
    """Runs what is not done yet; a run that was interrupted goes on from its checkpoints.

    Args:
        sweep: The runs; see `plan_sweep`.
        command: What starts a search, such as `[sys.executable, "-m", "apps.search"]`; each
            setting is added as a flag.
        devices: GPUs, as CUDA_VISIBLE_DEVICES names them: one run at a time on each. None: one run
            after another, on what every process sees.
        say: Called with a line for each run.

    Returns:
        The names of the runs that failed; the others are complete.

    Raises:
        KerasNasError: If the shared weight stage fails, or on SIGTERM, which is passed on to the
            running searches: they save and end, and no other is started.
    """
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    places: list[str | None] = list(devices) or [None]
    for device in places:
        free.put(device)
    children = _Children()
    with children.told_with_us():
        if sweep.weights is not None:
            if not _run_job(sweep.weights, command, free, say, children):
                children.raise_if_told()
                raise KerasNasError(
                    f"The weight stage in {sweep.weights.folder.path} failed: the same command "
                    "goes on from its last checkpoint."
                )
            for job in sweep.jobs:
                share_weights(sweep.weights.folder, job.folder)
        with ThreadPoolExecutor(max_workers=max(1, len(devices))) as pool:
            succeeded = list(
                pool.map(lambda job: _run_job(job, command, free, say, children), sweep.jobs)
            )
    children.raise_if_told()
    return [
        job.folder.path.name for job, good in zip(sweep.jobs, succeeded, strict=True) if not good
    ]


def arguments_of(job: Job, stages: Sequence[str]) -> list[str]:
    """A run's settings as flags; `--resume` where the folder has been worked in."""
    settings = {**job.settings, "stages": list(stages)}
    settings["resume"] = job.folder.config.exists()
    settings["overwrite"] = False
    return [f"--{name}={text_of(value)}" for name, value in settings.items()]


class _Children:
    """The searches that run now."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._told = threading.Event()

    @contextlib.contextmanager
    def told_with_us(self) -> Iterator[None]:
        """Passes SIGTERM on while the block runs (in the main thread; elsewhere never)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGTERM, self._tell)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _tell(self, *_) -> None:
        self._told.set()
        for child in list(self._running):
            child.terminate()

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int | None:
        """Runs a command to its end; its exit code, or None if we were told to stop before."""
        if self._told.is_set():
            return None
        with subprocess.Popen(command, env=environment) as child:
            self._running.add(child)
            if self._told.is_set():
                child.terminate()
            code = child.wait()
        self._running.discard(child)
        return code

    def raise_if_told(self) -> None:
        """Raises `KerasNasError` if SIGTERM came."""
        if self._told.is_set():
            raise KerasNasError(
                "The sweep was told to stop; its searches have saved. The same command goes on."
            )


def _run_job(
    job: Job, command: Sequence[str], free: queue.SimpleQueue, say, children: _Children
) -> bool:
    name = job.folder.path.name
    missing = job.missing_stages()
    if not missing:
        say(f"{name}: done before")
        return True
    device = free.get()
    try:
        say(f"{name}: {', '.join(missing)}" + (f" on device {device}" if device else ""))
        environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": device} if device else {})}
        code = children.run([*command, *arguments_of(job, missing)], environment)
    finally:
        free.put(device)
    if code:
        say(f"{name}: failed with exit code {code}")
    return code == 0
