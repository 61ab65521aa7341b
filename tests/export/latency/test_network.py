"""A network's own table: which operations, how long it says that takes, the calibration."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

from export.latency.network import SAMPLE, profile_network
from export.latency.profile import LatencyProfileConfig
from export.latency.single_op import build
from keras_nas.costs import Condition, LatencyTable
from keras_nas.costs.count import graph_of
from keras_nas.errors import KerasNasError, UsageError
from tests.export.latency.measurer import Measurer

POINTS = 12


def net(width: int = 32) -> keras.Model:
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(width, 3, padding="same")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(width, 3, padding="same")(x))


@pytest.fixture
def whole(tmp_path) -> str:
    """The network's file, which `Measurer` says takes 7 ms: so many operations stand in it."""
    path = tmp_path / "whole.tflite"
    path.write_bytes(build(Condition("conv", 8, 8, (3, 3)), 4, 999, 7))
    return str(path)


def run(
    tmp_path, whole, measure, expect=lambda points, seconds: None, statistic="median", lines=None
):
    config = LatencyProfileConfig(str(tmp_path / "table.json"), statistic=statistic)
    progress = [].append if lines is None else lines.append
    return profile_network(graph_of(net()), whole, measure, config, expect, progress, points=POINTS)


def test_predictions_are_of_the_networks_measured_time(tmp_path, whole):
    measure = Measurer()
    table = run(tmp_path, whole, measure)
    # each lone operation takes 1 ms, the network has two and takes 7
    assert table.calibration == pytest.approx(3.5)
    assert table.predict(graph_of(net())) == pytest.approx(7)
    assert LatencyTable.load(tmp_path / "table.json").to_dict() == table.to_dict()
    portions = [call for call in measure.calls if len(call) > 1]
    assert all(call[-1][0] == 999 for call in portions)  # it takes turns with every portion
    assert sum(len(call) - 1 for call in portions) == POINTS


@pytest.mark.parametrize(("statistic", "each"), [("min", 0.5), ("quartile", 0.75)])
def test_operations_and_file_are_timed_by_the_same_statistic(tmp_path, whole, statistic, each):
    lines: list[str] = []
    table = run(tmp_path, whole, Measurer(), statistic=statistic, lines=lines)
    assert table.calibration == pytest.approx(3.5)
    assert table.predict(graph_of(net())) == pytest.approx(7 * each)
    assert lines == ["8 of 12 points", "12 of 12 points"]
    assert run(tmp_path, whole, Measurer(), statistic=statistic).calibration == pytest.approx(3.5)


def test_the_time_is_said_after_a_few_points_and_may_end_it(tmp_path, whole):
    def refuse(points, seconds):
        said.append((points, seconds))
        raise UsageError("too long")

    said: list[tuple[int, float]] = []
    with pytest.raises(UsageError, match="too long"):
        run(tmp_path, whole, Measurer(), refuse)
    ((points, seconds),) = said
    assert points == POINTS
    assert 0 < seconds < 60
    assert not (tmp_path / "table.json").exists()
    lines = (tmp_path / "table.json.points.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 1 + SAMPLE
    again = Measurer()
    run(tmp_path, whole, again)
    assert sum(len(call) - 1 for call in again.calls) == POINTS - SAMPLE


def test_where_all_points_are_there_the_file_is_measured_alone(tmp_path, whole):
    run(tmp_path, whole, Measurer())
    again = Measurer()
    table = run(tmp_path, whole, again, lambda points, seconds: pytest.fail("nothing is left"))
    assert [[shape[0] for shape in call] for call in again.calls[1:]] == [[999]]
    assert table.calibration == pytest.approx(3.5)


def test_a_file_that_cannot_be_measured_is_said(tmp_path, whole):
    measure = Measurer()
    measure.broken = {(999, 3, 3, 4)}
    with pytest.raises(KerasNasError, match=f"{Path(whole).name} cannot be measured: no"):
        run(tmp_path, whole, measure)
