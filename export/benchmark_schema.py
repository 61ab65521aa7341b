"""The one form of benchmark results, for this host and for a phone.

A report holds one result for each model and each setting (threads, delegate). Host and Android
benchmarks fill the same dataclasses, so that tables, charts and latency tables read either.

Times are in milliseconds, sizes in bytes. What a tool does not tell (Android's `benchmark_model`
prints no samples in some versions) is `None` or an empty list, never a guess.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import statistics
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from export.accelerators.coverage import NAMES, Coverage
from keras_nas.errors import UsageError
from keras_nas.files import atomic_write_text
from keras_nas.json_files import check_json, exactly, read_json, with_optional

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Device:
    """Where a model ran. `kind` is "host" or "android"; `name` the CPU's or the phone's name."""

    kind: str
    name: str
    abi: str
    os: str
    cpu_count: int | None = None
    serial: str | None = None

    @property
    def label(self) -> str:
        """Name and ABI, as a latency table names it: "Google Pixel 8 (arm64-v8a)"."""
        return f"{self.name} ({self.abi})"


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What ran the model: e.g. ("ai_edge_litert", "2.3.0", "xnnpack").

    `delegate` is one of "none", "xnnpack", "gpu", "nnapi".
    """

    name: str
    version: str
    delegate: str


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """The measured file, known by its content."""

    path: str
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> ModelFile:
        """Reads the file at `path` and names it by its hash and size."""
        content = Path(path).read_bytes()
        return cls(str(path), hashlib.sha256(content).hexdigest(), len(content))


@dataclasses.dataclass(frozen=True)
class OpProfile:
    """One operation of the graph: its average time in a run and its share of all operations'."""

    name: str
    type: str
    avg_ms: float
    share: float


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """One model under one setting.

    `dtype` is the dtype of the model's first input and `weights_dtype` the one that most of its
    constant bytes have (a dynamic-range int8 model is float32 and int8). `samples_ms` are the
    timed runs in their order. `interleaved_with` lists the paths of the other models whose runs
    took turns with this one's: only ratios inside such a group hold on a noisy machine. `macs` are
    the file's multiply-adds, `coverage` what accelerators take of it.
    """

    device: Device
    runtime: Runtime
    model: ModelFile
    input_shapes: list[list[int]]
    dtype: str
    threads: int
    warmup: int
    runs: int
    mean_ms: float
    min_ms: float | None = None
    median_ms: float | None = None
    p90_ms: float | None = None
    samples_ms: list[float] = dataclasses.field(default_factory=list)
    weights_dtype: str | None = None
    init_ms: float | None = None
    peak_memory_bytes: int | None = None
    profile: list[OpProfile] = dataclasses.field(default_factory=list)
    interleaved_with: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    macs: int | None = None
    coverage: list[Coverage] = dataclasses.field(default_factory=list)

    @property
    def central_ms(self) -> float:
        """The median, or the mean where the tool tells no median."""
        return self.mean_ms if self.median_ms is None else self.median_ms


@dataclasses.dataclass(frozen=True)
class BenchmarkFailure:
    """A model that could not be measured, and why; the other models' results stand."""

    model: str
    message: str


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """What one benchmark command measured.

    Example:
        report = BenchmarkReport([result])
        report.save("benchmark.json")
        BenchmarkReport.load("benchmark.json").results[0].median_ms
    """

    results: list[BenchmarkResult]
    failures: list[BenchmarkFailure] = dataclasses.field(default_factory=list)
    created: str = dataclasses.field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds")
    )
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain JSON types, checked against `JSON_SCHEMA`."""
        content = dataclasses.asdict(self)
        check_json(content, JSON_SCHEMA, "benchmark report")
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> BenchmarkReport:
        """Builds a report from what `to_dict` returned.

        Raises:
            KerasNasError: `content` is not a benchmark report of this schema.
        """
        check_json(content, JSON_SCHEMA, "benchmark report")
        return cls._from(content)

    @classmethod
    def _from(cls, content: dict[str, Any]) -> BenchmarkReport:
        return cls(
            results=[_result_from_dict(result) for result in content["results"]],
            failures=[BenchmarkFailure(**failure) for failure in content["failures"]],
            created=content["created"],
            schema_version=content["schema_version"],
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as JSON, at once or not at all."""
        atomic_write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BenchmarkReport:
        """Reads a report that `save` wrote.

        Raises:
            KerasNasError: The file is no JSON, or no report of this schema.
        """
        return cls._from(read_json(path, JSON_SCHEMA, "benchmark report"))


def summarise(samples_ms: Sequence[float]) -> dict[str, float]:
    """Returns mean_ms, min_ms, median_ms and p90_ms of timed runs.

    The 90th percentile is interpolated linearly between the two nearest samples.
    """
    if not samples_ms:
        raise UsageError("`samples_ms` must hold one timed run or more. Received: samples_ms=[]")
    ordered = sorted(samples_ms)
    position = 0.9 * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    p90 = ordered[below] + (position - below) * (ordered[above] - ordered[below])
    return {
        "mean_ms": statistics.fmean(ordered),
        "min_ms": ordered[0],
        "median_ms": statistics.median(ordered),
        "p90_ms": p90,
    }


def _result_from_dict(content: dict[str, Any]) -> BenchmarkResult:
    return BenchmarkResult(
        **{
            **content,
            "device": Device(**content["device"]),
            "runtime": Runtime(**content["runtime"]),
            "model": ModelFile(**content["model"]),
            "profile": [OpProfile(**op) for op in content["profile"]],
            "coverage": [Coverage.from_dict(one) for one in content.get("coverage", [])],
        }
    )


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_POSITIVE = {"type": "integer", "minimum": 1}
_TIME = {"type": "number", "minimum": 0}
_COVERAGE = exactly(
    accelerator={"enum": list(NAMES)},
    source=_TEXT,
    nodes=_COUNT,
    taken=_COUNT,
    partitions=_optional(_COUNT),
    left=_list(exactly(operation=_TEXT, count=_POSITIVE, reason=_TEXT)),
)

JSON_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "keras_nas benchmark report",
    **exactly(
        schema_version={"const": SCHEMA_VERSION},
        created=_TEXT,
        failures=_list(exactly(model=_TEXT, message=_TEXT)),
        results=_list(
            with_optional(
                exactly(
                    device=exactly(
                        kind={"enum": ["host", "android"]},
                        name=_TEXT,
                        abi=_TEXT,
                        os=_TEXT,
                        cpu_count=_optional(_POSITIVE),
                        serial=_optional(_TEXT),
                    ),
                    runtime=exactly(
                        name=_TEXT,
                        version=_TEXT,
                        delegate={"enum": ["none", "xnnpack", "gpu", "nnapi"]},
                    ),
                    model=exactly(
                        path=_TEXT,
                        sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
                        size_bytes=_COUNT,
                    ),
                    input_shapes=_list(_list(_COUNT)),
                    dtype=_TEXT,
                    weights_dtype=_optional(_TEXT),
                    threads=_POSITIVE,
                    warmup=_COUNT,
                    runs=_POSITIVE,
                    mean_ms=_TIME,
                    min_ms=_optional(_TIME),
                    median_ms=_optional(_TIME),
                    p90_ms=_optional(_TIME),
                    samples_ms=_list(_TIME),
                    init_ms=_optional(_TIME),
                    peak_memory_bytes=_optional(_COUNT),
                    profile=_list(
                        exactly(
                            name=_TEXT,
                            type=_TEXT,
                            avg_ms=_TIME,
                            share={"type": "number", "minimum": 0, "maximum": 1},
                        )
                    ),
                    interleaved_with=_list(_TEXT),
                    notes=_list(_TEXT),
                ),
                macs=_optional(_COUNT),
                coverage=_list(_COVERAGE),
            )
        ),
    ),
}
