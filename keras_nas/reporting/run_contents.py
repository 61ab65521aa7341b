"""What a run's folder holds for its reader, read once and checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError
from keras_nas.json_files import OBJECT, read_json
from keras_nas.runs.config import read_config
from keras_nas.runs.folder import RunFolder
from keras_nas.training.records import read_records

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".svg")


@dataclasses.dataclass(frozen=True)
class RunContents:
    """A run as files tell it; what no stage has written yet is empty or None.

    Attributes:
        folder: The run's folder.
        config: config.json: `run` and `settings` by flat name, `versions`.
        results: results.json: `rows` by network, `seconds` by stage.
        records: metrics.jsonl, one mapping an epoch.
        architecture: architecture.json.
        benchmarks: The measurements of benchmark*.json, one mapping a model and device.
        images: Images in plots/ and in the folder itself, by name.
    """

    folder: RunFolder
    config: dict[str, Any]
    results: dict[str, Any]
    records: list[dict[str, Any]]
    architecture: Architecture | None
    benchmarks: list[dict[str, Any]]
    images: list[Path]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.path.resolve().name

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The networks of the run by name, each with its metrics and costs."""
        return self.results.get("rows", {})

    def setting(self, name: str) -> Any:
        """A setting of the run or its method by flat name; None where it has none."""
        return {**self.config["run"], **self.config["settings"]}.get(name)


def read_run(path: str | Path) -> RunContents:
    """Reads a run's folder.

    Raises:
        KerasNasError: If it is not the folder of a run, or a file in it is damaged.
    """
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise KerasNasError(f"{path} is not a folder: give the folder of a run (--run_dir).")
    config = read_config(path)
    return RunContents(
        folder=folder,
        config=config,
        results=folder.read_results(),
        records=_records(folder.metrics),
        architecture=(
            Architecture.load(folder.architecture) if folder.architecture.exists() else None
        ),
        benchmarks=_benchmarks(folder.path),
        images=_images(folder),
    )


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        return read_records(path)
    except ValueError as error:
        raise KerasNasError(f"A line of {path} is not JSON: {error}.") from error


def _benchmarks(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in sorted(path.glob("benchmark*.json")):
        found += read_json(file, OBJECT, "benchmark report").get("results", [])
    return found


def _images(folder: RunFolder) -> list[Path]:
    candidates = [*folder.plots.rglob("*"), *folder.path.glob("*")]
    return sorted(
        path for path in candidates if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES
    )
