"""Fashion-MNIST: the real files (`make test` fetches them), and what happens without them."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from keras_nas.data import fashion_mnist
from keras_nas.errors import KerasNasError

NAMES = [
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
]


@pytest.fixture(scope="module")
def real() -> Path:
    folder = fashion_mnist.find()
    assert folder is not None, "run `python -m apps.fetch_data --task=fashion_mnist` first"
    return folder


@pytest.fixture
def copy(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a copy of the files, on a machine that has no others."""
    monkeypatch.setattr(fashion_mnist, "SYSTEM_DIRECTORY", tmp_path / "no")
    (tmp_path / "fashion_mnist").mkdir()
    for name in NAMES:
        shutil.copy(real / name, tmp_path / "fashion_mnist" / name)
    return tmp_path


def no_package(name: str) -> contextlib.AbstractContextManager[Path]:
    raise KerasNasError(f"no package {name}.")


def test_the_real_set_has_its_shapes_classes_and_statistics(real: Path) -> None:
    images, labels = fashion_mnist.load("train")
    test_images, test_labels = fashion_mnist.load("test")
    assert (images.shape, test_images.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    assert np.bincount(labels).tolist() == [6_000] * 10
    assert np.bincount(test_labels).tolist() == [1_000] * 10
    assert len(fashion_mnist.CLASS_NAMES) == 10
    assert labels[:5].tolist() == [9, 0, 0, 3, 0]
    shares = np.bincount(images.ravel(), minlength=256) / images.size
    levels = np.arange(256) / 255
    mean = (shares * levels).sum()
    std = np.sqrt((shares * (levels - mean) ** 2).sum())
    np.testing.assert_allclose(mean, fashion_mnist.NORMALIZATION.mean[0], atol=1e-5)
    np.testing.assert_allclose(std, fashion_mnist.NORMALIZATION.std[0], atol=1e-5)


def test_the_data_folder_goes_before_the_systems(copy: Path) -> None:
    assert fashion_mnist.find(copy) == copy / "fashion_mnist"
    assert fashion_mnist.load("test", copy)[1].shape == (10_000,)
    (copy / "fashion_mnist" / NAMES[0]).unlink()
    assert fashion_mnist.find(copy) is None


def test_another_split_is_refused() -> None:
    with pytest.raises(KerasNasError, match=r"`split` must be one of .* split='validation'"):
        fashion_mnist.load("validation")


def test_changed_pixels_are_noticed(copy: Path) -> None:
    path = copy / "fashion_mnist" / "t10k-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[1000] ^= 1
    path.write_bytes(gzip.compress(bytes(content), 1))
    with pytest.raises(KerasNasError, match=r"SHA-256 of its unpacked content must be 5b4141f0"):
        fashion_mnist.load("test", copy)
    assert fashion_mnist.load("train", copy)[1].shape == (60_000,)


def test_torn_files_are_noticed_and_replaced(
    real: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy / "fashion_mnist" / "t10k-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(KerasNasError, match=r"ubyte.gz` is torn: .* Fetch it again: `python"):
        fashion_mnist.load("test", copy)

    @contextlib.contextmanager
    def package(name: str) -> Iterator[Path]:
        assert name == "dataset-fashion-mnist"
        root = copy / "root"
        (root / "usr/share/datasets").mkdir(parents=True)
        (root / "usr/share/datasets/fashion-mnist").symlink_to(real)
        yield root

    monkeypatch.setattr(
        fashion_mnist, "SYSTEM_DIRECTORY", Path("/usr/share/datasets/fashion-mnist")
    )
    monkeypatch.setattr(fashion_mnist, "debian_package", package)
    fetched = fashion_mnist.fetch(copy)
    assert fetched.path == copy / "fashion_mnist"
    assert fetched.source == "Debian package dataset-fashion-mnist"
    assert path.read_bytes() == whole


def test_what_is_there_is_not_fetched_again(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "debian_package", no_package)
    fetched = fashion_mnist.fetch(copy)
    assert str(fetched) == (
        f"Fashion-MNIST: 60,000 + 10,000 images, from this machine, in {copy / 'fashion_mnist'}"
    )


@pytest.fixture
def mirror(real: Path) -> Iterator[str]:
    """A web server on this machine with the four files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            del arguments

    handler = functools.partial(Quiet, directory=str(real))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_without_a_package_it_comes_through_tensorflow_datasets(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow_datasets as tfds

    monkeypatch.setattr(fashion_mnist, "SYSTEM_DIRECTORY", tmp_path / "no")
    monkeypatch.setattr(fashion_mnist, "debian_package", no_package)
    monkeypatch.setattr(tfds.image_classification.FashionMNIST, "URL", mirror)
    fetched = fashion_mnist.fetch(tmp_path)
    assert fetched.source == f"tensorflow-datasets ({mirror})"
    assert sorted(path.name for path in fetched.path.iterdir()) == NAMES
    assert fashion_mnist.load("test", tmp_path)[0].shape == (10_000, 28, 28, 1)


def test_when_no_way_is_left_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow_datasets as tfds

    monkeypatch.setattr(fashion_mnist, "SYSTEM_DIRECTORY", tmp_path / "no")
    monkeypatch.setattr(fashion_mnist, "debian_package", no_package)
    monkeypatch.setattr(tfds.image_classification.FashionMNIST, "URL", "http://127.0.0.1:9/")
    for attempt in (fashion_mnist.fetch, functools.partial(fashion_mnist.load, "train")):
        with pytest.raises(KerasNasError) as caught:
            attempt(data_dir=tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        assert "`apt-get install dataset-fashion-mnist`" in message
        assert "python -m apps.fetch_data --task=fashion_mnist" in message
        assert all(name in message for name in NAMES)
    assert not (tmp_path / "fashion_mnist").exists()
