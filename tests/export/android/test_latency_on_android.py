"""The latency grid measured on a phone."""

from __future__ import annotations

from export.android.benchmark_config import AndroidBenchmarkConfig
from export.android.thermal import CoolDown
from export.latency.grid import GridPoint
from export.latency.profile import LatencyProfileConfig, on_android, profile
from keras_nas.costs import Condition


def test_a_phone_fills_a_table(adb_server, phone, litert_program, tmp_path):
    condition = Condition("conv", 16, 16, (3, 3))
    config = AndroidBenchmarkConfig(
        ["grid"], litert_program, num_runs=5, rounds=1, cool_down=CoolDown(0.0),
        adb_server_port=adb_server.port,
    )  # fmt: skip
    table = profile(
        [GridPoint(condition, 16, 8, 2), GridPoint(condition, 16, 128, 2)],
        on_android(config),
        LatencyProfileConfig(str(tmp_path / "table.json")),
    )
    assert table.device == "Google Pixel 8 (arm64-v8a)"
    assert table.runtime.startswith("benchmark_model sha256:")
    narrow, wide = table.points[condition]
    assert wide.ms > narrow.ms > 0
    assert phone.left_over() == []
