"""The untrained network of a run: a backbone that fits the data, or a model's file."""

from __future__ import annotations

import difflib
import json
from typing import Any

import keras

from keras_nas import models
from keras_nas.data import DataSet
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import is_model_file
from keras_nas.loading import load_model
from keras_nas.runs.config import RunConfig


def model_source(config: RunConfig, run_data: DataSet) -> dict[str, Any]:
    """Where the untrained network comes from, as `Architecture.model` records it.

    Raises:
        UsageError: If `model` is neither a backbone's name nor a model's file, or `model_config` is
            not a JSON object.
    """
    if is_model_file(config.model):
        return {"path": config.model}
    check_backbone(config.model)
    try:
        arguments = dict(json.loads(config.model_config))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise UsageError(
            f"`model_config` must be a JSON object. Received: {config.model_config!r} ({error})"
        ) from error
    return {"builder": config.model, "config": {**run_data.builder_arguments(), **arguments}}


def check_backbone(name: str) -> None:
    """Raises `UsageError` unless `name` is a backbone's."""
    if name not in models.names():
        close = difflib.get_close_matches(name, models.names(), n=3)
        raise UsageError(
            f"`model` must be a .keras or .h5 file, or one of {', '.join(models.names())}. "
            f"Received: model={name!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
        )


def create_model(config: RunConfig, run_data: DataSet) -> keras.Model:
    """The untrained network of a run: a backbone that fits the data, or a model's file.

    Raises:
        UsageError: As in `model_source`, or the backbone is of another task, or too deep or small
            for the data's images.
        KerasNasError: If the file cannot be loaded.
    """
    source = model_source(config, run_data)
    if "path" in source:
        return load_model(source["path"])
    name, arguments = source["builder"], source["config"]
    for argument in run_data.builder_arguments().keys() - models.arguments(name):
        raise UsageError(
            f"`model` {name!r} does not take {argument}: it is a network of another task than "
            f"--data={config.data}."
        )
    try:
        return models.create(name, **arguments)
    except KerasNasError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"`model` {name!r} cannot be built with {arguments}: {str(error).splitlines()[0]}"
        ) from error
