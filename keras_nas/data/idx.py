"""Reading IDX files, the format of MNIST and its relatives.

An IDX file is two zero bytes, a type byte, the number of axes, each axis' length as a big-endian
uint32, then the values in C order, big-endian. It usually comes gzipped.

Reference: http://yann.lecun.com/exdb/mnist (its last section).
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.errors import KerasNasError

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an IDX file, gzipped or not.

    Args:
        path: The file.

    Returns:
        A new array of the file's shape, in this machine's byte order.

    Raises:
        KerasNasError: There is no such file, its gzip stream is torn or damaged, it is not an IDX
            file, or it holds fewer or more values than its header says.
    """
    return parse_idx(read_possibly_gzipped(path), str(path))


def read_possibly_gzipped(path: str | os.PathLike[str]) -> bytes:
    """The content of a file, unpacked where it is gzip.

    Raises:
        KerasNasError: There is no such file, or its gzip stream is torn or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise KerasNasError(f"Cannot read `{path}`: {error.strerror}.") from error
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise KerasNasError(f"`{path}` is torn: its gzip stream ends early.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise KerasNasError(f"`{path}` is damaged: {error}.") from error


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """The array in `content`, the unpacked bytes of an IDX file.

    Args:
        content: Header and values.
        name: What the errors call it.

    Returns:
        A new array in this machine's byte order.

    Raises:
        KerasNasError: As in `read_idx`.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES:
        raise KerasNasError(
            f"`{name}` is not an IDX file: it must begin with two zero bytes and a type byte "
            f"among {', '.join(f'0x{code:02x}' for code in _DTYPES)}. "
            f"Received: 0x{content[:4].hex()}"
        )
    dtype, axes = _DTYPES[content[2]], content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise KerasNasError(f"`{name}` is torn: its header of {axes} axes ends early.")
    shape = tuple(np.frombuffer(content, ">u4", axes, 4).tolist())
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise KerasNasError(
            f"`{name}` must hold {expected} bytes after its header, for shape {shape} of "
            f"{dtype.name}. Received: {len(content) - start} bytes"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
