"""apps.compress with a phone: its table, its times, and what may be wrong with it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from apps.compress_config import CompressAppConfig
from apps.phone_config import PhoneConfig
from export.android.adb import AdbError
from export.android.thermal import CoolDown
from export.latency.single_op import build
from keras_nas.compression.config import CompressConfig
from keras_nas.costs import Condition, LatencyTable
from keras_nas.costs.latency_fit import Point
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs.folder import RunFolder
from keras_nas.training.session import SessionSettings
from tests.apps.compress_settings import settings
from tests.apps.trained_place import make, net, write_pictures

PIXEL = "Google Pixel 8 (arm64-v8a)"
BY_SIZE = """#!/bin/sh
for word in "$@"; do case "$word" in --graph=*) graph=${word#*=};; esac; done
us=$(($(wc -c < "$graph") / 10))
echo "INFO: count=50 first=$us curr=$us min=$us max=$us avg=$us std=0 p5=$us median=$us p95=$us"
echo "INFO: Inference timings in us: Init: 1, First inference: $us, Warmup (avg): $us, \\
Inference (avg): $us"
"""
"""A `benchmark_model` whose times are the file's bytes: ten a microsecond."""


@pytest.fixture
def phone_config(adb_server, tmp_path):
    """The settings of the attached phone, or of one by its serial number."""
    program = tmp_path / "benchmark_model"
    program.write_text(BY_SIZE)

    def make(serial=""):
        return PhoneConfig(
            binary=str(program), adb_server_port=adb_server.port, cool_down=CoolDown(0.0),
            serial=serial,
        )  # fmt: skip

    return make


@pytest.mark.slow
def test_the_phones_table_is_made_first_and_its_times_are_judged_at_the_end(
    phone, phone_config, monkeypatch, tmp_path
):
    from apps.compression import compress_file

    make(tmp_path)
    config = settings(
        tmp_path, budget=CompressConfig(target_latency_ms="0.8x", epochs=2, round_to=1),
        formats=("float32",), phone=True, phone_settings=phone_config(), latency_points=4,
    )  # fmt: skip
    config.check_paths()
    with monkeypatch.context() as patched:
        patched.setattr("keras_nas.runs.search_stages.Surgery.run", lambda self, bench: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compress_file(config)
    folder = Path(config.output)
    made = (folder / "latency_table.json").read_bytes()
    table = LatencyTable.load(folder / "latency_table.json")
    assert table.device == PIXEL
    phone.commands.clear()
    resumed = SessionSettings(progress="off", resume=True)
    outcome, page = compress_file(dataclasses.replace(config, session=resumed))
    assert (folder / "latency_table.json").read_bytes() == made
    runs = [line for line in phone.commands if "--graph=" in line]
    assert len(runs) == 2 * PhoneConfig.rounds  # two files; no point of the table again
    row = next(row for row in outcome.rows if row.name == "float32 time on Google Pixel 8")
    sizes = [(folder / f"{name}.tflite").stat().st_size for name in ("original", "small")]
    assert [row.original, row.small] == [pytest.approx(size // 10 / 1e3) for size in sizes]
    assert row.asked == pytest.approx(0.8 * row.original)
    assert row.predicted < row.original
    assert {row.name for row in outcome.rows} >= {"float32 time", "float32 file", "top1"}
    assert "time by table" not in {row.name for row in outcome.rows}
    results = json.loads((folder / "results.json").read_text())
    assert results["phone"] == PIXEL
    assert results["rows"]["small.tflite"]["phone_ms"] == row.small
    text = page.read_text()
    assert "median ms on the phone" in text
    assert "Google Pixel 8" in text
    assert phone.left_over() == []


def test_what_may_be_wrong_with_a_phone_is_said_first(phone_config, attach, tmp_path):
    write_pictures(tmp_path, "photos", 1, 0)
    net().save(tmp_path / "model.keras")

    def check(serial=""):
        settings(tmp_path, phone=True, phone_settings=phone_config(serial)).check_paths()

    with pytest.raises(AdbError, match="No Android device is attached"):
        check()
    first = attach()
    check()
    attach()
    with pytest.raises(AdbError, match="choose one by --serial"):
        check()
    check(first.serial)
    program = Path(phone_config().binary)
    program.write_bytes(b"\x7fELF" + bytes([2, 1, 1]) + bytes(11) + (62).to_bytes(2, "little"))
    with pytest.raises(AdbError, match="built for x86_64, but the device"):
        check(first.serial)


def test_a_table_of_another_device_is_refused(phone, phone_config, tmp_path):
    from apps.compress_latency import check_table

    config = CompressAppConfig(phone=True, phone_settings=phone_config())
    points = {Condition("conv", 8, 8): [Point(1, 1, 1, 1.0)]}
    path = str(tmp_path / "table.json")
    LatencyTable(PIXEL, "a runtime", points).save(path)
    check_table(config, path)
    LatencyTable("Google Pixel 9 (arm64-v8a)", "a runtime", points).save(path)
    with pytest.raises(UsageError, match=r"attached phone, .*Pixel 8.* of Google Pixel 9"):
        check_table(config, path)


@pytest.mark.parametrize("number", [0, 1])
def test_a_phone_that_goes_away_at_the_end_is_said_with_what_to_do(
    phone, phone_config, tmp_path, number
):
    from apps.tflite_stages import BenchmarkOnPhone

    folder = RunFolder(tmp_path)
    for name in ("original", "small"):
        (tmp_path / f"{name}.tflite").write_bytes(build(Condition("conv", 8, 8), 4, 8))
    config = phone_config()
    sleep = f'case "$graph" in *model_{number}.tflite) sleep 60;; esac\n'
    Path(config.binary).write_text(BY_SIZE.replace("us=", f"{sleep}us=", 1))
    stage = BenchmarkOnPhone({"original": ("float32",), "small": ("float32",)}, config)
    phone.unplug_on = f"model_{number}.tflite"
    with pytest.raises(KerasNasError, match=r"went away.* `--resume` measures there again"):
        stage.run(SimpleNamespace(folder=folder))
    assert not folder.results.exists()
