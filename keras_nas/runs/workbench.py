"""What the stages of a run share: its settings, method, folder and data, and how rows are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from keras_nas import costs
from keras_nas.architecture import Architecture
from keras_nas.runs.config import RunConfig, deciding_settings
from keras_nas.runs.data import load_data
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.network import model_source
from keras_nas.runs.preflight import check_fits
from keras_nas.search.method import Context, Method, check_result
from keras_nas.tasks import make_task
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.loop import worker_index
from keras_nas.training.records import read_records
from keras_nas.training.session import Session


class Workbench:
    """What the stages of a run work with.

    Args:
        config: The run's settings.
        method: The search method, with its own.

    Attributes:
        folder: The run's folder, of this host.
        session: For the method's stages.
        data: The data, with the batches of the stage that was entered last.
    """

    def __init__(self, config: RunConfig, method: Method):
        self.config = config
        self.method = method
        worker = worker_index()
        self.folder = RunFolder(Path(config.run_dir, f"worker{worker}" if worker else "."))
        self.session = Session(
            directory=Path(config.run_dir),
            settings=deciding_settings(config, method.config),
            **vars(config.session),
        )
        self._stage = ""

    def load(self) -> None:
        """Loads the data, before any stage is entered."""
        self.data = load_data(self.config, self.method.config)

    def enter(self, stage: str) -> None:
        """Loads the data again where the stage's batches or cutout are not those at hand."""
        config = self.config
        if any(of(stage) != of(self._stage) for of in (config.batch_size_of, config.cutout_of)):
            self.data = load_data(config, self.method.config, stage)
        self._stage = stage

    @property
    def source(self) -> dict[str, Any]:
        """Where the untrained network comes from."""
        return model_source(self.config, self.data)

    def context(self, model: keras.Model, teacher: keras.Model | None = None) -> Context:
        """What the method trains a network on; refuses one that does not fit the data."""
        check_fits(model, self.data, self.config.data)
        task = make_task(self.data, model, self.config.label_smoothing)
        return Context(
            task, self.data.train, self.data.validation, self.data.structure, self.session, teacher
        )

    def record(self, row: str, model: keras.Model, path: Path) -> None:
        """Saves a model and puts its row into results.json."""
        self.folder.save_model(path, model)
        counted = costs.count(model, self.data.counting_shape(tuple(model.inputs[0].shape)[1:]))
        values = {
            **self.evaluate(model),
            "params": counted.params,
            "macs": counted.macs,
            "flops": counted.flops,
            "file": path.name,
            "size": path.stat().st_size,
        }
        self.folder.update_results(rows={row: values})

    def evaluate(self, model: keras.Model) -> dict[str, float]:
        """Loss and metrics of a network on the test set."""
        return Evaluator(model, make_task(self.data, model), self.data.test)()

    def check_result(self, supernet: keras.Model, architecture: Architecture) -> None:
        """Refuses a dead network, once all that was found is written.

        Raises:
            DeadNetworkError: It is no better than a constant.
        """
        context = self.context(supernet)
        value = self.folder.read_results().get("rows", {}).get("gated", {})
        check_result(
            self.method, supernet, architecture, context, self.data.test,
            value.get(context.task.monitor), read_records(self.folder.metrics),
        )  # fmt: skip
