"""The rules by which a compression is done, and why; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_nas.compression.config import EPOCHS, CompressConfig
from keras_nas.errors import UsageError
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.search.target_settings import TargetSettings
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.train_config import TrainConfig

SEARCHED = 0.4
"""The share of the epochs that are the search's."""
RATES = {"sgd": 0.05, "adam": 1e-3}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is compressed.

    Attributes:
        method: The search's name.
        settings: Its configuration.
        search_epochs, finetune_epochs: How long its two stages are.
        reasons: What was decided and why, a line each.
    """

    method: str
    settings: Any
    search_epochs: int
    finetune_epochs: int
    reasons: tuple[str, ...]


def split_epochs(epochs: int) -> tuple[int, int]:
    """The epochs of the search and of the finetuning; each has one at least."""
    search = max(1, round(SEARCHED * epochs))
    return search, epochs - search


def shown_epochs(count: int) -> str:
    """`1 epoch`, `4 epochs`."""
    return f"{count} epoch{'s' * (count != 1)}"


def make_recipe(
    config: CompressConfig,
    normalized: bool,
    epochs: int = 0,
    shape: tuple[int, ...] = (),
    has_unit: bool = False,
) -> Recipe:
    """The recipe for a network.

    Args:
        config: What is asked for.
        normalized: Whether the network has BatchNormalization.
        epochs: In all; 0 for those of `config`, or `EPOCHS`.
        shape: What costs are counted at, without the batch axis, where the network leaves its
            input's size open.
        has_unit: As `Task.has_unit`: what SGD's steps would grow with.

    Raises:
        UsageError: DNAL is asked for on a network of open size, or branches go without it.
    """
    epochs = epochs or config.epochs or EPOCHS
    search, finetune = split_epochs(epochs)
    method = _method(config.method, shape)
    if config.branches and method != "dnal":
        raise UsageError(
            "`branches` must be 0 for fgnas, which takes no whole ones out "
            f"({_why_method(config.method, shape)}). Received: branches={config.branches}"
        )
    optimizer = config.optimizer
    if optimizer == "auto":
        optimizer = "sgd" if normalized and not has_unit else "adam"
    training = TrainConfig(
        optimizer=optimizer,
        learning_rate=config.learning_rate or RATES[optimizer],
        schedule="cosine",
        weight_decay=config.weight_decay,
    )
    shared = {
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(TargetSettings)},
        "weights": TrainConfig(epochs=0),
        "round_to": config.multiple,
        "finetune_distill": DistillConfig(weight=config.distill_weight),
    }
    taught = bool(config.distill_weight)
    if shape:
        shared["resource_shape"] = shape
    if config.branches:
        shared["branches"] = config.branches
    make = {"dnal": _dnal, "fgnas": _fgnas}[method]
    reasons = (
        f"Method: {method.upper()}, {_why_method(config.method, shape)}. "
        f"{shown_epochs(search)} while channels close and the weights learn on, "
        f"{finetune} of finetuning." + _shown_branches(config.branches),
        f"Training: {optimizer.upper()} from {training.learning_rate:g} along one cosine, "
        + _why_optimizer(config.optimizer, normalized, has_unit)
        + (f"; taught by the original (weight {config.distill_weight:g})." if taught else ".")
        + f" Widths are {_widths(config.multiple)}.",
    )
    return Recipe(method, make(training, search, finetune, shared), search, finetune, reasons)


def _method(asked: str, shape: tuple[int, ...]) -> str:
    if asked == "auto":
        return "fgnas" if shape else "dnal"
    if asked == "dnal" and shape:
        raise UsageError(
            "`method` must be fgnas or auto for a network whose input's size is open. "
            "Received: method='dnal'"
        )
    return asked


def _shown_branches(count: int) -> str:
    if not count:
        return ""
    whole = "The whole branch" if count == 1 else f"The {count} whole branches"
    return f" {whole} least missed {'goes' if count == 1 else 'go'} before."


def _widths(multiple: int) -> str:
    return "as they come" if multiple == 1 else f"multiples of {multiple}"


def _why_method(asked: str, shape: tuple[int, ...]) -> str:
    if asked != "auto":
        return "as asked"
    if shape:
        return f"since the network's size is open, counted at {'×'.join(map(str, shape))}"
    return "which measured best on trained networks"


def _why_optimizer(asked: str, normalized: bool, has_unit: bool) -> str:
    if asked != "auto":
        return "as asked"
    if has_unit:
        return "since the targets have a unit"
    return f"since the network has {'' if normalized else 'no '}BatchNormalization"


def _dnal(training: TrainConfig, search: int, finetune: int, shared: dict[str, Any]) -> DnalConfig:
    return DnalConfig(
        **shared,
        architecture=TrainConfig(epochs=search, weight_decay=0.0),
        finetune=dataclasses.replace(training, epochs=finetune),
    )


def _fgnas(
    training: TrainConfig, search: int, finetune: int, shared: dict[str, Any]
) -> FgnasConfig:
    total = search + finetune
    return FgnasConfig(
        **shared,
        search=dataclasses.replace(training, epochs=search).part_of(total),
        finetune=dataclasses.replace(training, epochs=finetune).part_of(total, search),
    )
