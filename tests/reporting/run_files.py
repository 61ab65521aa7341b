"""Run folders as the stages leave them, with numbers chosen by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from keras_nas.architecture import Architecture
from keras_nas.runs.config import RunConfig
from keras_nas.search.registry import default_config
from keras_nas.settings import flatten

ROWS = {
    "original": {"top1": 0.9, "top5": 0.99, "params": 1000, "macs": 20_000_000, "size": 8000},
    "gated": {"top1": 0.8},
    "pruned": {"top1": 0.8, "params": 400, "macs": 9_000_000, "size": 4000},
    "reestimated": {"top1": 0.85},
    "finetuned": {"top1": 0.89, "params": 400, "macs": 9_000_000, "size": 4000},
    "small.tflite": {"top1": 0.888, "size": 2000, "latency_ms": 0.25},
}


def write_config(path: Path, **changes) -> Path:
    """A run that has just started: config.json alone."""
    path.mkdir(parents=True, exist_ok=True)
    method = changes.get("method", "dnal")
    flat = {**flatten(RunConfig()), "run_dir": str(path)}
    settings = flatten(default_config(method))
    run = {name: changes.get(name, value) for name, value in flat.items()}
    own = {name: changes.get(name, value) for name, value in settings.items()}
    config = {
        "run": run, "settings": own, "data": f"{run['data']}: some images",
        "versions": {"tensorflow": "2.19.1"},
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    return path


def write_run(path: Path, rows=None, **changes) -> Path:
    """A finished run of DNAL with two gates, two δ, one measured file and one sample image."""
    write_config(path, **changes)
    results = {"data": "some", "rows": ROWS if rows is None else rows, "seconds": {"weights": 61.5}}
    (path / "results.json").write_text(json.dumps(results))
    gates = [
        {"stage": "architecture", "epoch": epoch, "delta": delta, "channels": 12,
         "undecided": undecided, "histogram": histogram}
        for epoch, delta, undecided, histogram in (
            (1, 100.0, 4, [4, *[0] * 9, 4, *[0] * 8, 4]), (2, 1e4, 0, [5, *[0] * 18, 7]),
        )
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in gates))
    Architecture({"a_gate": [0, 2, 3], "b_gate": [1, 4, 5, 6]}, {"a_gate": 4, "b_gate": 8}).save(
        path / "architecture.json"
    )
    measured = {
        "device": {"kind": "host", "name": "a host", "os": "Linux"},
        "runtime": {"name": "ai_edge_litert", "delegate": "xnnpack"},
        "model": {"path": "/somewhere/small.tflite"},
        "threads": 1, "median_ms": 0.25, "min_ms": 0.2, "p90_ms": 0.4, "notes": ["a remark"],
        "coverage": [
            {"accelerator": "xnnpack", "source": "LiteRT", "nodes": 9, "taken": 8, "partitions": 2,
             "left": [{"operation": "GATHER", "count": 1, "reason": "why"}]},
            {"accelerator": "nnapi", "source": "a log", "nodes": 9, "taken": 9, "partitions": None,
             "left": []},
        ],
    }  # fmt: skip
    (path / "benchmark.json").write_text(json.dumps({"results": [measured]}))
    (path / "plots").mkdir()
    imsave(path / "plots" / "my_triptych.png", np.zeros((4, 12, 3)))
    return path
