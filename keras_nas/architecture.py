"""The architecture of a gated model: what its gates keep, and what that costs."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas import gates, surgery
from keras_nas.costs import AlignPrices, arena_bytes, count, tflite_bytes
from keras_nas.costs.costs import Costs
from keras_nas.errors import KerasNasError
from keras_nas.gates.mixed import ORIGINAL
from keras_nas.layers import Gate, ScaledEdge, STEGate
from keras_nas.record import ArchitectureRecord
from keras_nas.version import __version__


class Architecture(ArchitectureRecord):
    """The record of what a search decided, which can be read off a gated model.

    Its attributes, and how it is saved and loaded, are those of `ArchitectureRecord`.
    """

    @classmethod
    def from_gates(
        cls,
        model: keras.Model,
        *,
        method: str | None = None,
        source: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int | None = None,
        round_to: int = 1,
        round_streams: bool = True,
        align: str = "auto",
        prices: AlignPrices | None = None,
        formats: Iterable[str] = (),
        arenas: Iterable[str] = (),
    ) -> Architecture:
        """Reads what a gated model keeps: the hard mask of each gate, all of one that is off.

        Args:
            model: A gated functional model.
            method, settings, seed: Recorded as they are.
            source: Where the model comes from; see the attribute `model`.
            round_to: Each gate that keeps a channel at all keeps the multiple of this that is
                nearest to its number (at least one multiple, at most all), chosen by the gate's own
                order. Where that changes a mask, `keras_nas.gates.apply` brings the gated model to
                the architecture, and surgery then equals it.
            round_streams: Whether `round_to` holds for what is left where the channels of several
                gates meet, rather than for each gate by itself; see `surgery.Rounding`.
            align, prices: How surgery will align joins, as in `surgery.build`; it decides the costs
                recorded.
            formats, arenas: The formats of which a .tflite's bytes (`"int8_bytes"`), and the dtypes
                of which its activations' arena (`"int8_ram"`), are among the costs.

        Raises:
            KerasNasError: If the model has no gates or cannot be read, or `round_to` is below 1.
        """
        found = gates.find(model)
        if not found:
            raise KerasNasError(
                f"Model '{model.name}' has no gates: insert them with keras_nas.gates.insert first."
            )
        edges = [gate for gate in found if isinstance(gate, ScaledEdge)]
        by_channel = [gate for gate in found if not isinstance(gate, ScaledEdge)]
        masks = surgery.Rounding(model, round_to, round_streams, align, prices).masks()
        bare = cls(
            kept_channels={name: np.flatnonzero(mask).tolist() for name, mask in masks.items()},
            channels={gate.name: gate.channels for gate in by_channel},
            kept_edges={
                gate.name: 1.0 if gate.mode == "off" else float(gate.scale_vector(gate.mask())[0])
                for gate in edges
            },
        )
        return dataclasses.replace(
            bare,
            kept_operations=_kept_operations(by_channel, bare.kept_channels),
            kernel_sizes=_kernel_sizes(model, by_channel),
            method=method,
            model=None if source is None else dict(source),
            settings=dict(settings or {}),
            seed=seed,
            costs=_costs(model, bare, align, prices, tuple(formats), tuple(arenas)),
            versions=_versions(),
        )


def _kept_operations(
    found: list[Gate], kept_channels: Mapping[str, list[int]]
) -> dict[str, list[str]]:
    """For each mixed layer, the operations that keep a channel or more."""
    kept: dict[str, list[str]] = {}
    for gate in found:
        if isinstance(gate, STEGate) and gate.mixed_layer and gate.operation:
            operations = kept.setdefault(gate.mixed_layer, [])
            if kept_channels[gate.name]:
                operations.append(gate.operation)
    return kept


def _kernel_sizes(model: keras.Model, found: list[Gate]) -> dict[str, list[int]]:
    """The kernel sizes of the convolutions that mixed layers had before they were widened."""
    layers = {layer.name: layer for layer in model.layers}
    widened = dict.fromkeys(
        gate.mixed_layer
        for gate in found
        if isinstance(gate, STEGate) and gate.mixed_layer in layers and gate.operation
        if gate.operation.partition("_")[0] == ORIGINAL
    )
    sizes = {name: getattr(layers[name], "kernel_size", None) for name in widened if name}
    return {name: list(size) for name, size in sizes.items() if size}


def _costs(
    model: keras.Model,
    bare: ArchitectureRecord,
    align: str,
    prices: AlignPrices | None,
    formats: tuple,
    arenas: tuple,
) -> dict[str, dict[str, float]]:
    open_sizes = any(None in tensor.shape[1:] for tensor in model.inputs)
    if open_sizes:
        return {}
    before = _record(count(model))
    after = _record(surgery.predict_costs(model, bare, align=align, prices=prices))
    if formats or arenas:
        for record, architecture in ((before, None), (after, bare)):
            plan = surgery.make_plan(model, architecture, align=align, prices=prices)
            graph = surgery.planned_graph(plan)
            record.update({f"{name}_bytes": tflite_bytes(graph, name) for name in formats})
            record.update({f"{name}_ram": arena_bytes(graph, name) for name in arenas})
    return {"before": before, "after": after}


def _record(costs: Costs) -> dict[str, float]:
    keys = ("macs", "flops", "params", "activation_memory", "memory_access")
    return {key: getattr(costs, key) for key in keys}


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "keras_nas": __version__,
    }
