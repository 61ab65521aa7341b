"""What a sweep will do: one run for each value of a setting, and what they can share."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.files import atomic_write_bytes
from keras_nas.runs.config import BASELINE, SHARED, RunConfig, deciding_settings, later_settings
from keras_nas.runs.folder import RunFolder
from keras_nas.settings import check_settings, flatten, unflatten

WEIGHTS = "weights"


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        folder: The run's folder.
        settings: Every setting of the run and its method, by flat name.
        stages: The stages to run, in order.
    """

    folder: RunFolder
    settings: dict[str, Any]
    stages: tuple[str, ...]

    def missing_stages(self) -> tuple[str, ...]:
        """The stages from the first that is not done on: what is later reads what is earlier."""
        results = self.folder.read_results()
        done = set(results.get("seconds", {}))
        rows = results.get("rows", {})
        if any(name.endswith(".tflite") for name in rows):
            done.add("export")
        if any("latency_ms" in row for row in rows.values()):
            done.add("benchmark")
        for index, stage in enumerate(self.stages):
            if stage not in done:
                return self.stages[index:]
        return ()


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The runs of a sweep.

    Attributes:
        weights: The run of the stages that the others share; None where each has its own.
        jobs: A run for each value.
    """

    weights: Job | None
    jobs: list[Job]


def plan_sweep(config: RunConfig, settings: Any, vary: str, values: list[str]) -> Sweep:
    """Plans a run for each value of a setting, in folders of `config.run_dir`.

    The weight stage, and the baseline where there is one, are run once, in the folder `weights`,
    where they do not read the setting (DNAL's are the same for every λ_a); else each run has its
    own.

    Args:
        config: What every run works on; `run_dir` is the sweep's folder.
        settings: The method's configuration.
        vary: The setting's flat name.
        values: Its values, as flags spell them.

    Raises:
        UsageError: If the folder or the values are missing or repeated, the setting is unknown, or
            a value is not allowed.
        KerasNasError: If the folder holds runs with other settings than these.
    """
    if not config.run_dir:
        raise UsageError("`run_dir` must name the sweep's folder (--run_dir). Received: nothing")
    if len(set(values)) != len(values) or not values:
        raise UsageError(f"`values` must be one or more, all different. Received: {values}")
    base = {**flatten(config), **flatten(settings)}
    if vary not in base or vary == "run_dir":
        raise UsageError(
            f"`vary` must be a setting of the run or of method {config.method!r}. "
            f"Received: vary={vary!r}"
        )
    stages = [stage for stage in config.stages if stage != BASELINE or config.runs(stage)]
    shares = vary in later_settings(config, settings) and WEIGHTS in stages
    root = Path(config.run_dir)
    own = tuple(stage for stage in stages if not (shares and stage in SHARED))
    jobs = [_job(root, config, settings, vary, value, own) for value in values]
    weights = None
    if shares:
        folder = RunFolder(root / WEIGHTS)
        at_base = {**base, "run_dir": str(folder.path)}
        weights = Job(folder, at_base, tuple(stage for stage in SHARED if stage in stages))
        _check_same(weights, config, settings, later=False)
    return Sweep(weights, jobs)


def share_weights(weights: RunFolder, folder: RunFolder) -> None:
    """Gives a run what the shared weight stage left; a run that has it keeps its own."""
    if folder.results.exists() and folder.supernet.exists():
        return
    for source, target in (
        (weights.original, folder.original),
        (weights.supernet, folder.supernet),
        (weights.metrics, folder.metrics),
        (weights.results, folder.results),
    ):
        weights.require(source, WEIGHTS)
        atomic_write_bytes(target, source.read_bytes())
    if weights.baseline.exists():
        atomic_write_bytes(folder.baseline, weights.baseline.read_bytes())


def _job(root: Path, config, settings, vary: str, text: str, stages: tuple[str, ...]) -> Job:
    flat = {**flatten(config), **flatten(settings)}
    value = _parse(vary, text, flat[vary])
    folder = RunFolder(root / re.sub(r"[^\w.+-]", "_", f"{vary}_{text}"))
    flat = {**flat, vary: value, "run_dir": str(folder.path)}
    run_config = unflatten(RunConfig, flat)
    own_settings = unflatten(type(settings), flat)
    job = Job(folder, {**flatten(run_config), **flatten(own_settings)}, stages)
    _check_same(job, run_config, own_settings, later=True)
    return job


def _parse(name: str, text: str, present: Any) -> Any:
    if isinstance(present, (list, tuple)):
        raise UsageError(f"`vary` must be a setting of one value. Received: vary={name!r}")
    if isinstance(present, bool):
        if text.lower() not in ("true", "false"):
            raise UsageError(f"A value of `{name}` must be true or false. Received: {text!r}")
        return text.lower() == "true"
    if isinstance(present, str) or name.startswith("target_"):
        return text
    try:
        return type(present)(text)
    except ValueError as error:
        raise UsageError(
            f"A value of `{name}` must be a number ({type(present).__name__}). Received: {text!r}"
        ) from error


def _check_same(job: Job, config: RunConfig, settings: Any, later: bool) -> None:
    if not job.folder.config.exists():
        return
    content = json.loads(job.folder.config.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(deciding_settings(config, settings)))
    saved = {**content["run"], **content["settings"]}
    names = [
        name
        for name in now
        if name in saved and (later or name not in later_settings(config, settings))
    ]
    try:
        check_settings({name: saved[name] for name in names}, {name: now[name] for name in names})
    except KerasNasError as error:
        raise KerasNasError(f"In {job.folder.path}: {error}") from error
