"""Epochs of all stages together: those that the search does not need go to finetuning."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_nas.errors import UsageError
from keras_nas.settings import LATER_STAGES, setting
from keras_nas.training.train_config import TrainConfig


def total_epochs() -> Any:
    """The setting."""
    return setting(
        0,
        "Epochs of all three stages together: those that the search does not need, since it ends "
        "earlier, go to the last stage, which has this number less what the others took, and no "
        "epochs of its own. 0: each stage has its own.",
        decides=LATER_STAGES,
    )


def check_total(total: int, before: int, learning: int, finetune: TrainConfig) -> None:
    """Raises `UsageError` for a total that is too small, or does not fit finetuning's schedule.

    Args:
        total: `total_epochs` of the settings.
        before: Epochs of the weights' stage.
        learning: Those of the search at most.
        finetune: How finetuning trains.
    """
    if total < 0:
        raise UsageError(f"`total_epochs` must be 0 or more. Received: total_epochs={total}")
    if not total:
        return
    if not learning:
        raise UsageError("`total_epochs` needs a search of 1 epoch or more. Received: 0 epochs")
    if total <= before + learning:
        raise UsageError(
            f"`total_epochs` must be {before + learning + 1} or more, so that the last stage has "
            f"some where the search needs all of its own ({before} of the weights and {learning} "
            f"of the search at most). Received: total_epochs={total}"
        )
    whole = finetune.schedule_epochs
    if whole and whole != total - before:
        raise UsageError(
            f"`finetune_schedule_epochs` must be 0 or {total - before} with `total_epochs`: the "
            "schedule spans the epochs that the last stage has, or those of the search too. "
            f"Received: finetune_schedule_epochs={whole:g}"
        )


def within_total(
    finetune: TrainConfig, total: int, before: int, learned: int | None
) -> TrainConfig:
    """How finetuning trains for the epochs that are left, to the end of its schedule.

    Worked examples, of 8 epochs of which 3 are taken: a cosine of finetuning's own spans the other
    5. One over all 8 is entered at epoch 3.

    Args:
        finetune: How it would train with epochs of its own.
        total: `total_epochs` of the settings; 0 leaves all as it is.
        before: Epochs of the weights' stage.
        learned: Epochs that the search took; None where that is not known.

    Raises:
        UsageError: If it has to be.
    """
    if not total:
        return finetune
    if learned is None:
        raise UsageError(
            "`total_epochs` needs `Context.learned`, the epochs that the search took. Received: "
            "none"
        )
    epochs = total - before - learned
    whole = finetune.schedule_epochs
    start = whole - epochs if whole else finetune.schedule_start
    return dataclasses.replace(finetune, epochs=epochs, schedule_start=start)
