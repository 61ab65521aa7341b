"""Conditions, the affine fits, the table as a file, look-ups, and predictions summed by hand."""

from __future__ import annotations

import dataclasses
import json
import logging

import keras
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_nas.costs import AlignPrices, Condition, LatencyTable, TimedOperation, layer_costs
from keras_nas.costs.latency_fit import TILES, Point, fit
from keras_nas.errors import KerasNasError

CONV = Condition("conv", 8, 8, (3, 3))


def points(slope: float, intercept: float, *flops: int) -> list[Point]:
    return [Point(1, 1, work, slope * work + intercept) for work in flops]


def table(*conditions: Condition, slope: float = 1e-6, intercept: float = 0.5) -> LatencyTable:
    measured = points(slope, intercept, 1000, 50_000, 1_000_000)
    return LatencyTable("a phone", "a runtime 1.0", dict.fromkeys(conditions, measured))


@given(st.floats(1e-9, 1e-3), st.floats(0, 10), st.sets(st.integers(1, 10**9), min_size=2))
def test_points_on_a_line_give_the_line(slope, intercept, flops):
    assume(max(flops) >= 2 * min(flops))
    found = fit(points(slope, intercept, *sorted(flops)))
    for work in flops:
        assert found(work) == pytest.approx(slope * work + intercept, rel=1e-4)
    assert found.points == len(flops)
    assert found.worst < 1e-4


@given(st.lists(st.tuples(st.integers(1, 10**9), st.floats(1e-6, 1e3)), min_size=1, max_size=20))
def test_no_fit_is_ever_negative_and_more_work_never_takes_less_time(measured):
    found = fit([Point(1, 1, flops, ms) for flops, ms in measured])
    assert found.slope >= 0
    assert found.intercept >= 0
    assert found.slope + found.intercept > 0


def test_residuals_by_hand():
    found = fit([Point(1, 1, 100, 1.0), Point(1, 1, 100, 3.0)])
    assert found.intercept == 0
    assert found.slope * 100 == pytest.approx((1 + 1 / 3) / (1 + 1 / 9))  # Σ1/ms / Σ1/ms²
    assert found.rms_ms == pytest.approx(np.sqrt(((1.2 - 1) ** 2 + (1.2 - 3) ** 2) / 2))
    assert found.worst == pytest.approx(0.6)


def test_a_kernel_takes_the_time_of_its_next_tile():
    """8 channels at once, 0.5 ms: 9 take as long as 16, and 24 half as long again."""
    measured = [Point(8, n, 100 * n, 0.5 * -(-n // 8)) for n in (3, 8, 9, 16, 20, 24, 33)]
    found = fit(measured, TILES)
    assert (found.tile, found.slope) == (8, pytest.approx(0.5 / 800))
    assert found(900, 9) == found(1600, 16) == pytest.approx(1.0)
    assert found(1600) == pytest.approx(1.0)
    known = LatencyTable("a phone", "a runtime 1.0", {CONV: measured})
    nine, sixteen = (known.milliseconds(TimedOperation("a", CONV, 8, n)) for n in (9, 16))
    assert nine == pytest.approx(sixteen)
    assert LatencyTable.from_dict(known.to_dict()).fits == known.fits


@pytest.mark.parametrize(
    ("condition", "channels", "expected"),
    [
        (CONV, (8, 9), 0),
        (CONV, (6, 9), 2),  # once for each of two tiles of 8
        (CONV, (6, 8), 1),
        (dataclasses.replace(CONV, groups=2), (12, 16), 4 // 2),  # 6 inputs a group
        (Condition("dense", 1, 1), (7, 17), 3),
        (Condition("depthwise_conv", 8, 8, (3, 3)), (12, 12), 1),
        (Condition("depthwise_conv", 8, 8, (3, 3)), (16, 16), 0),
        (Condition("add", 8, 8), (7, 7), 0),
    ],
)
def test_what_ends_amid_a_vector(condition, channels, expected):
    assert condition.ends(*channels, tile=8) == expected
    assert TimedOperation("a", condition, *channels).ends(8) == expected


def test_inputs_that_are_no_multiple_of_four_cost_extra_for_each_tile():
    """0.5 ms for 8 channels read and 8 made, and 0.1 ms a tile for what ends amid a vector."""

    def ms(read, made):
        tiles = -(-made // 8)
        return 0.5 * read / 8 * tiles + 0.1 * tiles * (read % 4 > 0)

    widths = [(8, 8), (8, 9), (10, 8), (10, 20), (4, 33), (15, 16), (12, 24), (13, 5)]
    measured = [Point(r, m, CONV.flops(r, m), ms(r, m)) for r, m in widths]
    known = LatencyTable("a phone", "a runtime 1.0", {CONV: measured})
    found = known.fit(CONV)
    assert (found.tile, found.end) == (8, pytest.approx(0.1))
    for read, made in ((8, 11), (11, 8), (6, 40)):
        time = known.milliseconds(TimedOperation("a", CONV, read, made))
        assert time == pytest.approx(ms(read, made))
    assert found.times(2).end == pytest.approx(0.2)
    assert LatencyTable.from_dict(known.to_dict()).fits == known.fits


def test_a_depthwise_kernel_costs_extra_off_its_tile():
    """0.1 ms a channel in tiles of 8, and 2 ms where the last is not full."""
    condition = Condition("depthwise_conv", 8, 8, (3, 3))
    measured = [
        Point(n, n, condition.flops(n, n), 0.8 * -(-n // 8) + 2 * (n % 8 > 0))
        for n in (8, 9, 12, 16, 20, 24, 30)
    ]
    known = LatencyTable("a phone", "a runtime 1.0", {condition: measured})
    times = [known.milliseconds(TimedOperation("a", condition, n, n)) for n in (32, 33)]
    assert times == pytest.approx([3.2, 6.0])


@pytest.mark.parametrize("widths", [(5, 9, 13, 22), (8, 12, 20, 32)])
def test_what_no_point_tells_apart_is_not_fitted(widths):
    """All inputs end amid a vector, or none: no time of it could be told from the others'."""
    measured = [Point(n, 16, CONV.flops(n, 16), 0.25 + 0.5 * n) for n in widths]
    assert LatencyTable("a phone", "a runtime 1.0", {CONV: measured}).fit(CONV).end == 0


@given(st.lists(st.integers(1, 100), min_size=2, max_size=12), st.floats(1e-6, 1e-2))
def test_a_straight_line_has_no_tile(widths, slope):
    assert fit([Point(8, n, 100 * n, slope * n) for n in widths], TILES).tile == 1


def test_an_image_has_a_fit_of_its_own():
    """Of one condition, 3 channels take 1 µs a flop, and 8 or more 0.1 µs."""
    measured = [Point(3, n, 300 * n, 0.3 * n) for n in (4, 8, 16)]
    measured += [Point(8, n, 800 * n, 0.08 * n) for n in (4, 8, 16)]
    known = LatencyTable("a phone", "a runtime 1.0", {CONV: measured})
    flops = CONV.flops(1, 16)
    times = [known.milliseconds(TimedOperation("a", CONV, n, 16)) for n in (3, 4, 5, 8)]
    assert times == pytest.approx([3e-3 * flops, 4e-3 * flops, 5e-4 * flops, 8e-4 * flops])
    again = LatencyTable.from_dict(json.loads(json.dumps(known.to_dict())))
    assert (again.fits, again.image_fits) == (known.fits, known.image_fits)
    names, measured_by, _ = zip(*known.named_fits(), strict=True)
    assert names == (str(CONV), f"{CONV}, image")
    assert [list(each) for each in measured_by] == [measured[3:], measured[:3]]
    only_images = LatencyTable("a phone", "a runtime 1.0", {CONV: measured[:3]})
    assert only_images.fit(CONV, in_channels=8) == only_images.fit(CONV, in_channels=3)


def test_a_falling_line_becomes_a_constant():
    found = fit([Point(1, 1, 100, 2.0), Point(1, 1, 1000, 1.0)])
    assert (found.slope, found.intercept) == (0.0, pytest.approx(1.2))


@pytest.mark.parametrize("bad", [[], [Point(1, 1, 0, 1.0)], [Point(1, 1, 10, 0.0)]])
def test_points_without_work_or_time_are_refused(bad):
    with pytest.raises(KerasNasError, match="`points` must h"):
        fit(bad)


def test_a_measured_condition_is_found():
    found = table(CONV).fit(CONV)
    assert (found.slope, found.intercept) == (pytest.approx(1e-6), pytest.approx(0.5))


def test_a_missing_condition_is_an_error_that_says_what_to_do():
    missing = dataclasses.replace(CONV, height=16)
    with pytest.raises(
        KerasNasError,
        match=r"table of a phone \(a runtime 1\.0\) has no conv 16×8, kernel 3.*--interpolate",
    ):
        table(CONV).fit(missing)


def test_interpolation_takes_the_nearest_and_says_so(caplog):
    near = dataclasses.replace(CONV, height=16, width=16)
    far = dataclasses.replace(CONV, kernel=(1, 1))
    measured = {
        near: points(2e-6, 0, 10, 1000), far: points(3e-6, 0, 10, 1000),
        Condition("add", 8, 8): points(4e-6, 0, 10, 1000),
    }  # fmt: skip
    with caplog.at_level(logging.WARNING, "absl"):
        found = LatencyTable("d", "r", measured).fit(CONV, interpolate=True)
    assert found.slope == pytest.approx(2e-6)
    assert "No latency was measured for conv 8×8, kernel 3" in caplog.text
    assert "taking that of conv 16×16, kernel 3" in caplog.text


@pytest.mark.parametrize("change", [{"dtype": "int8"}, {"threads": 2}, {"operation": "dense"}])
def test_nothing_stands_in_for_another_operation_dtype_or_threads(change):
    with pytest.raises(KerasNasError, match="profile a model that has it"):
        table(CONV).fit(dataclasses.replace(CONV, **change), interpolate=True)


def test_predicts_the_sum_over_the_operations():
    #  input 8×8×3 ─ conv 3×3 (4) ─ bn ─ relu ─ conv 3×3 (5) ─ global pool ─ dense (2)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), batch_size=1)
    x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(5, 3, padding="same", name="b")(x)
    x = layers.GlobalAveragePooling2D(name="c")(x)
    model = keras.Model(inputs, layers.Dense(2, name="d")(x))
    conditions = (CONV, Condition("global_average_pool", 8, 8), Condition("dense", 1, 1))
    known = table(*conditions)
    work = {"a": 2 * 64 * 9 * 12, "b": 2 * 64 * 9 * 20, "c": 64 * 5, "d": 2 * 10}
    expected = {name: 1e-6 * flops + 0.5 for name, flops in work.items()}
    assert known.by_layer(model) == pytest.approx(expected)
    assert known.predict(model) == pytest.approx(sum(expected.values()))
    with pytest.raises(KerasNasError, match="has no conv 8×8, kernel 3, int8, 1 thread"):
        known.predict(model, dtype="int8")


def gathering() -> keras.Model:
    """8×8×3 ─ conv 3×3 (4) ─ channels 3 and 0 ─ conv 3×3 (5)."""
    inputs = keras.Input((8, 8, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    x = keras.ops.take(x, np.array([3, 0]), axis=-1)
    return keras.Model(inputs, keras.layers.Conv2D(5, 3, padding="same", name="b")(x))


def test_a_gather_costs_its_elements_and_a_partition():
    measured = {
        CONV: points(1e-6, 0.5, 1000, 50_000),
        Condition("gather", 4, 4): points(2e-6, 0.125, 100, 1000),
        Condition("partition", 1, 1): [Point(8, 8, 8, 0.25)],
    }
    known = LatencyTable("d", "r", measured)
    work = 2 * 64 * 9 * (12 + 10)
    expected = 1e-6 * work + 2 * 0.5 + 2e-6 * (64 * 2) + 0.125 + 0.25
    assert known.predict(gathering()) == pytest.approx(expected)


def test_a_gather_that_was_not_measured_keeps_the_defaults_ratio_to_a_kernel(caplog):
    """1e-6 ms a flop are 2 ns a multiply-add, 2 / 0.075 times the default's."""
    known = LatencyTable("d", "r", {CONV: points(1e-6, 0.5, 1000, 50_000)})
    prices, scale = AlignPrices(), 2 / AlignPrices().conv
    moved = 1e-6 * scale * (prices.gather * 128 + prices.partition)
    with caplog.at_level(logging.WARNING, "absl"):
        found = known.predict(gathering())
    assert found == pytest.approx(1e-6 * 2 * 64 * 9 * 22 + 2 * 0.5 + moved)
    assert "has no gather: taking" in caplog.text


def test_a_calibrated_table_predicts_what_the_network_took(tmp_path):
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same")])
    narrow = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3, padding="same")])
    plain = table(CONV)
    known = plain.calibrated(model, 3.0)
    assert known.predict(model) == pytest.approx(3.0)
    assert known.predict(narrow) / plain.predict(narrow) == pytest.approx(known.calibration)
    assert known.fits == plain.fits
    assert known.calibrated(model, 6.0).predict(model) == pytest.approx(6.0)
    known.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json").predict(model) == pytest.approx(3.0)
    with pytest.raises(KerasNasError, match="`calibration` must be above 0"):
        plain.calibrated(model, 0.0)


def test_a_table_of_before_calibrations_is_read(tmp_path):
    content = table(CONV).to_dict()
    del content["calibration"]
    assert LatencyTable.from_dict(content).calibration == 1.0


def test_the_table_survives_its_file(tmp_path):
    known = table(CONV, Condition("add", 7, 5, dtype="int8", threads=4))
    known.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert again.to_dict() == known.to_dict()
    assert again.fits == known.fits
    assert (again.device, again.runtime) == ("a phone", "a runtime 1.0")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"device": 3}, "device"),
        ({"conditions": [{"condition": {}}]}, "conditions/0"),
        ({"more": 1}, "the top"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, change, where):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**table(CONV).to_dict(), **change}))
    with pytest.raises(KerasNasError, match=rf"table.json is no latency table: at {where}"):
        LatencyTable.load(path)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "table.json").write_text('{"schema_version": 1')
    with pytest.raises(KerasNasError, match="Cannot read the latency table"):
        LatencyTable.load(tmp_path / "table.json")
    with pytest.raises(KerasNasError, match="Cannot read the latency table"):
        LatencyTable.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("condition", "channels", "flops"),
    [
        (Condition("conv", 8, 6, (3, 3)), (4, 10), 2 * 48 * 9 * 4 * 10),
        (Condition("conv", 8, 6, (3, 3), (2, 2)), (4, 10), 2 * 12 * 9 * 4 * 10),
        (Condition("conv", 7, 7, (3, 3), (2, 2)), (1, 1), 2 * 16 * 9),
        (Condition("conv", 8, 8, (3, 3), padding="valid"), (1, 1), 2 * 36 * 9),
        (Condition("conv", 8, 8, (1, 1), groups=4), (8, 8), 2 * 64 * 2 * 8),
        (Condition("depthwise_conv", 8, 8, (5, 5), (2, 2)), (6, 6), 2 * 16 * 25 * 6),
        (Condition("transposed_conv", 4, 4, (4, 4), (2, 2)), (3, 5), 2 * 16 * 16 * 15),
        (Condition("dense", 1, 1), (20, 10), 2 * 200),
        (Condition("max_pool", 8, 8, (2, 2), (2, 2), padding="valid"), (3, 3), 16 * 4 * 3),
        (Condition("global_average_pool", 7, 7), (5, 5), 49 * 5),
        (Condition("add", 4, 4), (3, 3), 48),
        (Condition("concatenate", 4, 4), (3, 6), 96),
        (Condition("resize", 4, 4, stride=(2, 2)), (3, 3), 64 * 3),
        (Condition("depth_to_space", 4, 4, stride=(2, 2)), (12, 3), 16 * 12),
        (Condition("pad", 4, 4, (3, 3)), (2, 2), 36 * 2),
        (Condition("pad", 4, 4), (2, 3), 16 * 3),
        (Condition("gather", 4, 4), (7, 3), 16 * 3),
        (Condition("slice", 4, 4), (7, 3), 16 * 3),
    ],
)
def test_flops_by_hand(condition, channels, flops):
    assert condition.flops(*channels) == flops


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_convolutions_count_as_costs_do(size, stride, padding):
    layer = keras.layers.Conv2D(6, 3, stride, padding)
    output = layer.compute_output_shape((1, size, size, 4))
    condition = Condition("conv", size, size, (3, 3), (stride, stride), padding=padding)
    assert condition.output_size == output[1:3]
    assert condition.flops(4, 6) == layer_costs(layer, [(1, size, size, 4)], [output]).flops


def test_weights_by_hand():
    assert Condition("conv", 8, 8, (3, 3), groups=2).weights(8, 10) == 9 * 4 * 10
    assert Condition("depthwise_conv", 8, 8, (3, 3)).weights(8, 8) == 72
    assert Condition("add", 8, 8).weights(8, 8) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operation": "convolution"}, "`operation` must be one of conv, depthwise_conv"),
        ({"dtype": "float16"}, "`dtype` must be one of float32, int8"),
        ({"padding": "SAME"}, "`padding` must be one of same, valid"),
        ({"height": 0}, "must be 1 or more"),
        ({"threads": 0}, "must be 1 or more"),
    ],
)
def test_wrong_conditions_are_refused(settings, message):
    with pytest.raises(KerasNasError, match=message):
        Condition(**{"operation": "conv", "height": 4, "width": 4, **settings})


def test_reads_well():
    condition = Condition("conv", 32, 30, (3, 5), (2, 2), 4, "valid", "int8", 2)
    assert str(condition) == "conv 32×30, kernel 3×5, stride 2, 4 groups, valid, int8, 2 threads"
