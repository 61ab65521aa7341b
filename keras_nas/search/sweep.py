"""Runs the searches of a sweep, each in a process of its own, one after another or by device."""

from __future__ import annotations

import os
import queue
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from keras_nas.errors import KerasNasError
from keras_nas.search.settings import text_of
from keras_nas.search.sweep_plan import Job, Sweep, share_weights


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
        KerasNasError: If the shared weight stage fails.
    """
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for device in devices or [None]:
        free.put(device)
    if sweep.weights is not None:
        if not _run_job(sweep.weights, command, free, say):
            raise KerasNasError(
                f"The weight stage in {sweep.weights.folder.path} failed: the same command goes on "
                "from its last checkpoint."
            )
        for job in sweep.jobs:
            share_weights(sweep.weights.folder, job.folder)
    with ThreadPoolExecutor(max_workers=max(1, len(devices))) as pool:
        succeeded = list(pool.map(lambda job: _run_job(job, command, free, say), sweep.jobs))
    return [
        job.folder.path.name for job, good in zip(sweep.jobs, succeeded, strict=True) if not good
    ]


def arguments_of(job: Job, stages: Sequence[str]) -> list[str]:
    """A run's settings as flags; `--resume` where the folder has been worked in."""
    settings = {**job.settings, "stages": list(stages)}
    settings["resume"] = job.folder.config.exists()
    settings["overwrite"] = False
    return [f"--{name}={text_of(value)}" for name, value in settings.items()]


def _run_job(job: Job, command: Sequence[str], free: queue.SimpleQueue, say) -> bool:
    name = job.folder.path.name
    missing = job.missing_stages()
    if not missing:
        say(f"{name}: done before")
        return True
    device = free.get()
    try:
        say(f"{name}: {', '.join(missing)}" + (f" on device {device}" if device else ""))
        environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": device} if device else {})}
        done = subprocess.run([*command, *arguments_of(job, missing)], env=environment, check=False)
    finally:
        free.put(device)
    if done.returncode:
        say(f"{name}: failed with exit code {done.returncode}")
    return done.returncode == 0
