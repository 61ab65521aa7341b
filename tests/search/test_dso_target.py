"""γ steered to a cost of DSO's edges: which networks are nearest, where a search lands."""

from __future__ import annotations

import dataclasses
import logging

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.errors import UsageError
from keras_nas.models import DsoSpace
from keras_nas.search.dso.config import DsoConfig
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.search.dso.edge_target import EdgeTarget
from keras_nas.search.dso.method import Dso
from keras_nas.search.dso.steered_edges import TargetedEdgeStage
from keras_nas.search.method import Context
from keras_nas.tasks import Classification
from keras_nas.training.session import Session
from keras_nas.training.train_config import TrainConfig
from tests.training.nets import killed_and_resumed, random_images

QUIET = Session(progress="off")
SPACE = DsoSpace(
    input_shape=(8, 8, 2), num_classes=4, stage_widths=(4, 6), stage_blocks=(1, 1), levels=2,
    operations=("sep3", "max3"),
)  # fmt: skip
TRAIN = TrainConfig(epochs=1, learning_rate=0.05, nesterov=True)
CONFIG = DsoConfig(
    gamma=0.03,
    edge_macs="0.6x",
    architecture=dataclasses.replace(TRAIN, epochs=8),
    dropout=0.0,
    drop_path=0.0,
)


def parallel():
    """One pixel of 4 channels: kernels of 1, 3 and 5 to 2 channels, so 8, 72 and 200 macs."""
    inputs = keras.Input((1, 1, 4))
    branches = [
        kn.layers.ScaledEdge(name=f"block_edge_k{k}")(
            layers.Conv2D(2, k, padding="same", use_bias=False, name=f"block_k{k}")(inputs)
        )
        for k in (1, 3, 5)
    ]
    return keras.Model(inputs, layers.Add()(branches))


def named(*scales):
    return dict(zip([f"block_edge_k{k}" for k in (1, 3, 5)], scales, strict=True))


@pytest.mark.parametrize(
    ("asked", "closing", "kept"),
    [
        ("0.4x", ["k5"], ["k5"]),  # 112 macs: 80 are nearer than 280
        (150, ["k5"], []),  # 280 is 1.87 times as much, 80 less than a half
        (79, ["k5", "k3"], ["k5"]),  # 80 is nearer than 8
        (8, ["k5", "k3"], ["k5", "k3"]),
    ],
)
def test_the_nearest_network_closes_the_weakest_edges(asked, closing, kept):
    target = EdgeTarget(EdgeGraph(parallel()), asked)
    assert target.full == 280
    strengths = named(0.9, 0.3, 0.1)
    assert target.left(strengths, list(strengths)) == 280
    weakest = target.fewest(strengths)
    assert weakest == [f"block_edge_{name}" for name in closing]
    assert target.nearest(strengths, weakest) == [f"block_edge_{name}" for name in kept]


def test_a_network_without_open_edges_counts_by_the_strongest_way():
    target = EdgeTarget(EdgeGraph(parallel()), 100)
    assert target.left(named(0.1, 0.5, 0.2), ()) == 72


@pytest.mark.parametrize("asked", [7, 280, 1e6])
def test_a_target_out_of_reach_is_refused(asked):
    with pytest.raises(UsageError, match=r"`edge_macs` must be from 8, .* to less than 280"):
        EdgeTarget(EdgeGraph(parallel()), asked)


def test_gamma_follows_the_edge_that_closes_last():
    """From λ = 1 to 0 in 90 steps: 1/9 at each look of ten; the level falls by half as much."""
    supernet = parallel()
    graph = EdgeGraph(supernet)
    data = random_images()
    context = Context(Classification(4), data)
    stage = TargetedEdgeStage(
        supernet, data, None, None, context.task, CONFIG, graph, lambda _: {},
        target=EdgeTarget(graph, 100),
    )  # fmt: skip
    told = iter([1.0, 17 / 18, 17 / 18, 1 / 18])
    stage._level_of = lambda _: next(told)
    factors = []
    for remaining in (90, 80, 70, 60):
        stage._steer(remaining)
        factors.append(float(stage._factor.numpy()))
    # Half as fast as it should: ×2, of which 1.5 is taken; not at all: ×1.5; then far too fast.
    assert factors == pytest.approx([1.0, 1.5, 2.25, 1.5])


def random_parts():
    return random_images(192, seed=1), random_images(192, seed=2)


def learned(session=QUIET, **changes):
    """A supernet after stage 2, and its records."""
    keras.utils.set_random_seed(0)
    train_data, structure_data = random_parts()
    method = Dso(dataclasses.replace(CONFIG, **changes))
    supernet = method.make_supernet(SPACE.supernet())
    context = Context(Classification(4), train_data, structure_data=structure_data, session=session)
    return supernet, method.learn(supernet, context)


def opened(supernet):
    return [edge.name for edge in kn.gates.find(supernet) if edge.mask()[0]]


def test_the_edges_end_at_the_nearest_network_within_the_epochs(caplog):
    with caplog.at_level(logging.WARNING):
        supernet, records = learned()
    graph, found = EdgeGraph(supernet), opened(supernet)
    full = sum(graph.macs(graph.edges).values())
    costs = Dso(CONFIG).architecture(supernet).costs
    left = sum(graph.macs(found).values())
    assert costs["before"]["macs"] == full
    assert costs["after"]["macs"] == left < full
    assert records[-1]["edge_macs"] == left
    distance = abs(np.log(left / (0.6 * full)))
    for edge in found:  # without it, the network would be no nearer
        without = sum(graph.macs([name for name in found if name != edge]).values())
        assert abs(np.log(max(without, 1) / (0.6 * full))) >= distance
    assert ("the nearest that whole edges allow" in caplog.text) == (
        abs(left / (0.6 * full) - 1) > 0.02
    )
    assert records[-1]["gamma_factor"] != 1.0


def test_a_stage_too_short_closes_the_weakest_edges_and_says_by_how_much_it_missed(caplog):
    with caplog.at_level(logging.WARNING):
        supernet, records = learned(gamma=1e-6, architecture=TRAIN)
    assert records[-1]["open_edges"] == records[-1]["edges"]
    assert "66.7 % over `edge_macs`" in caplog.text
    assert len(opened(supernet)) < records[-1]["edges"]


def test_a_killed_search_resumes_to_the_same(tmp_path, monkeypatch):
    def search(directory, resume):
        keras.backend.clear_session()
        session = Session(tmp_path / directory, progress="off", checkpoint_every=1, resume=resume)
        return learned(session, architecture=dataclasses.replace(TRAIN, epochs=3))

    where = ("architecture", 1, 5)
    found, resumed = killed_and_resumed(monkeypatch, search, TargetedEdgeStage, where)
    scales = [
        [edge.scale.numpy().tolist() for edge in kn.gates.find(supernet)]
        for supernet, _ in (found, resumed)
    ]
    assert scales[0] == scales[1]
    for one, other in zip(found[1], resumed[1], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_macs": "2x"}, "`edge_macs` must be a number above 0, or a share"),
        ({"gamma": 0.0}, "`edge_macs` needs `gamma` above 0"),
        ({"architecture": TrainConfig(epochs=0)}, "`architecture_epochs` of 1 or more"),
    ],
)
def test_what_cannot_be_steered_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_target_is_compared_with_the_supernet_before_training():
    method = Dso(dataclasses.replace(CONFIG, edge_macs=1e12))
    supernet = method.make_supernet(SPACE.supernet())
    train_data, structure_data = random_parts()
    context = Context(Classification(4), train_data, structure_data=structure_data)
    with pytest.raises(UsageError, match="`edge_macs` must be from"):
        method.check(supernet, context)
