"""The latency grid: its points, measuring them, going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

import keras_nas as kn
from export.benchmark_config import HostBenchmarkConfig
from export.latency.grid import (
    GridPoint,
    grid_of_models,
    grid_of_moves,
    grid_of_operations,
    grid_of_sizes,
)
from export.latency.points import LatencyPoints
from export.latency.profile import LatencyProfileConfig, on_host, profile, residuals_table
from keras_nas.costs import Condition, LatencyTable, timed_operations
from keras_nas.costs.latency_operations import TimedOperation
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import read
from tests.export.latency.measurer import Measurer

CONV = Condition("conv", 8, 8, (3, 3))


def conv_points(*channels: int) -> list[GridPoint]:
    return [GridPoint(CONV, 4, count, copies=3) for count in channels]


def test_a_network_is_taken_at_its_width_and_below():
    grid = grid_of_operations([TimedOperation("a", CONV, 64, 128)], points=9)
    assert (grid[0].in_channels, grid[0].out_channels) == (64, 128)
    assert len(grid) == 9
    assert all(16 <= point.in_channels <= 64 for point in grid)
    assert all(32 <= point.out_channels <= 128 for point in grid)
    assert {point.in_channels % 8 for point in grid} > {
        0
    }  # kernels like multiples; pruning does not
    assert grid == grid_of_operations([TimedOperation("a", CONV, 64, 128)], points=9)


def test_widths_may_be_multiples():
    operations = [TimedOperation("a", CONV, 64, 96), TimedOperation("b", CONV, 10, 96)]
    grid = grid_of_operations(operations, points=12, round_to=8)
    assert all(point.out_channels % 8 == 0 for point in grid)
    assert {point.in_channels for point in grid if point.in_channels > 16} == {
        point.in_channels for point in grid if point.in_channels > 16 and not point.in_channels % 8
    }


def test_an_image_keeps_its_channels():
    grid = grid_of_operations([TimedOperation("a", CONV, 3, 32)])
    assert {point.in_channels for point in grid} == {3}


def test_layers_of_one_condition_are_narrowed_differently():
    """Growing layers of 12 channels each: were all taken whole, no width but 12 would be known."""
    operations = [TimedOperation(str(n), CONV, 24 + 12 * n, 12) for n in range(13)]
    made = [point.out_channels for point in grid_of_operations(operations, points=16)]
    assert len(made) == 16
    assert {7, 8, 9, 10} < set(made)


def test_operations_of_one_condition_share_its_points():
    operations = [TimedOperation(str(n), CONV, 8 * n, 16) for n in range(1, 13)]
    assert len(grid_of_operations(operations, points=10)) == 10


def test_a_file_holds_the_weights_of_the_network():
    operations = [TimedOperation(str(n), CONV, 64, 64) for n in range(5)]
    operations.append(TimedOperation("add", Condition("add", 8, 8), 64, 64))
    grid = grid_of_operations(operations, points=1)
    copies = {point.condition.operation: point.copies for point in grid}
    assert copies == {"add": 8, "conv": 5}
    operations.append(TimedOperation("dense", Condition("dense", 1, 1), 64, 256))
    copies = {p.condition.operation: p.copies for p in grid_of_operations(operations, points=1)}
    assert copies == {"add": 8, "conv": 5, "dense": 12}  # (5 · 9 · 64² + 64 · 256) / (64 · 256)


def test_joins_ask_for_gathers_pads_slices_and_a_partition():
    """Of the largest joined tensor three widths of each, of the smallest gathers."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=[1.0] * 3, variance=[4.0] * 3)(inputs)
    x = layers.Conv2D(12, 3, padding="same")(x)
    y = layers.MaxPooling2D()(layers.Add()([x, layers.Conv2D(12, 1)(x)]))
    y = layers.Concatenate()([y, layers.ReLU()(y)])
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(y)
    excited = layers.Multiply()([pooled, layers.Conv2D(24, 1)(pooled)])

    def moves(outputs):
        graph = read(keras.Model(inputs, outputs), [(1, 8, 8, 3)])
        return [
            (p.condition.operation, p.condition.height, p.in_channels, p.out_channels)
            for p in grid_of_moves(graph, timed_operations(graph))
        ]

    assert moves(excited) == [
        ("gather", 8, 12, 12), ("gather", 8, 8, 8), ("gather", 8, 4, 4),
        ("slice", 8, 13, 12), ("slice", 8, 9, 8), ("slice", 8, 5, 4),
        ("pad", 8, 11, 12), ("pad", 8, 7, 8), ("pad", 8, 3, 4),
        ("gather", 4, 24, 24), ("gather", 4, 16, 16), ("gather", 4, 8, 8),
        ("partition", 1, 8, 8),
    ]  # fmt: skip
    assert moves(x) == []


def test_channels_go_together():
    operations = [
        TimedOperation("a", Condition("concatenate", 4, 4), 16, 32),
        TimedOperation("b", Condition("depth_to_space", 4, 4, stride=(2, 2)), 64, 16),
        TimedOperation("c", Condition("conv", 4, 4, groups=4), 16, 32),
        TimedOperation("d", Condition("depthwise_conv", 4, 4, (3, 3)), 24, 24),
    ]
    for point in grid_of_operations(operations):
        kind, source, target = point.condition.operation, point.in_channels, point.out_channels
        if kind == "conv":
            assert source % 4 == target % 4 == 0
        else:
            factor = {"concatenate": 2, "depth_to_space": 0.25}.get(kind, 1)
            assert target == factor * source


def test_the_grid_of_saved_networks(tmp_path):
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same")]).save(
        tmp_path / "a.keras"
    )
    grid = grid_of_models([str(tmp_path / "a.keras")], dtypes=("float32", "int8"), threads=(1, 2))
    settings = {(point.condition.dtype, point.condition.threads) for point in grid}
    assert settings == {("float32", 1), ("float32", 2), ("int8", 1), ("int8", 2)}
    with pytest.raises(KerasNasError, match=r"none\.keras, which does not exist"):
        grid_of_models([str(tmp_path / "none.keras")])


def test_open_sizes_need_a_size(tmp_path):
    keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)]).save(
        tmp_path / "a.keras"
    )
    with pytest.raises(KerasNasError, match="`size` must be a height and a width"):
        grid_of_models([str(tmp_path / "a.keras")])
    (point, *_) = grid_of_models([str(tmp_path / "a.keras")], size=(20, 30))
    assert (point.condition.height, point.condition.width) == (20, 30)


def test_the_grid_of_sizes_has_every_combination_once():
    grid = grid_of_sizes(
        ["conv", "add", "dense"], [8, 4], [1, 3], [1, 2], [1, 2], [4, 6], ["float32"], [1]
    )
    count = {kind: sum(p.condition.operation == kind for p in grid) for kind in ("conv", "add")}
    assert count == {"conv": 2 * 2 * 2 * 2 * 4, "add": 2 * 2}
    assert sum(p.condition.operation == "dense" for p in grid) == 4
    assert len(set(grid)) == len(grid)
    with pytest.raises(UsageError, match="`kernels` must hold a value or more"):
        grid_of_sizes(["conv"], [8], [], [1], [1], [4], ["float32"], [1])


def test_measures_writes_and_fits(tmp_path):
    output = tmp_path / "table.json"
    measure = Measurer()
    lines = []
    table = profile(
        conv_points(1, 2, 3), measure, LatencyProfileConfig(str(output), batch=2), lines.append
    )
    assert [point.ms for point in table.points[CONV]] == [1.0, 1.0, 1.0]  # of 3 ms for 3 copies
    assert (table.device, table.runtime) == ("a host (x86_64)", "a runtime 1 xnnpack")
    assert LatencyTable.load(output).to_dict() == table.to_dict()
    assert lines == ["2 of 3 points", "3 of 3 points"]
    heading, row = residuals_table(table)
    assert row[0] == "conv 8×8, kernel 3, float32, 1 thread"
    assert len(heading) == len(row)


@pytest.mark.parametrize(("statistic", "each"), [("min", 0.5), ("quartile", 0.75)])
def test_takes_the_faster_runs_when_asked(tmp_path, statistic, each):
    config = LatencyProfileConfig(str(tmp_path / "table.json"), statistic=statistic)
    assert profile(conv_points(2), Measurer(), config).points[CONV][0].ms == each


def test_goes_on_where_it_was_stopped(tmp_path):
    config = LatencyProfileConfig(str(tmp_path / "table.json"), batch=2)
    with pytest.raises(KeyboardInterrupt):
        profile(conv_points(1, 2, 3, 4, 5), Measurer(stop_after=2), config)
    assert not Path(config.output).exists()
    with open(config.points_path, "a") as file:
        file.write('{"condition": {"operation": "co')  # the line that was being written
    again = Measurer()
    table = profile(conv_points(1, 2, 3, 4, 5), again, config)
    measured = [shape[0] for call in again.calls[1:] for shape in call]  # the first call is a probe
    assert measured == [3, 4, 5]
    assert len(table.points[CONV]) == 5
    lines = Path(config.points_path).read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 6


def test_another_devices_points_are_not_mixed_in(tmp_path):
    config = LatencyProfileConfig(str(tmp_path / "table.json"))
    profile(conv_points(1), Measurer(), config)
    with pytest.raises(KerasNasError, match=r"holds points of .*a host.* choose another file"):
        profile(conv_points(2), Measurer("another host"), config)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "points").write_text("not a line of JSON\n")
    with pytest.raises(KerasNasError, match="is no file of latency points"):
        LatencyPoints(tmp_path / "points", "d", "r")


def test_a_point_that_fails_leaves_the_others(tmp_path):
    measure = Measurer()
    measure.broken = {(2, 3, 3, 4)}
    config = LatencyProfileConfig(str(tmp_path / "table.json"))
    table = profile(conv_points(1, 2, 3), measure, config)
    assert [point.out_channels for point in table.points[CONV]] == [1, 3]


def test_nothing_to_measure_is_an_error(tmp_path):
    measure = Measurer()
    measure.broken = {(1, 3, 3, 4)}
    with pytest.raises(KerasNasError, match="Nothing can be measured: no"):
        profile(conv_points(1), measure, LatencyProfileConfig(str(tmp_path / "table.json")))
    with pytest.raises(UsageError, match="`batch` must be 1 or more"):
        LatencyProfileConfig("table.json", batch=0)
    with pytest.raises(UsageError, match="`statistic` must be one of median, quartile, min"):
        LatencyProfileConfig("table.json", statistic="mean")


def test_this_hosts_litert_fills_a_table_that_predicts(tmp_path):
    model = kn.models.small_vgg((16, 16, 3), widths=[[8, 8], [16, 16], [16, 16]])
    graph = read(model, [(1, 16, 16, 3)])
    grid = grid_of_operations(timed_operations(graph), points=3)
    measure = on_host(HostBenchmarkConfig(warmup=2, runs=10, rounds=2))
    table = profile(grid, measure, LatencyProfileConfig(str(tmp_path / "table.json")))
    times = table.by_layer(graph)
    assert times["stage1_block2_conv"] > times["head_pool"] > 0
    assert table.runtime.startswith("ai_edge_litert ")
    narrow = kn.models.small_vgg((16, 16, 3), widths=[[4, 4], [8, 8], [8, 8]])
    assert table.predict(read(narrow, [(1, 16, 16, 3)])) < table.predict(graph)
