"""Random scores: what any criterion has to beat."""

from __future__ import annotations

import keras
import numpy as np

from keras_nas.importance.channel_paths import ChannelPaths
from keras_nas.importance.criteria import register


@register
def random(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """A number between 0 and 1 for each channel, the same for the same seed and the same gates.

    Args:
        model: A gated functional model.
        seed: Of the generator that draws gate by gate in graph order.

    Returns:
        By the gate's name, float64 `(channels,)`.
    """
    generator = np.random.default_rng(seed)
    gates = ChannelPaths(model).gates
    return {name: generator.random(gate.channels) for name, gate in gates.items()}
