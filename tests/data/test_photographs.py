"""The photographs: the split, halving, and fetching from packages that stand in for Debian's."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_nas.data import photographs
from keras_nas.errors import KerasNasError


def test_every_fifth_name_is_held_out() -> None:
    train, held_out = photographs.names("train"), photographs.names("held_out")
    assert (len(train), len(held_out)) == (29, 7)
    every = sorted({*train, *held_out})
    assert len(every) == 36
    assert [every.index(name) for name in held_out] == [2, 7, 12, 17, 22, 27, 32]
    assert "Garden" in held_out
    assert "Grey" in train


def test_another_split_is_refused() -> None:
    with pytest.raises(KerasNasError, match=r"one of \['train', 'held_out'\]. Received: split="):
        photographs.names("test")


def random_image(number: int, mode: str = "RGB") -> Image.Image:
    levels = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(levels).convert(mode)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages of three images each instead of Debian's three packages of 36."""
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    checksums = {}
    for number, name in enumerate("PQRSTU"):
        path = root / "ab"[number // 3] / f"{name}.jpg"
        random_image(number, "L" if name == "Q" else "RGB").save(path)
        checksums[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    table = {
        "first": ("a/{}.jpg", {name: checksums[name] for name in "PQR"}),
        "second": ("b/{}.jpg", {name: checksums[name] for name in "STU"}),
    }
    monkeypatch.setattr(photographs, "_PACKAGES", table)
    monkeypatch.setattr(photographs, "_CHECKSUMS", checksums)
    monkeypatch.setattr(photographs, "debian_package", _giving(root, missing=()))
    return root


def _giving(root: Path, missing: tuple[str, ...]) -> Callable:
    @contextlib.contextmanager
    def package(name: str) -> Iterator[Path]:
        if name in missing:
            raise KerasNasError(f"no package {name}.")
        yield root

    return package


def test_fetched_photographs_are_loaded_at_half_size(packages: Path, tmp_path: Path) -> None:
    fetched = photographs.fetch(tmp_path)
    assert str(fetched) == (
        "Photographs: 6 of 6 photographs, 1 of them held out, from Debian packages first, second, "
        f"in {tmp_path / 'photographs'}"
    )
    train = photographs.load("train", tmp_path)
    assert list(train) == ["P", "Q", "S", "T", "U"]
    assert list(photographs.load("held_out", tmp_path)) == ["R"]
    for name, folder in (("P", "a"), ("Q", "a"), ("U", "b")):
        whole = np.asarray(Image.open(packages / folder / f"{name}.jpg").convert("RGB"), float)
        means = whole.reshape(4, 2, 6, 2, 3).mean((1, 3))
        assert train[name].dtype == np.uint8
        np.testing.assert_allclose(train[name], means, atol=0.51)


def test_what_is_there_is_not_fetched_again(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs.fetch(tmp_path)
    monkeypatch.setattr(
        photographs, "debian_package", _giving(packages, missing=("first", "second"))
    )
    assert photographs.fetch(tmp_path).source == "this machine"


def test_a_package_less_leaves_the_others(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "a" / "P.jpg").write_bytes(b"another image")
    monkeypatch.setattr(photographs, "debian_package", _giving(packages, missing=("second",)))
    assert photographs.fetch(tmp_path).content == "2 of 6 photographs, 1 of them held out"
    assert list(photographs.load("train", tmp_path)) == ["Q"]


def test_without_any_package_it_says_what_went_wrong(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        photographs, "debian_package", _giving(packages, missing=("first", "second"))
    )
    with pytest.raises(KerasNasError, match=r"no package first\. no package second\."):
        photographs.fetch(tmp_path)
    with pytest.raises(KerasNasError, match=r"no photographs in .* --task=super_resolution"):
        photographs.load("train", tmp_path)


@pytest.mark.usefixtures("packages")
def test_a_damaged_photograph_is_noticed_and_replaced(tmp_path: Path) -> None:
    photographs.fetch(tmp_path)
    path = tmp_path / "photographs" / "S.jpg"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(KerasNasError, match=r"S\.jpg` is not the photograph S"):
        photographs.load("train", tmp_path)
    assert photographs.fetch(tmp_path).source == "Debian packages second"
    assert "S" in photographs.load("train", tmp_path)
