"""Fetching by task and out of packages: real archives made on the spot, an apt-get of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_nas.data import (
    TASKS,
    fashion_mnist,
    fetch,
    mni152,
    photographs,
    synthetic_segmentation,
    voc_image,
)
from keras_nas.data.packages import debian_package, python_package
from keras_nas.errors import KerasNasError


def test_an_unknown_task_lists_the_known() -> None:
    assert {"fashion_mnist", "super_resolution", "segmentation"} <= set(TASKS)
    with pytest.raises(KerasNasError, match=r"`task` must be one of \['fashion_mnist'.*'mnist'"):
        list(fetch("mnist"))


def test_prepared_data_of_tensorflow_datasets_is_counted(prepared: Path) -> None:
    (fetched,) = fetch("cifar10", prepared)
    assert fetched.content == "200 train + 40 test images"
    assert fetched.path == prepared / "cifar10" / "3.0.2"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
def test_everything_for_segmentation_comes_over_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "find", lambda data_dir: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fetched = list(fetch("segmentation", tmp_path))
    assert [part.name for part in fetched] == [
        "MNI152 T1, grey and white matter",
        "Pascal VOC image",
        "Fashion-MNIST",
        "Photographs",
    ]
    assert all(part.path.is_dir() and "this machine" not in part.source for part in fetched)
    monkeypatch.undo()
    assert len(photographs.load("train", tmp_path)) == 29
    held_out = photographs.load("held_out", tmp_path)
    assert len(held_out) == 7
    assert all(min(image.shape[:2]) >= 480 for image in held_out.values())
    assert mni152.load("test", tmp_path)[0].shape == (14, 192, 160, 1)
    assert voc_image.load(tmp_path)[0].shape == (375, 500, 3)
    images, labels = synthetic_segmentation.load("test", 20, data_dir=tmp_path)
    assert images.std() > 30
    assert np.mean(labels > 0) > 0.05


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs Debian's dpkg-deb")

APT_GET = """#!{python}
import pathlib, shutil, sys
arguments = sys.argv[1:]
log = pathlib.Path({log!r})
log.write_text((log.read_text() if log.exists() else "") + " ".join(arguments) + "\\n")
own_lists = [a.split("=")[1] for a in arguments if a.startswith("Dir::State::Lists=")]
if arguments[-1] == "update":
    assert pathlib.Path(own_lists[0], "partial").is_dir()
elif {stale!r} and not own_lists or arguments[-1] != "things":
    sys.exit("W: something\\nE: Unable to locate package " + arguments[-1])
else:
    shutil.copy({archive!r}, "things_1.0_all.deb")
"""


@pytest.fixture
def apt_log(tmp_path: Path) -> Path:
    return tmp_path / "apt.log"


def install_apt(folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch, stale: bool) -> None:
    """Puts an `apt-get` first on the path that knows one real package, `things`."""
    source = folder / "things"
    (source / "usr/share/things").mkdir(parents=True)
    (source / "usr/share/things/a.txt").write_text("content")
    (source / "DEBIAN").mkdir()
    (source / "DEBIAN/control").write_text(
        "Package: things\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\n"
        "Description: things\n"
    )
    archive = folder / "things.deb"
    subprocess.run(["dpkg-deb", "--build", source, archive], check=True, capture_output=True)
    script = folder / "bin" / "apt-get"
    script.parent.mkdir()
    text = APT_GET.format(python=sys.executable, log=str(log), stale=stale, archive=str(archive))
    script.write_text(text)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)


@needs_dpkg
def test_a_debian_package_is_unpacked_and_cleared_away(
    tmp_path: Path, apt_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_apt(tmp_path, apt_log, monkeypatch, stale=False)
    with debian_package("things") as root:
        assert (root / "usr/share/things/a.txt").read_text() == "content"
    assert not root.exists()
    assert len(apt_log.read_text().splitlines()) == 1


@needs_dpkg
def test_without_package_lists_it_makes_its_own(
    tmp_path: Path, apt_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_apt(tmp_path, apt_log, monkeypatch, stale=True)
    with debian_package("things") as root:
        assert (root / "usr/share/things/a.txt").is_file()
    calls = [line.split()[-1] for line in apt_log.read_text().splitlines()]
    assert calls == ["things", "update", "things"]


@needs_dpkg
def test_an_unknown_debian_package_is_one_line(
    tmp_path: Path, apt_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_apt(tmp_path, apt_log, monkeypatch, stale=False)
    message = "`apt-get … nothing` failed: E: Unable to locate package nothing$"
    with pytest.raises(KerasNasError, match=message), debian_package("nothing"):
        pass


def test_without_apt_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = "Debian package `things` needs `apt-get`, which is not here"
    with pytest.raises(KerasNasError, match=message), debian_package("things"):
        pass


def test_an_installed_python_package_is_used_as_it_stands() -> None:
    with python_package("hypothesis", "0") as folder:
        assert (folder / "__init__.py").is_file()
    assert folder.exists()


def test_a_missing_python_package_is_fetched_by_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "kn_images-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("kn_images/data/a.txt", "content")
        wheel.writestr(
            "kn_images-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: kn-images\nVersion: 1.0\n",
        )
        wheel.writestr(
            "kn_images-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("kn_images-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with python_package("kn_images", "1.0") as folder:
        assert (folder / "data" / "a.txt").read_text() == "content"
    assert not folder.exists()
    with (
        pytest.raises(KerasNasError, match=r"`python.* … kn_absent==1.0` failed: ERROR: "),
        python_package("kn_absent", "1.0"),
    ):
        pass
