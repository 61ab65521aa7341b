"""One cell of the contest: a network, an entrant, a target and a seed, from shared beginnings.

Files stand in the contest's folder: `trained/` holds each full network after its own epochs,
`cells/` a .keras and a JSON for each cell. What stands there is not done again.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_nas as kn
from benchmarks.rivals.networks import NETWORKS
from benchmarks.rivals.scores import scores
from keras_nas.costs import count
from keras_nas.data import DataSet, registry
from keras_nas.errors import UsageError
from keras_nas.files import atomic_path, atomic_write_text
from keras_nas.tasks import make_task
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.session import Session
from keras_nas.training.train_config import TrainConfig
from keras_nas.training.trainer import train

NEAR = 0.02
"""How far from the target a network's macs may be and still be compared."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A network, an entrant, a target and a seed."""

    network: str
    entrant: str
    target: float
    seed: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Cell:
        """That of a row that `play` gave."""
        return cls(row["network"], row["entrant"], row["target"], row["seed"])

    @property
    def name(self) -> str:
        """The stem of the cell's files."""
        share = f"{self.target:g}".replace(".", "_")
        return f"{self.network}-{share}-{self.entrant}-{self.seed}"


@dataclasses.dataclass(frozen=True)
class Contest:
    """What all cells share.

    Attributes:
        folder: Where its files stand.
        data: Of `keras_nas.data.load`; its task is the networks'.
        data_dir: Where the data stands; None for its usual place.
        model_file: What others trained, for a network that starts from it.
        test_dirs: Folders of pictures that super-resolution is measured on besides.
        train_examples: Images to learn from; for super-resolution patches an epoch.
        batch_size: Images a step.
        image_size: The side of pictures; None for that of each network's own.
        weights_epochs: Epochs of the full network.
        epochs: Epochs that follow, for a search and its finetuning together.
        distill_weight: The weight of the full network's soft targets, for every entrant that
            starts from it; 0 for none.
        mct_python: The Python of the environment that the entrant `mct` works in.
    """

    folder: Path
    data: str = "fashion_mnist"
    data_dir: str | None = None
    model_file: str | None = None
    test_dirs: tuple[str, ...] = ()
    train_examples: int = 6000
    batch_size: int = 64
    image_size: int | None = None
    weights_epochs: int = 12
    epochs: int = 8
    distill_weight: float = 0.0
    mct_python: str | None = None

    def cell_path(self, cell: Cell) -> Path:
        """Where a cell's network stands."""
        return self.folder / "cells" / f"{cell.name}.keras"

    @property
    def distill(self) -> DistillConfig | None:
        """How the entrants that start from the full network learn from it; None for not at all."""
        return DistillConfig(weight=self.distill_weight) if self.distill_weight else None

    def played(self, networks: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of all cells of some networks that stand in the folder, whoever played them.

        They come by network, target (the largest first), entrant and seed.
        """
        rows = [json.loads(path.read_text("utf-8")) for path in self.folder.glob("cells/*.json")]
        order = {name: number for number, name in enumerate(networks)}
        return sorted(
            (row for row in rows if row["network"] in order),
            key=lambda row: (order[row["network"]], -row["target"], row["entrant"], row["seed"]),
        )

    def check(self, networks: Sequence[str]) -> None:
        """Refuses networks that the data is not for.

        Raises:
            UsageError: Their task is not the data's, or there are pictures to measure without use.
        """
        task = registry.task_of(self.data)
        for network in networks:
            if NETWORKS[network].task != task:
                raise UsageError(
                    f"`networks` must all be for {task}, as the data {self.data} is. "
                    f"Received: {network!r}, for {NETWORKS[network].task}"
                )
        if self.test_dirs and task != "super_resolution":
            raise UsageError(
                f"`test_dirs` must be empty for {task}. Received: {list(self.test_dirs)}"
            )

    def claim(self, networks: Sequence[str]) -> None:
        """Writes these settings and the networks' recipes into the folder's contest.json.

        Raises:
            UsageError: Its cells were played under other settings, or by other recipes.
        """
        path = self.folder / "contest.json"
        settings = {**dataclasses.asdict(self), "folder": None, "mct_python": None}
        settings["test_dirs"] = list(self.test_dirs)
        settings |= {network: NETWORKS[network].recipe for network in networks}
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name, value in settings.items():
            if name in before and before[name] != value:
                raise UsageError(
                    f"{self.folder} was begun with {name}={before[name]!r}: give that, or another "
                    f"`--folder`. Received: {name}={value!r}"
                )
        atomic_write_text(path, json.dumps(before | settings, indent=1))

    def load(self, network: str, seed: int) -> DataSet:
        """The data for a network, with the examples and the order of a seed."""
        options = {
            "data_dir": self.data_dir,
            "batch_size": self.batch_size,
            "train_examples": self.train_examples,
            "validation_share": 0.02,
            **NETWORKS[network].options,
            "seed": seed,
        }
        if self.image_size is not None:
            options["image_size"] = self.image_size
        options["steps_per_epoch"] = max(1, self.train_examples // options["batch_size"])
        known = registry.options(self.data)
        return _load(self.data, **{name: options[name] for name in sorted(known & set(options))})


@functools.lru_cache(maxsize=1)
def _load(name: str, **options: Any) -> DataSet:
    """The data of the last cell is often that of the next."""
    return kn.data.load(name, **options)


class Start:
    """What an entrant starts from: the full network of its seed, the data, and a way to train.

    Args:
        contest: What all cells share.
        network: Its name.
        seed: Of the weights, of the data's order and of the choice of examples.
    """

    def __init__(self, contest: Contest, network: str, seed: int):
        self.contest = contest
        self.network = network
        self.seed = seed
        self.kind = NETWORKS[network]
        self.data = contest.load(network, seed)
        self.task = make_task(self.data, self.fresh())
        keras.utils.set_random_seed(seed)

    @property
    def all_epochs(self) -> int:
        """Those of the full network and those that follow."""
        return self.contest.weights_epochs + self.contest.epochs

    def fresh(self) -> keras.Model:
        """The full network before its epochs, with new weights or those that others trained."""
        return self.kind.build(self.data, self.contest.model_file)

    def from_scratch(self, epochs: int) -> TrainConfig:
        """How everybody trains new weights."""
        return self._cosine(epochs, self.kind.learning_rate, self.kind.optimizer)

    def of_weights(self, epochs: int) -> TrainConfig:
        """How the full network is trained: from scratch, unless others did so before."""
        kind = self.kind
        rate = kind.weights_learning_rate or kind.learning_rate
        return self._cosine(epochs, rate, kind.optimizer)

    def finetuning(self, epochs: int) -> TrainConfig:
        """How everybody trains the weights that pruning left."""
        return self._cosine(epochs, self.kind.finetune_learning_rate, self.kind.optimizer)

    def _cosine(self, epochs: int, learning_rate: float, optimizer: str) -> TrainConfig:
        return TrainConfig(
            epochs=epochs, optimizer=optimizer, learning_rate=learning_rate,
            schedule="cosine", weight_decay=self.kind.weight_decay,
        )  # fmt: skip

    def trained(
        self, kind: str = "full", prepare: Callable[[keras.Model], None] | None = None
    ) -> keras.Model:
        """The full network after its epochs; trained on the first call of all.

        Args:
            kind: Its name among those of this network and seed.
            prepare: Called with the untrained network, for one that is trained otherwise.
        """
        path = self.contest.folder / "trained" / f"{self.network}-{kind}-{self.seed}.keras"
        if not path.exists():
            model = self.fresh()
            if prepare is not None:
                prepare(model)
            self.train(model, self.of_weights(self.contest.weights_epochs))
            with atomic_path(path) as temporary:
                model.save(temporary)
        return kn.load_model(path)

    def train(
        self, model: keras.Model, config: TrainConfig, teacher: keras.Model | None = None
    ) -> keras.Model:
        """Trains a network in place, from a teacher if there is one, and gives it back."""
        train(
            model, self.data.train, None, config, task=self.task, session=Session(progress="off"),
            teacher=teacher, distill=self.contest.distill if teacher is not None else None,
        )  # fmt: skip
        return model

    def played(self, entrant: str, target: str) -> keras.Model:
        """The network of another entrant's cell, which was played before.

        Raises:
            KerasNasError: It was not.
        """
        cell = Cell(self.network, entrant, float(target.removesuffix("x")), self.seed)
        return kn.load_model(self.contest.cell_path(cell))

    def scores(self, model: keras.Model) -> dict[str, float]:
        """How good the network is, by the names of its task's metrics; see `scores`."""
        return scores(model, self.task, self.data, self.contest.test_dirs)


Entrant = Callable[[Start, str], keras.Model]
"""From a start and a target such as "0.5x" to the network that is judged."""


def play(contest: Contest, cell: Cell, entrant: Entrant) -> dict[str, Any]:
    """Plays a cell, or reads what it gave before.

    Returns:
        `network`, `entrant`, `target`, `seed`, the task's metric (`top1`, `psnr_y`, `miou`; see
        `scores`), `macs`, `params`, `nonzero_params`, `share` (of the full network's macs) and
        `fair` (whether `share` is within 2 % of the target).
    """
    path = contest.cell_path(cell).with_suffix(".json")
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    keras.backend.clear_session()
    start = Start(contest, cell.network, cell.seed)
    found = entrant(start, f"{cell.target:g}x")
    costs = count(found)
    share = costs.macs / count(start.fresh()).macs
    with atomic_path(contest.cell_path(cell)) as temporary:
        found.save(temporary)
    row = {
        **dataclasses.asdict(cell),
        **start.scores(found),
        "macs": costs.macs,
        "params": costs.params,
        "nonzero_params": sum(np.count_nonzero(v) for v in found.trainable_variables),
        "share": share,
        "fair": abs(share / cell.target - 1) <= NEAR,
    }
    atomic_write_text(path, json.dumps(row, indent=1))
    return row
