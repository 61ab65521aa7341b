"""`compress`: from a trained network, its data and a budget to the small network, in memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import keras

from keras_nas.architecture import Architecture
from keras_nas.compression.checks import check_alike, check_is_less, check_kinds, check_model
from keras_nas.compression.config import CompressConfig, with_budget
from keras_nas.compression.data_checks import batches_of, blamed_on_data, counting_shape
from keras_nas.compression.outcome import Outcome, outcome_of
from keras_nas.compression.plan import CompressPlan, check_trained, make_plan
from keras_nas.search.method import Records, search
from keras_nas.search.registry import make_method
from keras_nas.tasks import Classification, Task
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.progress import make_progress
from keras_nas.training.session import Session


@dataclasses.dataclass(frozen=True)
class Compressed:
    """The outcome of a compression.

    Attributes:
        small: The finetuned small network, of stock layers.
        architecture: What is kept, with the costs before and after.
        history: One record an epoch of each stage, as `SearchResult.history`.
        before, after: Loss and metrics on the held-out data.
        plan: What was done, and why.
        outcome: What was asked for and what was reached; printing it gives a table.
    """

    small: keras.Model
    architecture: Architecture
    history: Records
    before: dict[str, float]
    after: dict[str, float]
    plan: CompressPlan
    outcome: Outcome


def compress(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    budget: Mapping[str, float | str] | None = None,
    config: CompressConfig | None = None,
    batch_size: int = 64,
    task: Task | None = None,
    session: Session | None = None,
) -> Compressed:
    """Makes a trained network fit a budget: search, surgery and finetuning by the recipe's rules.

    `model` is not changed. What will be done, why, and how long that takes is said before it
    starts.

    Example:

    ```python
    result = keras_nas.compress(
        model, (x_train, y_train), (x_test, y_test), budget={"macs": "0.5x"}
    )
    print(result.outcome)
    result.small.save("small.keras")
    ```

    Args:
        model: A trained functional or Sequential model; of several inputs with a dataset only.
        train: What it was trained on: arrays `(x, y)`, a `tf.data.Dataset` of batches, a
            `keras.utils.PyDataset`, or what `keras_nas.data.load` gives as `train`; labels sparse
            or one-hot. See `keras_nas.data.as_batches`.
        validation: The same, held out: the network is judged on it before and after, and after
            each epoch. None: on the training data.
        budget: What the small network may cost, by the cost's name: "macs", "flops", "params",
            "latency_ms", "bytes" (of its .tflite) and "ram" (of its activations' arena), one or
            several: a number, a share of the full network's as "0.5x", or of a format as in
            "int8:200k". Of a model whose input's size is open, at the size of the first batch.
        config: Further settings; the budget may stand there instead.
        batch_size: Examples a batch, of arrays.
        task: Loss and metrics, whatever the model was compiled with; by default classification by
            the model's output.
        session: Where to write, resuming, progress; by default nothing is written.

    Raises:
        UsageError: The budget is none, out of reach, or kept to already; an argument is of another
            kind; the data does not fit the model.
        KerasNasError: The network is not trained or cannot be gated, the data is empty or holds NaN
            or infinity, or as in `run_stage`.
    """
    config = with_budget(config, budget)
    config.check_budget()
    config.check_targets()
    check_model(model)
    check_kinds(batch_size, task, session)
    session = session or Session()
    task = task or Classification.of(model)
    train = batches_of("train", train, model, task, batch_size, shuffle=True)
    if validation is not None:
        validation = batches_of("validation", validation, model, task, batch_size)
    shape = counting_shape(model, train)
    check_is_less(model, config, shape)
    held_out = train if validation is None else validation
    with blamed_on_data(model, task, {"train": train, "validation": validation}):
        began = time.monotonic()
        before = Evaluator(model, task, held_out)()
        constant = check_trained(model, before, task, held_out)
        if validation is not None:
            check_alike(model, task, train, before, constant)
        plan = make_plan(
            model, config, task, train, before, constant, validation=validation,
            shape=shape, reserved=time.monotonic() - began,
        )  # fmt: skip
        progress = make_progress(session.progress)
        progress.say(f"As it is: {_shown(before, task)} on the held-out data.")
        for line in plan.lines():
            progress.say(line)
        result = search(
            make_method(plan.recipe.method, plan.recipe.settings), model, train,
            validation_data=validation, task=task, session=session,
        )  # fmt: skip
        after = Evaluator(result.small, task, held_out)()
    outcome = outcome_of(config, model, result.small, before, after, shape)
    return Compressed(
        result.small, result.architecture, result.history, before, after, plan, outcome
    )


def _shown(values: Mapping[str, float], task: Task) -> str:
    return f"{task.monitor} {values[task.monitor]:.4g}"
