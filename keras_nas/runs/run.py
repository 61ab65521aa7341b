"""A whole run in a folder: data and model by name, stages that meet in files."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import platform
import time
from pathlib import Path
from typing import Any

import keras

from keras_nas import costs, models
from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import is_model_file
from keras_nas.files import atomic_write_text
from keras_nas.loading import load_model
from keras_nas.runs.config import (
    BASELINE,
    FREE,
    STAGES,
    RunConfig,
    check_paths,
    deciding_settings,
    load_config,
)
from keras_nas.runs.data import (
    RunData,
    baseline_rows,
    builder_arguments,
    counting_shape,
    load_data,
    task_of,
)
from keras_nas.runs.environment import make_strategy, set_seed
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.preflight import (
    check_fits,
    check_run_folder,
    check_stage_inputs,
)
from keras_nas.search.method import Context, Method, check_result, surgery_record
from keras_nas.search.methods import make_method
from keras_nas.settings import flatten
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.loop import worker_index
from keras_nas.training.progress import make_progress
from keras_nas.training.records import read_records, write_records
from keras_nas.training.session import Session

__all__ = ["STAGES", "RunConfig", "create_model", "load_config", "model_source", "run", "versions"]


def run(config: RunConfig, settings: Any) -> dict[str, Any]:
    """Runs the stages of a search in a folder.

    Each stage reads what it needs from the run's files (see `RunFolder`) and writes its own there,
    so that it may be run alone, later, or on another host.

    Args:
        config: What to run.
        settings: The method's configuration, such as `DnalConfig`.

    Returns:
        The content of results.json.

    Raises:
        KerasNasError: If a stage's input is missing, or as in `run_stage`.
        DeadNetworkError: If what the search found is no better than a constant; it stands in the
            folder.
        UsageError: If settings do not go together.
    """
    check_paths(config, settings)
    set_seed(config.seed, config.deterministic)
    strategy = make_strategy(config.distribute, config.replicas)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.mixed_precision)
    try:
        with strategy.scope():
            return _Runner(config, make_method(config.method, settings)).run()
    finally:
        keras.config.set_dtype_policy(previous)


def model_source(config: RunConfig, run_data: RunData) -> dict[str, Any]:
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
    return {"builder": config.model, "config": {**builder_arguments(run_data), **arguments}}


def check_backbone(name: str) -> None:
    """Raises `UsageError` unless `name` is a backbone's."""
    if name not in models.names():
        close = difflib.get_close_matches(name, models.names(), n=3)
        raise UsageError(
            f"`model` must be a .keras or .h5 file, or one of {', '.join(models.names())}. "
            f"Received: model={name!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
        )


def create_model(config: RunConfig, run_data: RunData) -> keras.Model:
    """The untrained network of a run: a backbone that fits the data, or a model's file.

    Raises:
        UsageError: As in `model_source`, or the backbone is of another task, or too deep or small
            for the data's pictures.
        KerasNasError: If the file cannot be loaded.
    """
    source = model_source(config, run_data)
    if "path" in source:
        return load_model(source["path"])
    name, arguments = source["builder"], source["config"]
    for argument in builder_arguments(run_data).keys() - models.arguments(name):
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


class _Runner:
    def __init__(self, config: RunConfig, method: Method):
        self.config = config
        self.method = method
        worker = worker_index()
        self.folder = RunFolder(Path(config.run_dir, f"worker{worker}" if worker else "."))
        self.stage = ""
        self.session = Session(
            directory=Path(config.run_dir),
            resume=config.resume,
            overwrite=config.overwrite,
            checkpoint_every=config.checkpoint_every,
            checkpoint_minutes=config.checkpoint_minutes,
            keep=config.keep,
            tensorboard=config.tensorboard,
            progress=config.progress,
            settings=deciding_settings(config, method.config),
        )
        self._check_folder()
        self.data = load_data(config, method.config)

    def _check_folder(self) -> None:
        config = self.config
        if not config.overwrite:
            check_run_folder(
                self.folder, Path(config.run_dir), config.stages, self.session.settings, FREE,
                config.resume,
            )  # fmt: skip
        check_stage_inputs(self.folder, config.stages)

    def run(self) -> dict[str, Any]:
        supernet = self._supernet() if STAGES[0] in self.config.stages else None
        if self.config.overwrite and STAGES[0] in self.config.stages:
            self.folder.forget()
        self._write_config()
        make_progress(self.config.progress).say(self.data.describe())
        self.folder.update_results(data=self.data.describe(), method=self.method.name)
        self.folder.update_results(rows=baseline_rows(self.data))
        for stage in STAGES:
            if self.config.runs(stage):
                self._enter(stage)
                began = time.monotonic() - self._seconds_before(stage)
                if stage == STAGES[0]:
                    self._weights(supernet)
                else:
                    getattr(self, f"_{stage}")()
                seconds = round(time.monotonic() - began, 1)
                self.folder.update_results(seconds={stage: seconds})
        return self.folder.read_results()

    def _enter(self, stage: str) -> None:
        """Loads the data again where the stage's batches or cutout are not those at hand."""
        config = self.config
        if any(of(stage) != of(self.stage) for of in (config.batch_size_of, config.cutout_of)):
            self.data = load_data(config, self.method.config, stage)
        self.stage = stage

    def _seconds_before(self, stage: str) -> float:
        """What a resumed stage took so far; of a leg that was killed, its complete epochs."""
        if not self.config.resume:
            return 0.0
        complete = self.folder.read_results().get("seconds", {}).get(stage)
        if complete is not None:
            return complete
        records = read_records(self.folder.metrics)
        return sum(record.get("seconds", 0.0) for record in records if record["stage"] == stage)

    def _write_config(self) -> None:
        content = {
            "run": flatten(self.config),
            "settings": flatten(self.method.config),
            "data": self.data.describe(),
            "versions": versions(),
        }
        atomic_write_text(self.folder.config, json.dumps(content, indent=2) + "\n")

    def _supernet(self) -> keras.Model:
        """The network of the first stage, once all that can be known to go wrong is looked at."""
        self._enter(STAGES[0])
        model = create_model(self.config, self.data)
        check_fits(model, self.data, self.config.data)
        supernet = self.method.make_supernet(model, from_file="path" in self._source())
        self.method.check(supernet, self._context(supernet), self._source())
        return supernet

    def _context(self, model: keras.Model) -> Context:
        check_fits(model, self.data, self.config.data)
        task = task_of(self.data, model, self.config.label_smoothing)
        return Context(
            task, self.data.train, self.data.validation, self.data.structure, self.session
        )

    def _source(self) -> dict[str, Any]:
        return model_source(self.config, self.data)

    def _weights(self, supernet: keras.Model) -> None:
        self.method.train_weights(supernet, self._context(supernet))
        self.folder.save_model(self.folder.supernet, supernet)
        self._record("original", self.method.original(supernet), self.folder.original)

    def _baseline(self) -> None:
        set_seed(self.config.seed, self.config.deterministic)
        model = self.method.bare(create_model(self.config, self.data))
        self.method.train(BASELINE, model, self.config.baseline, self._context(model))
        self._record(BASELINE, model, self.folder.baseline)

    def _architecture(self) -> None:
        supernet = self.folder.load_model(self.folder.supernet, "weights")
        records = self.method.learn(supernet, self._context(supernet))
        architecture = self.method.architecture(supernet, self.config.seed, self._source())
        self.folder.save_model(self.folder.supernet, supernet)
        architecture.save(self.folder.architecture)
        if self.method.name == "dnal":
            gates = {k: records[-1][k] for k in ("channels", "kept", "undecided", "delta")}
            self.folder.update_results(gates=gates)
        if self.method.name == "dso" and records:
            edges = {k: records[-1][k] for k in ("edges", "open_edges", "live_edges")}
            self.folder.update_results(edges=edges)
        self.folder.update_results(rows={"gated": self._evaluate(supernet)})
        self._check_result(supernet, architecture)

    def _check_result(self, supernet: keras.Model, architecture: Architecture) -> None:
        """Refuses a dead network, once all that was found is written."""
        context = self._context(supernet)
        value = self.folder.read_results().get("rows", {}).get("gated", {})
        check_result(
            self.method, supernet, architecture, context, self.data.test,
            value.get(context.task.monitor), read_records(self.folder.metrics),
        )  # fmt: skip

    def _surgery(self) -> None:
        supernet = self.folder.load_model(self.folder.supernet, "architecture")
        self.folder.require(self.folder.architecture, "architecture")
        architecture = Architecture.load(self.folder.architecture)
        if "architecture" not in self.config.stages:
            self._check_result(supernet, architecture)
        small = self.method.rebuild(supernet, architecture)
        self._record("pruned", small, self.folder.small)
        record = surgery_record(supernet, small, self._context(supernet))
        write_records(self.folder.metrics, "surgery", [record])

    def _finetune(self) -> None:
        small = self.folder.load_model(self.folder.small, "surgery")
        self.folder.require(self.folder.architecture, "architecture")
        architecture = Architecture.load(self.folder.architecture)
        small = self.method.retrained(small, architecture)
        self.method.finetune(small, self._context(small))
        self._record("finetuned", small, self.folder.finetuned)
        for name, rival in self.method.rivals(small, architecture, self.config.seed):
            self.method.finetune(rival, self._context(rival), name)
            self._record(name, rival, self.folder.finetuned.with_name(f"{name}.keras"))

    def _record(self, row: str, model: keras.Model, path) -> None:
        """Saves a model and puts its row into results.json."""
        self.folder.save_model(path, model)
        counted = costs.count(model, counting_shape(self.data, model))
        values = {
            **self._evaluate(model),
            "params": counted.params,
            "macs": counted.macs,
            "flops": counted.flops,
            "file": path.name,
            "size": path.stat().st_size,
        }
        self.folder.update_results(rows={row: values})

    def _evaluate(self, model: keras.Model) -> dict[str, float]:
        return Evaluator(model, task_of(self.data, model), self.data.test)()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    packages = ("tensorflow", "keras", "numpy")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found}
