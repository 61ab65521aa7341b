"""The table that surgery weighs joins by: widths and its file."""

from __future__ import annotations

import json

import pytest

from keras_nas.costs import AlignPrices
from keras_nas.errors import KerasNasError, UsageError


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
