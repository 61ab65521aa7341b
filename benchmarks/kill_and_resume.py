"""Kills running searches at random moments, resumes them, and compares with the unbroken run.

    python -m benchmarks.kill_and_resume --methods=dnal,fgnas,dso --kills=20 --seed=0

A run of `apps.search` is killed with SIGKILL, resumed with --resume, killed again, and so on to its
end; there its architecture.json, the weights of every network it saved and its metrics.jsonl must
be those of a run that nobody disturbed, bit by bit. Then the next run, until there were enough
kills. Moments are drawn from the seed, evenly within the length of the shortest whole run.

The networks are small and learn from a few images of Fashion-MNIST, with dropout, checkpoints
every second step, and all four stages.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import flags
from keras import layers

from apps.main import run as run_app
from keras_nas.errors import KerasNasError
from keras_nas.loading import load_model

COMMON_FLAGS = (
    "--stages=weights,architecture,surgery,finetune", "--data=fashion_mnist",
    "--train_examples=192", "--validation_share=0.002", "--batch_size=32", "--checkpoint_every=2",
    "--notensorboard", "--progress=lines", "--seed=3", "--weights_epochs=2",
    "--finetune_epochs=2", "--finetune_schedule=constant",
)  # fmt: skip
METHOD_FLAGS = {
    "dnal": (
        "--architecture_epochs=3", "--lambda_a=1e-3", "--architecture_learning_rate=0.05",
        "--delta_schedule=step",
    ),
    "fgnas": (
        "--search_epochs=8", "--target_macs=0.7x", "--lambda_r=1e-6", "--lambda_unit=one",
        "--steer=lambda", "--start=even", "--min_share=0",
        "--gate_learning_rate=0.1", "--weights_schedule=constant",
    ),
    "dso": (
        "--model=dso_cifar", "--split_ratio=2:1", "--architecture_epochs=3", "--gamma=0.1",
        "--adaptive=flops", "--random_networks=1", "--architecture_learning_rate=0.05",
        '--model_config={"stage_widths": [4, 8], "stage_blocks": [1, 1], "levels": 1, '
        '"operations": ["sep3", "max3", "avg3"]}',
    ),
}  # fmt: skip
LIMIT_SECONDS = 900.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the runs of one method.

    Attributes:
        method: Its name.
        unbroken_seconds: Length of the unbroken run, from its first file on.
        kills: Where each kill hit: the newest checkpoint at that moment, as `stage/ckpt-7`.
        runs: Runs that were disturbed and led to their end.
        differences: What the ends have other than the unbroken run; empty if all is well.
    """

    method: str
    unbroken_seconds: float
    kills: tuple[str, ...]
    runs: int
    differences: tuple[str, ...]


def kill_and_resume(
    method: str, kills: int, seed: int, work_dir: Path, fork: bool = False
) -> Outcome:
    """Disturbs runs of a method until there were `kills` kills, and compares their ends.

    Args:
        method: The search method.
        kills: Number of kills.
        seed: Seed of the moments.
        work_dir: Folder for the runs.
        fork: Fork the runs from one process that has imported everything.

    Raises:
        KerasNasError: If a run ends with an error; the message has its last lines.
    """
    launcher = _Launcher(method, work_dir, fork)
    moments = random.Random(seed)
    unbroken = work_dir / f"{method}_unbroken"
    seconds = whole = launcher.finish(launcher.start(unbroken), unbroken)
    hits: list[str] = []
    differences: list[str] = []
    runs = 0
    while len(hits) < kills:
        run_dir = work_dir / f"{method}_{runs}"
        began = time.monotonic()
        found = _disturb(launcher, run_dir, moments, seconds, kills - len(hits))
        if not found:
            seconds = min(seconds, time.monotonic() - began)
        hits += found
        differences += [f"run {runs}: {text}" for text in compare(unbroken, run_dir)]
        runs += 1
    return Outcome(method, whole, tuple(hits), runs, tuple(differences))


def _disturb(
    launcher: _Launcher, run_dir: Path, moments: random.Random, seconds: float, kills: int
) -> list[str]:
    """Leads a run to its end, with at most `kills` kills on the way; where they hit."""
    hits: list[str] = []
    while len(hits) < kills:
        process = launcher.start(run_dir)
        launcher.await_first_file(process, run_dir)
        if launcher.ended_within(process, moments.uniform(0, seconds), run_dir):
            return hits
        process.kill()
        process.join()
        hits.append(newest_checkpoint(run_dir))
        print(f"killed at {hits[-1]}", file=sys.stderr, flush=True)
    launcher.finish(launcher.start(run_dir), run_dir)
    return hits


def newest_checkpoint(run_dir: Path) -> str:
    """The checkpoint that was written last, as `stage/ckpt-7`."""
    indices = list((run_dir / "checkpoint").glob("*/ckpt-*.index"))
    if not indices:
        return "no checkpoint"
    newest = max(indices, key=lambda path: path.stat().st_mtime_ns)
    return f"{newest.parent.name}/{newest.stem}"


def compare(unbroken: Path, resumed: Path) -> Iterator[str]:
    """What a run's files have other than the unbroken run's, a line each."""
    if _architecture(unbroken) != _architecture(resumed):
        yield "architecture.json differs"
    if _records(unbroken) != _records(resumed):
        yield "metrics.jsonl differs"
    names = sorted(path.name for path in unbroken.glob("*.keras"))
    if names != sorted(path.name for path in resumed.glob("*.keras")):
        yield "the saved networks differ"
        return
    for name in names:
        before, after = (_weights(folder / name) for folder in (unbroken, resumed))
        if len(before) != len(after):
            yield f"{name} has {len(after)} weights instead of {len(before)}"
            continue
        far = [
            path
            for (path, old), (_, new) in zip(before, after, strict=True)
            if not np.array_equal(old, new, equal_nan=True)
        ]
        if far:
            yield f"{name} differs in {len(far)} of {len(before)} weights, such as {far[0]}"


def _architecture(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "architecture.json").read_text(encoding="utf-8"))


def _records(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def _weights(path: Path) -> list[tuple[str, np.ndarray]]:
    """What a .keras file holds of the variables: all but the states of seed generators."""
    model = load_model(path)
    return [(v.path, keras.ops.convert_to_numpy(v)) for v in model.weights]


class _Launcher:
    """Starts runs of one method as processes of their own."""

    def __init__(self, method: str, work_dir: Path, fork: bool):
        if method not in METHOD_FLAGS:
            raise KerasNasError(f"`methods` must be of {tuple(METHOD_FLAGS)}. Received: {method!r}")
        work_dir.mkdir(parents=True, exist_ok=True)
        self._flags = [f"--method={method}", *COMMON_FLAGS, *METHOD_FLAGS[method]]
        if method != "dso":
            path = work_dir / "net.keras"
            small_network().save(path)
            self._flags.append(f"--model={path}")
        self._server = multiprocessing.get_context("forkserver") if fork else None
        if self._server is not None:
            self._server.set_forkserver_preload(["apps.search"])

    def start(self, run_dir: Path) -> Any:
        """Starts a run, or goes on with it where its folder is there."""
        argv = [*self._flags, f"--run_dir={run_dir}"]
        if run_dir.exists():
            argv.append("--resume")
        self._started = time.time()
        log = f"{run_dir}.log"
        if self._server is None:
            return _Command(argv, log)
        process = self._server.Process(target=_forked_search, args=(argv, log))
        process.start()
        return process

    def await_first_file(self, process: Any, run_dir: Path) -> None:
        """Returns when the run has written its settings, just before its first stage."""
        config = run_dir / "config.json"
        while not (config.exists() and config.stat().st_mtime >= self._started):
            if self.ended_within(process, 0.05, run_dir):
                return
            if time.time() - self._started > LIMIT_SECONDS:
                process.kill()
                raise KerasNasError(f"{run_dir} did not start within {LIMIT_SECONDS:.0f} s.")

    def ended_within(self, process: Any, seconds: float, run_dir: Path) -> bool:
        """Waits for the run's end for so long; whether it came.

        Raises:
            KerasNasError: If the run ended with an error.
        """
        process.join(seconds)
        if process.exitcode:
            last = Path(f"{run_dir}.log").read_text(encoding="utf-8").splitlines()[-3:]
            raise KerasNasError(f"{run_dir} ended with {process.exitcode}: {' / '.join(last)}")
        return process.exitcode is not None

    def finish(self, process: Any, run_dir: Path) -> float:
        """Waits for the run's end; the seconds since its first file."""
        self.await_first_file(process, run_dir)
        began = time.time()
        if not self.ended_within(process, LIMIT_SECONDS, run_dir):
            process.kill()
            raise KerasNasError(f"{run_dir} did not end within {LIMIT_SECONDS:.0f} s.")
        return time.time() - began


class _Command:
    """`python -m apps.search`, with the few methods of `multiprocessing.Process` that we use."""

    def __init__(self, argv: Sequence[str], log: str):
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "apps.search", *argv], stdout=file, stderr=file
            )

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def join(self, timeout: float | None = None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def kill(self) -> None:
        self._process.kill()


def _forked_search(argv: Sequence[str], log: str) -> None:
    """The same in a forked process, whose imports are there."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from apps import main, search

    sys.argv = ["apps.search", *argv]
    main.run(search.main)


def small_network() -> keras.Model:
    """Three convolutions, one of them around a join, dropout and a classifier, for 28×28×1."""
    inputs = keras.Input((28, 28, 1), name="image")
    x = inputs
    for index, (filters, strides) in enumerate(((6, 2), (8, 2), (8, 1))):
        before = x
        x = layers.Conv2D(
            filters, 3, strides, padding="same", use_bias=False, name=f"conv_{index}"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"bn_{index}")(x)
        if before.shape == x.shape:
            x = layers.Add(name="add")([before, x])
        x = layers.ReLU(name=f"relu_{index}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(10, name="classifier")(x), name="small_network")


def define_flags() -> None:
    """Defines the flags; apps.search, which is imported by forked runs, has some of the names."""
    flags.DEFINE_list("methods", list(METHOD_FLAGS), "Methods to try.")
    flags.DEFINE_integer("kills", 20, "Kills of each method.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the moments.")
    flags.DEFINE_string("work_dir", None, "Folder for the runs; a temporary one if none.")
    flags.DEFINE_bool(
        "fork", False, "Fork the runs from one process that has imported all: saves seconds each."
    )


def main() -> None:
    failed: list[str] = []
    given = flags.FLAGS
    with contextlib.ExitStack() as stack:
        folder = given.work_dir or stack.enter_context(tempfile.TemporaryDirectory())
        for method in given.methods:
            outcome = kill_and_resume(
                method, given.kills, given.seed, Path(folder).resolve(), given.fork
            )
            print(
                f"{method}: {len(outcome.kills)} kills in {outcome.runs} runs of "
                f"{outcome.unbroken_seconds:.0f} s, at {', '.join(outcome.kills)}"
            )
            print("\n".join(outcome.differences) or "every end is the unbroken run's", flush=True)
            failed += outcome.differences
    if failed:
        raise KerasNasError(f"{len(failed)} differences from the unbroken run.")


if __name__ == "__main__":
    define_flags()
    run_app(main)
