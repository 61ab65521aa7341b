"""The flags of a run, from its configuration and the methods'."""

from __future__ import annotations

from typing import Any

from absl import flags

from apps import config_flags
from keras_nas.errors import UsageError
from keras_nas.runs.config import RunConfig, load_config
from keras_nas.search.registry import default_config, names
from keras_nas.settings import flatten

flags.disclaim_key_flags()


def define_flags() -> None:
    """Defines a flag for each setting of a run and of every method."""
    config_flags.define(RunConfig(), *(default_config(name) for name in names()))


def read_flags() -> tuple[RunConfig, Any]:
    """The run's and its method's configuration, as the flags say.

    Raises:
        UsageError: If a flag belongs to another method, or a value is not allowed.
    """
    config = config_flags.read(RunConfig())
    settings = default_config(config.method)
    _refuse_strangers(config.method)
    return config, config_flags.read(settings)


def read_flags_over_run() -> tuple[RunConfig, Any]:
    """The configuration of the run in --run_dir, with the flags that are given over it.

    Raises:
        UsageError: If --run_dir is missing, or a flag belongs to another method.
        KerasNasError: If the folder holds no run.
    """
    if not flags.FLAGS.run_dir:
        raise UsageError("`run_dir` must name the folder of a run (--run_dir). Received: nothing")
    everything = [RunConfig(), *(default_config(name) for name in names())]
    changes = {name: flags.FLAGS[name].value for name in config_flags.given(*everything)}
    changes.pop("run_dir")
    config, settings = load_config(flags.FLAGS.run_dir, **changes)
    _refuse_strangers(config.method)
    return config, settings


def _refuse_strangers(method: str) -> None:
    own = flatten(RunConfig()).keys() | flatten(default_config(method)).keys()
    for other in names():
        for name in sorted(config_flags.given(default_config(other))):
            if name not in own:
                raise UsageError(f"--{name} is a setting of {other}, not of --method={method}.")
