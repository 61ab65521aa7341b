"""DSO's stage of edges on the way to a cost: γ is steered, and the nearest network is kept."""

from __future__ import annotations

import logging

import keras
import tensorflow as tf

from keras_nas.search.dso.edge_stage import EdgeStage
from keras_nas.search.dso.edge_target import EdgeTarget

logger = logging.getLogger(__name__)

LOOK_EVERY = 10
"""Steps between two looks at how fast the edges fall."""
MET_AFTER = 0.9
"""The share of the stage after which the target is to be met."""
MOST = 1.5
"""By how much γ moves at a look, up or down."""
RANGE = 1e4
"""γ is steered within this factor of where it began, up and down."""
NEAR = 0.02
"""How far from the target, as a share of it, the edges may end without a warning."""


class TargetedEdgeStage(EdgeStage):
    """Lines 4 to 7 of Alg. 1 with a γ that follows a target in macs.

    Every few steps the stage looks at the λ of the last edge that has to close for the target, the
    weakest closing first. It is to fall evenly to 0 by nine tenths of the stage: γ grows where it
    has fallen too little, and shrinks where too much, by a factor of 1.5 at the most. The step that
    closes it ends the stage. Of the edges that this step closed, those are taken back, the
    strongest first, with which the network is nearest to the target.

    Records have `edge_macs`, what is left, and `gamma_factor`, by what γ is multiplied, besides.

    Args:
        *arguments: Those of `EdgeStage`.
        target: The target.
    """

    def __init__(self, *arguments, target: EdgeTarget):
        super().__init__(*arguments)
        self.target = target
        self._last: dict[str, float] = {}
        self._reached = False
        with tf.distribute.get_strategy().scope():
            self._factor = keras.Variable(1.0, trainable=False, name="gamma_factor")
            self._level = keras.Variable(-1.0, trainable=False, name="last_level")

    def before_step(self, epoch, step, steps):
        if not self._last:  # at the beginning, and where a run is resumed
            self._last = self.strengths()
        done, total = epoch * steps + step, self.epochs * steps
        if done % LOOK_EVERY == 0:
            self._steer(MET_AFTER * total - done)
        super().before_step(epoch, step, steps)
        if step and done % LOOK_EVERY == 0:
            self._set_gammas(epoch)

    def _steer(self, remaining: float) -> None:
        """Moves γ by how far the level has fallen since the last look, of what it should have."""
        before, now = float(self._level.numpy()), self._level_of(self._last)
        self._level.assign(now)
        if before < 0:
            return
        wanted = before * LOOK_EVERY / max(remaining + LOOK_EVERY, LOOK_EVERY)
        fallen = before - now
        pace = min(wanted / fallen, MOST) if fallen > 0 else MOST
        factor = float(self._factor.numpy()) * max(pace, 1 / MOST)
        self._factor.assign(min(max(factor, 1 / RANGE), RANGE))

    def _level_of(self, strengths: dict[str, float]) -> float:
        """λ of the last edge that has to close."""
        closing = self.target.fewest(strengths)
        return strengths[closing[-1]] if closing else 0.0

    def growth(self, epoch):
        return super().growth(epoch) * float(self._factor.numpy())

    def satisfied(self):
        super().satisfied()
        now = self._by_name(self._stacked().numpy())
        died = [name for name, scale in now.items() if scale <= 0 < self._last[name]]
        if died and self.left(now) <= self.target.macs:
            died.sort(key=self._last.__getitem__)
            closing = self.target.nearest(now, died)
            for name in set(died) - set(closing):
                self._restart(name, self._last[name])
            self._reached = True
        self._last = now
        return self._reached

    def left(self, strengths: dict[str, float]) -> float:
        """Macs of what the open edges keep alive."""
        return self.target.left(strengths, [n for n, scale in strengths.items() if scale > 0])

    def _restart(self, name: str, value: float) -> None:
        scale = next(edge.scale for edge in self.edges if edge.name == name)
        self.apg.restart(scale.vector, value, scale.index)

    def state(self):
        return {**super().state(), "steering": [self._factor, self._level]}

    def after_epoch(self, epoch):
        record = super().after_epoch(epoch)
        record["edge_macs"] = self.left(self.strengths())
        record["gamma_factor"] = float(self._factor.numpy())
        return record

    def finished(self, records):
        return self._reached or (self._protects and super().finished(records))

    def land(self) -> None:
        """Closes the weakest edges where more is left than the target, as far as it is nearer."""
        strengths = self.strengths()
        left, target = self.left(strengths), self.target.macs
        closing = self.target.fewest(strengths)
        if closing:
            closing = self.target.nearest(strengths, closing)
        if left > (1 + NEAR) * target and closing:
            logger.warning(
                "stage 2 ended with %s macs, %.1f %% over `edge_macs`: the weakest %d edges are "
                "closed too. (More `architecture_epochs` or a greater `gamma` let it close them.)",
                f"{left:,.0f}", 100 * (left / target - 1), len(closing),
            )  # fmt: skip
        for name in closing:
            self._restart(name, 0.0)

    def tell(self) -> None:
        """Says how far from the target the supernet is, in mode "hard", where that is not near."""
        strengths = {edge.name: float(edge.scale.numpy()[0]) for edge in self.edges}
        left, target = self.left(strengths), self.target.macs
        if abs(left / target - 1) > NEAR:
            logger.warning(
                "`edge_macs`=%s: %s, the nearest that whole edges allow, is %.1f %% %s",
                f"{target:,.0f}", f"{left:,.0f}", 100 * abs(left / target - 1),
                "more" if left > target else "less",
            )  # fmt: skip
