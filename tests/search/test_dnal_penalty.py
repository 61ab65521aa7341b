"""DNAL's stage 2 under a penalty with prices."""

from __future__ import annotations

import dataclasses

import pytest

from keras_nas import gates
from keras_nas.costs import LatencyTable
from keras_nas.costs.latency_fit import Point
from keras_nas.costs.latency_operations import timed_operations
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import read
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search import DnalConfig, Session, TrainConfig, dnal, run_stage
from keras_nas.search.dnal import Dnal
from keras_nas.search.dnal_penalty import make_penalty
from keras_nas.search.dnal_stages import GateStage, JointStage
from keras_nas.search.method import Context
from keras_nas.tasks import Classification
from tests.training.nets import random_images, small_net

QUIET = Session(progress="off")
CONFIG = DnalConfig(
    lambda_a=2e-3,
    weights=TrainConfig(epochs=0, weight_decay=0.0),
    architecture=TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0),
    finetune=TrainConfig(epochs=0),
)


@pytest.mark.parametrize("kind", [GateStage, JointStage])
def test_the_loss_has_lambda_times_the_priced_sum(kind):
    """macs of a channel: a 64·(18 + 9·8), b 64·(9·8 + 8) + 4, c 64·8 + 4; at p = 1/2 fewer."""
    net = gates.insert(small_net(), ScaledSigmoidGate)
    config = dataclasses.replace(CONFIG, penalty="macs")
    stage = kind(net, random_images(), None, Classification.of(net), config)
    (record,) = run_stage(stage, QUIET)
    mean = (5760 + 5124 + 516) / 3
    assert record["penalty"] == pytest.approx(2e-3 * 8 / 2 * (3456 + 2564 + 260) / mean)
    assert record["loss"] == pytest.approx(record["task_loss"] + record["penalty"], rel=1e-5)


def test_what_is_dear_goes_first():
    """Under a λ_a that drowns the task, s falls as its channel's price, and c's are cheapest."""
    net = gates.insert(small_net(), ScaledSigmoidGate)
    config = dataclasses.replace(
        CONFIG,
        penalty="macs",
        lambda_a=1e3,
        delta_max=1.0,
        architecture=TrainConfig(epochs=1, learning_rate=1e-5, weight_decay=0.0),
    )
    run_stage(GateStage(net, random_images(), None, Classification.of(net), config), QUIET)
    a, b, c = (gate.scores() for gate in gates.find(net))
    assert a.max() < b.min() < b.max() < c.min() < 0
    assert a.mean() / c.mean() == pytest.approx(3456 / 260, rel=0.02)


def test_bytes_are_priced_as_params():
    net = gates.insert(small_net(), ScaledSigmoidGate)
    found = []
    for penalty in ("bytes", "params"):
        config = dataclasses.replace(CONFIG, penalty=penalty)
        stage = GateStage(net, random_images(), None, Classification.of(net), config)
        found.append(run_stage(stage, QUIET)[0]["penalty"])
    assert found[0] == found[1] > 0


def test_a_penalty_in_milliseconds_needs_its_table():
    with pytest.raises(UsageError, match=r"`latency_table` must be given .* with None, latency_ms"):
        dataclasses.replace(CONFIG, penalty="latency_ms")
    with pytest.raises(UsageError, match="`penalty` must be one of"):
        dataclasses.replace(CONFIG, penalty="watts")


def test_milliseconds_are_read_off_a_table_beside_a_target_in_macs(tmp_path):
    """A nanosecond a flop: as in macs, and a little for the activations and the addition."""
    points: dict = {}
    for operation in timed_operations(read(small_net(), (1, 8, 8, 2))):
        channels = operation.in_channels, operation.out_channels
        point = Point(*channels, operation.flops, operation.flops * 1e-6)
        points.setdefault(operation.condition, []).append(point)
    LatencyTable("here", "LiteRT", points).save(tmp_path / "table.json")
    config = dataclasses.replace(
        CONFIG,
        strategy="sequential",
        penalty="latency_ms",
        latency_table=str(tmp_path / "table.json"),
        target_macs="0.5x",
    )
    net = gates.insert(small_net(), ScaledSigmoidGate)
    Dnal(config).check(net, Context(Classification(4), random_images()))
    a, b, c = (price.numpy() for price in make_penalty(net, config).prices())
    assert a[0] / b[0] == pytest.approx(3456 / 2564, rel=0.1)
    assert b.min() > 5 * c.max() > 0


def test_a_table_that_cannot_be_read_is_said_before_training():
    config = dataclasses.replace(CONFIG, penalty="latency_ms", latency_table="none.json")
    with pytest.raises(KerasNasError, match=r"none\.json"):
        dnal(small_net(), random_images(), config=config, session=QUIET)
