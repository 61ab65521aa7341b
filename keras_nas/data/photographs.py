"""Real photographs out of Debian's wallpaper packages, for super-resolution and segmentation.

36 photographs, most of them 1,920 pixels wide or more; the packages' drawings are left out. They
are JPEGs, whose compression shows in single pixels, so a photograph is halved by 2×2 means when it
is read. Held out are every fifth of the names in alphabetical order, from the third on.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_nas.data.fetched_data import Fetched, data_directory
from keras_nas.data.packages import debian_package
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.files import atomic_write_bytes

# By Debian package: where it keeps a photograph, and the first 16 digits of each one's SHA-256.
_PACKAGES: dict[str, tuple[str, dict[str, str]]] = {
    "lomiri-wallpapers-16.04": (
        "usr/share/backgrounds/{}.jpg",
        {
            "Bridge_by_Sander_Klootwijk": "bd86b081f9975e2b",
            "Dragonfly_by_Bolly": "af5af17841009732",
            "Image_0B_by_freespace": "c8c0ab18e48d9e04",
            "Image_1A_by_freespace": "89e86af38d04daae",
            "Wine_by_Jakkub_Mede": "d2e96e6d4da40dd8",
            "aitzgorri_by_Aitzol_Berasategi": "66268e7b48f8854d",
            "free_by_Peter_Nerlich": "85a5453c2fed514c",
            "friends_by_Aitzol_Berasategi": "cc40e313c74e421e",
            "greentock_by_Peter_Nerlich": "e7b20e2db9dcd6e2",
            "life_by_Aitzol_Berasategi": "4c119350ead80201",
            "picosdeeuropa_by_Aitzol_Berasategi": "414d0072b2f6f2c5",
            "seeding_by_Clements_Engelhardt": "a5634d1ab5e41a35",
            "sunset_by_Aitzol_Berasategi": "474dab6a4b9f94dc",
        },
    ),
    "mate-backgrounds": (
        "usr/share/backgrounds/mate/nature/{}.jpg",
        {
            "Aqua": "5c30118205982da4",
            "Blinds": "f7aac0dcc2e06d04",
            "Dune": "8a67c2cb0be8c46b",
            "FreshFlower": "972b0a0c4e5e3fa9",
            "Garden": "d3095ee09d425ef2",
            "GreenMeadow": "8fa0de0aa4089f73",
            "LadyBird": "e35a9a4126ef969c",
            "RainDrops": "3e4ea9671c28c90a",
            "Storm": "77ca53077831d323",
            "TwoWings": "665e5abf8a539907",
            "Wood": "19c78500ac00a622",
            "YellowFlower": "254da96256acb7ad",
        },
    ),
    "plasma-workspace-wallpapers": (
        "usr/share/wallpapers/{}/contents/images/2560x1600.jpg",
        {
            "BytheWater": "c272434ef39f2abf",
            "ColdRipple": "05bef6722fc0ed81",
            "ColorfulCups": "6e0f3a72feb5a4a9",
            "DarkestHour": "8e3703fae3a3c217",
            "EveningGlow": "586682dcb362b9f6",
            "FallenLeaf": "95603a6560c7e8d5",
            "Grey": "88c31d8944b7e693",
            "Kite": "bdca288ce296a981",
            "OneStandsOut": "cb507baf1dafdcae",
            "Path": "7477457d7f17b736",
            "summer_1am": "c868b50789591dd4",
        },
    ),
}
_CHECKSUMS = dict(pair for _, listed in _PACKAGES.values() for pair in listed.items())
_SPLITS = ("train", "held_out")


def names(split: str) -> tuple[str, ...]:
    """The photographs' names in a split, "train" (29) or "held_out" (7), in alphabetical order.

    Raises:
        KerasNasError: Another split.
    """
    if split not in _SPLITS:
        raise UsageError(f"`split` must be one of {list(_SPLITS)}. Received: split={split!r}")
    every = sorted(_CHECKSUMS)
    held_out = every[2::5]
    return tuple(name for name in every if (name in held_out) == (split == "held_out"))


def load(split: str, data_dir: str | os.PathLike[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the photographs of a split, at half their size.

    Args:
        split: "train" or "held_out".
        data_dir: Where `fetch` put them, see `data_directory`.

    Returns:
        By name, in alphabetical order: uint8 (height, width, 3), RGB. A photograph that the
        machine's packages did not have is not there.

    Raises:
        KerasNasError: Another split, no photograph of the split is there, or one is damaged.
    """
    folder = _folder(data_dir)
    found = {name: folder / f"{name}.jpg" for name in names(split)}
    found = {name: path for name, path in found.items() if path.is_file()}
    if not found:
        raise KerasNasError(
            f"There are no photographs in `{folder}`: run `python -m apps.fetch_data "
            "--task=super_resolution`, or unpack the Debian packages "
            f"{', '.join(_PACKAGES)} and put their photographs there as NAME.jpg."
        )
    return {name: _halved(_verified(name, path), path) for name, path in found.items()}


def fetch(data_dir: str | os.PathLike[str] | None = None) -> Fetched:
    """Makes the photographs ready for `load`: copies what is missing out of Debian's packages.

    Args:
        data_dir: Where to put them, see `data_directory`.

    Returns:
        What stands where; its content says how many of the 36 there are.

    Raises:
        KerasNasError: A split would be empty; the message holds what the packages said.
    """
    folder = _folder(data_dir)
    problems, sources = [], []
    for package, (pattern, photographs) in _PACKAGES.items():
        if all(_is_intact(name, folder) for name in photographs):
            continue
        try:
            with debian_package(package) as root:
                for name in photographs:
                    _install(name, root / pattern.format(name), folder)
        except KerasNasError as error:
            problems.append(str(error))
        else:
            sources.append(package)
    there = {split: [n for n in names(split) if _is_intact(n, folder)] for split in _SPLITS}
    if not all(there.values()):
        raise KerasNasError(f"The photographs cannot be fetched: {' '.join(problems)}")
    count = sum(map(len, there.values()))
    return Fetched(
        "Photographs",
        folder,
        f"Debian packages {', '.join(sources)}" if sources else "this machine",
        f"{count} of {len(_CHECKSUMS)} photographs, {len(there['held_out'])} of them held out",
    )


def _folder(data_dir: str | os.PathLike[str] | None) -> Path:
    return data_directory(data_dir) / "photographs"


def _install(name: str, source: Path, folder: Path) -> None:
    if source.is_file() and _checksum(source.read_bytes()) == _CHECKSUMS[name]:
        atomic_write_bytes(folder / f"{name}.jpg", source.read_bytes())


def _is_intact(name: str, folder: Path) -> bool:
    path = folder / f"{name}.jpg"
    return path.is_file() and _checksum(path.read_bytes()) == _CHECKSUMS[name]


def _verified(name: str, path: Path) -> bytes:
    content = path.read_bytes()
    if _checksum(content) != _CHECKSUMS[name]:
        raise KerasNasError(
            f"`{path}` is not the photograph {name}: its SHA-256 must begin with "
            f"{_CHECKSUMS[name]}. Received: {_checksum(content)}. Remove it and fetch it again."
        )
    return content


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _halved(content: bytes, path: Path) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB").reduce(2))
    except (UnidentifiedImageError, OSError) as error:
        raise KerasNasError(f"`{path}` cannot be decoded: {error}") from error
