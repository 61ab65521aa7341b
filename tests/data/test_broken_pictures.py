"""Pictures that cannot be read: named, or left out."""

from __future__ import annotations

import pytest

from keras_nas.data.broken_pictures import read_all
from keras_nas.errors import KerasNasError


def even(number):
    if number % 2:
        raise KerasNasError(f"{number} is odd")
    return number / 2


def test_what_can_be_read_is_read_and_the_rest_counted(tmp_path, caplog):
    assert read_all(even, [4, 5, 6, 7, 8], "skip", tmp_path) == ([2, 3, 4], [0, 2, 4])
    assert caplog.messages == [f"2 of 5 pictures of `{tmp_path}` are left out. The first: 5 is odd"]


def test_nothing_is_said_where_nothing_is_broken(tmp_path, caplog):
    assert read_all(even, [0, 2], "skip", tmp_path) == ([0, 1], [0, 1])
    assert caplog.messages == []


def test_the_first_ends_it_where_that_is_asked_for(tmp_path):
    with pytest.raises(KerasNasError, match=r"^5 is odd$"):
        read_all(even, [4, 5, 7], "stop", tmp_path)


def test_none_that_can_be_read_is_an_error(tmp_path):
    with pytest.raises(KerasNasError, match=r"No picture of .* can be read. The first: 1 is odd"):
        read_all(even, [1, 3], "skip", tmp_path)
