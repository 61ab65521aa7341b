"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from keras_nas.errors import KerasNasError
from keras_nas.files import atomic_path, atomic_write_bytes, atomic_write_text


def test_text_is_written_as_utf8_with_its_own_newlines(tmp_path: Path) -> None:
    written = atomic_write_text(tmp_path / "a" / "b" / "note.txt", "δ = 1e4\r\nend\n")
    assert written == tmp_path / "a" / "b" / "note.txt"
    assert written.read_bytes() == "δ = 1e4\r\nend\n".encode()


def test_bytes_replace_what_stood_there(tmp_path: Path) -> None:
    target = tmp_path / "model.tflite"
    target.write_bytes(b"old" * 1000)
    atomic_write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_relative_names_and_strings_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atomic_write_text("results.json", "{}")
    assert (tmp_path / "results.json").read_text() == "{}"


def test_temporary_path_keeps_the_suffix_and_the_disk(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "small.keras") as temporary:
        assert temporary.suffix == ".keras"
        assert not temporary.exists()
        assert temporary.is_relative_to(tmp_path)
        temporary.write_bytes(b"x")


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file_and_leaves_no_litter(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "results.json"
    target.write_text("old")
    with pytest.raises(type(error)) as caught, atomic_path(target) as temporary:
        temporary.write_text("ne")
        raise error
    assert caught.value is error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    target.write_text("old")
    with pytest.raises(FileNotFoundError, match=r"results\.json"), atomic_path(target):
        pass
    assert target.read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "saved_model"
    (target / "assets").mkdir(parents=True)
    (target / "assets" / "old.txt").write_text("old")
    with atomic_path(target) as temporary:
        (temporary / "variables").mkdir(parents=True)
        (temporary / "variables" / "new.txt").write_text("new")
    assert [p.name for p in target.rglob("*.txt")] == ["new.txt"]
    assert os.listdir(tmp_path) == ["saved_model"]


def test_a_folder_that_fails_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "saved_model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert (target / "old.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["saved_model"]


def test_written_files_have_the_permissions_of_a_plain_open(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    atomic_write_text(tmp_path / "atomic", "x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_content_reaches_the_disk_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), replace(a, b))[1])
    atomic_write_text(tmp_path / "note.txt", "x")
    assert events == ["fsync", "rename", "fsync"]


def test_user_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match="must be"):
        raise KerasNasError("`round_to` must be 1. Received: round_to=3")
