"""Who takes part: each takes a trained network and a target, and gives the network it would ship.

Everyone spends the same epochs. `uniform` and the `…_scratch` entrants train their network from
scratch for the full network's epochs and those that follow, along one schedule; so do the
`…_early` ones, which begin with the full network and take its channels after the first of these
epochs. The others start from the trained full network.
Scores take tied channels together, and BatchNormalization is estimated anew after each surgery.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

import keras_nas as kn
from benchmarks.rivals.contest import Entrant, Start
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search import DistillConfig, TrainConfig

SLIMMING = 1e-4
"""The strength of network slimming's L1 on γ, the largest of its paper's."""
STATISTICS_BATCHES = 20

ENTRANTS: dict[str, Entrant] = {}
REFERENCES = ("full", "full_twice")
OURS = (
    "dnal", "dnal_early", "dnal_early_short", "dnal_priced", "dnal_short", "dnal_streams", "fgnas",
    "fgnas_early", "fgnas_streams",
)  # fmt: skip
EARLY = 0.3
"""The share of all epochs that the full network has where channels go early; a search as many."""
BRANCHES = 2
"""How many go whole in the `…_short` entrants."""


def entrant(function: Entrant) -> Entrant:
    """Decorator: enters a function under its name."""
    ENTRANTS[function.__name__] = function
    return function


def _pruned(
    start: Start, target: str, criterion: Callable | str, ranking: str, kind: str = "full", **more
) -> keras.Model:
    return _cut(start.trained(kind, **more), target, criterion, ranking)


def _cut(model: keras.Model, target: str, criterion: Callable | str, ranking: str) -> keras.Model:
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    scores = kn.importance.score(supernet, criterion)
    architecture = kn.importance.prune(supernet, scores, target_macs=target, ranking=ranking)
    return kn.surgery.build(supernet, architecture)


def _finetuned(start: Start, small: keras.Model) -> keras.Model:
    kn.statistics.reestimate(small, start.data.train.epoch(0), STATISTICS_BATCHES)
    teacher = start.trained() if start.contest.distill else None
    return start.train(small, start.finetuning(start.contest.epochs), teacher)


def _from_scratch(start: Start, small: keras.Model) -> keras.Model:
    """A new network of the same layers, trained for all the epochs there are."""
    return start.train(keras.models.clone_model(small), start.from_scratch(start.all_epochs))


def early(start: Start) -> tuple[TrainConfig, TrainConfig, TrainConfig]:
    """One schedule in three parts: the full network, the search, and what is found."""
    first = max(1, round(EARLY * start.all_epochs))
    last = start.all_epochs - 2 * first

    def part(epochs: int, begin: int) -> TrainConfig:
        return start.from_scratch(epochs).part_of(start.all_epochs, begin)

    return part(first, 0), part(first, first), part(last, 2 * first)


@entrant
def full(start: Start, target: str) -> keras.Model:
    """The full network, which the others start from."""
    return start.trained()


@entrant
def full_twice(start: Start, target: str) -> keras.Model:
    """The full network after twice its epochs; hardly better, or all is undertrained."""
    return start.train(start.fresh(), start.of_weights(2 * start.contest.weights_epochs))


@entrant
def uniform(start: Start, target: str) -> keras.Model:
    """All widths times one number, from scratch."""
    return _from_scratch(start, _pruned(start, target, "random", "layer"))


@entrant
def l1(start: Start, target: str) -> keras.Model:
    """The kernels' L1 norms, the same share in all layers."""
    return _finetuned(start, _pruned(start, target, "l1", "layer"))


@entrant
def l1_early(start: Start, target: str) -> keras.Model:
    """L1 after the first epochs, on one schedule with what follows."""
    first, search, last = early(start)
    model = start.train(start.fresh(), first)
    small = _cut(model, target, "l1", "layer")
    kn.statistics.reestimate(small, start.data.train.epoch(0), STATISTICS_BATCHES)
    rest = dataclasses.replace(search, epochs=search.epochs + last.epochs)
    return start.train(small, rest)


@entrant
def slimming(start: Start, target: str) -> keras.Model:
    """|γ| over all layers, of a network that was trained with an L1 penalty on γ."""

    def sparse(model: keras.Model) -> None:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
                layer.gamma.regularizer = keras.regularizers.L1(SLIMMING)

    small = _pruned(start, target, "gamma", "global", kind="slimming", prepare=sparse)
    return _finetuned(start, small)


@entrant
def taylor(start: Start, target: str) -> keras.Model:
    """First-order Taylor over a few training batches, within each layer's mean."""

    def criterion(model: keras.Model) -> Any:
        return kn.importance.taylor(model, start.data.train.epoch(0), start.task.loss, batches=20)

    return _finetuned(start, _pruned(start, target, criterion, "normalized"))


@entrant
def random(start: Start, target: str) -> keras.Model:
    """Random channels, the same share in all layers."""
    return _finetuned(start, _pruned(start, target, "random", "layer"))


@entrant
def tfmot_sparsity(start: Start, target: str) -> keras.Model:
    """The smallest weights to zero by tfmot: the target is of the params, since the macs stay."""
    from benchmarks.rivals.sparsity import train_sparse

    return train_sparse(start, target)


@entrant
def mct(start: Start, target: str) -> keras.Model:
    """Sony's toolkit, which takes channels inside of blocks only; see `prune_by_mct`."""
    from benchmarks.rivals.mct import prune_by_mct

    return _finetuned(start, prune_by_mct(start, target))


@entrant
def dnal(start: Start, target: str) -> keras.Model:
    """DNAL by its defaults, half of the epochs while channels fade."""
    return _dnal(start, target)


@entrant
def dnal_priced(start: Start, target: str) -> keras.Model:
    """DNAL whose channels fade as fast as they cost macs."""
    return _dnal(start, target, penalty="macs")


@entrant
def dnal_early(start: Start, target: str) -> keras.Model:
    """DNAL from new weights: all of its stages on one schedule."""
    return _dnal_early(start, target)


@entrant
def dnal_short(start: Start, target: str) -> keras.Model:
    """DNAL without those whole branches that are missed least."""
    return _dnal(start, target, branches=BRANCHES)


@entrant
def dnal_early_short(start: Start, target: str) -> keras.Model:
    """DNAL on one schedule, without those branches that are missed least after its first part."""
    return _dnal_early(start, target, branches=BRANCHES)


@entrant
def dnal_streams(start: Start, target: str) -> keras.Model:
    """DNAL with one gate for all layers that write a stream."""
    return _dnal(start, target, streams="groups")


@entrant
def fgnas(start: Start, target: str) -> keras.Model:
    """FGNAS by its defaults, half of the epochs for its search, on one schedule with the rest."""
    return _fgnas(start, target, "branches")


@entrant
def fgnas_early(start: Start, target: str) -> keras.Model:
    """FGNAS from new weights: all of its stages on one schedule."""
    first, search, last = early(start)
    config = kn.search.FgnasConfig(
        target_macs=target, weights=first, search=search, finetune=last,
        reestimate_batches=STATISTICS_BATCHES,
    )  # fmt: skip
    return _searched(start, kn.search.fgnas, config, start.fresh())


@entrant
def fgnas_streams(start: Start, target: str) -> keras.Model:
    """FGNAS with one gate for all layers that write a stream."""
    return _fgnas(start, target, "groups")


def _dnal(start: Start, target: str, **settings: Any) -> keras.Model:
    """With further settings of `DnalConfig`."""
    search, finetune = _epochs(start)
    config = kn.search.DnalConfig(
        target_macs=target, **_stages(start, start.finetuning(finetune)),
        architecture=TrainConfig(epochs=search, weight_decay=0.0), **settings,
    )  # fmt: skip
    return _searched(start, kn.search.dnal, config, start.trained())


def _dnal_early(start: Start, target: str, branches: int = 0) -> keras.Model:
    first, search, last = early(start)
    config = kn.search.DnalConfig(
        target_macs=target, weights=first, branches=branches,
        architecture=TrainConfig(epochs=search.epochs, weight_decay=0.0),
        finetune=dataclasses.replace(last, schedule_start=search.schedule_start),
        reestimate_batches=STATISTICS_BATCHES,
    )  # fmt: skip
    return _searched(start, kn.search.dnal, config, start.fresh())


def _fgnas(start: Start, target: str, streams: str) -> keras.Model:
    search, finetune = _epochs(start)
    last = start.finetuning(finetune).part_of(start.contest.epochs, search)
    config = kn.search.FgnasConfig(
        target_macs=target, streams=streams, **_stages(start, last),
        search=start.finetuning(search).part_of(start.contest.epochs),
    )  # fmt: skip
    return _searched(start, kn.search.fgnas, config, start.trained())


def _epochs(start: Start) -> tuple[int, int]:
    """Of the search, and of the finetuning."""
    search = max(1, start.contest.epochs // 2)
    return search, start.contest.epochs - search


def _stages(start: Start, finetune: TrainConfig) -> dict[str, Any]:
    """No stage for the weights, which are trained; around the last one all as everybody's."""
    return {
        "weights": TrainConfig(epochs=0),
        "finetune": finetune,
        "finetune_distill": start.contest.distill or DistillConfig(),
        "reestimate_batches": STATISTICS_BATCHES,
    }


def _searched(start: Start, search: Callable, config: Any, model: keras.Model) -> keras.Model:
    session = kn.search.Session(progress="off")
    result = search(model, start.data.train, config=config, task=start.task, session=session)
    return result.small


@entrant
def dnal_scratch(start: Start, target: str) -> keras.Model:
    """DNAL's widths, from scratch: what its weights are worth beside them."""
    return _from_scratch(start, start.played("dnal", target))


@entrant
def fgnas_scratch(start: Start, target: str) -> keras.Model:
    """FGNAS' widths, from scratch."""
    return _from_scratch(start, start.played("fgnas", target))
