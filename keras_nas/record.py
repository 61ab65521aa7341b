"""The record of a search, as data and as JSON: what is kept, how it was found, what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from keras_nas.files import atomic_write_text
from keras_nas.json_files import read_json

SCHEMA_VERSION = 1
Record = TypeVar("Record", bound="ArchitectureRecord")

_NAMES_TO_INTEGERS = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 0}},
}
_COSTS = {"type": "object", "additionalProperties": {"type": "number"}}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "keras_nas Architecture",
    "type": "object",
    "additionalProperties": False,
    "required": ["schema_version", "kept_channels", "channels"],
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "method": {"type": ["string", "null"]},
        "model": {
            "type": ["object", "null"],
            "properties": {
                "builder": {"type": "string"},
                "config": {"type": "object"},
                "path": {"type": "string"},
            },
            "additionalProperties": False,
        },
        "settings": {"type": "object"},
        "seed": {"type": ["integer", "null"]},
        "kept_channels": _NAMES_TO_INTEGERS,
        "channels": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
        "kept_operations": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "kernel_sizes": _NAMES_TO_INTEGERS,
        "kept_edges": {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": 0},
        },
        "costs": {"type": "object", "properties": {"before": _COSTS, "after": _COSTS}},
        "versions": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


@dataclass(frozen=True)
class ArchitectureRecord:
    """What a search decided, as data: what `keras_nas.surgery.build` reads, kept as JSON.

    Attributes:
        kept_channels: For each gate by name, the channels that stay, ascending.
        channels: For each gate by name, how many channels there were.
        kept_operations: For each mixed layer by name, the operations that stay.
        kept_edges: For each scaled edge by name, its scale λ; 0 removes the edge.
        method: The search, such as `"dnal"`; `None` for masks set by hand.
        model: Where the model comes from: `{"builder": name, "config": {…}}` for
            `keras_nas.models.create`, `{"path": file}` for a saved one, or `None`.
        settings: The search's configuration.
        seed: The seed that fixed the search.
        costs: `{"before": {…}, "after": {…}}` with macs, flops, params and memory (bytes) of the
            gated model without its gates and of the small one; empty where sizes are open.
        versions: Of Python, TensorFlow, Keras and keras_nas.
        kernel_sizes: For each mixed layer that `keras_nas.gates.widen` made, by name, the kernel
            size of its operations called original, such as `[3, 3]`; the others' names tell theirs.
    """

    kept_channels: Mapping[str, list[int]]
    channels: Mapping[str, int]
    kept_operations: Mapping[str, list[str]] = field(default_factory=dict)
    kept_edges: Mapping[str, float] = field(default_factory=dict)
    method: str | None = None
    model: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    kernel_sizes: Mapping[str, list[int]] = field(default_factory=dict)

    def kept_share(self) -> float:
        """Kept channels over all gated channels."""
        kept = sum(len(channels) for channels in self.kept_channels.values())
        return kept / max(sum(self.channels.values()), 1)

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=1) + "\n"

    def save(self, path: str | Path):
        """Writes the record as JSON; an older file is replaced at once or not at all."""
        atomic_write_text(path, self.to_json())

    @classmethod
    def load(cls: type[Record], path: str | Path) -> Record:
        """Reads a record written by `save`.

        Raises:
            KerasNasError: If the file is missing, is not JSON, or does not fit the schema.
        """
        record = read_json(path, SCHEMA, "architecture")
        del record["schema_version"]
        return cls(**record)
