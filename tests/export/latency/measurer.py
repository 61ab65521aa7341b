"""What measures latency points in tests, without running anything."""

from __future__ import annotations

from export import flatbuffer
from export.benchmark_schema import (
    BenchmarkFailure,
    BenchmarkReport,
    BenchmarkResult,
    Device,
    ModelFile,
    Runtime,
)


class Measurer:
    """Measures a median of 1 ms for each operation in a file, and keeps what it was asked."""

    def __init__(self, device: str = "a host", stop_after: int | None = None) -> None:
        self.calls: list[list[tuple[int, ...]]] = []
        self.device = device
        self.stop_after = stop_after
        self.broken: set[tuple[int, ...]] = set()

    def __call__(self, paths, threads):
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        graphs = [flatbuffer.read_file(path).subgraphs[0] for path in paths]
        shapes = [tuple(graph.tensors[graph.operators[0].inputs[1]].shape) for graph in graphs]
        self.calls.append(shapes)
        results = [
            BenchmarkResult(
                Device("host", self.device, "x86_64", "an OS"),
                Runtime("a runtime", "1", "xnnpack"),
                ModelFile.of(path),
                [[1]],
                "float32",
                threads,
                1,
                1,
                mean_ms=9.0,
                min_ms=0.5 * len(graph.operators),
                median_ms=1.0 * len(graph.operators),
                samples_ms=[each * len(graph.operators) for each in (0.5, 0.75, 1.0, 1.5, 41.25)],
            )
            for path, graph, shape in zip(paths, graphs, shapes, strict=True)
            if shape not in self.broken
        ]
        measured = {result.model.path for result in results}
        failures = [BenchmarkFailure(path, "no") for path in paths if path not in measured]
        return BenchmarkReport(results, failures)
