"""What every gate is: a factor a channel, that a search learns and surgery removes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nas.errors import UsageError

MODES = ("off", "soft", "hard")


class Gate(keras.layers.Layer):
    """Base of the layers that multiply each channel (the last axis) by a learned factor.

    A subclass creates its variables in `build` (calling `super().build`) and gives `probabilities`
    (differentiable, what "soft" multiplies by) and `indicator` (0 or 1, what "hard" multiplies by).

    The mode is held in a non-trainable variable, so that it is saved with the model and may change
    without a new trace of a `tf.function` or of `Model.predict`:

    - `"off"`: identity, exactly.
    - `"soft"`: multiplies by `probabilities()`; the search learns here.
    - `"hard"`: multiplies by `indicator()`; evaluation and surgery see the network like this.

    Args:
        mode: The mode the layer is built with, one of `"off"`, `"soft"`, `"hard"`.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    An attribute that is a variable takes numbers, too: `gate.delta = 100.0` assigns.

    Attributes:
        channels: Number of channels; 0 until the layer is built.

    Input shape:
        `(batch, ..., channels)`, at least two axes, `channels` known.

    Output shape:
        The input's; a Keras mask is handed on.

    Raises:
        UsageError: If `mode` is unknown, or the input's last axis is not known.
    """

    def __init__(self, mode: str = "soft", **kwargs):
        super().__init__(**kwargs)
        self._initial_mode = _checked_mode(mode)
        self.channels = 0
        self.supports_masking = True

    def __setattr__(self, name, value):
        """Assigns to the variable of that name, where there is one; before `build`, at `build`."""
        held = self.__dict__.get(name)
        if isinstance(held, keras.Variable) and held is not value:
            self._assign(name, held, value)
            return
        super().__setattr__(name, value)
        if isinstance(value, keras.Variable) and held is not None and held is not value:
            self._assign(name, value, held)

    def _assign(self, name: str, variable: Any, value):
        try:
            variable.assign(value)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"`{name}` of gate '{self.name}' takes numbers of shape {tuple(variable.shape)}. "
                f"Received: {name}={value!r}"
            ) from error

    def build(self, input_shape):
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise UsageError(
                "A gate needs an input of two or more axes with a known last axis (channels). "
                f"Received: input_shape={tuple(input_shape)} at layer '{self.name}'"
            )
        self.channels = int(input_shape[-1])
        self._mode = self.add_weight(
            name="mode",
            shape=(),
            dtype="int32",
            initializer=keras.initializers.Constant(MODES.index(self._initial_mode)),
            trainable=False,
            autocast=False,
        )
        self.built = True

    @property
    def mode(self) -> str:
        """The present mode: `"off"`, `"soft"` or `"hard"`. May be set at any time."""
        if not self.built:
            return self._initial_mode
        return MODES[int(ops.convert_to_numpy(self._mode))]

    @mode.setter
    def mode(self, value: str):
        if self.built:
            self._mode.assign(MODES.index(_checked_mode(value)))
        else:
            self._initial_mode = _checked_mode(value)

    def probabilities(self):
        """The factors of mode "soft": float32 tensor of shape `(channels,)`, differentiable."""
        raise NotImplementedError(f"{type(self).__name__} must define `probabilities`.")

    def indicator(self):
        """The factors of mode "hard": float32 tensor of shape `(channels,)` of zeros and ones."""
        raise NotImplementedError(f"{type(self).__name__} must define `indicator`.")

    def assign_mask(self, mask: np.ndarray):
        """Moves the learned variables so that `indicator()` equals `mask` (bool, `(channels,)`)."""
        raise NotImplementedError(f"{type(self).__name__} must define `assign_mask`.")

    def scores(self) -> np.ndarray:
        """How much each channel wants to stay: float `(channels,)`; the order of `round_to`."""
        return ops.convert_to_numpy(self.probabilities())

    def assign_scores(self, scores: np.ndarray):
        """Moves the learned variables so that `scores()` are these: float `(channels,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define `assign_scores`.")

    def mask(self) -> np.ndarray:
        """The channels that "hard" keeps: bool array of shape `(channels,)`."""
        self._check_built()
        return ops.convert_to_numpy(self.indicator()) > 0.5

    def set_mask(self, mask):
        """Sets hard gates by hand and switches the layer to mode "hard".

        Args:
            mask: `channels` booleans (or 0 and 1); true keeps the channel.

        Raises:
            UsageError: If the gate is not built, or `mask` has another shape.
        """
        self._check_built()
        mask = np.asarray(mask).astype(bool)
        if mask.shape != (self.channels,):
            raise UsageError(
                f"`mask` must have one entry a channel, shape ({self.channels},), "
                f"at layer '{self.name}'. Received: shape {mask.shape}"
            )
        self.assign_mask(mask)
        self.mode = "hard"

    def scale_vector(self, mask: np.ndarray) -> np.ndarray:
        """The factors that surgery bakes in when `mask` is kept: float `(channels,)`."""
        return np.asarray(mask, dtype="float64")

    def factors(self):
        """The factors of the present mode: float32 tensor of shape `(channels,)`."""
        soft = self.probabilities()
        chosen = ops.where(ops.equal(self._mode, 1), soft, self.indicator())
        return ops.where(ops.equal(self._mode, 0), ops.ones_like(soft), chosen)

    def is_soft(self):
        """1 in mode "soft", else 0: a float32 scalar tensor, true to later changes of the mode."""
        return ops.cast(ops.equal(self._mode, MODES.index("soft")), "float32")

    def call(self, inputs):
        return inputs * ops.cast(self.factors(), inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "mode": self._initial_mode}

    def _check_built(self):
        if not self.built:
            raise UsageError(
                f"Gate '{self.name}' has no channels yet: call it on an input (or build it) first."
            )


def _checked_mode(mode: str) -> str:
    if mode not in MODES:
        raise UsageError(f"`mode` must be one of {MODES}. Received: mode={mode!r}")
    return mode
