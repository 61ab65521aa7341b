"""The data of a run, as its settings say."""

from __future__ import annotations

from typing import Any

from keras_nas import data
from keras_nas.data.registry import options, task_of
from keras_nas.errors import UsageError
from keras_nas.tasks import TASKS

_NONE_AT_ZERO = ("data_dir", "train_examples", "image_size", "cache_dir")
"""Settings whose 0 or empty text stands for an option that is not given."""
_REFUSED = ("train_examples", "image_size", "cutout")
"""Settings that must not be given for data without that option; other ones play no part there."""


def load_data(config: Any, settings: Any = None, stage: str = "") -> data.DataSet:
    """The data of a run, or of one of its stages.

    Args:
        config: A `keras_nas.runs.config.RunConfig`.
        settings: The method's configuration. Where it learns structure on data of their own
            (DSO's `split` and `split_ratio`), the data has that part, `structure`.
        stage: The stage that it is for, whose batch size and cutout it has; by default the run's
            batch size and no cutout.

    Raises:
        KerasNasError: The data is missing or damaged.
        UsageError: A setting that the data does not have was given.
    """
    known = options(config.data)
    _refuse_foreign(config, known)
    values = {name: getattr(config, name) for name in known if hasattr(config, name)}
    values |= config.pictures.options(config.data, known)
    values |= {name: values[name] or None for name in _NONE_AT_ZERO if name in known}
    values["batch_size"] = config.batch_size_of(stage)
    if "cutout" in known:
        values["cutout"] = config.cutout_of(stage)
    if "split_ratio" in known and getattr(settings, "split", False):
        values["split_ratio"] = settings.split_ratio
    return data.load(config.data, **values)


def _refuse_foreign(config: Any, known: frozenset[str]) -> None:
    """Raises `UsageError` for settings that the data does not have, whichever stage asks."""
    foreign = [name for name in _REFUSED if name not in known]
    if not TASKS[task_of(config.data)].smooths_labels:
        foreign.append("label_smoothing")
    for name in foreign:
        if getattr(config, name):
            raise UsageError(
                f"`{name}` must be 0 for --data={config.data}. "
                f"Received: {name}={getattr(config, name)}"
            )
    if config.cutout and not config.augment:
        raise UsageError(f"`cutout` needs `augment`. Received: cutout={config.cutout} without it")
