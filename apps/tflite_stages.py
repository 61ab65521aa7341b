"""The stages of a run that stand above the search: .tflite files, and their measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from apps.task_files import FILES
from apps.tflite_metadata import describe_file
from export.accelerators.splitting import splitting
from export.android.adb import AdbError
from export.android.benchmark import benchmark as benchmark_on_phone
from export.android.benchmark_config import AndroidBenchmarkConfig
from export.benchmark_config import HostBenchmarkConfig
from export.export_model import export_model
from export.export_options import NEED_DATA, ExportOptions
from export.host_benchmark import benchmark
from keras_nas.architecture import Architecture
from keras_nas.compression.config import CompressConfig
from keras_nas.errors import KerasNasError
from keras_nas.loading import load_model
from keras_nas.runs.data import load_data
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.stage import RunStage

FLOAT = "float32"
Formats = Mapping[str, Sequence[str]]
SEARCHED: Formats = {"original": (FLOAT,), "small": (FLOAT, "dynamic_int8")}
"""What a search writes."""
PARITY_SAMPLES = 200
MEASUREMENT = HostBenchmarkConfig(runs=200, rounds=20, profile=False, memory=False)


class Export(RunStage):
    """Writes original.tflite, small.tflite, small_<format>.tflite and so on, and evaluates them.

    The small network is the finetuned one where there is one, else the one surgery built. Each file
    is first compared with its Keras network on held-out data; <name>.parity.json tells how.

    Args:
        formats: By the network's name, "original" or "small", those of `export.tflite.FORMATS`;
            float32 among them.
        budget: What the small network's files must stay within once they say what they are (class
            names, pixels, costs), or else say nothing; None: they say nothing.
    """

    name = "export"

    def __init__(self, formats: Formats, budget: CompressConfig | None = None):
        self.formats = formats
        self.budget = budget

    def reads(self, folder):
        return folder.original, _small(folder)

    def writes(self, folder):
        return tuple(tflite_path(folder, name, FLOAT) for name in self.formats)

    def run(self, bench):
        folder = bench.folder
        run_data = load_data(dataclasses.replace(bench.config, augment=False, cutout=0))
        files = FILES[run_data.task](run_data)
        rows = {}
        sources = {"original": folder.original, "small": _small(folder)}
        for name, kinds in self.formats.items():
            model = load_model(sources[name])
            shape = files.input_shape(model)
            options = ExportOptions(input_shape=shape, parity_samples=PARITY_SAMPLES)
            for kind in kinds:
                path = tflite_path(folder, name, kind)
                data = files.held_out(shape)
                if kind in NEED_DATA:
                    data = dataclasses.replace(data, train=files.ranges(shape))
                export_model(model, path, kind, data, options=options)
                if self.budget is not None and name == "small":
                    full = tflite_path(folder, "original", kind).stat().st_size
                    asked = self.budget.asked_of("bytes", kind, full)
                    describe_file(path, files, model, Architecture.load(folder.architecture), asked)
                rows[path.name] = {**files.quality(path, model), "size": path.stat().st_size}
        paths = {name: tflite_path(folder, name, FLOAT) for name in ("original", "small")}
        files.draw(paths, model, folder.plots)
        folder.update_results(rows=rows)


class Benchmark(RunStage):
    """Measures the run's .tflite files on this host, one thread, taking turns.

    Writes benchmark.json, the rows' `latency_ms` (medians), `host`, the machine, `speedup`, the
    original's median over the small network's, both float32, and `splitting`, what is cut in more
    partitions than it.

    Args:
        formats: As in `Export`.
    """

    name = "benchmark"

    def __init__(self, formats: Formats):
        self.formats = formats

    def reads(self, folder):
        return tuple(tflite_path(folder, name, FLOAT) for name in ("original", "small"))

    def run(self, bench):
        folder = bench.folder
        big, small = self.reads(folder)
        report = benchmark(_written(folder, self.formats), MEASUREMENT)
        report.save(folder.path / "benchmark.json")
        medians = {Path(r.model.path).name: r.central_ms for r in report.results}
        folder.update_results(
            rows={name: {"latency_ms": median} for name, median in medians.items()},
            host=report.results[0].device.label,
            speedup=medians[big.name] / medians[small.name],
            splitting=[
                f"{Path(result.model.path).name}: {line}"
                for result in report.results
                for line in splitting(result, report.results)
            ],
        )


class BenchmarkOnPhone(RunStage):
    """Measures the run's .tflite files on the attached phone, one thread, taking turns.

    It belongs to stage "benchmark". Writes benchmark_phone.json, the rows' `phone_ms` (medians),
    and `phone`, the phone's name as latency tables have it.

    Args:
        formats: As in `Export`.
        phone: Which phone, and how.
    """

    name = "benchmark"

    def __init__(self, formats: Formats, phone: AndroidBenchmarkConfig):
        self.formats = formats
        self.phone = phone

    def reads(self, folder):
        return tuple(tflite_path(folder, name, FLOAT) for name in ("original", "small"))

    def run(self, bench):
        folder = bench.folder
        asked = dataclasses.replace(
            self.phone,
            models=tuple(map(str, _written(folder, self.formats))),
            output=str(folder.path / "benchmark_phone.json"),
        )
        try:
            report = benchmark_on_phone(asked)
        except AdbError as error:
            raise KerasNasError(f"{error} {self._advice(folder)}") from error
        if report.failures:
            failed = "; ".join(f"{f.model}: {f.message}" for f in report.failures)
            raise KerasNasError(f"{failed} {self._advice(folder)}")
        folder.update_results(
            rows={Path(r.model.path).name: {"phone_ms": r.central_ms} for r in report.results},
            phone=report.results[0].device.label,
        )

    def _advice(self, folder):
        return f"All else is in {folder.path}; `--resume` measures there again."


def tflite_stages(
    formats: Formats = SEARCHED,
    budget: CompressConfig | None = None,
    phone: AndroidBenchmarkConfig | None = None,
) -> list[RunStage]:
    """The stages that follow a search's, in order.

    Args:
        formats, budget: As in `Export`.
        phone: The phone to measure on, besides this host; None for none.
    """
    stages: list[RunStage] = [Export(formats, budget), Benchmark(formats)]
    return [*stages, BenchmarkOnPhone(formats, phone)] if phone else stages


def _written(folder: RunFolder, formats: Formats) -> list[Path]:
    """The files of these formats that there are."""
    every = [tflite_path(folder, name, kind) for name, kinds in formats.items() for kind in kinds]
    return [path for path in every if path.exists()]


def _small(folder: RunFolder) -> Path:
    return folder.finetuned if folder.finetuned.exists() else folder.small


def tflite_path(folder: RunFolder, name: str, kind: str) -> Path:
    """Where a run's .tflite of a format stands."""
    return folder.path / (f"{name}.tflite" if kind == "float32" else f"{name}_{kind}.tflite")
