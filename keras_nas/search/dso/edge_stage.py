"""The stage of DSO that learns edges and weights in turn."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.gates import learnable
from keras_nas.layers import ScaledEdge
from keras_nas.layers.edge_scales import join_scales
from keras_nas.optimizers import APGNAG
from keras_nas.search.dso.alternating_data import AlternatingData
from keras_nas.search.dso.config import DsoConfig, parse_ratio
from keras_nas.search.dso.edge_gammas import Gammas
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.tasks import Task
from keras_nas.training.alike_segments import Segments
from keras_nas.training.alike_updates import trace_alike_updates_once
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.rematerialization import Rematerialized
from keras_nas.training.step import Learned, StepReport, descend, global_mean
from keras_nas.training.trainer import (
    TrainStage,
    accumulation,
    needs_loss_scaling,
    validation_record,
)


class FullNetworkStage(TrainStage):
    """Trains the weights of the full network, edges as they are, BatchNormalization's scale held.

    Its alike blocks are traced once, for a step and for the evaluation. The arguments are those of
    `TrainStage`, and DSO's settings.
    """

    def __init__(self, name, supernet, train_data, validation_data, task, config, settings):
        super().__init__(name, supernet, train_data, None, task, config)
        alike = Segments(supernet)
        if validation_data is not None:
            self._evaluator = Evaluator(alike, task, validation_data)
        pieces = alike.segments if len(alike.segments) > 1 else None
        self.network = Rematerialized(supernet, pieces) if config.rematerialize else alike
        if settings.hold_bn_scale:
            held = {id(scale) for scale in batch_normalization_scales(supernet)}
            self.weights = [weight for weight in self.weights if id(weight) not in held]


class EdgeStage(FullNetworkStage):
    """Lines 4 to 7 of Alg. 1: y steps of APG-NAG on λ with D_λ, x steps of NAG on W with D_w.

    It is finished when edges have died and the set of live ones has been the same for `patience`
    epochs; with `stop="one_operation"`, when each group of parallel edges is down to one. There the
    last edge of a group stops shrinking: its γ is 0 from the step that leaves it alone, and a step
    that would close it (or several last ones at once) is taken back for the strongest.

    The records have `edges` (all), `open_edges`, `live_edges` and `support`, a digest of the live
    ones.

    Evaluation, records and the stage's end see λ = S(z), exactly sparse.

    Args:
        supernet: A model with `ScaledEdge`s.
        train_data: D_w.
        structure_data: D_λ; None to learn both from D_w, one batch for both (the ablation of
            Table 7).
        validation_data: Evaluated after each epoch; None for none.
        task: Loss and metrics.
        config: The settings.
        graph: The supernet's graph.
        gammas: γ by edge for a set of open edges.
    """

    def __init__(
        self,
        supernet: keras.Model,
        train_data,
        structure_data,
        validation_data,
        task: Task,
        config: DsoConfig,
        graph: EdgeGraph,
        gammas: Gammas,
    ):
        self.joint = structure_data is None
        self.ratio = (1, 1) if self.joint else parse_ratio(config.split_ratio)
        data = (
            train_data if self.joint else AlternatingData(train_data, structure_data, *self.ratio)
        )
        self.edges = scaled_edges(supernet)
        self.scales = join_scales(self.edges)
        super().__init__(
            "architecture", supernet, data, validation_data, task, config.architecture, config
        )
        self.settings = config
        self.graph = graph
        self.gammas = gammas
        self._stacked = tf.function(self._stacked_strengths, autograph=False)
        self._before: dict[str, float] = {}
        self.last_open = keras.Variable(np.ones(len(self.edges)), trainable=False, name="last_open")

    def begin(self, steps):
        super().begin(steps)
        for edge in self.edges:
            edge.mode = "soft"
        rate = self.settings.edge_learning_rate or self.config.learning_rate
        self.apg = APGNAG(
            float(rate),
            gamma=self.settings.gamma,
            momentum=self.settings.edge_momentum or None,
            clip_lookahead=self.settings.clip_lookahead,
            gradient_accumulation_steps=accumulation(self.config),
        )
        trace_alike_updates_once(self.apg)
        self.edge_optimizer: keras.optimizers.Optimizer = self.apg
        if needs_loss_scaling(self.model):
            self.edge_optimizer = keras.optimizers.LossScaleOptimizer(self.apg)
        self.edge_optimizer.build(self.scales)

    def before_step(self, epoch, step, steps):
        if self._protects and not self._before:
            self._before = self.strengths()
        if step == 0:  # a run that is resumed within the epoch has its γ in the checkpoint
            self._set_gammas(epoch)

    @property
    def _protects(self) -> bool:
        return self.settings.stop == "one_operation"

    def _set_gammas(self, epoch: int) -> None:
        strengths = self.strengths()
        gammas = self.gammas([name for name, scale in strengths.items() if scale > 0])
        growth = self.growth(epoch)
        values = {id(vector): np.zeros(vector.shape) for vector in self.scales}
        for edge in self.edges:
            values[id(edge.scale.vector)][edge.scale.index] = growth * gammas[edge.name]
        for vector in self.scales:
            self.apg.set_gamma(vector, values[id(vector)])
        if self._protects:
            self._hold_last(strengths)

    def growth(self, epoch: int) -> float:
        """By what every γ is multiplied in an epoch."""
        return self.settings.gamma_growth**epoch

    def satisfied(self):
        if self._protects:
            now = self._by_name(self._stacked().numpy())
            self._hold_last(now)
            self._before = now
        return False

    def _hold_last(self, strengths: dict[str, float]) -> None:
        """Lets the last open edge of each group shrink no further.

        Of a group that has closed altogether, the edge that was the strongest before is put back to
        what it was, in `strengths` too.
        """
        scales = {edge.name: edge.scale for edge in self.edges}
        for group in self._groups(list(strengths)):
            opened = [name for name in group if strengths[name] > 0]
            if not opened:
                opened = [max(group, key=self._before.__getitem__)]
                strengths[opened[0]] = self._before[opened[0]]
                last = scales[opened[0]]
                self.apg.restart(last.vector, self._before[opened[0]], last.index)
            if len(opened) == 1:
                last = scales[opened[0]]
                gammas = self.apg.get_gamma(last.vector)
                if gammas[last.index]:
                    gammas[last.index] = 0.0
                    self.apg.set_gamma(last.vector, gammas)

    def _stacked_strengths(self) -> tf.Tensor:
        slots = [self.apg.sparse_variable(vector) for vector in self.scales]
        return tf.concat([tf.convert_to_tensor(slot) for slot in slots], axis=0)

    def _by_name(self, stacked: np.ndarray) -> dict[str, float]:
        """What `stacked`, the vectors one after the other, has for each edge."""
        starts = np.cumsum([0, *(vector.shape[0] for vector in self.scales)])
        start = {id(vector): n for vector, n in zip(self.scales, starts.tolist(), strict=False)}
        return {
            edge.name: float(stacked[start[id(edge.scale.vector)] + edge.scale.index])
            for edge in self.edges
        }

    def train_step(self, batch):
        if self.joint:
            learned = [*self.learned(), Learned(self.scales, self.edge_optimizer, "task_loss")]
            return descend(batch, self.forward, self.losses, learned, self.metrics)
        weight_batches, edge_batches = batch
        edges = [Learned(self.scales, self.edge_optimizer, "edge_loss")]
        weight_step = super().train_step
        reports = [
            descend(_at(edge_batches, index), self.forward, self._edge_losses, edges)
            for index in range(self.ratio[1])
        ]
        reports += [weight_step(_at(weight_batches, index)) for index in range(self.ratio[0])]
        return _joined(reports)

    def _edge_losses(self, targets, outputs):
        return {"edge_loss": global_mean(self.task.loss(targets, outputs))}

    def state(self):
        return {
            **super().state(),
            "edge_optimizer": self.edge_optimizer.variables,
            "last_open": [self.last_open],
        }

    def strengths(self) -> dict[str, float]:
        """λ = S(z) of each edge by name."""
        return self._by_name(
            np.concatenate([self.apg.sparse_value(vector) for vector in self.scales])
        )

    def after_epoch(self, epoch):
        strengths = self.strengths()
        now = np.array(list(strengths.values()))
        self.last_open.assign(np.where(now > 0, now, self.last_open.numpy()))
        opened = [name for name, scale in strengths.items() if scale > 0]
        live = sorted(self.graph.live_edges(opened))
        record = {
            "edges": len(self.edges),
            "open_edges": len(opened),
            "live_edges": len(live),
            "support": hashlib.sha256("\n".join(live).encode()).hexdigest()[:16],
            "most_in_a_group": max((len(group) for group in self._groups(live)), default=0),
        }
        with self.apg.sparse_values():
            record.update(validation_record(self._evaluator))
        return record

    def finished(self, records):
        if self.settings.stop == "one_operation":
            return records[-1]["most_in_a_group"] <= 1
        patience = self.settings.patience
        last = [record["support"] for record in records[-patience - 1 :]]
        sparse = records[-1]["live_edges"] < len(self.edges)
        return sparse and bool(patience) and len(last) > patience and len(set(last)) == 1

    def close(self) -> list[str]:
        """Leaves the supernet as surgery will see it; returns the edges that had to be reopened.

        λ = S(z) in every edge; where an output of the model would be cut off, the edges on the way
        that were strongest when last open are opened again; edges that are not alive are closed.
        """
        self.apg.finalize_variable_values(self.scales)
        strengths = {edge.name: float(edge.scale.numpy()[0]) for edge in self.edges}
        last_open = zip(strengths, self.last_open.numpy(), strict=True)
        closed = {name: float(last) for name, last in last_open if strengths[name] <= 0}
        reopened = self.graph.reconnect(closed)
        opened = [name for name, scale in strengths.items() if scale > 0] + reopened
        live = self.graph.live_edges(opened)
        for edge in self.edges:
            scale = closed[edge.name] if edge.name in reopened else strengths[edge.name]
            edge.scale.assign([scale if edge.name in live else 0.0])
            edge.mode = "hard"
        return reopened

    def status(self):
        return {"open": float(np.mean([scale > 0 for scale in self.strengths().values()]))}

    def histograms(self):
        return {"edges/all": np.array(list(self.strengths().values()))}

    def _groups(self, live: Sequence[str]) -> list[list[str]]:
        """Live edges by block."""
        groups: dict[str, list[str]] = {}
        for name in live:
            groups.setdefault(self.graph.places[name].block, []).append(name)
        return list(groups.values())


def scaled_edges(supernet: keras.Model) -> list[ScaledEdge]:
    """The edges of a supernet, in graph order.

    Raises:
        KerasNasError: If it has none.
    """
    return learnable(
        supernet,
        ScaledEdge,
        "DSO searches networks that are built with edges, such as keras_nas.models.dso_cifar or "
        "your own.",
    )


def batch_normalization_scales(model: keras.Model) -> list[keras.Variable]:
    """γ of every BatchNormalization that has one (section 4.1: fixed while edges are learned)."""
    return [
        layer.gamma
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.gamma is not None
    ]


def _at(batches, index: int):
    return keras.tree.map_structure(lambda tensor: tensor[:, index], batches)


def _joined(reports: Sequence[StepReport]) -> StepReport:
    """The reports of one step's updates as one: each loss is the mean over its updates."""
    sums: dict[str, list[tf.Tensor]] = {}
    for report in reports:
        for name, loss in report.losses.items():
            sums.setdefault(name, []).append(loss)
    return dataclasses.replace(
        reports[0],
        losses={name: tf.add_n(losses) / len(losses) for name, losses in sums.items()},
        bad=tf.concat([report.bad for report in reports], axis=0),
        names=tuple(name for report in reports for name in report.names),
    )
