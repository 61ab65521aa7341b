"""Setting a model's gates to what an architecture keeps."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_nas.errors import KerasNasError
from keras_nas.gates.find import find
from keras_nas.record import ArchitectureRecord


def apply(model: keras.Model, architecture: ArchitectureRecord):
    """Sets the hard masks of a gated model from an architecture; other gates are left alone.

    Args:
        model: The gated model.
        architecture: A `keras_nas.Architecture`, whose `kept_channels` names the gates.

    Raises:
        KerasNasError: If the architecture names a gate that the model lacks, or a channel that a
            gate lacks.
    """
    gates = {gate.name: gate for gate in find(model)}
    for name, kept in architecture.kept_channels.items():
        if name not in gates:
            raise KerasNasError(
                f"The architecture names gate '{name}', which model '{model.name}' lacks."
            )
        gates[name].set_mask(mask_of(kept, gates[name].channels, name))


def mask_of(kept: Sequence[int], count: int, name: str) -> np.ndarray:
    """The boolean mask of a list of kept channels, checked against the gate's width.

    Raises:
        KerasNasError: If a channel is negative or beyond the gate's width.
    """
    channels = np.asarray(kept, dtype=int)
    if channels.size and (channels.min() < 0 or channels.max() >= count):
        raise KerasNasError(
            f"The architecture keeps channels {channels.min()} to {channels.max()} of gate "
            f"'{name}', which has {count}."
        )
    mask = np.zeros(count, bool)
    mask[channels] = True
    return mask
