"""FGNAS' resource regulariser in `fit`, led to a budget."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_nas import gates, importance
from keras_nas.callbacks.added_loss import AddedLoss
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledEdge, ScaledSigmoidGate
from keras_nas.regularizers import Resource
from keras_nas.search.dnal_fading import FIRST, SPREAD
from keras_nas.search.units import Units
from keras_nas.targets import parse_target

FIXED = 1.0
"""How far from 0 the scores of gates that are fixed are at the least."""


@keras.saving.register_keras_serializable(package="keras_nas")
class ResourceBudget(AddedLoss):
    """Leads the gates of a model to a budget while `fit` trains it, as `keras_nas.search.fgnas`.

    A plan falls evenly from the full network to the target. Where more is left than it has, the
    loss gets λ R(ψ) / R_full: R is what the network of the hard gates costs, its gradient the
    paper's. And every few steps the channels that are nearest to closed are closed, those tied at
    joins together, as far as the plan asks. Once the target is met the gates are fixed, in mode
    "hard", and the weights have the rest of `fit`. The plan is a function of the epoch and the step
    that `fit` is at, so a fit that goes on from `initial_epoch`, or by
    `keras.callbacks.BackupAndRestore`, goes on with it. Each epoch's logs have the cost, by its
    name (`macs`).

    Gates that nobody has moved yet start in the order of the channels' L1 norms: those that are
    worth least close first. The weights learn on besides; give them as many epochs as a finetuning.

    Example:

    ```python
    supernet = keras_nas.gates.insert(
        model, keras_nas.layers.STEGate, order="conv_bn_relu_gate"
    )
    keras_nas.gates.set_mode(supernet, "soft")
    supernet.compile("adam", "sparse_categorical_crossentropy")
    supernet.fit(x, y, epochs=10, callbacks=[
        keras_nas.callbacks.ResourceBudget(target_macs="0.5x"),
    ])
    small = keras_nas.surgery.build(supernet, keras_nas.Architecture.from_gates(supernet))
    ```

    Args:
        target_params, target_macs, target_flops: The budget, one of them: a number, or a share of
            the network with all gates open such as `"0.5x"`.
        lambda_r: λ, for all that the full network has; 0 leaves the gates to the plan and the task.
        reached_at: The share of `fit` after which the plan is at the target.
        look_every: Steps between two looks at what is left.
        min_share: The smallest share of a layer's channels that stays.

    Raises:
        UsageError: If an argument makes no sense; from `fit`, if a gate is off or none is
            trainable, or the target is out of reach.
        KerasNasError: From `fit`, as in `keras_nas.regularizers.Resource`.

    Reference:
        Kim et al., Fine-Grained Neural Architecture Search, Eq. (7) to (10).
    """

    def __init__(
        self,
        *,
        target_params: float | str | None = None,
        target_macs: float | str | None = None,
        target_flops: float | str | None = None,
        lambda_r: float = 1.0,
        reached_at: float = 0.6,
        look_every: int = 10,
        min_share: float = 0.1,
    ):
        super().__init__()
        self.targets = {"params": target_params, "macs": target_macs, "flops": target_flops}
        given = {what: target for what, target in self.targets.items() if target is not None}
        if len(given) != 1:
            raise UsageError(
                f"One of {', '.join(f'`target_{what}`' for what in self.targets)} must be given. "
                f"Received: {', '.join(f'target_{what}' for what in given) or 'none'}"
            )
        ((self.what, target),) = given.items()
        self._target = parse_target(f"target_{self.what}", target)
        for name, value, fits in (
            ("lambda_r", lambda_r, lambda_r >= 0),
            ("reached_at", reached_at, 0 < reached_at <= 1),
            ("look_every", look_every, look_every >= 1),
            ("min_share", min_share, 0 <= min_share <= 1),
        ):
            if not fits:
                raise UsageError(f"`{name}` is out of its range. Received: {name}={value}")
        self.lambda_r = lambda_r
        self.reached_at = reached_at
        self.look_every = look_every
        self.min_share = min_share
        self.gates: list[Any] = []

    def term(self):
        resource = tf.cast(self.resource(), tf.float32)
        return self.lambda_r * ops.maximum(resource, self._limit) / self.full

    def on_train_begin(self, logs=None):
        every = [g for g in gates.find(self.model) if not isinstance(g, ScaledEdge)]
        off = [gate.name for gate in every if gate.mode == "off"]
        if off:
            raise UsageError(
                f"Gate '{off[0]}' is off, and cannot be led: call "
                "keras_nas.gates.set_mode(model, 'soft') first."
            )
        self.gates = [gate for gate in every if gate.mode == "soft"] or every
        self.resource = Resource(self.model, self.what)
        self.full = self.resource.full()
        self.target = self._target.of(self.full)
        self.units = Units(self.model, self.gates, self.min_share)
        with self.model.distribute_strategy.scope():
            self._limit = keras.Variable(self.full, trainable=False, name="plan")
        self._check_reachable()
        self._start_gates()
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._looked = 0
        self._limit.assign(self._plan(epoch))

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params["steps"]
        if steps and (batch + 1 - self._looked >= self.look_every or batch + 1 == steps):
            self._looked = batch + 1
            self._lead(self._epoch + min(1.0, (batch + 1 + self.look_every) / steps))

    def on_epoch_end(self, epoch, logs=None):
        self._lead(epoch + 1)
        if logs is not None:
            logs[self.what] = self._cost(self._open())

    def _plan(self, epochs: float) -> float:
        """What may be left when so many epochs are done."""
        share = min(1.0, epochs / (self.reached_at * self.params["epochs"]))
        return self.full + (self.target - self.full) * share

    def _lead(self, epochs: float) -> None:
        """Closes what the plan asks for, and fixes the gates once they are at the target."""
        if self.gates[0].mode == "hard":
            return
        limit = self._plan(epochs)
        self._limit.assign(limit)
        self.units.assign(self.units.gaps())  # what is tied opens and closes together
        self.units.keep_floor()
        if self._cost(self._open()) > limit:
            self.units.close_until(self._cost, limit)
        if self._cost(self._open()) <= self.target:
            self._fix()

    def _fix(self) -> None:
        """Takes the gates out of the search, and beyond what is left of an optimizer's momentum."""
        gaps = self.units.gaps()
        self.units.assign(np.where(gaps >= 0, np.maximum(gaps, FIXED), np.minimum(gaps, -FIXED)))
        for gate in self.gates:
            gate.mode = "hard"

    def _open(self) -> np.ndarray:
        return np.concatenate([gate.mask() for gate in self.gates])

    def _cost(self, joined: np.ndarray) -> float:
        return self.resource.cost(self.units.by_gate(joined))

    def _check_reachable(self) -> None:
        least = self._cost(self.units.floor_mask())
        if not least <= self.target <= self.full:
            raise UsageError(
                f"`target_{self.what}` must be from {least:,.6g}, what is left of "
                f"'{self.model.name}' with all gates closed that `min_share` lets close, to "
                f"{self.full:,.6g}, what all of it has. Received: {self.target:,.6g}"
            )

    def _start_gates(self) -> None:
        """Gives the logits an order, where they have none."""
        if any(np.ptp(gate.scores()) for gate in self.gates):
            return
        sigmoid = all(isinstance(gate, ScaledSigmoidGate) for gate in self.gates)
        levels: dict[str, Any] = {"low": FIRST, "high": FIRST + SPREAD} if sigmoid else {}
        scores = importance.score(self.model, "l1")
        importance.start_logits(self.model, scores, ranking="layer", tied=self.units.tied, **levels)

    def get_config(self):
        return {
            **{f"target_{what}": target for what, target in self.targets.items()},
            "lambda_r": self.lambda_r,
            "reached_at": self.reached_at,
            "look_every": self.look_every,
            "min_share": self.min_share,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)
