"""The latency table that a compression's milliseconds are of: one that is given, or made first."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras

from apps.compress_config import CompressAppConfig
from export.android.device import attached
from export.benchmark_config import HostBenchmarkConfig
from export.host_benchmark import host_device
from export.latency.network import profile_network
from export.latency.profile import Benchmark, LatencyProfileConfig, on_android, on_host
from export.tflite import convert
from keras_nas.compression.config import CompressConfig
from keras_nas.compression.plan import shown_seconds
from keras_nas.costs import LatencyTable
from keras_nas.costs.count import graph_of
from keras_nas.errors import UsageError

MEASUREMENT = HostBenchmarkConfig(warmup=5, runs=40, rounds=8)
"""Of each point on this host."""
PROGRESS_SECONDS = 30.0
"""Between two lines about how far the table is."""
PHONE_RUN = 2.0
"""Seconds of a run on a phone besides its pause: the tool's own second, and the way there."""


def with_table(
    config: CompressAppConfig,
    model: keras.Model,
    shape: tuple[int, ...],
    left: float,
    say: Callable[[str], None],
) -> CompressConfig:
    """The budget with its latency table, which is made where none is given.

    It is made of the model's operations, by measuring them on this host or on the phone, which is
    said, with the time that it takes, before the most of them are measured. Points that an earlier
    call measured in the same folder are not measured again, but with `overwrite`.

    Args:
        config: What is asked for.
        model: The full network.
        shape: What its costs are counted at, where it leaves its input's size open.
        left: Seconds that it may take.
        say: Takes lines about it.

    Raises:
        UsageError: The table is another device's than the phone's, or takes longer than is left.
        KerasNasError: An operation's time cannot be told, or the phone went away.
    """
    budget = config.budget
    if not _lacks_table(budget):
        if budget.latency_table:
            check_table(config, budget.latency_table)
        return budget
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    where = "phone" if config.phone else "host"
    settings = LatencyProfileConfig(
        str(folder / "latency_table.json"),
        points=str(folder / f"latency_points_{where}.jsonl"),
        statistic="quartile",
    )
    if config.session.overwrite:
        Path(settings.points_path).unlink(missing_ok=True)

    with tempfile.TemporaryDirectory(prefix="keras_nas_latency.") as temporary:
        file = str(Path(temporary) / "original.tflite")
        convert(model, file, input_shape=(1, *shape) if shape else None)
        graph = graph_of(model, shape or None)
        table = profile_network(
            graph, file, _measurer(config), settings, _announce(config, left, say),
            _now_and_then(say), points=config.latency_points, round_to=budget.multiple,
        )  # fmt: skip
    say(
        f"{settings.output}: the original takes {table.predict(graph):.3f} ms, "
        f"{table.calibration:.2f} times its operations' sum, by which predictions are multiplied."
    )
    return dataclasses.replace(budget, latency_table=settings.output)


def _announce(
    config: CompressAppConfig, left: float, say: Callable[[str], None]
) -> Callable[[int, float], None]:
    """Says how many points are measured, and refuses what takes longer than is left."""

    def expect(points: int, seconds: float) -> None:
        say(
            f"Latency table: {points} operations of the network and of narrower ones on "
            f"{_where(config)}, one thread, float32; {shown_seconds(seconds)} more, about."
        )
        if seconds > left:
            raise UsageError(
                f"`minutes` must leave {seconds / 60:.2g} more for the latency table alone. "
                f"Received: {max(0.0, left) / 60:.2g} left; fewer `latency_points` than "
                f"{config.latency_points} take less, and the same command without a limit goes on "
                "where this one ended"
            )

    return expect


def _now_and_then(say: Callable[[str], None]) -> Callable[[str], None]:
    """Passes on how far the table is, at most once in `PROGRESS_SECONDS`."""
    said = time.monotonic()

    def progress(line: str) -> None:
        nonlocal said
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            say(f"Latency table: {line}.")

    return progress


def _lacks_table(budget: CompressConfig) -> bool:
    """Whether milliseconds are asked for and no table is given."""
    return "latency_ms" in budget.targets and not budget.latency_table


def check_table(config: CompressAppConfig, path: str) -> None:
    """Looks whether a latency table is of what is asked: float32, one thread, the phone if any.

    Raises:
        UsageError: It is of other threads or dtypes, or of another device than the phone.
        KerasNasError: It is no latency table.
    """
    table = LatencyTable.load(path)
    held = {(condition.dtype, condition.threads) for condition in table.fits}
    if ("float32", 1) not in held:
        others = ", ".join(f"{dtype} on {threads}" for dtype, threads in sorted(held))
        raise UsageError(
            "`latency_table` must hold times of float32 on one thread. Received: "
            f"{path}, of {others}"
        )
    if not config.phone:
        return
    here = attached(config.phone_settings)[1].label
    if table.device != here:
        raise UsageError(
            f"`latency_table` must be of the attached phone, {here}. Received: {path}, of "
            f"{table.device}; leave it out to make one"
        )


def seconds_on_phone(config: CompressAppConfig) -> float:
    """How long the files' measurement on the phone takes, about; 0 without one."""
    if not config.phone:
        return 0.0
    phone = config.phone_settings
    runs = 2 * len(config.written) * phone.rounds
    return runs * (phone.cool_down.pause_s + PHONE_RUN)


def _measurer(config: CompressAppConfig) -> Benchmark:
    if not config.phone:
        return on_host(MEASUREMENT)
    return on_android(dataclasses.replace(config.phone_settings, rounds=1))


def _where(config: CompressAppConfig) -> str:
    return attached(config.phone_settings)[1].label if config.phone else host_device().label
