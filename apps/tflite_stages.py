"""The stages of a run that stand above the search: .tflite files, and their measurement."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from apps.classification_files import draw_answers
from apps.model_evaluation import evaluate_tflite
from apps.segmentation_files import draw_predictions, score_segmentation
from apps.super_resolution_files import draw_triptychs, score_tflite
from export.export_model import ExportData, ExportOptions, export_model
from export.host_benchmark import HostBenchmarkConfig, benchmark
from keras_nas.data.segmentation import SegmentationData
from keras_nas.data.super_resolution_sets import SuperResolutionData
from keras_nas.loading import load_model
from keras_nas.runs.data import RunData, load_data
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.stage import RunStage
from keras_nas.tasks import Classification

FORMATS = ("float32", "dynamic_int8")
PARITY_SAMPLES = 200
MEASUREMENT = HostBenchmarkConfig(runs=200, rounds=20, profile=False, memory=False)
WINDOW = 128
"""Height and width of a super-resolution .tflite's input where the network leaves them open; less
where a held-out picture is smaller."""


class Export(RunStage):
    """Writes original.tflite, small.tflite and small_dynamic_int8.tflite, and evaluates them.

    The small network is the finetuned one where there is one, else the one surgery built. Each file
    is first compared with its Keras network on held-out data; <name>.parity.json tells how.
    """

    name = "export"

    def reads(self, folder):
        return folder.original, _small(folder)

    def writes(self, folder):
        return tuple(tflite_path(folder, name, FORMATS[0]) for name in ("original", "small"))

    def run(self, bench):
        folder = bench.folder
        run_data = load_data(bench.config)
        rows = {}
        for name, source, kinds in (
            ("original", folder.original, FORMATS[:1]),
            ("small", _small(folder), FORMATS),
        ):
            model = load_model(source)
            shape = _input_shape(model, run_data)
            options = ExportOptions(input_shape=shape, parity_samples=PARITY_SAMPLES)
            for kind in kinds:
                path = tflite_path(folder, name, kind)
                exported, _ = export_model(
                    model, path, kind, _held_out(run_data, shape), options=options
                )
                quality = _quality(path, model, run_data)
                rows[path.name] = {**quality, "size": exported.size_bytes}
        _draw_samples(model, run_data, folder)
        folder.update_results(rows=rows)


class Benchmark(RunStage):
    """Measures the run's .tflite files on this host, one thread, taking turns.

    Writes benchmark.json, the rows' `latency_ms` (medians), and `speedup`, the original's median
    over the small network's, both float32.
    """

    name = "benchmark"

    def reads(self, folder):
        return tuple(tflite_path(folder, name, FORMATS[0]) for name in ("original", "small"))

    def run(self, bench):
        folder = bench.folder
        big, small = self.reads(folder)
        quantized = tflite_path(folder, "small", "dynamic_int8")
        paths = [path for path in (big, small, quantized) if path.exists()]
        report = benchmark(paths, MEASUREMENT)
        report.save(folder.path / "benchmark.json")
        medians = {Path(r.model.path).name: float(r.median_ms or r.mean_ms) for r in report.results}
        folder.update_results(
            rows={name: {"latency_ms": median} for name, median in medians.items()},
            speedup=medians[big.name] / medians[small.name],
        )


def tflite_stages() -> list[RunStage]:
    """The stages that follow a search's, in order."""
    return [Export(), Benchmark()]


def _small(folder: RunFolder) -> Path:
    return folder.finetuned if folder.finetuned.exists() else folder.small


def _draw_samples(model: keras.Model, run_data: RunData, folder: RunFolder) -> None:
    """Draws what the small network makes of some held-out pictures."""
    original, small = (tflite_path(folder, name, FORMATS[0]) for name in ("original", "small"))
    if isinstance(run_data, SuperResolutionData):
        draw_triptychs(small, model, run_data, folder.plots)
    elif isinstance(run_data, SegmentationData):
        draw_predictions(model, run_data, folder.plots / "segmentation_predictions.png")
    else:
        files = {"original": original, "small": small}
        draw_answers(files, run_data, folder.plots / "held_out_pictures.png")


def _input_shape(model: keras.Model, run_data: RunData) -> tuple[int, ...] | None:
    if not isinstance(run_data, SuperResolutionData):
        return None
    smallest = min(min(pair.low.shape[:2]) for pair in run_data.test_pairs)
    sizes = (size or min(WINDOW, smallest) for size in model.input_shape[1:3])
    return (1, *sizes, model.input_shape[3])


def _held_out(run_data: RunData, shape: tuple[int, ...] | None) -> ExportData:
    """The task's held-out data: windows of the pictures for super-resolution."""
    if isinstance(run_data, SuperResolutionData) and shape is not None:
        size = shape[1:3]
        windows = [pair.low[: size[0], : size[1]][np.newaxis] for pair in run_data.test_pairs]
        fitting = [window for window in windows if window.shape[1:3] == size]
        unit = np.float32(run_data.value_range / 255)
        return ExportData(held_out=[window.astype(np.float32) * unit for window in fitting])
    metric = None if isinstance(run_data, SegmentationData) else "top1"
    return ExportData(held_out=run_data.test, metric=metric)


def _quality(path: Path, model: keras.Model, run_data: RunData) -> dict[str, float]:
    if isinstance(run_data, SuperResolutionData):
        return score_tflite(path, model, run_data)
    if isinstance(run_data, SegmentationData):
        return score_segmentation(path, model, run_data)
    return evaluate_tflite(path, run_data.test, task=Classification.of(model))


def tflite_path(folder: RunFolder, name: str, kind: str) -> Path:
    """Where a run's .tflite of a format stands."""
    return folder.path / (f"{name}.tflite" if kind == "float32" else f"{name}_{kind}.tflite")
