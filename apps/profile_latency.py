r"""Measures single operations on this host or a phone and writes the latency table.

    python -m apps.profile_latency --models=big.keras --output=host.json
    python -m apps.profile_latency --models=big.keras --output=phone.json --device=android \
        --benchmark_binary=android_aarch64_benchmark_model
    python -m apps.profile_latency --operations=conv,depthwise_conv --sizes=32,16 --kernels=1,3 \
        --channels=16,32,64 --output=host.json
    python -m apps.profile_latency --models=big.keras --output=host.json --align_prices=prices.json

--models takes exactly the operations of these networks and narrower ones; the other form takes a
grid. Each measured point is written down at once: the same command goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import signal
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from apps import config_flags
from apps.main import load_tensorflow
from apps.main import run as run_app
from apps.phone_config import PhoneConfig
from keras_nas.choices import LATENCY_DTYPES, LATENCY_STATISTICS
from keras_nas.errors import UsageError
from keras_nas.file_checks import check_model_file, check_output_file
from keras_nas.settings import check_choices, check_range, setting

if TYPE_CHECKING:
    from export.latency.grid import GridPoint
    from export.latency.profile import Benchmark


@dataclasses.dataclass(frozen=True)
class ProfileLatencyConfig:
    """What to measure, where, and where to write it."""

    output: str = setting("", "The table to write, a JSON file.")
    align_prices: str = setting(
        "",
        "A JSON file to write besides: what this device's gathers, partitions and kernels cost, "
        "which align='auto' weighs joins by (--align_prices of apps.search). Of the first of "
        "`dtypes` and `threads`.",
    )
    models: tuple[str, ...] = setting((), "The full networks, .keras files.")
    size: tuple[int, ...] = setting((), "Height and width for networks that leave them open.")
    points: int = setting(16, "Points for each condition (with --models).")
    round_to: int = setting(1, "Take multiples of this as widths (with --models).")
    operations: tuple[str, ...] = setting((), "Operations of the grid (without --models).")
    sizes: tuple[int, ...] = setting((56, 28, 14, 7), "Heights (and widths) of the grid.")
    kernels: tuple[int, ...] = setting((1, 3, 5), "Kernels of the grid.")
    strides: tuple[int, ...] = setting((1, 2), "Strides of the grid.")
    groups: tuple[int, ...] = setting((1,), "Groups of the grid's convolutions.")
    channels: tuple[int, ...] = setting((16, 40, 96), "Channels of the grid.")
    dtypes: tuple[str, ...] = setting(("float32",), f"Of {', '.join(LATENCY_DTYPES)}.")
    threads: tuple[int, ...] = setting((1,), "Numbers of threads.")
    device: str = setting("host", "Where to measure.", choices=("host", "android"))
    runs: int = setting(40, "Timed runs of each point (on the host).")
    batch: int = setting(8, "Points that take turns and are then written down.")
    statistic: str = setting(
        "median", "The time of a point, of its runs.", choices=LATENCY_STATISTICS
    )

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("points", "round_to", "runs", "batch"), 1)

    def check_paths(self) -> None:
        """Looks at the files that are read and written; needs no TensorFlow.

        Raises:
            UsageError: Neither or both of `models` and `operations` are given, or no `output`.
            KerasNasError: A model's file is missing or of another kind, or `output` cannot be
                written.
        """
        if not self.output:
            raise UsageError(
                "`output` must be the JSON file to write (--output). Received: nothing"
            )
        if bool(self.models) == bool(self.operations):
            raise UsageError("Give either `models` (--models) or a grid's `operations`.")
        for path in self.models:
            check_model_file(path, "models")
        check_output_file(self.output)
        if self.align_prices:
            check_output_file(self.align_prices, "align_prices")

    def grid(self) -> list[GridPoint]:
        """Returns the points to measure."""
        from export.latency.grid import grid_of_models, grid_of_sizes

        if self.models:
            return grid_of_models(
                self.models, self.size, self.dtypes, self.threads, self.points, self.round_to
            )
        return grid_of_sizes(
            self.operations, self.sizes, self.kernels, self.strides, self.groups, self.channels,
            self.dtypes, self.threads,
        )  # fmt: skip

    def benchmark(self, phone: PhoneConfig) -> Benchmark:
        """Returns what measures the points."""
        from export.benchmark_config import HostBenchmarkConfig
        from export.latency.profile import on_android, on_host

        if self.device == "android":
            return on_android(phone)
        return on_host(HostBenchmarkConfig(warmup=5, runs=self.runs, rounds=8))


config_flags.define(ProfileLatencyConfig(), PhoneConfig())


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = config_flags.read(ProfileLatencyConfig())
    config.check_paths()
    load_tensorflow()
    from export.latency.profile import LatencyProfileConfig, profile, residuals_table
    from keras_nas.costs import align_prices_of

    settings = LatencyProfileConfig(config.output, batch=config.batch, statistic=config.statistic)
    measure = config.benchmark(config_flags.read(PhoneConfig()))
    console = Console()
    table = profile(config.grid(), measure, settings, console.print)
    heading, *rows = residuals_table(table)
    shown = Table(title=f"{table.device}, {table.runtime}", header_style="bold")
    for name in heading:
        shown.add_column(name, justify="left" if name == heading[0] else "right")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    console.print(config.output)
    if config.align_prices:
        prices = align_prices_of(table, config.dtypes[0], config.threads[0])
        prices.save(config.align_prices)
        console.print(config.align_prices)


if __name__ == "__main__":
    run_app(main)
