"""DSO-NAS: a full network with scaled edges, made sparse, rebuilt and trained from scratch."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_nas import surgery
from keras_nas.architecture import Architecture
from keras_nas.costs import LatencyTable, count
from keras_nas.errors import UsageError
from keras_nas.graph.copy import renewed
from keras_nas.layers.edge_scales import join_scales
from keras_nas.models.dso import space_config
from keras_nas.models.dso_space import DsoSpace
from keras_nas.models.found_network import SPACES, FoundNetwork
from keras_nas.search.align_prices import prices_of
from keras_nas.search.dso.alternating_data import AlternatingData
from keras_nas.search.dso.auxiliary_tower import AuxiliaryStage, with_auxiliary_tower
from keras_nas.search.dso.config import DsoConfig, parse_ratio
from keras_nas.search.dso.edge_gammas import (
    Gammas,
    fixed_gammas,
    flops_gammas,
    latency_gammas,
    mac_gammas,
)
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.search.dso.edge_stage import EdgeStage, FullNetworkStage, scaled_edges
from keras_nas.search.dso.edge_target import EdgeTarget
from keras_nas.search.dso.steered_edges import TargetedEdgeStage
from keras_nas.search.dso.width_multiplier import NEARER, solve_widths
from keras_nas.search.method import Context, Method, SearchResult, search
from keras_nas.search.total_epochs import within_total
from keras_nas.settings import flatten
from keras_nas.targets import is_given
from keras_nas.tasks import Classification, Task
from keras_nas.training.distillation import Distillation
from keras_nas.training.loop import run_stage
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, inputs_of

logger = logging.getLogger(__name__)


class Dso(Method):
    """DSO's stages (Alg. 1, section 4.1).

    Args:
        config: The settings; the paper's for CIFAR-10 by default.
    """

    name = "dso"
    remedy = "Lower `gamma` (or `gamma_growth`), or train the weights for longer first."

    def __init__(self, config: DsoConfig | None = None):
        self.config = config or DsoConfig()

    def make_supernet(self, model, from_file=False):
        """`model` itself, which has to be built with `ScaledEdge`s; they start open."""
        edges = scaled_edges(model)
        join_scales(edges)
        for edge in edges:
            edge.mode = "soft"
        return model

    def check(self, supernet, context, source=None):
        """There are edges, data for them, every condition of a latency table, and a known space."""
        self._check_structure(context)
        config, graph = self.config, EdgeGraph(supernet)
        self.gammas(supernet, graph)
        if is_given(config.edge_macs):
            EdgeTarget(graph, config.edge_macs)
        builder = (source or {}).get("builder")
        if config.random_networks and builder not in SPACES:
            raise UsageError(
                f"`random_networks` can be drawn in the spaces {SPACES} alone. "
                f"Received: {builder or source!r}"
            )
        named = list(config.targets())
        if config.from_scratch and named and builder not in SPACES:
            raise UsageError(
                f"`target_{named[0]}` needs widths that can be solved for: one of the spaces "
                f"{SPACES}. Received: {builder or source!r}"
            )

    def _check_structure(self, context: Context) -> None:
        if not self.config.split:
            return
        if context.structure_data is None:
            raise UsageError(
                "DSO learns edges on data of their own, D_λ: give `structure_data` (the apps: "
                "--split_ratio), or set split=False. Received: structure_data=None"
            )
        ratio = parse_ratio(self.config.split_ratio)
        together = AlternatingData(context.train_data, context.structure_data, *ratio).epoch(0)
        if int(together.cardinality()) == 0:
            raise UsageError(
                f"`split_ratio` {self.config.split_ratio} leaves no step: an epoch needs "
                f"{ratio[0]} batches of D_w and {ratio[1]} of D_λ. Give a smaller `batch_size`, or "
                "more data."
            )

    def train_weights(self, supernet, context):
        """Line 3: the full network's weights on D_w.

        Raises:
            KerasNasError: If the budget of the next stage lacks its latency table, or that a
                condition.
        """
        if self.config.adaptive == "latency":  # said now, not after all these epochs
            self.gammas(supernet, EdgeGraph(supernet))
        stage = FullNetworkStage(
            "weights", supernet, context.train_data, context.validation_data, context.task,
            self.config.weights, self.config,
        )  # fmt: skip
        return run_stage(stage, context.session)

    def learn(self, supernet, context):
        """Lines 4 to 7: edges and weights in turn; ends with dead edges at exactly 0."""
        self._check_structure(context)
        graph = EdgeGraph(supernet)
        split = self.config.split
        arguments = (
            supernet,
            context.train_data if split else context.all_data(),
            context.structure_data if split else None,
            context.validation_data,
            context.task,
            self.config,
            graph,
            self.gammas(supernet, graph),
        )
        if is_given(self.config.edge_macs):
            target = EdgeTarget(graph, self.config.edge_macs)
            stage: EdgeStage = TargetedEdgeStage(*arguments, target=target)
        else:
            stage = EdgeStage(*arguments)
        records = run_stage(stage, context.session)
        if isinstance(stage, TargetedEdgeStage):
            stage.land()
        reopened = stage.close()
        # An edge may feed one side of a product only: the ways that `close` goes do not see that.
        reopened += surgery.rescue(supernet, inputs_of(context.train_data))
        if isinstance(stage, TargetedEdgeStage):
            stage.tell()
        if records:
            records[-1]["reopened_edges"] = reopened
            most = records[-1]["most_in_a_group"]
            if self.config.stop == "one_operation" and most > 1:
                logger.warning(
                    "the epochs are over and blocks still have up to %d operations: raise `gamma`, "
                    "`gamma_growth` or `architecture_epochs`", most,
                )  # fmt: skip
        return records

    def gammas(self, supernet: keras.Model, graph: EdgeGraph) -> Gammas:
        """γ by edge, under the configuration's budget."""
        config = self.config
        if config.adaptive == "flops":
            return flops_gammas(graph, config.gamma)
        if config.adaptive == "mac":
            return mac_gammas(graph, supernet, config.gamma)
        if config.adaptive == "latency":
            table = LatencyTable.load(config.latency_table)
            latencies = table.by_layer(self.original(supernet), interpolate=config.interpolate)
            return latency_gammas(graph, config.gamma, config.gamma_0, latencies)
        return fixed_gammas(graph, config.gamma)

    def summary(self, records):
        """Under "edges": how many there are, are open, and reach the output."""
        names = ("edges", "open_edges", "live_edges")
        return {"edges": {name: records[-1][name] for name in names}} if records else {}

    def architecture(self, supernet, seed=None, source=None):
        return Architecture.from_gates(
            supernet,
            method=self.name,
            source=source,
            settings=flatten(self.config),
            seed=seed,
            align=self.config.align,
            prices=prices_of(self.config),
        )

    def rebuild(self, supernet, architecture):
        """The supernet without its dead edges, outputs unchanged."""
        prices = prices_of(self.config)
        return surgery.build(supernet, architecture, align=self.config.align, prices=prices)

    def original(self, supernet):
        with _all_open(supernet):
            return surgery.build(supernet, None)

    def retrained(self, small, architecture):
        """The network that stage 3 trains: with new weights, and as wide as the budget allows.

        In a space of keras_nas (see `FoundNetwork`) without scales, with dropout and drop path; of
        another supernet, the small network itself with new weights.
        """
        config = self.config
        if not config.from_scratch:
            return small
        source = architecture.model or {}
        targets = config.targets()
        if source.get("builder") not in SPACES:
            if targets:
                FoundNetwork(source, {})
            return renewed(small)
        found = FoundNetwork(source, architecture.kept_edges)
        widths = found.widths
        for cost, target in targets.items():
            number = target.of(architecture.costs["before"][cost])
            widths = solve_widths(found.build, widths, number, cost)
        return found.build(widths, config.dropout, config.drop_path)

    def random_baselines(self, small, architecture, seed):
        """Random networks of the space, with as many edges and about as many macs (within 3 %)."""
        if not self.config.random_networks:
            return
        found = FoundNetwork(architecture.model, architecture.kept_edges)
        macs = count(small).macs
        for index in range(self.config.random_networks):
            baseline = found.random(seed + index)
            widths = solve_widths(baseline.build, baseline.widths, macs / NEARER**0.5)
            model = baseline.build(widths, self.config.dropout, self.config.drop_path)
            yield f"random_{index + 1}", model

    def finetune(self, small, context, name="finetune"):
        """The found network's weights, on all data; with the auxiliary tower where it fits."""
        config, task = self.config, context.task
        training = within_total(
            config.finetune, config.total_epochs, config.weights.epochs, context.learned
        )
        place = _before_last_reduction(small)
        if config.auxiliary_weight and place and _takes_tower(task):
            with tf.distribute.get_strategy().scope():
                tower = with_auxiliary_tower(small, place, task.classes)
                distillation = Distillation.of(context.teacher, tower, task, self.distill)
            stage = AuxiliaryStage(
                name, small, tower, config.auxiliary_weight, context.all_data(),
                context.validation_data, task, training, distillation,
            )  # fmt: skip
            return run_stage(stage, context.session)
        return self.train(name, small, training, context, self.distill)


def dso(
    model: keras.Model | DsoSpace,
    train_data: Data,
    *,
    validation_data: Data | None = None,
    structure_data: Data | None = None,
    config: DsoConfig | None = None,
    task: Task | None = None,
    session: Session | None = None,
    source: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Learns which connections a network needs, rebuilds it without the others, and retrains it.

    Call it in a `tf.distribute` strategy's scope to use its replicas.

    Example:

    ```python
    space = keras_nas.models.DsoSpace(stage_widths=(16, 32, 64), stage_blocks=(1, 1, 1), levels=2)
    result = keras_nas.search.dso(
        space, d_w, validation_data=validation_data, structure_data=d_lambda
    )
    space.genotype(result.supernet)
    ```

    Args:
        model: A search space, or a functional model that is built with `ScaledEdge`s.
        train_data: D_w, batches `(inputs, targets)`; see `keras_nas.training.stage.Data`.
        validation_data: Evaluated after each epoch; None for none.
        structure_data: D_λ, in batches of the same size; may be missing with `split=False`.
        config: The settings; the paper's for CIFAR-10 by default.
        task: Loss and metrics; by default classification by the model's output.
        session: Where to write, resuming, progress; by default nothing is written.
        source: Where a model comes from, `{"builder": name, "config": {…}}`, so that its widths can
            be solved for a budget; known for a `DsoSpace`.

    Returns:
        A `SearchResult`; its `small` is the retrained network.

    Raises:
        KerasNasError: If the model has no edges, or as in `run_stage`.
        DeadNetworkError: If the network that is left is no better than a constant.
        UsageError: If `structure_data` is missing.

    References:
        Zhang et al., You Only Search Once: Single Shot Neural Architecture Search via Direct Sparse
        Optimization, Alg. 1.
    """
    if isinstance(model, DsoSpace):
        source = {"builder": "dso_cifar", "config": space_config(model)}
        model = model.supernet()
    return search(
        Dso(config), model, train_data, validation_data=validation_data,
        structure_data=structure_data, task=task, session=session, source=source,
    )  # fmt: skip


def _takes_tower(task: Task) -> bool:
    """Whether the auxiliary tower's logits suit the task's loss."""
    return isinstance(task, Classification) and not task.sigmoid


@contextlib.contextmanager
def _all_open(supernet: keras.Model) -> Iterator[None]:
    """The supernet with every edge at 1 for a while."""
    edges = [(edge, edge.scale.numpy()) for edge in scaled_edges(supernet)]
    for edge, scale in edges:
        edge.scale.assign([1.0] * len(scale))
    try:
        yield
    finally:
        for edge, scale in edges:
            edge.scale.assign(scale)


def _before_last_reduction(model: keras.Model) -> str | None:
    """The layer that ends the second last stage of a network of DSO's spaces; else None."""
    reductions = [
        layer
        for layer in model.layers
        if re.fullmatch(r"stage\d+_reduction_conv\d_conv", layer.name)
    ]
    if not reductions:
        return None
    last = max(reductions, key=lambda layer: int(re.findall(r"\d+", layer.name)[0]))
    return last.input._keras_history.operation.name
