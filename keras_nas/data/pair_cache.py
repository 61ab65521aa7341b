"""Decoded images kept on disk and read through memory maps, for sets larger than memory.

DIV2K is 800 images of 2K: 8 GB decoded. Decoding a PNG for each patch would cost more than a
training step, so the pairs are decoded once into plain `.npy` files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from keras_nas.data.image_pairs import ImagePair, PairFiles
from keras_nas.files import atomic_path

_INDEX = "index.json"


def cached_pairs(
    folder: str | os.PathLike[str],
    source: Mapping[str, object],
    read: Callable[[], Iterable[ImagePair]],
) -> list[ImagePair]:
    """Gives the pairs of `read`, decoded into `folder` at the first call.

    A cache that was made of another `source`, or that is not whole, is made anew; it appears in one
    step when every image is in it.

    Args:
        folder: The cache; its parents are made. It must be empty, absent or a cache.
        source: What the pairs are made of, such as files, their times and the scale; JSON-able.
        read: Reads the pairs one by one.

    Returns:
        The pairs in `read`'s order, their arrays read-only memory maps of `folder`.

    Raises:
        KerasNasError: `read` fails; the cache is left as it was.
        FileExistsError: `folder` holds something else.
    """
    folder = Path(folder)
    source = json.loads(json.dumps(source))
    if not _is_cache(folder, source):
        _write(folder, source, read())
    names = json.loads((folder / _INDEX).read_text("utf-8"))["names"]
    return [
        ImagePair(name, *(np.load(_file(folder, index, side), "r") for side in ("low", "high")))
        for index, name in enumerate(names)
    ]


def fingerprint(files: Iterable[PairFiles], **settings: object) -> dict[str, object]:
    """A `source` for `cached_pairs`: paths, sizes and times of files, and settings."""
    paths = [path for file in files for path in (file.high, file.low) if path is not None]
    stats = [path.stat() for path in paths]
    listed = [
        [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
        for path, stat in zip(paths, stats, strict=True)
    ]
    return {"files": listed, **settings}


def _is_cache(folder: Path, source: object) -> bool:
    if not folder.exists():
        return False
    index = folder / _INDEX
    if not index.is_file():
        if any(folder.iterdir()):
            raise FileExistsError(
                f"`{folder}` holds files that are no image cache: give another folder."
            )
        return False
    return json.loads(index.read_text("utf-8")).get("source") == source


def _write(folder: Path, source: object, pairs: Iterable[ImagePair]) -> None:
    names = []
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for index, pair in enumerate(pairs):
            names.append(pair.name)
            np.save(_file(temporary, index, "low"), pair.low)
            np.save(_file(temporary, index, "high"), pair.high)
        (temporary / _INDEX).write_text(json.dumps({"source": source, "names": names}), "utf-8")


def _file(folder: Path, index: int, side: str) -> Path:
    return folder / f"{index:05d}_{side}.npy"
