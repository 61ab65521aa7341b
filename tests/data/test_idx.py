"""Reading IDX files: what was written comes back, and damage is named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_nas.data.idx import parse_idx, read_idx
from keras_nas.errors import KerasNasError

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def encoded(array: np.ndarray, code: int) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@given(st.data())
def test_every_type_and_shape_comes_back(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CODES)))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    array = data.draw(hnp.arrays(np.dtype(name), shape))
    read = parse_idx(encoded(array, CODES[name]), "file")
    assert read.dtype == np.dtype(name).newbyteorder("=")
    np.testing.assert_array_equal(read, array)


def test_gzipped_and_plain_files_are_read_alike(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = encoded(array, 0x08)
    for path in (
        write(tmp_path / "plain", content),
        write(tmp_path / "packed.gz", gzip.compress(content)),
    ):
        np.testing.assert_array_equal(read_idx(path), array)


def test_a_value_is_read_in_the_files_byte_order() -> None:
    content = bytes.fromhex("00000b01 00000002 0102 fffe".replace(" ", ""))
    assert parse_idx(content, "file").tolist() == [0x0102, -2]


GOOD = encoded(np.arange(6, dtype=np.uint8).reshape(2, 3), 0x08)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file"),
        (b"\x00\x00\x08", "is not an IDX file"),
        (b"\x89PNG" + GOOD[4:], r"is not an IDX file.*Received: 0x89504e47"),
        (b"\x00\x00\x07\x02" + GOOD[4:], r"is not an IDX file.*0x08.*Received: 0x00000702"),
        (GOOD[:9], "torn: its header of 2 axes ends early"),
        (GOOD[:-1], r"must hold 6 bytes .* shape \(2, 3\) of uint8. Received: 5 bytes"),
        (GOOD + b"\0", "must hold 6 bytes .* Received: 7 bytes"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "broken-idx", content)
    with pytest.raises(KerasNasError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_torn_gzip_stream_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(encoded(np.arange(200, dtype=np.uint8), 0x08))
    path = write(tmp_path / "torn.gz", packed[:-20])
    with pytest.raises(KerasNasError, match=r"torn.gz` is torn: its gzip stream ends early"):
        read_idx(path)


@pytest.mark.parametrize("position", [5, -6])
def test_a_damaged_gzip_stream_is_refused(tmp_path: Path, position: int) -> None:
    packed = bytearray(gzip.compress(GOOD))
    if position < 0:
        packed[position] ^= 0xFF  # the checksum
    else:
        packed[10:20] = b"\xff" * 10  # the deflate blocks
    with pytest.raises(KerasNasError, match="is damaged"):
        read_idx(write(tmp_path / "damaged.gz", bytes(packed)))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KerasNasError, match=r"Cannot read `.*absent`: No such file or directory"):
        read_idx(tmp_path / "absent")
