from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_nas.errors import KerasNasError
from keras_nas.regularizers import adaptive_flops, adaptive_latency, adaptive_mac

costs = st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), min_size=1)


def test_adaptive_flops_by_hand():
    found = adaptive_flops(1e-3, {"a": 100.0, "b": 25.0, "c": 0.0}, {"a": 100, "b": 50, "c": 50})
    assert found == pytest.approx({"a": 1e-3, "b": 5e-4, "c": 0.0})


def test_adaptive_mac_by_hand():
    found = adaptive_mac(0.01, {("input", "l1"): 10.0, ("l1", "output"): 40.0})
    assert found == pytest.approx({("input", "l1"): 0.0025, ("l1", "output"): 0.01})
    assert adaptive_mac(0.01, {"a": 0, "b": 0}) == {"a": 0.0, "b": 0.0}
    assert adaptive_mac(0.01, {}) == {}


def test_adaptive_latency_by_hand():
    found = adaptive_latency(0.01, 0.002, {"a": 1.0, "b": 3.0, "c": 2.0})
    assert found == pytest.approx({"a": 0.002, "b": 0.012, "c": 0.007})


@pytest.mark.parametrize("saved", [{"a": 2.5, "b": 2.5}, {"a": 1.0}, {"a": 0.0, "b": 0.0}, {}])
def test_adaptive_latency_where_all_cost_the_same(saved):
    assert adaptive_latency(0.01, 0.002, saved) == dict.fromkeys(saved, 0.002)


@given(costs)
def test_the_greatest_cost_gets_the_whole_gamma(saved):
    mac = adaptive_mac(0.5, saved)
    assert max(mac.values()) == pytest.approx(0.5 if max(saved.values()) else 0.0)
    latency = adaptive_latency(0.5, 0.25, saved)
    assert min(latency.values()) == 0.25
    same = min(saved.values()) == max(saved.values())
    assert max(latency.values()) == pytest.approx(0.25 if same else 0.75)
    order = sorted(saved, key=saved.get)
    assert [latency[key] for key in order] == sorted(latency.values())


def test_errors():
    with pytest.raises(KerasNasError, match="`gamma` must be 0 or more"):
        adaptive_mac(-1.0, {"a": 1})
    with pytest.raises(KerasNasError, match="`gamma_0` must be 0 or more"):
        adaptive_latency(1.0, -1.0, {"a": 1})
    with pytest.raises(KerasNasError, match="must have the same blocks"):
        adaptive_flops(1.0, {"a": 1}, {"b": 1})
    with pytest.raises(KerasNasError, match="greater than 0"):
        adaptive_flops(1.0, {"a": 0}, {"a": 0})
    with pytest.raises(KerasNasError, match="A cost must be 0 or more"):
        adaptive_flops(1.0, {"a": -1}, {"a": 1})
