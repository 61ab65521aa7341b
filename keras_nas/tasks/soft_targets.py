"""How far a network's classes are from those that another gives, softened by a temperature."""

from __future__ import annotations

import keras
from keras import ops

_LEAST = 1e-30
"""A class that a softmax gives less counts as this: no float32 is lost to a clip at 1e-7."""


def softmax_divergence(taught, outputs, temperature: float):
    """T² KL(softmax(taught / T) ‖ softmax(outputs / T)), over the last axis.

    It is the cross-entropy of the one less that of the other with itself, both of logits. T² keeps
    its gradient's size beside that of a loss without a temperature.

    Args:
        taught: The teacher's logits `(..., classes)`.
        outputs: The network's, alike.
        temperature: T, above 0.

    Returns:
        float32 `(...)`, 0 or more.

    References:
        Hinton et al., Distilling the Knowledge in a Neural Network (2015), section 2.1.
    """
    taught, outputs = (ops.cast(x, "float32") / temperature for x in (taught, outputs))
    soft = ops.softmax(taught, axis=-1)
    cross, own = (
        keras.losses.categorical_crossentropy(soft, x, from_logits=True) for x in (outputs, taught)
    )
    return temperature**2 * (cross - own)


def sigmoid_divergence(taught, outputs, temperature: float):
    """The same of outputs that are each a class for itself: the mean over the last axis."""
    taught, outputs = (ops.cast(x, "float32") / temperature for x in (taught, outputs))
    soft = ops.sigmoid(taught)
    cross, own = (
        keras.losses.binary_crossentropy(soft, x, from_logits=True) for x in (outputs, taught)
    )
    return temperature**2 * (cross - own)


def softmax_logits(probabilities):
    """Logits of a softmax's outputs, up to a constant: their logarithms, in float32."""
    return ops.log(ops.maximum(ops.cast(probabilities, "float32"), _LEAST))


def sigmoid_logits(probabilities):
    """Logits of sigmoids' outputs, in float32."""
    least = keras.config.epsilon()
    p = ops.clip(ops.cast(probabilities, "float32"), least, 1.0 - least)
    return ops.log(p) - ops.log(1.0 - p)
