"""DNAL's stage 2 on the way to a target: channels fade while the weights learn on."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas import importance
from keras_nas.regularizers import PricedSum
from keras_nas.search.delta_schedule import DeltaSchedule
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.dnal_stages import GateStage, JointStage
from keras_nas.search.steering import steering
from keras_nas.search.units import Units

FIRST = 3.0
"""s of a layer's last channel at first: its factor is 0.95."""
SPREAD = 20.0
"""How much higher s of a layer's first channel is, so that few fade at the same time."""
LAST_DELTA = 10.0
"""δ at the end; s are wide apart as it is."""
FADE_EVERY = 10
"""Steps from one lowering of s to the next, so that a GPU seldom waits."""
FADED = 0.9
"""The share of the stage after which the target is met; then the weights have the rest."""
HASTE = 2.0
"""How much faster than evenly s may fall where the plan is ahead of them."""
LEAST_PRICE = 1e-3
"""What a channel counts for at the least where channels are priced, their mean being 1."""


class FadingStage(JointStage):
    """Weights and logits learned together while all s fall, as far as a target asks for.

    The gates start in the order of a criterion, each layer's best channel highest, all nearly open.
    Every few steps one number is taken from all s, so that the channels with s > 0 cost what a plan
    has that falls evenly from the full network to the target; of several targets, that of
    `keras_nas.search.steering`. A channel fades over some tens of
    steps, and the task's gradient holds it, or lets it go, against its neighbours. The pull on all
    s is that of a λ_a of Eq. (4) that follows the target. Of a penalty with prices it is in
    proportion to a channel's price (`PricedSum.prices`), so that layers of dear channels give up
    more of them. δ rises from 1 to 10 besides. Tied channels have the mean of their s, and the mean
    of their prices; `min_share` of each layer stay.

    The weights learn as in finetuning (`config.finetune`), of whose schedule this stage is the
    beginning. Records are those of `GateStage`.

    Args:
        supernet, train_data, validation_data, task: As in `GateStage`.
        config: The settings, with a target.

    Raises:
        KerasNasError: As in `steering`.
    """

    def __init__(self, supernet, train_data, validation_data, task, config: DnalConfig):
        training = config.continued(0)
        epochs = config.architecture.epochs
        super().__init__(
            supernet, train_data, validation_data, task, config, "architecture", training, epochs
        )
        self.flags = "finetune"
        steered = steering(supernet, config)
        assert steered.target is not None
        self.resource, self.target = steered.resource, steered.target
        self.full = self.resource.full()
        self.units = Units(supernet, self.gates, config.min_share)
        self.delta = DeltaSchedule(LAST_DELTA, "step")
        self._priced = self.penalty if isinstance(self.penalty, PricedSum) else None
        if self._priced is not None:
            self._prices = tf.function(self._priced.prices, autograph=False)

    def start_logits(self):
        scores = importance.score(self.model, self.config.first_order)
        importance.start_logits(self.model, scores, low=FIRST, high=FIRST + SPREAD, ranking="layer")

    def start(self, evaluator):
        return GateStage.start(self, evaluator)

    def before_epoch(self, epoch):
        pass

    def before_step(self, epoch, step, steps):
        done = epoch * steps + step
        if done % FADE_EVERY == 0:
            self._move_delta(epoch, step)
            self._fade(done, self.epochs * steps)

    def _fade(self, done: int, total: int) -> None:
        """Lowers all s as far as the plan asks for the step after the next `FADE_EVERY`."""
        share = min(1.0, (done + FADE_EVERY) / (FADED * total))
        rates = self._rates()
        level = self.units.level(self._cost, self.full + (self.target - self.full) * share, rates)
        if level is not None:
            most = HASTE * (FIRST + SPREAD) * FADE_EVERY / total
            self.units.lower(min(level, most), FIRST, rates)

    def _rates(self) -> np.ndarray | None:
        """How fast s of each unit falls, where the penalty has prices."""
        if self._priced is None:
            return None
        prices = dict(zip(self._priced.resource.gates, self._prices(), strict=True))
        joined = np.concatenate([prices[gate].numpy() for gate in self.gates])
        return np.maximum(self.units.means(joined), LEAST_PRICE)

    def _cost(self, joined: np.ndarray) -> float:
        return self.resource.cost(self.units.by_gate(joined))
