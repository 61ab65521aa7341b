"""The flags of the apps that measure on an Android phone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from export.android.benchmark_config import AndroidBenchmarkConfig
from export.android.thermal import CoolDown
from keras_nas.errors import UsageError
from keras_nas.settings import setting


@dataclasses.dataclass(frozen=True)
class PhoneConfig:
    """Which phone, with what program, how it runs."""

    benchmark_binary: str = setting(
        "", "TensorFlow's benchmark_model for the phone's ABI; the README says where to get it."
    )
    sha256: str = setting("", "The binary's expected SHA-256.")
    serial: str = setting("", "The phone's serial number; not needed with one phone.")
    use_xnnpack: bool = setting(True, "Run on the processor with XNNPACK.")
    use_gpu: bool = setting(False, "Run on the GPU delegate.")
    use_nnapi: bool = setting(False, "Run on the NNAPI delegate.")
    num_runs: int = setting(50, "Runs of each model in a round, at least.")
    warmup_runs: int = setting(5, "Untimed runs before each round.")
    cpu_affinity: str = setting("", "Mask of processors for taskset, in hexadecimal, such as f0.")
    cool_down_s: float = setting(2.0, "Pause before each run.")
    max_skin_c: float = setting(0.0, "Wait while the housing is hotter (degrees; 0: no limit).")
    cool_down_limit_s: float = setting(180.0, "The longest wait for a hot phone.")
    timeout_s: float = setting(300.0, "The longest time of one run or push.")
    adb: str = setting("adb", "The adb program.")
    adb_port: int = setting(0, "Port of the adb server (0: adb's own).")

    def measurement(self, models: Sequence[str], **settings) -> AndroidBenchmarkConfig:
        """Returns the library's configuration for these models.

        Raises:
            UsageError: No binary is given, or a value is not allowed.
        """
        if not self.benchmark_binary:
            raise UsageError(
                "`benchmark_binary` must be the path of TensorFlow's benchmark_model "
                "(--benchmark_binary). Received: nothing"
            )
        return AndroidBenchmarkConfig(
            models=tuple(models),
            binary=self.benchmark_binary,
            sha256=self.sha256 or None,
            serial=self.serial or None,
            use_xnnpack=self.use_xnnpack,
            use_gpu=self.use_gpu,
            use_nnapi=self.use_nnapi,
            num_runs=self.num_runs,
            warmup_runs=self.warmup_runs,
            cpu_affinity=self.cpu_affinity or None,
            cool_down=CoolDown(self.cool_down_s, self.max_skin_c or None, self.cool_down_limit_s),
            timeout_s=self.timeout_s,
            adb=self.adb,
            adb_server_port=self.adb_port or None,
            **settings,
        )
