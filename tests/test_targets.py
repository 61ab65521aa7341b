"""Tests of targets: numbers, and shares of the full network's cost."""

import pytest

from keras_nas.errors import UsageError
from keras_nas.targets import is_given, parse_target


def test_targets_are_numbers_or_shares():
    assert parse_target("target_flops", "0.5x").of(400.0) == 200.0
    assert parse_target("target_flops", 3e6).of(400.0) == 3e6
    assert parse_target("target_flops", "3e6").of(400.0) == 3e6
    for wrong in ("half", "2x", "0x", -1.0, 0, "nan", "inf"):
        with pytest.raises(UsageError, match="`target_flops` must be a number above 0, or a share"):
            parse_target("target_flops", wrong)


def test_a_network_that_may_grow_takes_larger_shares():
    assert parse_target("target_macs", "2x", largest_share=4.0).of(400.0) == 800.0
    with pytest.raises(UsageError, match="Received: target_macs='5x'"):
        parse_target("target_macs", "5x", largest_share=4.0)


def test_zero_and_nothing_are_no_target():
    assert [is_given(value) for value in (0, 0.0, "", "0", "0.5x", 3e6)] == [False] * 4 + [True] * 2
