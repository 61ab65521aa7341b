"""Which phone an app measures on, by flags; needs no TensorFlow."""

from __future__ import annotations

import dataclasses

from export.android.benchmark_config import AndroidBenchmarkConfig


@dataclasses.dataclass(frozen=True)
class PhoneConfig(AndroidBenchmarkConfig):
    """Which phone, with what program, how it runs; what the app decides has no flag."""

    models: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1,)
    rounds: int = AndroidBenchmarkConfig.rounds
    enable_op_profiling: bool = False
    profile_dir: str = ""
    output: str = ""
