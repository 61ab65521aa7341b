"""What the benchmark on this host is asked to do."""

from __future__ import annotations

import dataclasses

from keras_nas.errors import UsageError
from keras_nas.settings import check_range, setting


@dataclasses.dataclass(frozen=True)
class HostBenchmarkConfig:
    """How to measure. Every field's meaning stands in its help text.

    Each round's block of a model starts with untimed runs: one, which fetches the model into the
    caches again, or on several threads as many as it takes until those of the model before it sleep
    (`export.host_benchmark.SETTLE_MS`). Operations are timed in runs, and memory is measured in a
    process, of their own. `seed` is that of the random inputs.
    """

    threads: tuple[int, ...] = setting((1,), "Numbers of threads.")
    warmup: int = setting(10, "Untimed runs of each model at first.")
    runs: int = setting(50, "Timed runs of each model.")
    rounds: int = setting(10, "Blocks of these runs, between which the models take turns.")
    use_xnnpack: bool = setting(True, "Let the XNNPACK delegate run what it can.", name="xnnpack")
    profile: bool = setting(True, "Time the operations too.")
    memory: bool = setting(True, "Measure the peak memory too.")
    size: tuple[int, ...] = setting((), "Height and width for models of dynamic size.")
    seed: int = 0

    def __post_init__(self):
        if not self.threads or min(self.threads) < 1:
            raise UsageError(f"`threads` must be 1 or more. Received: threads={self.threads}")
        check_range(self, ("warmup",), 0)
        check_range(self, ("runs", "rounds"), 1)
        if len(self.size or ()) not in (0, 2):
            raise UsageError(f"`size` must be a height and a width. Received: size={self.size}")
