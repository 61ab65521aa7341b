"""The table that surgery weighs joins by: widths, its file, and prices of a latency table."""

from __future__ import annotations

import json

import pytest

from keras_nas.costs import AlignPrices, Condition, LatencyTable, align_prices_of
from keras_nas.costs.latency_fit import Point
from keras_nas.errors import KerasNasError, UsageError


def line(slope_ns: float, intercept_ns: float = 0.0) -> list[Point]:
    """Points of so many nanoseconds a unit of work."""
    return [Point(1, 1, work, 1e-6 * (slope_ns * work + intercept_ns)) for work in (1000, 9000)]


def test_widths_are_multiples_of_the_tile():
    prices = AlignPrices(tile=8)
    assert [prices.width(n) for n in (0, 1, 8, 9, 17)] == [0, 8, 8, 16, 24]


def test_the_file_gives_the_table_back(tmp_path):
    prices = AlignPrices(gather=1.5, tile=4, source="a phone")
    prices.save(tmp_path / "prices.json")
    assert AlignPrices.load(tmp_path / "prices.json") == prices
    content = json.loads((tmp_path / "prices.json").read_text())
    (tmp_path / "prices.json").write_text(json.dumps({**content, "gather": -1}))
    with pytest.raises(KerasNasError, match=r"is no table of align prices: at gather"):
        AlignPrices.load(tmp_path / "prices.json")


@pytest.mark.parametrize(
    "bad", [{"gather": -1.0}, {"conv": float("nan")}, {"tile": 0}, {"tile": 2.5}]
)
def test_wrong_prices_are_refused(bad):
    with pytest.raises(UsageError, match=f"`{next(iter(bad))}` must be"):
        AlignPrices(**bad)


def test_prices_of_a_latency_table_by_hand():
    """Work of a convolution is two a multiply-add; fits are weighed by their points' work."""
    table = LatencyTable(
        "a phone",
        "a runtime 1.0",
        {
            Condition("gather", 8, 8): line(3.0, 500.0),
            Condition("conv", 8, 8, (3, 3)): line(0.02),
            Condition("conv", 4, 4, (3, 3)): line(0.04),
            Condition("conv", 8, 8): line(0.01),
            Condition("conv", 8, 8, dtype="int8"): line(7.0),
            Condition("partition", 1, 1): [Point(8, 8, 8, 1e-3)],
        },
    )
    prices = align_prices_of(table)
    assert prices.gather == pytest.approx(3.0)
    assert prices.conv == pytest.approx(0.06)
    assert prices.pointwise == pytest.approx(0.02)
    assert prices.partition == pytest.approx(1000.0)
    assert prices.pad == pytest.approx(0.06 / AlignPrices().conv * AlignPrices().pad)
    assert prices.tile == 1
    assert prices.source.startswith(
        "a phone, a runtime 1.0, float32, 1 threads; pad, slice, elementwise, depthwise, dense by"
    )


def test_a_table_without_kernels_has_no_prices():
    table = LatencyTable("a phone", "a runtime", {Condition("gather", 8, 8): line(1.0)})
    with pytest.raises(KerasNasError, match="must have times of a convolution or dense layer"):
        align_prices_of(table)
