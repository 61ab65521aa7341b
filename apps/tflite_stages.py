"""The stages of a run that stand above the search: .tflite files, and their measurement."""

from __future__ import annotations

from pathlib import Path

from apps.task_files import FILES
from export.benchmark_config import HostBenchmarkConfig
from export.export_model import export_model
from export.export_options import ExportOptions
from export.host_benchmark import benchmark
from keras_nas.loading import load_model
from keras_nas.runs.data import load_data
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.stage import RunStage

FORMATS = ("float32", "dynamic_int8")
PARITY_SAMPLES = 200
MEASUREMENT = HostBenchmarkConfig(runs=200, rounds=20, profile=False, memory=False)


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
        files = FILES[run_data.task](run_data)
        rows = {}
        for name, source, kinds in (
            ("original", folder.original, FORMATS[:1]),
            ("small", _small(folder), FORMATS),
        ):
            model = load_model(source)
            shape = files.input_shape(model)
            options = ExportOptions(input_shape=shape, parity_samples=PARITY_SAMPLES)
            for kind in kinds:
                path = tflite_path(folder, name, kind)
                exported, _ = export_model(
                    model, path, kind, files.held_out(shape), options=options
                )
                rows[path.name] = {**files.quality(path, model), "size": exported.size_bytes}
        paths = {name: tflite_path(folder, name, FORMATS[0]) for name in ("original", "small")}
        files.draw(paths, model, folder.plots)
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


def tflite_path(folder: RunFolder, name: str, kind: str) -> Path:
    """Where a run's .tflite of a format stands."""
    return folder.path / (f"{name}.tflite" if kind == "float32" else f"{name}_{kind}.tflite")
