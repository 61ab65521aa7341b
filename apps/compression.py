"""Compressing a model's file in a folder: the plan, the run that it makes, and the outcome."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from apps.compress_config import CompressAppConfig
from apps.compress_data import load_for
from apps.tflite_stages import tflite_path, tflite_stages
from keras_nas.compression.config import CompressConfig
from keras_nas.compression.outcome import Outcome, OutcomeRow, label_of, outcome_of, quality_row
from keras_nas.compression.plan import make_plan, shown_seconds
from keras_nas.errors import UsageError
from keras_nas.loading import load_model
from keras_nas.reporting.html_report import write_html_report
from keras_nas.reporting.plots import draw_run
from keras_nas.reporting.quality import qualities_of
from keras_nas.runs.config import RunConfig, load_config
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.run import run
from keras_nas.tasks import make_task
from keras_nas.training.progress import make_progress

SHIPPING = 60.0
"""Seconds that are kept for the .tflite files and their measurement, out of a limit."""


def compress_file(config: CompressAppConfig) -> tuple[Outcome, Path]:
    """Compresses a model's file, and writes all that came out into a folder.

    Returns:
        What was asked for and reached, and the report's page.

    Raises:
        UsageError: The budget or the limit of time is out of reach, or the model does not fit the
            data.
        KerasNasError: As in `run`.
    """
    began = time.monotonic()
    say = make_progress(config.session.progress).say
    folder = RunFolder(Path(config.output))
    if config.session.resume and folder.config.exists():
        run_config, settings = _saved(config)
    else:
        run_config, settings = _planned(config, say)
    formats = dict.fromkeys(("original", "small"), config.written)
    run(run_config, settings, tflite_stages(formats, config.budget))
    draw_run(folder)
    page = write_html_report([config.output], folder.path / "report.html")
    say(f"Took {shown_seconds(time.monotonic() - began)}.")
    return outcome_of_run(config, folder, settings), page


def _saved(config: CompressAppConfig) -> tuple[RunConfig, Any]:
    """The run that was begun in the folder, to be gone on with."""
    run_config, settings = load_config(config.output, resume=True)
    for name, before, now in (
        ("model", run_config.model, config.model),
        ("budget", settings.targets, config.budget.targets),
    ):
        if before != now:
            raise UsageError(
                f"`{name}` was {before!r} when {config.output} was begun. Received: {now!r}; "
                "resume with the old one, or give another `output`"
            )
    return run_config, settings


def _planned(config: CompressAppConfig, say: Any) -> tuple[RunConfig, Any]:
    """The run that the recipe makes of what is asked for, which is said."""
    model = load_model(config.model)
    began = time.monotonic()
    run_config, data, before = load_for(config, model, say)
    task = make_task(data, model)
    say(data.describe())
    plan = make_plan(
        model, config.budget, task, data.train, data.test, before, validation=data.validation,
        shape=data.counting_shape(tuple(model.inputs[0].shape)[1:]) or (),
        reserved=SHIPPING + time.monotonic() - began,
    )  # fmt: skip
    asked = ", ".join(f"{name}={value}" for name, value in config.budget.targets.items())
    say(f"{config.model}: {task.monitor} {before[task.monitor]:.4g} on the test pictures.")
    say(f"Asked: {asked}.")
    for line in plan.lines():
        say(line)
    return dataclasses.replace(run_config, method=plan.recipe.method), plan.recipe.settings


def outcome_of_run(config: CompressAppConfig, folder: RunFolder, settings: Any) -> Outcome:
    """The outcome of a run; its files are measured, other costs as the search priced them.

    Args:
        config: What was asked for.
        folder: The run's.
        settings: Its method's.
    """
    rows: dict[str, dict[str, Any]] = folder.read_results()["rows"]
    keys = [quality.key for quality in qualities_of([rows["original"]]) if not quality.page_only]
    before, after = ({key: rows[name][key] for key in keys} for name in ("original", "finetuned"))
    original, small = (load_model(path) for path in (folder.original, folder.finetuned))
    shape = getattr(settings, "resource_shape", ())
    reckoned = outcome_of(config.budget, original, small, before, after, shape)
    files = [
        row
        for kind in config.written
        for row in _file_rows(
            config.budget, kind, keys[0],
            *(rows[tflite_path(folder, name, kind).name] for name in ("original", "small")),
        )
    ]  # fmt: skip
    measured = {row.name for row in files}
    return Outcome([*(row for row in reckoned.rows if row.name not in measured), *files])


def _file_rows(
    budget: CompressConfig, kind: str, metric: str, original: dict[str, Any], small: dict[str, Any]
) -> list[OutcomeRow]:
    """The quality (of quantised files), size and time of the two files of a format."""
    size = original["size"]
    asked = budget.bytes_asked(kind, size)
    found = [
        OutcomeRow(label_of("bytes", kind), size, small["size"], asked, "bytes"),
        OutcomeRow(f"{kind} time", original["latency_ms"], small["latency_ms"], kind="ms"),
    ]
    if kind != "float32":
        found.insert(0, quality_row(metric, original[metric], small[metric], of=kind))
    return found
