"""A whole run in a folder: data and model by name, stages that meet in files."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_nas.files import atomic_write_text
from keras_nas.runs.config import STAGES, RunConfig, check_paths, free_settings
from keras_nas.runs.environment import make_strategy, set_seed
from keras_nas.runs.preflight import check_run_folder
from keras_nas.runs.search_stages import search_stages
from keras_nas.runs.stage import RunStage, check_files
from keras_nas.runs.workbench import Workbench
from keras_nas.search.registry import make_method
from keras_nas.settings import flatten
from keras_nas.tasks import TASKS
from keras_nas.training.progress import make_progress
from keras_nas.training.records import read_records


def run(config: RunConfig, settings: Any, further: Sequence[RunStage] = ()) -> dict[str, Any]:
    """Runs the stages of a search in a folder.

    Each stage reads what it needs from the run's files (see `RunFolder`) and writes its own there,
    so that it may be run alone, later, or on another host.

    Args:
        config: What to run.
        settings: The method's configuration, such as `DnalConfig`.
        further: Stages that follow the search's, outside its dtype policy and strategy.

    Returns:
        The content of results.json.

    Raises:
        KerasNasError: If a stage's input is missing, or as in `run_stage`.
        DeadNetworkError: If what the search found is no better than a constant; it stands in the
            folder.
        UsageError: If settings do not go together.
    """
    check_paths(config, settings)
    with _environment(config):
        bench = Workbench(config, make_method(config.method, settings))
        own = search_stages()
        _check_folder(bench, [*own, *further])
        bench.load()
        asked = [stage for stage in own if config.runs(stage.name)]
        _begin(bench, asked)
        for stage in asked:
            _run_timed(bench, stage)
    for stage in further:
        if config.runs(stage.name):
            stage.run(bench)
    return bench.folder.read_results()


@contextlib.contextmanager
def _environment(config: RunConfig) -> Iterator[None]:
    """Seeds, devices and the dtype policy of a search; the policy is the old one again after it."""
    set_seed(config.seed, config.deterministic)
    strategy = make_strategy(config.distribute, config.replicas)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.mixed_precision)
    try:
        with strategy.scope():
            yield
    finally:
        keras.config.set_dtype_policy(previous)


def _check_folder(bench: Workbench, stages: Sequence[RunStage]) -> None:
    config = bench.config
    if not config.session.overwrite:
        check_run_folder(
            bench.folder, Path(config.run_dir), config.stages, bench.session.settings,
            free_settings(config, bench.method.config), config.session.resume,
        )  # fmt: skip
    check_files(stages, config.stages, bench.folder)


def _begin(bench: Workbench, asked: Sequence[RunStage]) -> None:
    """Looks at what can go wrong; then writes down what the run is."""
    config, folder = bench.config, bench.folder
    for stage in asked:
        stage.prepare(bench)
    if config.session.overwrite and STAGES[0] in config.stages:
        folder.forget()
    said = bench.data.describe()
    content = {
        "run": flatten(config),
        "settings": flatten(bench.method.config),
        "data": said,
        "versions": versions(),
    }
    atomic_write_text(folder.config, json.dumps(content, indent=2) + "\n")
    make_progress(config.session.progress).say(said)
    folder.update_results(data=said, method=bench.method.name)
    folder.update_results(rows=TASKS[bench.data.task].baselines(bench.data))


def _run_timed(bench: Workbench, stage: RunStage) -> None:
    bench.enter(stage.name)
    began = time.monotonic() - _seconds_before(bench, stage.name)
    stage.run(bench)
    seconds = round(time.monotonic() - began, 1)
    bench.folder.update_results(seconds={stage.name: seconds})


def _seconds_before(bench: Workbench, stage: str) -> float:
    """What a resumed stage took so far; of a leg that was killed, its complete epochs."""
    if not bench.session.resume:
        return 0.0
    complete = bench.folder.read_results().get("seconds", {}).get(stage)
    if complete is not None:
        return complete
    records = read_records(bench.folder.metrics)
    return sum(record.get("seconds", 0.0) for record in records if record["stage"] == stage)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    packages = ("tensorflow", "keras", "numpy")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found}
