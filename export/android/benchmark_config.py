"""What the Android benchmark is asked to do."""

from __future__ import annotations

import dataclasses
import re

from export.android.thermal import CoolDown
from keras_nas.errors import UsageError
from keras_nas.settings import group, setting


@dataclasses.dataclass(frozen=True)
class AndroidBenchmarkConfig:
    """What to measure on which phone, and how. Every field's meaning stands in its help text.

    `models` and `binary` must be given. At most one of GPU and NNAPI may be used; without any
    delegate TFLite's own kernels run.
    """

    models: tuple[str, ...] = setting((), "The .tflite files; the first is compared with.")
    binary: str = setting(
        "",
        "TensorFlow's benchmark_model for the phone's ABI; the README says where to get it.",
        name="benchmark_binary",
    )
    sha256: str = setting("", "The binary's expected SHA-256.")
    serial: str = setting("", "The phone's serial number; not needed with one phone.")
    threads: tuple[int, ...] = setting((1,), "Numbers of threads.")
    use_xnnpack: bool = setting(True, "Run on the processor with XNNPACK.")
    use_gpu: bool = setting(False, "Run on the GPU delegate.")
    use_nnapi: bool = setting(False, "Run on the NNAPI delegate.")
    num_runs: int = setting(50, "Runs of each model in a round, at least.")
    warmup_runs: int = setting(5, "Untimed runs before each round.")
    rounds: int = setting(3, "How often the models take turns.")
    enable_op_profiling: bool = setting(False, "Time the operations too, in a run of their own.")
    profile_dir: str = setting("", "Folder for the profiles' CSV files.")
    cpu_affinity: str = setting("", "Mask of processors for taskset, in hexadecimal, such as f0.")
    cool_down: CoolDown = group(CoolDown())
    timeout_s: float = setting(300.0, "The longest time of one run or push.")
    output: str = setting("", "JSON file to write.")
    adb: str = setting("adb", "The adb program.")
    adb_server_port: int = setting(0, "Port of the adb server (0: adb's own).", name="adb_port")

    def __post_init__(self) -> None:
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
            not self.cpu_affinity or re.fullmatch("[0-9a-fA-F]{1,16}", self.cpu_affinity),
            "`cpu_affinity` must be a hexadecimal mask such as f0",
            f"cpu_affinity={self.cpu_affinity!r}",
        )

    def check_binary(self) -> None:
        """Raises `UsageError` where no binary is given."""
        _require(
            self.binary,
            "`binary` must be the path of TensorFlow's benchmark_model (--benchmark_binary)",
            "nothing",
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
