"""What the Android benchmark is asked to do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from export.android.thermal import CoolDown
from keras_nas.errors import UsageError


@dataclasses.dataclass(frozen=True)
class AndroidBenchmarkConfig:
    """What to measure on which phone, and how.

    Attributes:
        models: Paths of .tflite files.
        binary: Path of the `benchmark_model` built for the phone's ABI.
        sha256: The expected SHA-256 of `binary`; None trusts the file.
        serial: The phone's serial number; None takes the only one attached.
        threads: Thread counts, each measured.
        use_xnnpack, use_gpu, use_nnapi: The delegate: at most one of GPU and NNAPI; without any
            TFLite's own kernels run.
        num_runs, warmup_runs: At least so many runs in a round (the tool also fills one second, and
            half a second of warm-up).
        rounds: How often the models take turns.
        enable_op_profiling: A further run of each model tells the operations' times.
        profile_dir: Where the profile's CSV files are pulled to; None keeps none.
        cpu_affinity: Hexadecimal mask for `taskset`, e.g. "f0" for the processors 4 to 7.
        cool_down: The pause before each run.
        timeout_s: The longest time of one run, or of one push.
        output: Where the report is kept up to date as JSON; None keeps none.
        adb, adb_server_port: The adb program and its server's port (None: adb's default).
    """

    models: Sequence[str]
    binary: str
    sha256: str | None = None
    serial: str | None = None
    threads: Sequence[int] = (1,)
    use_xnnpack: bool = True
    use_gpu: bool = False
    use_nnapi: bool = False
    num_runs: int = 50
    warmup_runs: int = 5
    rounds: int = 3
    enable_op_profiling: bool = False
    profile_dir: str | None = None
    cpu_affinity: str | None = None
    cool_down: CoolDown = dataclasses.field(default_factory=CoolDown)
    timeout_s: float = 300.0
    output: str | None = None
    adb: str = "adb"
    adb_server_port: int | None = None

    def __post_init__(self) -> None:
        _require(len(self.models) > 0, "`models` must name a .tflite file or more", "models=[]")
        _require(
            not (self.use_gpu and self.use_nnapi),
            "Only one of `use_gpu` and `use_nnapi` may be set",
            "both",
        )
        for name in ("num_runs", "rounds", "timeout_s"):
            value = getattr(self, name)
            _require(value > 0, f"`{name}` must be above 0", f"{name}={value}")
        _require(self.warmup_runs >= 0, "`warmup_runs` must be 0 or more", str(self.warmup_runs))
        _require(
            len(self.threads) > 0 and all(count > 0 for count in self.threads),
            "`threads` must hold numbers above 0",
            f"threads={list(self.threads)}",
        )
        _require(
            self.cpu_affinity is None or re.fullmatch("[0-9a-fA-F]{1,16}", self.cpu_affinity),
            "`cpu_affinity` must be a hexadecimal mask such as f0",
            f"cpu_affinity={self.cpu_affinity!r}",
        )

    @property
    def delegate(self) -> str:
        """The delegate's name in the report."""
        if self.use_gpu:
            return "gpu"
        if self.use_nnapi:
            return "nnapi"
        return "xnnpack" if self.use_xnnpack else "none"

    @property
    def delegate_flags(self) -> list[str]:
        """The delegate in the tool's own flags."""
        if self.delegate in ("gpu", "nnapi"):
            return [f"--use_{self.delegate}=true"]
        return [f"--use_xnnpack={'true' if self.use_xnnpack else 'false'}"]


def _require(condition: object, requirement: str, received: str) -> None:
    if not condition:
        raise UsageError(f"{requirement}. Received: {received}")
