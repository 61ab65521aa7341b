"""One cell of the contest: a network, an entrant, a target and a seed, from shared beginnings.

Files stand in the contest's folder: `trained/` holds each full network after its own epochs,
`cells/` a .keras and a JSON for each cell. What stands there is not done again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_nas as kn
from benchmarks.rivals.networks import NETWORKS
from keras_nas.costs import count
from keras_nas.files import atomic_path, atomic_write_text
from keras_nas.tasks import Classification
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.evaluation import Evaluator
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
        data: Of `keras_nas.data.load`.
        train_examples: Images to learn from.
        batch_size: Images a step.
        weights_epochs: Epochs of the full network.
        epochs: Epochs that follow, for a search and its finetuning together.
        learning_rate: The first of a cosine, in the full network's and in from-scratch training.
        finetune_learning_rate: The first of the cosine that follows pruning.
        distill_weight: The weight of the full network's soft targets, for every entrant that
            starts from it; 0 for none.
    """

    folder: Path
    data: str = "fashion_mnist"
    train_examples: int = 6000
    batch_size: int = 64
    weights_epochs: int = 12
    epochs: int = 8
    learning_rate: float = 0.05
    finetune_learning_rate: float = 0.02
    distill_weight: float = 0.0

    def cell_path(self, cell: Cell) -> Path:
        """Where a cell's network stands."""
        return self.folder / "cells" / f"{cell.name}.keras"

    @property
    def distill(self) -> DistillConfig | None:
        """How the entrants that start from the full network learn from it; None for not at all."""
        return DistillConfig(weight=self.distill_weight) if self.distill_weight else None

    def training(self, epochs: int, learning_rate: float) -> TrainConfig:
        """SGD along a cosine, as everybody trains here."""
        return TrainConfig(epochs=epochs, learning_rate=learning_rate, schedule="cosine")


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
        keras.utils.set_random_seed(seed)
        self.data = kn.data.load(
            contest.data, batch_size=contest.batch_size, seed=seed,
            train_examples=contest.train_examples, validation_share=0.02,
        )  # fmt: skip
        self.task = Classification(self.data.num_classes)

    def fresh(self) -> keras.Model:
        """The full network, untrained."""
        return NETWORKS[self.network](self.data.image_shape, self.data.num_classes)

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
            self.train(model, self.contest.weights_epochs, self.contest.learning_rate)
            with atomic_path(path) as temporary:
                model.save(temporary)
        return kn.load_model(path)

    def train(
        self,
        model: keras.Model,
        epochs: int,
        learning_rate: float,
        teacher: keras.Model | None = None,
    ) -> keras.Model:
        """Trains a network in place, from a teacher if there is one, and gives it back."""
        train(
            model, self.data.train, None, self.contest.training(epochs, learning_rate),
            task=self.task, session=Session(progress="off"),
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

    def top1(self, model: keras.Model) -> float:
        """The share of the test set that the network gets right."""
        return Evaluator(model, self.task, self.data.test)()["top1"]


Entrant = Callable[[Start, str], keras.Model]
"""From a start and a target such as "0.5x" to the network that is judged."""


def play(contest: Contest, cell: Cell, entrant: Entrant) -> dict[str, Any]:
    """Plays a cell, or reads what it gave before.

    Returns:
        `network`, `entrant`, `target`, `seed`, `top1`, `macs`, `params`, `nonzero_params`, `share`
        (of the full network's macs) and `fair` (whether `share` is within 2 % of the target).
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
        "top1": start.top1(found),
        "macs": costs.macs,
        "params": costs.params,
        "nonzero_params": sum(np.count_nonzero(v) for v in found.trainable_variables),
        "share": share,
        "fair": abs(share / cell.target - 1) <= NEAR,
    }
    atomic_write_text(path, json.dumps(row, indent=1))
    return row
