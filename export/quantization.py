"""Quantisation-aware training: the pruned model learns to live with eight bits."""

from __future__ import annotations

import importlib
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.differences import measure, rounding_of
from export.errors import ExportError
from export.paired_runs import outputs_of
from export.quiet import quiet_stderr
from export.tracing import one_line
from export.training_data import TrainingData

_CONFIGS = (
    "tensorflow_model_optimization.python.core.quantization.keras.default_8bit"
    ".default_8bit_quantize_configs"
)
_SAME = 1e-3
LEAST_SCALE = 1e-4
"""Least |γ| of a BatchNormalization beside its largest, so far below a step of int8 (1/127)."""


def fine_tune(
    model: keras.Model,
    train_data: Any,
    *,
    loss: Any = None,
    epochs: int = 1,
    learning_rate: float = 1e-4,
    steps_per_epoch: int | None = None,
    verbose: int = 0,
) -> Any:
    """Trains a copy of `model` with the rounding of int8 in its forward pass.

    The copy is made in tf_keras, where tensorflow_model_optimization puts a fake quantisation at
    the weights and activations that the int8 kernels quantise; convert it by
    `export.tflite.convert(result, path, "qat")`.

    Args:
        model: A trained functional `keras.Model`; see `export.legacy_keras.rebuild` for what it
            may hold. It stays untouched.
        train_data: Any form of `export.samples.batches`. Without targets the copy learns the
            model's own outputs.
        loss: A tf_keras loss, its name, or a function of (targets, outputs); None chooses by
            `export.training_data.loss_of`.
        epochs, steps_per_epoch, verbose: As in `fit`.
        learning_rate: Adam's.

    Returns:
        The trained `tf_keras.Model` with fake quantisation.

    Raises:
        UnsupportedOperationError: A layer has no quantised counterpart; the message names it.
        ExportError: The data or the loss do not fit the model.
    """
    toolkit = load_toolkit().quantization.keras
    import tf_keras

    from export import legacy_keras, quantized_ranges

    legacy = legacy_keras.rebuild(model)
    data = TrainingData(model, train_data, loss)
    _check_copy(model, legacy, data.first[0])
    _lift_scales(legacy)
    quantized = _quantize(toolkit, legacy)
    quantized_ranges.start(quantized, legacy, data.first[0])
    losses = data.loss if not isinstance(data.loss, list) or len(data.loss) > 1 else data.loss[0]
    quantized.compile(tf_keras.optimizers.Adam(learning_rate), losses)
    try:
        with quiet_stderr():
            if steps_per_epoch:
                quantized.fit(
                    data.stream(), epochs=epochs, steps_per_epoch=steps_per_epoch, verbose=verbose
                )
            else:
                for epoch in range(epochs):
                    quantized.fit(data.batches(epoch), verbose=verbose)
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise ExportError(
            f"Quantisation-aware training fails on these data and this loss: {one_line(error)}"
        ) from error
    quantized_ranges.widen_dead(quantized)
    return quantized


def _check_copy(model: keras.Model, legacy: Any, inputs: list[np.ndarray]) -> None:
    """Refuses a copy that computes something else than the user's model."""
    wanted, found = outputs_of(model, inputs, "float32"), outputs_of(legacy, inputs)
    for reference, result in zip(wanted, found, strict=True):
        worst = measure(reference, result)["worst"]
        limit = max(_SAME * float(np.ptp(reference)), rounding_of("float16", reference).worst)
        if not worst <= limit:
            raise ExportError(
                "Quantisation-aware training is not possible: the model rebuilt in tf_keras "
                f'differs by {worst:.3g} where {limit:.3g} is allowed. Use the format "int8", '
                "which quantises after training."
            )


def load_toolkit() -> Any:
    """Imports tensorflow_model_optimization without turning `tf.keras` into Keras 2.

    At its import it sets TF_USE_LEGACY_KERAS, after which keras-cv and others would load with the
    wrong Keras; `tf.keras` is bound first and the variable put back.
    """
    assert tf.keras.Model is not None
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    import tensorflow_model_optimization as toolkit

    if before is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    else:
        os.environ["TF_USE_LEGACY_KERAS"] = before
    return toolkit


def _lift_scales(model: Any) -> None:
    """Makes γ = 0 a little more: the converter folds γ into the scale of the weights.

    Surgery leaves such channels where an Add needs a row of zeros. With a scale of 0 their
    convolution would stay in float32.
    """
    import tf_keras

    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization) and layer.scale:
            gamma = layer.gamma.numpy()
            least = LEAST_SCALE * (np.abs(gamma).max() or 1.0)
            layer.gamma.assign(np.where(np.abs(gamma) < least, np.copysign(least, gamma), gamma))


def _quantize(toolkit: Any, model: Any) -> Any:
    """Annotates every layer with how it is quantised, and puts the fake quantisation in."""
    import tf_keras

    from export.legacy_keras import StructuralOperation

    pass_through = importlib.import_module(_CONFIGS).NoOpQuantizeConfig

    def annotate(layer: Any) -> Any:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        if isinstance(layer, StructuralOperation):
            return toolkit.quantize_annotate_layer(layer, pass_through())
        return toolkit.quantize_annotate_layer(layer)

    scope = {"StructuralOperation": StructuralOperation, "NoOpQuantizeConfig": pass_through}
    try:
        with toolkit.quantize_scope(scope):
            annotated = tf_keras.models.clone_model(model, clone_function=annotate)
            annotated.set_weights(model.get_weights())
            return toolkit.quantize_apply(annotated)
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"Quantisation-aware training is not possible: {' '.join(str(error).split())}"
        ) from error
