"""APG-NAG: accelerated proximal gradient for L1-regularised scales, one pass a step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_nas.errors import UsageError


@keras.saving.register_keras_serializable(package="keras_nas")
class APGNAG(keras.optimizers.Optimizer):
    """Minimises G(λ) + γ‖λ‖₁ by the accelerated proximal gradient method in its momentum form.

    With η the learning rate, g the gradient at the trained variable λ' and t = 1, 2, … the step:

    - z_t = λ'_{t−1} − η g (Eq. 14)
    - S(z_t) = max(z_t − η γ, 0), or sign(z_t) max(|z_t| − η γ, 0) where `nonnegative` is false
    - v_t = [S(z_t) − λ'_{t−1}] + μ_{t−1} v_{t−1} (Eq. 15, read with these brackets)
    - λ'_t = S(z_t) + μ_t v_t (Eq. 16), μ_{t−1} = (t − 2) / (t + 1), or constant.

    These are the iterates of Eq. 10 to 12, d_t = λ'_{t−1} and λ_t = S(z_t), without a second
    forward and backward pass a step.

    **Two values, one variable.** While it trains, the variable holds the look-ahead λ', at which
    the next gradient has to be taken; momentum can push it off zero. The solution λ_t = S(z_t),
    exactly zero where it is sparse, lives in a slot of the optimizer. Evaluation and surgery must
    see λ_t:

    - `with optimizer.sparse_values(): model.evaluate(…)` puts λ_t into the variables and puts λ'
      back at the end. The callback `keras_nas.optimizers.SparseValues` does this for the
      validation inside `Model.fit`.
    - `finalize_variable_values`, which `Model.fit` calls at its end, leaves λ_t in the variables
      and sets v to 0: a later `fit` starts again from λ_t with no momentum.
    - `sparse_value(variable)` reads λ_t.

    γ is a variable for every element of every trained variable (`set_gamma`): it may change while
    training without a new trace, and may differ from element to element.

    Example:

    ```python
    optimizer = keras_nas.optimizers.APGNAG(learning_rate=0.1, gamma=1e-3)
    optimizer.build([edge.scale for edge in edges])
    optimizer.set_gamma(edges[0].scale, 2e-3)
    ```

    Args:
        learning_rate: η, a float or a `keras.optimizers.schedules.LearningRateSchedule`.
        gamma: The γ that every element starts with, 0 or more.
        momentum: A constant μ in [0, 1), or `None` for the paper's μ_{t−1} = (t − 2) / (t + 1).
        nonnegative: Whether λ ≥ 0 is required (Eq. 8).
        clip_lookahead: Whether λ' is clipped to λ' ≥ 0 as well, as the method's public code does;
            the iterates are then no longer those of Eq. 10 to 12.
        **kwargs: `name`, `clipnorm`, `clipvalue`, `global_clipnorm`, `loss_scale_factor`,
            `gradient_accumulation_steps` of `keras.optimizers.Optimizer`. Weight decay and moving
            averages are refused: either would move λ off the proximal step's exact zeros.

    Raises:
        UsageError: If an argument is out of its range.

    References:
        Zhang et al., You Only Search Once: Single Shot Neural Architecture Search via Direct Sparse
        Optimization, Eq. (10) to (16).
    """

    def __init__(
        self,
        learning_rate=0.1,
        gamma: float = 1e-3,
        momentum: float | None = None,
        nonnegative: bool = True,
        clip_lookahead: bool = False,
        name: str = "apg_nag",
        **kwargs,
    ):
        for refused in ("weight_decay", "use_ema"):
            if kwargs.get(refused):
                raise UsageError(
                    f"`{refused}` must not be set for APGNAG, whose variables must stay exactly "
                    f"sparse. Received: {refused}={kwargs[refused]}"
                )
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if gamma < 0:
            raise UsageError(f"`gamma` must be 0 or more. Received: gamma={gamma}")
        if momentum is not None and not 0 <= momentum < 1:
            raise UsageError(
                f"`momentum` must be `None` or in the range [0, 1). Received: momentum={momentum}"
            )
        self.gamma = gamma
        self.momentum = momentum
        self.nonnegative = nonnegative
        self.clip_lookahead = clip_lookahead

    def build(self, variables):
        """Makes the slots of each variable: v, λ = S(z) and γ, all of the variable's shape."""
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        self._sparse = [
            self.add_variable_from_reference(
                variable, name="sparse", initializer=_value_of(variable)
            )
            for variable in variables
        ]
        self._gammas = self.add_optimizer_variables(
            variables, "gamma", initializer=keras.initializers.Constant(self.gamma)
        )

    def update_step(self, gradient, variable, learning_rate):
        """One step of Eq. 14 to 16 on `variable`, which holds λ'."""
        index = self._get_variable_index(variable)
        velocity, gamma = self._velocities[index], self._gammas[index]
        dtype = variable.dtype
        learning_rate = ops.cast(learning_rate, dtype)
        gradient = ops.cast(gradient, dtype)
        step = ops.cast(self.iterations, "float32") + 1

        lookahead = ops.convert_to_tensor(variable)
        sparse = self._proximal(lookahead - learning_rate * gradient, learning_rate * gamma)
        previous_velocity = self._momentum_at(step - 1, dtype) * velocity
        new_velocity = (sparse - lookahead) + previous_velocity
        new_lookahead = sparse + self._momentum_at(step, dtype) * new_velocity
        if self.clip_lookahead:
            new_lookahead = ops.maximum(new_lookahead, 0)

        self.assign(velocity, new_velocity)
        self.assign(self._sparse[index], sparse)
        self.assign(variable, new_lookahead)

    def sparse_value(self, variable) -> np.ndarray:
        """λ_t = S(z_t) of a trained variable, in its shape and dtype; λ_0 before the first step."""
        return self._solution(self._checked_index(variable)).numpy()

    def sparse_variable(self, variable) -> keras.Variable:
        """The slot that holds λ_t = S(z_t) of a trained variable from the first step on."""
        return self._sparse[self._checked_index(variable)]

    def set_gamma(self, variable, gamma) -> None:
        """Sets the γ of a trained variable.

        Args:
            variable: One of the variables the optimizer was built with.
            gamma: A number, or an array that broadcasts to the variable's shape; 0 or more.

        Raises:
            UsageError: If `variable` is unknown, or `gamma` is negative or of another shape.
        """
        index = self._checked_index(variable)
        slot = self._gammas[index]
        gamma = np.asarray(gamma, dtype="float64")
        if not np.all(gamma >= 0):
            raise UsageError(f"`gamma` must be 0 or more everywhere. Received: gamma={gamma}")
        try:
            slot.assign(np.broadcast_to(gamma, tuple(slot.shape)))
        except ValueError as error:
            raise UsageError(
                f"`gamma` must broadcast to the variable's shape {tuple(slot.shape)}. "
                f"Received: shape {gamma.shape}"
            ) from error

    def restart(self, variable, value, elements=...) -> None:
        """Sets elements of a trained variable and of its solution λ, without momentum.

        Args:
            variable: One of the variables the optimizer was built with.
            value: A number, or an array that broadcasts to the elements.
            elements: A NumPy index of them; all by default.
        """
        index = self._checked_index(variable)
        slots = ((variable, value), (self._sparse[index], value), (self._velocities[index], 0))
        for slot, filling in slots:
            values = np.array(slot.numpy())
            values[elements] = filling
            slot.assign(values)

    def get_gamma(self, variable) -> np.ndarray:
        """The γ of each element of a trained variable."""
        index = self._checked_index(variable)
        return self._gammas[index].numpy()

    @contextlib.contextmanager
    def sparse_values(self) -> Iterator[None]:
        """While open, the trained variables hold λ_t = S(z_t); afterwards λ' again.

        Before the first step, and right after `finalize_variable_values`, both are the same.
        """
        lookahead = self.swap_in_sparse_values()
        try:
            yield
        finally:
            self.restore_values(lookahead)

    def swap_in_sparse_values(self) -> list[np.ndarray]:
        """Puts λ_t into the trained variables. Returns their λ' for `restore_values`."""
        lookahead = [variable.numpy() for variable in self._trainable_variables]
        for index, variable in enumerate(self._trainable_variables):
            variable.assign(self._solution(index))
        return lookahead

    def restore_values(self, values: list[np.ndarray]) -> None:
        """Puts back what `swap_in_sparse_values` returned."""
        for variable, value in zip(self._trainable_variables, values, strict=True):
            variable.assign(value)

    def finalize_variable_values(self, var_list):
        """Leaves λ_t in the trained variables that are in `var_list`, and no momentum."""
        if not self.built:
            return
        for variable in var_list:
            index = self._trainable_variables_indices.get(self._var_key(variable))
            if index is not None:
                variable.assign(self._solution(index))
                self._velocities[index].assign(np.zeros(tuple(variable.shape)))

    def get_config(self):
        return {
            **super().get_config(),
            "gamma": self.gamma,
            "momentum": self.momentum,
            "nonnegative": self.nonnegative,
            "clip_lookahead": self.clip_lookahead,
        }

    def _proximal(self, z, threshold):
        if self.nonnegative:
            return ops.maximum(z - threshold, 0)
        return ops.sign(z) * ops.maximum(ops.abs(z) - threshold, 0)

    def _momentum_at(self, step, dtype):
        """μ_t: (t − 1) / (t + 2) or the constant."""
        if self.momentum is not None:
            return ops.cast(self.momentum, dtype)
        return ops.cast((step - 1) / (step + 2), dtype)

    def _solution(self, index: int):
        taken = int(self._iterations.numpy()) >= (self.gradient_accumulation_steps or 1)
        return (self._sparse if taken else self._trainable_variables)[index]

    def _checked_index(self, variable) -> int:
        if not self.built:
            raise UsageError(
                "The optimizer must be built first: call `optimizer.build(variables)`."
            )
        self._check_variables_are_known([variable])
        return self._get_variable_index(variable)


class SparseValues(keras.callbacks.Callback):
    """Puts λ = S(z) into the variables while `fit` validates, and λ' back to train on.

    The model's optimizer may be an `APGNAG`, a `keras.optimizers.LossScaleOptimizer` around one, or
    a `keras.optimizers.MultiOptimizer` with one among its parts.

    Example:

    ```python
    model.compile(optimizer=keras_nas.optimizers.APGNAG(0.1, gamma=1e-3), loss=…)
    model.fit(data, validation_data=…, callbacks=[keras_nas.optimizers.SparseValues()])
    ```

    Raises:
        UsageError: When `fit` starts with a model that is not trained by APG-NAG.
    """

    def __init__(self):
        super().__init__()
        self._lookahead: list | None = None

    def on_train_begin(self, logs=None):
        if not self._optimizers():
            raise UsageError(
                "`SparseValues` needs a model whose optimizer is an APGNAG. "
                f"Received: optimizer={type(self.model.optimizer).__name__}"
            )

    def on_test_begin(self, logs=None):
        self._lookahead = [
            (optimizer, optimizer.swap_in_sparse_values())
            for optimizer in self._optimizers()
            if optimizer.built
        ]

    def on_test_end(self, logs=None):
        for optimizer, values in self._lookahead or []:
            optimizer.restore_values(values)
        self._lookahead = None

    def _optimizers(self) -> list[APGNAG]:
        outer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        return [o for o in getattr(outer, "optimizers", [outer]) if isinstance(o, APGNAG)]


def _value_of(variable):
    return lambda shape, dtype: ops.cast(ops.convert_to_tensor(variable), dtype)
