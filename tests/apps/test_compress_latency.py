"""apps.compress within milliseconds of this host: the table that it makes, and what is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re

import pytest

from apps.compress_config import CompressAppConfig
from apps.phone_config import PhoneConfig
from keras_nas.compression.config import CompressConfig
from keras_nas.compression.outcome import OutcomeRow
from keras_nas.costs import Condition, LatencyTable
from keras_nas.costs.latency_fit import Point
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs.folder import RunFolder
from keras_nas.training.session import SessionSettings
from tests.apps.compress_settings import settings
from tests.apps.trained_place import make, net

SIDE = 96
"""Of pictures at which time goes with the channels, on whatever host."""
BUDGET = CompressConfig(target_latency_ms="0.8x", epochs=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    make(root, SIDE)
    return root


def asked(place, **changes) -> CompressAppConfig:
    session = SessionSettings(progress="lines")
    return settings(
        place,
        **{
            "budget": BUDGET, "formats": ("float32",), "latency_points": 2, "session": session,
            **changes,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def compressed(place):
    """The outcome, and what was said."""
    from apps.compression import compress_file

    with contextlib.redirect_stderr(io.StringIO()) as said:
        outcome, _ = compress_file(asked(place))
    return outcome, said.getvalue()


def test_a_table_of_this_host_is_made_first_and_the_files_time_is_judged(place, compressed):
    outcome, said = compressed
    folder = RunFolder(place / "small")
    table = LatencyTable.load(folder.path / "latency_table.json")
    results = folder.read_results()
    assert results["host"] == table.device
    start = said.index("architecture  epoch")
    announced = (
        f"Latency table: 12 operations of the network and of narrower ones on {table.device}"
    )
    for line in (announced, "the original takes ", "Asked: latency_ms=0.8x."):
        assert -1 < said.find(line) < start, line
    rows = {row.name: row for row in outcome.rows}
    assert "time by table" not in rows
    row = rows["float32 time"]
    assert (row.original, row.small) == tuple(
        results["rows"][f"{name}.tflite"]["latency_ms"] for name in ("original", "small")
    )
    assert row.asked == pytest.approx(0.8 * row.original)
    assert row.predicted <= 0.8 * table.predict(net(SIDE))
    assert f"(table: {row.predicted:.3f} ms)" in row.cells()[-1]


def test_times_are_judged_where_the_table_is_of(place, compressed, tmp_path):
    from apps.compress_outcome import outcome_of_run

    folder = RunFolder(place / "small")
    path = folder.path / "latency_table.json"
    own = dataclasses.replace(BUDGET, latency_table=str(path), target_latency_ms="0.001x")
    rows = {row.name: row for row in outcome_of_run(own, ("float32",), folder, ()).rows}
    assert rows["float32 time"].met is False
    assert rows["float32 time"].cells()[-1].startswith("missed by ")
    elsewhere = tmp_path / "phone.json"
    elsewhere.write_text(json.dumps({**json.loads(path.read_text()), "device": "a phone"}))
    other = dataclasses.replace(own, latency_table=str(elsewhere))
    rows = {row.name: row for row in outcome_of_run(other, ("float32",), folder, ()).rows}
    assert rows["time by table"].met is False
    assert rows["float32 time"].asked is None


def test_an_operation_that_the_table_lacks_does_not_lose_the_result(place, compressed, tmp_path):
    from apps.compress_outcome import outcome_of_run

    folder = RunFolder(place / "small")
    content = json.loads((folder.path / "latency_table.json").read_text())
    path = tmp_path / "less.json"
    budget = dataclasses.replace(BUDGET, latency_table=str(path), target_latency_ms=1000.0)
    for device, name, verdict in (
        (content["device"], "float32 time", "met (table: unknown)"),
        ("a phone", "time by table", "cannot be told"),
    ):
        less = {**content, "device": device, "conditions": content["conditions"][:1]}
        path.write_text(json.dumps(less))
        outcome = outcome_of_run(budget, ("float32",), folder, ())
        (row,) = (row for row in outcome.rows if row.name == name)
        assert row.cells()[-1] == verdict
        assert outcome.met is (device != "a phone")


def test_a_table_that_takes_too_long_is_said_and_its_points_stay(place, monkeypatch, tmp_path):
    from apps.compress_latency import with_table

    config = asked(place, output=str(tmp_path / "small"), latency_points=3)
    said: list[str] = []
    with pytest.raises(UsageError, match=r"`minutes` must leave .* fewer `latency_points` than 3"):
        with_table(config, net(SIDE), (), 0.0, said.append)
    assert len(said) == 1
    points = tmp_path / "small" / "latency_points_host.jsonl"
    before = points.read_text()
    monkeypatch.setattr("apps.compress_latency.PROGRESS_SECONDS", 0.0)
    budget = with_table(config, net(SIDE), (), float("inf"), said.append)
    assert budget.latency_table == str(tmp_path / "small" / "latency_table.json")
    assert points.read_text().startswith(before)
    assert any(re.fullmatch(r"Latency table: (\d+) of \1 points\.", line) for line in said)
    again = dataclasses.replace(config, session=SessionSettings(overwrite=True))
    with_table(again, net(SIDE), (), float("inf"), said.append)
    assert not points.read_text().startswith(before)


def test_a_table_of_other_threads_is_refused(place, tmp_path):
    from apps.compress_latency import check_table

    condition = Condition("conv", 8, 8, (3, 3), threads=4)
    path = tmp_path / "table.json"
    LatencyTable("a phone", "a runtime", {condition: [Point(1, 1, 1, 1.0)]}).save(path)
    with pytest.raises(UsageError, match=r"float32 on one thread. Received: .*, of float32 on 4"):
        check_table(asked(place), str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phone_settings": PhoneConfig(serial="x")}, "`phone` must be on"),
        ({"phone": True}, "`binary` must be the path of TensorFlow's benchmark_model"),
        ({"phone": True, "phone_settings": PhoneConfig(binary="none")}, "`binary` must be a file"),
        ({"budget": CompressConfig(target_macs="0.5x", latency_table="x")}, "only"),
    ],
)
def test_what_goes_together_is_looked_at_first(place, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        asked(place, output=str(tmp_path / "out"), **changes).check_paths()


def test_a_phone_needs_adb(place, tmp_path):
    program = tmp_path / "benchmark_model"
    program.write_text("#!/bin/sh\n")
    phone = PhoneConfig(binary=str(program), adb="no_such_adb")
    config = asked(place, output=str(tmp_path / "out"), phone=True, phone_settings=phone)
    with pytest.raises(KerasNasError, match="'no_such_adb' is not found: install adb"):
        config.check_paths()


@pytest.mark.parametrize(
    ("small", "met", "verdict"),
    [
        (2.9, True, "met (table: 2.800 ms)"),
        (3.1, True, "met, +3.3 % is noise (table: 2.800 ms)"),
        (3.3, False, "missed by 10.0 % (table: 2.800 ms)"),
    ],
)
def test_a_measured_time_may_be_over_by_its_noise(small, met, verdict):
    row = OutcomeRow("time", 6.0, small, 3.0, "ms", predicted=2.8, noise=0.05)
    assert row.met is met
    assert row.cells()[-1] == verdict
