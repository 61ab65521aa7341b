"""One's own pictures: a CSV file of their paths and classes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_nas.data.class_folders import TEST, TRAIN, VALIDATION
from keras_nas.data.class_pictures import PictureFiles, PictureListing
from keras_nas.data.images import IMAGE_SUFFIXES
from keras_nas.errors import KerasNasError
from keras_nas.file_checks import only_file

PATH, LABEL, SPLIT = ("path", "file", "filename", "image"), ("label", "class"), ("split", "part")
"""What the columns may be called."""

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


class _Row(NamedTuple):
    line: int
    path: Path
    label: str
    part: str


def list_picture_csv(place: str | os.PathLike[str] | None) -> PictureListing:
    """Finds the pictures that a CSV file lists.

    ```
    path,label,split
    photos/1.jpg,cat,train
    photos/2.jpg,dog,test
    ```

    The first row names the columns: `path`, `file`, `filename` or `image`; `label` or `class`; and,
    if there is one, `split` or `part`, of train, validation and test. Else the first two columns
    are the path and the label, and a first row whose path does not end as a picture's file does is
    a heading. Commas, semicolons or tabs may stand between them. Paths are relative to the file's
    folder. Labels that are all whole numbers are the classes themselves, from 0; else the classes
    are the labels in alphabetical order.

    Args:
        place: The .csv file, or a folder that holds one.

    Raises:
        UsageError: No file is given.
        KerasNasError: The file cannot be read or has no row, a row lacks something, there are fewer
            than two classes, or a class has no picture to train on.
    """
    path = only_file(place, ".csv")
    rows = _rows(path)
    trained = [row for row in rows if row.part == "train"]
    if not trained:
        raise KerasNasError(f"`{path}` must have rows whose split is train. Received: none")
    class_names = _class_names([row.label for row in trained])
    if len(class_names) < 2:
        raise KerasNasError(
            f"`{path}` must have two or more classes. Received: {list(class_names)}"
        )
    places = {name: number for number, name in enumerate(class_names)}
    for row in rows:
        if row.label not in places:
            raise KerasNasError(
                f"Line {row.line} of `{path}`: the label must be of those to train on, "
                f"{_some(class_names)}. Received: {row.label!r}"
            )
    parts = {}
    for name in _PARTS:
        own = [row for row in rows if row.part == name]
        if own:
            labels = np.array([places[row.label] for row in own], np.int64)
            parts[name] = PictureFiles([row.path for row in own], labels)
    return PictureListing(class_names, parts, path)


def _rows(path: Path) -> list[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = io.StringIO(text, newline="")
        reader = csv.reader(rows, delimiter=_delimiter(text), skipinitialspace=True)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KerasNasError(f"`{path}` cannot be read as a CSV file in UTF-8 ({error}).") from error
    if not lines:
        raise KerasNasError(f"`{path}` must have a row for each picture. Received: no row")
    columns, has_heading = _columns(lines[0][1])
    found = [_row(path, line, cells, columns) for line, cells in lines[has_heading:]]
    if not found:
        raise KerasNasError(f"`{path}` must have a row for each picture. Received: a heading alone")
    return found


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _columns(first: Sequence[str]) -> tuple[tuple[int, int, int | None], bool]:
    """The places of path, label and split, and whether the first row is a heading."""
    names = [cell.lower() for cell in first]

    def place(spellings: Sequence[str]) -> int | None:
        return next((names.index(name) for name in spellings if name in names), None)

    path, label = place(PATH), place(LABEL)
    if path is not None and label is not None:
        return (path, label, place(SPLIT)), True
    is_heading = not first[0].lower().endswith(IMAGE_SUFFIXES)
    return (0, 1, place(SPLIT) if is_heading else None), is_heading


def _row(path: Path, line: int, cells: Sequence[str], columns: tuple[int, int, int | None]) -> _Row:
    where = f"Line {line} of `{path}`"
    wanted = [0 if place is None else place for place in columns]
    if len(cells) <= max(wanted) or not (cells[wanted[0]] and cells[wanted[1]]):
        raise KerasNasError(
            f"{where} must have a path and a label. Received: {_some(cells) or 'nothing'}"
        )
    named = path.parent / cells[wanted[0]]
    if not named.suffix and not named.is_file():
        raise KerasNasError(
            f"{where}: the path must be a picture's; the first row may say which column holds the "
            f"path and which the label. Received: {cells[wanted[0]]!r}"
        )
    part = "train"
    if columns[2] is not None:
        spelt = cells[columns[2]].lower()
        part = next((name for name, spellings in _PARTS.items() if spelt in spellings), "")
        if not part:
            raise KerasNasError(
                f"{where}: the split must be train, validation or test. "
                f"Received: {cells[columns[2]]!r}"
            )
    return _Row(line, named, cells[columns[1]], part)


def _class_names(labels: Sequence[str]) -> tuple[str, ...]:
    names = set(labels)
    if all(name.isdecimal() and str(int(name)) == name for name in names):
        return tuple(str(number) for number in range(max(map(int, names)) + 1))
    return tuple(sorted(names))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown}, … ({len(names)})" if len(names) > 10 else shown
