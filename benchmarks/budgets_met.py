"""What apps.compress makes of budgets, as measured on the real files.

    python -m benchmarks.budgets_met --folder=runs/budgets_met

trains three networks for a few epochs on 2,000 images of Fashion-MNIST, and has each compressed to
half its macs, 0.6 of its int8 file, of its int8 arena and of its measured milliseconds, by two
epochs: enough for the budget, not for the accuracy. It prints what was asked and what the small
network's own files have, and writes results.json. Networks and compressions that stand in the
folder are not made again. Milliseconds want a quiet machine.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from apps.main import load_tensorflow
from apps.main import run as run_app
from benchmarks.flag_checks import check_names
from keras_nas.files import atomic_write_text

NETWORKS = ["small_resnet", "mobilenet", "small_vgg"]
"""Of benchmarks.rivals."""
BUDGETS = {
    "macs": ("0.5x", "macs"),
    "bytes": ("int8:0.6x", "int8 file"),
    "ram": ("int8:0.6x", "int8 arena"),
    "latency_ms": ("0.6x", "float32 time"),
}
"""What is asked, and the row of the outcome that tells what was reached, by resource."""
UNDER = 0.02
"""The share of a budget that may be left unused."""
NOISE = 0.10
"""The share by which a measured time may differ from what was asked."""
PARTS = {"train": 2000, "test": 500}
"""How many images there are to learn from, and to judge by."""


@dataclasses.dataclass(frozen=True)
class Reached:
    """A budget and what the files of the small network have.

    Attributes:
        network, resource: Which.
        original, asked, small: The cost of the full network, the most that the small one may have,
            and what it has, as measured.
    """

    network: str
    resource: str
    original: float
    asked: float
    small: float

    @property
    def over(self) -> float:
        """The share of what was asked that the small network is over it; negative below."""
        return self.small / self.asked - 1

    @property
    def good(self) -> bool:
        """Milliseconds within `NOISE`; anything else never over, and within `UNDER`."""
        if self.resource == "latency_ms":
            return abs(self.over) <= NOISE
        return (1 - UNDER) * self.asked <= self.small <= self.asked


def define_flags() -> None:
    flags.DEFINE_string("folder", "runs/budgets_met", "Where networks and results stand.")
    flags.DEFINE_list("networks", NETWORKS, "Networks of benchmarks.rivals.")
    flags.DEFINE_list("budgets", list(BUDGETS), "Resources.")
    flags.DEFINE_integer("weights_epochs", 3, "Epochs of the full network.", lower_bound=1)


def main() -> None:
    check_names("budgets", flags.FLAGS.budgets, BUDGETS)
    load_tensorflow()
    from benchmarks.rivals.networks import NETWORKS as BUILDERS

    check_names("networks", flags.FLAGS.networks, BUILDERS)
    folder = Path(flags.FLAGS.folder)
    found = []
    for network in flags.FLAGS.networks:
        model = _trained(network, folder)
        for resource in flags.FLAGS.budgets:
            found.append(_compressed(network, model, resource, folder))
            _write(found, folder / "results.json")
    _show(found)
    if not all(reached.good for reached in found):
        sys.exit(1)


def _trained(network: str, folder: Path) -> Path:
    import keras

    from benchmarks.rivals.networks import NETWORKS as BUILDERS
    from keras_nas.data import load
    from keras_nas.search import Session, TrainConfig, train
    from keras_nas.tasks import make_task

    path = folder / f"{network}.keras"
    if path.exists():
        return path
    keras.utils.set_random_seed(0)
    data = load("npz", data_dir=_images(folder), batch_size=64, pixels="0..1")
    model = BUILDERS[network].build(data, None)
    config = TrainConfig(epochs=flags.FLAGS.weights_epochs, learning_rate=0.05, schedule="cosine")
    task = make_task(data, model)
    train(model, data.train, None, config, task=task, session=Session(progress="auto"))
    model.save(path)
    return path


def _images(folder: Path) -> Path:
    """The first images of Fashion-MNIST's two parts, in an .npz file."""
    import numpy as np

    from keras_nas.data import fashion_mnist

    path = folder / "images.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {}
        for part, count in PARTS.items():
            images, labels = fashion_mnist.load(part)
            arrays |= {f"x_{part}": images[:count], f"y_{part}": labels[:count]}
        np.savez(path, **arrays)
    return path


def _compressed(network: str, model: Path, resource: str, folder: Path) -> Reached:
    from apps.compress_config import CompressAppConfig
    from apps.compression import compress_file
    from keras_nas.compression.config import CompressConfig
    from keras_nas.training.session import SessionSettings

    asked, name = BUDGETS[resource]
    settings: dict[str, Any] = {"epochs": 2, f"target_{resource}": asked}
    output = folder / f"{network}_{resource}"
    outcome, _ = compress_file(
        CompressAppConfig(
            model=str(model), data=str(_images(folder)), output=str(output),
            budget=CompressConfig(**settings),
            session=SessionSettings(resume=output.exists()),
        )
    )  # fmt: skip
    (row,) = (row for row in outcome.rows if row.name == name)
    assert row.asked is not None
    return Reached(network, resource, row.original, row.asked, row.small)


def _write(found: list[Reached], path: Path) -> None:
    rows = [{**dataclasses.asdict(reached), "over": reached.over} for reached in found]
    atomic_write_text(path, json.dumps(rows, indent=1) + "\n")


def _show(found: list[Reached]) -> None:
    table = Table("network", "budget", "original", "asked", "reached", "over", "")
    for reached in found:
        table.add_row(
            reached.network, reached.resource,
            *(f"{value:,.6g}" for value in (reached.original, reached.asked, reached.small)),
            f"{100 * reached.over:+.2f} %", "good" if reached.good else "BAD",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    define_flags()
    run_app(main)
