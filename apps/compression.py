"""Compressing a model's file in a folder: the plan, the run that it makes, and the outcome."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from apps.compress_config import CompressAppConfig
from apps.compress_data import load_for
from apps.compress_latency import check_table, seconds_on_phone, with_table
from apps.compress_outcome import outcome_of_run
from apps.tflite_stages import tflite_stages
from keras_nas.compression.outcome import Outcome
from keras_nas.compression.plan import check_trained, make_plan, shown_seconds
from keras_nas.errors import UsageError
from keras_nas.loading import load_model
from keras_nas.reporting.html_report import write_html_report
from keras_nas.reporting.plots import draw_run
from keras_nas.runs.config import RunConfig, load_config
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.run import run
from keras_nas.tasks import make_task
from keras_nas.training.progress import make_progress

SHIPPING = 15.0
"""Seconds of a .tflite besides its evaluation: conversion, comparison, measurement."""
ONE_BY_ONE = 2
"""How many times longer a .tflite takes for the test pictures than the network in batches."""
EVALUATIONS = 4
"""How often a run evaluates a network on the test pictures after it is planned."""


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
    phone = config.phone_settings if config.phone else None
    run(run_config, settings, tflite_stages(formats, config.budget, phone))
    budget = dataclasses.replace(config.budget, latency_table=settings.latency_table)
    shape = getattr(settings, "resource_shape", ())
    outcome = outcome_of_run(budget, config.written, folder, shape)
    folder.update_results(outcome=outcome.record())
    draw_run(folder)
    page = write_html_report([config.output], folder.path / "report.html")
    say(f"Took {shown_seconds(time.monotonic() - began)}.")
    return outcome, page


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
    if settings.latency_table:
        check_table(config, settings.latency_table)
    return run_config, settings


def _planned(config: CompressAppConfig, say: Any) -> tuple[RunConfig, Any]:
    """The run that the recipe makes of what is asked for, which is said."""
    model = load_model(config.model)
    began = time.monotonic()
    run_config, data, before, seconds = load_for(config, model, say)
    task = make_task(data, model)
    say(data.describe())
    say(f"{config.model}: {task.monitor} {before[task.monitor]:.4g} on the test pictures.")
    constant = check_trained(model, before, task, data.test)
    shape = data.counting_shape(tuple(model.inputs[0].shape)[1:]) or ()
    reserved = seconds_besides_training(config, seconds)
    limit = 60 * config.budget.minutes or float("inf")
    left = limit - reserved - (time.monotonic() - began)
    budget = with_table(config, model, shape, left, say)
    plan = make_plan(
        model, budget, task, data.train, before, constant, validation=data.validation,
        shape=shape, reserved=reserved + time.monotonic() - began,
    )  # fmt: skip
    asked = ", ".join(f"{name}={value}" for name, value in budget.targets.items())
    say(f"Asked: {asked}.")
    for line in plan.lines():
        say(line)
    say(f"Evaluating, writing and measuring the files: up to {shown_seconds(reserved)} more.")
    return dataclasses.replace(run_config, method=plan.recipe.method), plan.recipe.settings


def seconds_besides_training(config: CompressAppConfig, evaluation: float) -> float:
    """What evaluating the networks, and writing and measuring their files, takes of a limit.

    Args:
        config: What is asked for.
        evaluation: Seconds that the original's evaluation on the test pictures took.
    """
    files = 2 * len(config.written)
    shipping = files * (SHIPPING + ONE_BY_ONE * evaluation)
    return EVALUATIONS * evaluation + shipping + seconds_on_phone(config)
