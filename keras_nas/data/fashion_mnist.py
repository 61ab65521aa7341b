"""Fashion-MNIST: 60,000 + 10,000 grey 28×28 images of clothes in ten classes.

The four IDX files are looked for in `data_dir`, or where none is given also where Debian's package
`dataset-fashion-mnist` installs them; `fetch` brings them from that package, unpacked without
root, or else through tensorflow-datasets. Whatever the way, their content must have the checksums
kept here, so every machine trains on the same images in the same order.

Reference: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms, arXiv:1708.07747.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_nas.data.fetched_data import Fetched, data_directory
from keras_nas.data.idx import parse_idx, read_possibly_gzipped
from keras_nas.data.normalization import Normalization
from keras_nas.data.packages import debian_package
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.files import atomic_write_bytes

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# Over the 60,000 training images.
NORMALIZATION = Normalization(mean=(0.28604,), std=(0.35302,))

DEBIAN_PACKAGE = "dataset-fashion-mnist"
SYSTEM_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")

_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
# SHA-256 of the unpacked files: packages differ in how they compress them.
_CHECKSUMS = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}

_HOW_TO_GET_IT = (
    "run `python -m apps.fetch_data --task=fashion_mnist`, or `apt-get install "
    f"{DEBIAN_PACKAGE}`, or put {', '.join(_CHECKSUMS)} (github.com/zalandoresearch/fashion-mnist) "
    "into the folder fashion_mnist of the data folder ($KERAS_NAS_DATA or --data_dir)."
)


def load(
    split: str, data_dir: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads Fashion-MNIST. Fetches nothing; needs NumPy alone.

    Args:
        split: "train" or "test".
        data_dir: Where `fetch` put it, see `find`.

    Returns:
        The images, uint8 (N, 28, 28, 1) of 0 … 255, and the labels, int64 (N,) of 0 … 9.

    Raises:
        KerasNasError: Another split, no such files, or files that are torn or changed.
    """
    if split not in _FILES:
        raise UsageError(f"`split` must be one of {list(_FILES)}. Received: split={split!r}")
    folder = find(data_dir)
    if folder is None:
        places = f"`{data_directory(data_dir) / 'fashion_mnist'}`"
        if not data_dir:
            places += f" or `{SYSTEM_DIRECTORY}`"
        raise KerasNasError(f"Fashion-MNIST is not in {places}: {_HOW_TO_GET_IT}")
    try:
        images, labels = (_read(folder / name, name) for name in _FILES[split])
    except KerasNasError as error:
        raise KerasNasError(
            f"{error} Fetch it again: `python -m apps.fetch_data --task=fashion_mnist`."
        ) from error
    return images[..., np.newaxis], labels.astype(np.int64)


def find(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder that holds all four files, or None.

    It is `data_dir`/fashion_mnist or `data_dir` itself; where no `data_dir` is given, Debian's
    folder too.
    """
    chosen = data_directory(data_dir)
    for folder in (chosen / "fashion_mnist", chosen if data_dir else SYSTEM_DIRECTORY):
        if all((folder / name).is_file() for name in _CHECKSUMS):
            return folder
    return None


def fetch(data_dir: str | os.PathLike[str] | None = None) -> Fetched:
    """Makes Fashion-MNIST ready for `load`, unless it is already.

    Args:
        data_dir: Where to put it, see `data_directory`.

    Returns:
        What stands where.

    Raises:
        KerasNasError: No way led to the files, or they were not what they should be. Files that
            stood in `data_dir` are replaced by complete ones only.
    """
    target = data_directory(data_dir) / "fashion_mnist"
    found = find(data_dir)
    if found is not None and _is_intact(found):
        return _fetched(found, "this machine")
    reasons = []
    for way in (_from_debian, _from_tensorflow_datasets):
        try:
            source = way(target)
        except KerasNasError as error:
            reasons.append(str(error))
        else:
            return _fetched(target, source)
    raise KerasNasError(f"Fashion-MNIST cannot be fetched ({' '.join(reasons)}): {_HOW_TO_GET_IT}")


def _fetched(folder: Path, source: str) -> Fetched:
    return Fetched("Fashion-MNIST", folder, source, "60,000 + 10,000 images")


def _is_intact(folder: Path) -> bool:
    try:
        for name in _CHECKSUMS:
            _read(folder / name, name)
    except KerasNasError:
        return False
    return True


def _read(path: Path, name: str) -> np.ndarray:
    content = read_possibly_gzipped(path)
    array = parse_idx(content, str(path))
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != _CHECKSUMS[name]:
        raise KerasNasError(
            f"`{path}` is not Fashion-MNIST's {name}: the SHA-256 of its unpacked content must be "
            f"{_CHECKSUMS[name]}. Received: {checksum}."
        )
    return array


def _from_debian(target: Path) -> str:
    with debian_package(DEBIAN_PACKAGE) as root:
        folder = root / SYSTEM_DIRECTORY.relative_to("/")
        _install({name: folder / name for name in _CHECKSUMS}, target)
    return f"Debian package {DEBIAN_PACKAGE}"


def _from_tensorflow_datasets(target: Path) -> str:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise KerasNasError("tensorflow-datasets is not installed.") from error
    url = tfds.image_classification.FashionMNIST.URL
    with tempfile.TemporaryDirectory(prefix="keras_nas_") as folder:
        manager = tfds.download.DownloadManager(download_dir=folder, dataset_name="fashion_mnist")
        try:
            # tensorflow-datasets tries an unreachable address for minutes before it gives up.
            urllib.request.urlopen(url + next(iter(_CHECKSUMS)), timeout=30).close()
            paths = manager.download({name: url + name for name in _CHECKSUMS})
        except (OSError, tfds.download.DownloadError) as error:
            raise KerasNasError(f"tensorflow-datasets cannot download from {url}.") from error
        _install({name: Path(path) for name, path in paths.items()}, target)
    return f"tensorflow-datasets ({url})"


def _install(files: Mapping[str, Path], target: Path) -> None:
    for name, path in files.items():
        _read(path, name)
    for name, path in files.items():
        atomic_write_bytes(target / name, path.read_bytes())
