"""The files of a run: where its stages meet."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_nas.errors import KerasNasError
from keras_nas.files import atomic_path, atomic_write_text
from keras_nas.json_files import OBJECT, read_json

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run's folder, and the names of what stands in it.

    | file                 | written by     | holds                                            |
    | -------------------- | -------------- | ------------------------------------------------ |
    | config.json          | the start      | every setting, versions, a line about the data   |
    | checkpoint/<stage>/  | each stage     | what is needed to resume                         |
    | metrics.jsonl        | each stage     | one record an epoch                              |
    | original.keras       | weights        | the trained network without gates                |
    | baseline.keras       | baseline       | the network without gates, trained by itself     |
    | supernet.keras       | weights, gates | the gated network                                |
    | architecture.json    | gates          | what is kept, and the costs                      |
    | small.keras          | surgery        | the small network                                |
    | finetuned.keras      | finetune       | the same, finetuned                              |
    | *.tflite             | export         |                                                  |
    | results.json         | every stage    | accuracy, costs, sizes, latencies                |
    | plots/               | the apps       | images                                         |

    Args:
        path: The folder; it need not exist.
    """

    path: Path

    def __post_init__(self):
        object.__setattr__(self, "path", Path(self.path))

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def original(self) -> Path:
        return self.path / "original.keras"

    @property
    def baseline(self) -> Path:
        return self.path / "baseline.keras"

    @property
    def supernet(self) -> Path:
        return self.path / "supernet.keras"

    @property
    def architecture(self) -> Path:
        return self.path / "architecture.json"

    @property
    def small(self) -> Path:
        return self.path / "small.keras"

    @property
    def finetuned(self) -> Path:
        return self.path / "finetuned.keras"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def save_model(self, path: Path, model: keras.Model) -> None:
        """Saves a model in one step: a reader finds the old file or the new one."""
        with atomic_path(path) as temporary:
            model.save(temporary)

    def load_model(self, path: Path, stage: str) -> keras.Model:
        """Loads a model of the run; raises as `keras_nas.loading.load_model`.

        Args:
            path: One of the folder's models.
            stage: The stage that writes it, for the message.

        Raises:
            KerasNasError: If it is not there.
        """
        self.require(path, stage)
        from keras_nas.loading import load_model

        return load_model(path)

    def require(self, path: Path, stage: str) -> None:
        """Raises `KerasNasError` if a file that another stage writes is not there."""
        if not path.exists():
            raise KerasNasError(
                f"{path} does not exist: run the stage '{stage}' first (--stages={stage})."
            )

    def forget(self) -> None:
        """Removes the numbers of an earlier run, so that they cannot stand beside a new one's."""
        for path in (self.results, self.metrics):
            path.unlink(missing_ok=True)

    def read_results(self) -> dict[str, Any]:
        """The content of results.json; empty if there is none yet."""
        if not self.results.exists():
            return {}
        return read_json(self.results, OBJECT, "results.json of a run")

    def update_results(self, **changes: Any) -> dict[str, Any]:
        """Puts values into results.json; mappings are merged, other values replaced.

        Returns:
            The new content.
        """
        content = _merged(self.read_results(), changes)
        atomic_write_text(self.results, json.dumps(content, indent=2) + "\n")
        return content


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            value = _merged(merged[name], value)
        merged[name] = value
    return merged
