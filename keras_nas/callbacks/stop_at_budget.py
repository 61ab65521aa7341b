"""The end of `fit` once the network is small enough."""

from __future__ import annotations

import dataclasses
import logging

import keras

from keras_nas import gates, surgery
from keras_nas.costs import AlignPrices
from keras_nas.errors import UsageError
from keras_nas.graph import read
from keras_nas.importance.budget import Budget
from keras_nas.layers import ScaledEdge, ScaledSigmoidGate
from keras_nas.search.gate_statistics import gate_statistics

logger = logging.getLogger(__name__)


@keras.saving.register_keras_serializable(package="keras_nas")
class StopAtBudget(keras.callbacks.Callback):
    """Ends `fit` after the epoch in which the network of the hard gates is within a budget.

    What counts is what `surgery.build` would make of the model as it is. Its outputs must depend on
    its input, and DNAL's gates must be decided: while δ is small they multiply by something between
    0 and 1, and the hard network is another one. Each epoch's logs have the costs, by their names
    (`macs`). A fit that ends otherwise says so in a warning.

    Example:

    ```python
    supernet.fit(x, y, epochs=40, callbacks=[
        keras_nas.callbacks.ResourceBudget(target_macs="0.5x"),
        keras_nas.callbacks.StopAtBudget(target_macs="0.5x"),
    ])
    ```

    Args:
        target_params, target_macs, target_flops: The budget, one or several: a number, or a share
            of the network with all gates open such as `"0.5x"`.
        undecided: The largest share of the channels of soft `ScaledSigmoidGate`s whose factor may
            be further than 1e-3 from 0 and 1.
        round_to: Kept channels a gate become a multiple of this, as in `Architecture.from_gates`.
        align, prices: How surgery will align channels at joins, as in `surgery.build`.

    Raises:
        UsageError: From `fit`, if no target is given, or one is no number or share.
        KerasNasError: From `fit`, if the model has no gates or cannot be read.
    """

    def __init__(
        self,
        *,
        target_params: float | str | None = None,
        target_macs: float | str | None = None,
        target_flops: float | str | None = None,
        undecided: float = 0.01,
        round_to: int = 1,
        align: str = "auto",
        prices: AlignPrices | None = None,
    ):
        super().__init__()
        if not 0 <= undecided <= 1:
            raise UsageError(f"`undecided` must be from 0 to 1. Received: undecided={undecided}")
        self.targets = {"params": target_params, "macs": target_macs, "flops": target_flops}
        self.undecided = undecided
        self.round_to = round_to
        self.align = align
        self.prices = prices

    def on_train_begin(self, logs=None):
        self._gates = [g for g in gates.find(self.model) if not isinstance(g, ScaledEdge)]
        self._budget = Budget(self.model, self.targets, align=self.align, prices=self.prices)
        self._dependence = surgery.Dependence(
            read(self.model), {gate.name: gate for gate in self._gates}
        )
        self._rounding = surgery.Rounding(
            self.model, self.round_to, align=self.align, prices=self.prices
        )
        self._is_met = False
        self._costs = self._budget.full

    def on_epoch_end(self, epoch, logs=None):
        masks = self._rounding.masks()
        self._costs = self._budget.costs(masks)
        if logs is not None:
            logs.update(self._costs)
        self._is_met = (
            self._budget.price_of(self._costs) <= 1
            and self._decided()
            and self._dependence.holds(masks)
        )
        if self._is_met:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if not self._is_met:
            logger.warning(
                "fit of '%s' ended over its budget, with undecided gates, or with gates that cut "
                "the network: its costs are %s, the targets %s. Train longer, or bring it there "
                "with keras_nas.importance.prune.",
                self.model.name, self._costs, self._budget.targets,
            )  # fmt: skip

    def _decided(self) -> bool:
        soft = [g for g in self._gates if isinstance(g, ScaledSigmoidGate) and g.mode == "soft"]
        found = gate_statistics(soft)
        return found["undecided"] <= self.undecided * found["channels"]

    def get_config(self):
        return {
            **{f"target_{what}": target for what, target in self.targets.items()},
            "undecided": self.undecided,
            "round_to": self.round_to,
            "align": self.align,
            "prices": None if self.prices is None else dataclasses.asdict(self.prices),
        }

    @classmethod
    def from_config(cls, config):
        prices = config.get("prices")
        return cls(**{**config, "prices": None if prices is None else AlignPrices(**prices)})
