from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from keras_nas import Architecture, costs, gates, importance
from keras_nas.costs.latency_fit import Point
from keras_nas.costs.latency_operations import timed_operations
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import read
from keras_nas.layers import Gate, STEGate
from keras_nas.regularizers import Resource
from keras_nas.search import Session, TrainConfig, fgnas, run_stage
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.search.fgnas.method import Fgnas
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.tasks import Classification
from tests.training.nets import PAPER, arrays, random_images, small_net

QUIET = Session(progress="off")
SHORT = TrainConfig(epochs=2, learning_rate=0.05)
CONFIG = FgnasConfig(
    **PAPER,
    weights=SHORT,
    search=TrainConfig(epochs=12, learning_rate=0.02),
    finetune=TrainConfig(epochs=1, learning_rate=0.02),
    target_flops="0.5x",
    lambda_r=3e-6,
    gate_learning_rate=0.2,
)


def supernet():
    keras.utils.set_random_seed(0)
    model = Fgnas(CONFIG).make_supernet(small_net())
    gates.set_mode(model, "soft")
    return model


def stage(model, config=CONFIG, data=None, **options):
    data = random_images() if data is None else data
    return FgnasStage(model, data, None, Classification.of(model), config, **options)


@pytest.fixture(scope="module")
def result():
    keras.utils.set_random_seed(0)
    model = small_net()
    before = arrays(model)
    found = fgnas(
        model, random_images(), validation_data=random_images(seed=1), config=CONFIG, session=QUIET
    )
    for path, value in arrays(model).items():
        np.testing.assert_array_equal(value, before[path])  # the user's model is untouched
    return found


def test_target_is_reached_and_is_what_surgery_builds(result):
    searched = [record for record in result.history if record["stage"] == "architecture"]
    after = costs.count(result.small).flops
    assert after == result.architecture.costs["after"]["flops"]
    assert after == searched[-1]["resource"]
    assert 0.45 < after / result.architecture.costs["before"]["flops"] <= 0.5
    assert len(searched) < 12


def test_search_stops_in_the_step_that_reaches_the_target(result):
    searched = [record for record in result.history if record["stage"] == "architecture"]
    assert all(record["resource"] > 0 for record in searched)
    assert [record["steps"] for record in searched[:-1]] == [4] * (len(searched) - 1)
    assert 1 <= searched[-1]["steps"] <= 4
    assert sum(searched[-1]["kept_by_gate"].values()) == searched[-1]["kept"]


def test_small_equals_the_gated_network_and_has_stock_layers(result):
    (surgery,) = [record for record in result.history if record["stage"] == "surgery"]
    assert surgery["gated_top1"] == surgery["val_top1"]
    assert surgery["gated_loss"] == pytest.approx(surgery["val_loss"], rel=1e-5)
    assert not any(isinstance(layer, Gate) for layer in result.small.layers)
    assert all(gate.mode == "hard" for gate in gates.find(result.supernet))
    assert all(isinstance(gate, STEGate) for gate in gates.find(result.supernet))
    assert result.architecture.method == "fgnas"
    assert result.history[-1]["stage"] == "finetune"


def test_weights_and_gates_move_together():
    model = supernet()
    before = arrays(model)
    config = dataclasses.replace(CONFIG, search=SHORT, target_flops=0.0)
    run_stage(stage(model, config), QUIET)
    for path, value in arrays(model).items():
        if path.endswith(("/logits", "/kernel")):
            assert (value != before[path]).any(), path


def test_loss_has_lambda_times_the_resource():
    model = supernet()
    still = TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
    config = dataclasses.replace(CONFIG, search=still, gate_learning_rate=0.0, target_flops=0.0)
    (record,) = run_stage(stage(model, config), QUIET)
    full = costs.count(small_net()).flops
    assert record["penalty"] == pytest.approx(3e-6 * full, rel=1e-5)
    assert record["loss"] == pytest.approx(record["task_loss"] + record["penalty"], rel=1e-5)


def test_step_is_traced_once():
    model = supernet()
    searched, traces = stage(model), []
    plain = searched.train_step

    def counted(batch):
        traces.append(1)
        return plain(batch)

    searched.train_step = counted
    run_stage(searched, QUIET)
    assert len(traces) == 1


@pytest.mark.parametrize("what", ["params", pytest.param("macs", marks=pytest.mark.slow)])
def test_other_resources_and_absolute_targets(what):
    full = getattr(costs.count(small_net()), what)
    config = dataclasses.replace(
        CONFIG, target_flops=0.0, lambda_r=1e-3, **{f"target_{what}": 0.6 * full}
    )
    found = fgnas(small_net(), random_images(), config=config, session=QUIET)
    assert getattr(costs.count(found.small), what) <= 0.6 * full


def test_latency_target_by_a_table(tmp_path):
    model = small_net()
    points = {}
    for operation in timed_operations(read(model)):
        known = points.setdefault(operation.condition, [])
        known += [Point(1, 1, n * operation.flops, 0.01 + 0.1 * n) for n in (1, 2)]
    costs.LatencyTable("a desk", "an abacus", points).save(tmp_path / "table.json")
    config = dataclasses.replace(
        CONFIG, target_flops=0.0, target_latency_ms="0.7x", lambda_r=1.0,
        latency_table=str(tmp_path / "table.json"),
    )  # fmt: skip
    net = Fgnas(config).make_supernet(model)
    searched = stage(net, config)
    records = run_stage(searched, QUIET)
    assert records[-1]["resource"] <= 0.7 * searched.full


def test_steering_raises_lambda_above_the_plan_and_lowers_it_below():
    config = dataclasses.replace(CONFIG, lambda_r=1e-9, steer="lambda", steer_gain=2.0)
    searched = stage(supernet(), config)
    searched.before_step(0, 0, 4)
    assert float(searched.strength) == pytest.approx(1e-9)
    searched.before_step(11, 3, 4)  # the plan is at its end, 0.5, and nothing is closed
    assert float(searched.strength) == pytest.approx(1e-9 * np.exp(2 * 0.5), rel=1e-4)
    for gate in searched.gates[1:]:
        gate.set_mask(np.zeros(8))
    share = searched.measured() / searched.full
    searched.before_step(0, 0, 4)
    assert float(searched.strength) == pytest.approx(1e-9 * np.exp(2 * (0.5 + share - 1)), rel=1e-4)


def test_what_is_left_is_counted_again_only_when_a_gate_has_changed():
    searched = stage(supernet())
    assert searched.measured() == searched.full
    searched.present.value.assign(1.0)
    assert searched.measured() == 1.0
    searched.gates[1].set_mask(np.arange(8) < 4)
    masks = {gate.name: gate.mask() for gate in searched.gates}
    assert searched.measured() == float(searched.resource.exact(masks)) < searched.full


def test_an_overshoot_is_taken_back():
    """All of b's gates close in one step: the best by ψ_on − ψ_off open again, to the target."""
    searched = stage(supernet())
    a, b, c = searched.gates
    b.logits.assign(np.stack([-0.01 * np.arange(1, 9), np.zeros(8)], axis=-1))
    assert searched.satisfied()
    kept = b.mask()
    assert a.mask().all()
    assert c.mask().all()
    assert kept.tolist() == [True] * 3 + [False] * 5
    assert searched.measured() <= searched.target
    b.set_mask(np.arange(8) < 4)
    assert searched.measured() > searched.target


@pytest.mark.parametrize(
    ("options", "allowed"),
    [({"multiple_operations": False}, {0, 1}), ({"prune_channels": False}, {1, 2})],
)
def test_ablations_of_table_7(options, allowed):
    config = dataclasses.replace(
        CONFIG, kernels=(1,), target_flops=0.0, lambda_r=1e-4, search=SHORT, **options
    )
    method = Fgnas(config)
    keras.utils.set_random_seed(0)
    net = method.make_supernet(small_net())
    run_stage(stage(net, config), QUIET)
    open_operations = {}
    for gate in gates.find(net):
        if gate.mixed_layer:
            counts = open_operations.setdefault(gate.mixed_layer, np.zeros(gate.channels))
            counts += gate.mask()
    assert set(open_operations) == {"a_conv", "b_conv", "c_conv"} - {"c_conv"}
    assert {int(n) for counts in open_operations.values() for n in counts} <= allowed


@pytest.mark.parametrize(
    ("changes", "from_file", "gamma"),
    [
        ({}, False, 1.0),
        ({}, True, 2.0),
        ({"weights": TrainConfig(epochs=0)}, False, 2.0),
        ({"pretrained": "yes"}, False, 2.0),
        ({"pretrained": "no", "weights": TrainConfig(epochs=0)}, True, 1.0),
    ],
)
def test_a_network_from_scratch_starts_as_the_plain_mean(changes, from_file, gamma):
    """M = 2 operations: γ of the original's BatchNormalization is 2 where weights are trained."""
    method = Fgnas(dataclasses.replace(CONFIG, kernels=(1,), **changes))
    net = method.make_supernet(small_net(), from_file)
    norms = [layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization)]
    by_name = {layer.name: set(np.asarray(layer.gamma).tolist()) for layer in norms}
    assert by_name["a_bn"] == {gamma}
    assert {value for name in by_name if "1x1" in name for value in by_name[name]} == {1.0}


def test_target_below_the_minimum_names_the_minimum():
    config = dataclasses.replace(CONFIG, target_flops=10.0)
    model = supernet()
    least = r"`target_flops` must be [\d,.]+ or more: .* Received: 10 \(the full network has"
    with pytest.raises(KerasNasError, match=least):
        run_stage(stage(model, config), QUIET)
    assert all(gate.mode == "soft" and gate.mask().all() for gate in gates.find(model))


@pytest.mark.parametrize("steer", ["gates", pytest.param("none", marks=pytest.mark.slow)])
def test_several_targets_are_all_met(steer):
    config = dataclasses.replace(
        CONFIG, target_flops="0.5x", target_params="0.3x", steer=steer, search=SHORT, start="l1",
    )  # fmt: skip
    found = fgnas(small_net(), random_images(), config=config, session=QUIET)
    full, small = costs.count(small_net()), costs.count(found.small)
    assert small.flops <= 0.5 * full.flops
    assert small.params <= 0.3 * full.params
    assert max(small.flops / full.flops / 0.5, small.params / full.params / 0.3) > 0.8


def test_a_file_and_an_arena_are_targets():
    config = dataclasses.replace(
        CONFIG, target_flops=0.0, target_bytes="int8:0.8x", target_ram="float32:0.9x",
        steer="gates", start="l1", search=SHORT,
    )  # fmt: skip
    found = fgnas(small_net(), random_images(), config=config, session=QUIET)
    full, small = small_net(), found.small
    assert costs.tflite_bytes(small, "int8") <= 0.8 * costs.tflite_bytes(full, "int8")
    assert costs.arena_bytes(small) <= 0.9 * costs.arena_bytes(full)
    assert found.architecture.costs["after"]["float32_ram"] == costs.arena_bytes(small)


def test_several_targets_are_checked_before_training():
    for targets, message in (
        ({"target_params": 20}, r"`target_params` must be [\d,]+ or more: .* closed that can be"),
        ({"target_params": 1e15, "target_flops": 1e15}, "One of `target_params` and `target_flop"),
    ):
        config = dataclasses.replace(CONFIG, **targets)
        with pytest.raises(UsageError, match=message):
            fgnas(small_net(), random_images(), config=config, session=QUIET)


def test_a_target_that_the_search_misses_is_landed_on(caplog):
    still = TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
    config = dataclasses.replace(CONFIG, lambda_r=0.0, search=still)
    found = fgnas(small_net(), random_images(), config=config, session=QUIET)
    assert "100.0 % more: the channels nearest to closed are closed too" in caplog.text
    full = costs.count(small_net()).flops
    assert 0.4 * full < costs.count(found.small).flops <= 0.5 * full
    assert all(found.architecture.kept_channels.values())


DEFAULT = FgnasConfig(
    target_macs="0.4x",
    weights=TrainConfig(epochs=0),
    search=TrainConfig(epochs=3, learning_rate=0.02),
    finetune=TrainConfig(epochs=1, learning_rate=0.02),
)


def test_the_defaults_close_gates_evenly_to_the_target():
    keras.utils.set_random_seed(0)
    found = fgnas(small_net(), random_images(), config=DEFAULT, session=QUIET)
    full = costs.count(small_net()).macs
    searched = [record for record in found.history if record["stage"] == "architecture"]
    left = [record["resource"] / full for record in searched]
    assert [0.65 < left[0] <= 0.8, 0.45 < left[1] <= 0.6, left[2] <= 0.4] == [True] * 3
    assert 0.3 < costs.count(found.small).macs / full <= 0.4
    assert all(found.architecture.kept_channels.values())


@pytest.mark.parametrize(
    ("steer", "epochs", "looks"),
    [("gates", 3, [4, 8, 10, 12]), ("gates", 1, [4]), ("none", 1, [1, 2, 3, 4])],
)
def test_the_device_is_waited_for_every_few_steps_and_at_the_end_of_an_epoch(steer, epochs, looks):
    config = dataclasses.replace(
        DEFAULT, steer=steer, search=TrainConfig(epochs=epochs, learning_rate=0.02)
    )
    searched, seen, asked = stage(supernet(), config), [], []
    keep_floor, satisfied = searched.units.keep_floor, searched.satisfied

    def looked():
        seen.append(len(asked))
        return keep_floor()

    def ask():
        asked.append(searched.plan)
        return satisfied()

    searched.units.keep_floor, searched.satisfied = looked, ask
    run_stage(searched, QUIET)
    assert seen == looks
    assert asked[-1] == searched.target


def test_gates_start_in_the_order_of_the_criterion_and_all_open():
    searched = stage(supernet(), DEFAULT)
    searched.begin(4)
    scores = importance.score(searched.model, "l1")
    a = searched.gates[0]
    np.testing.assert_array_equal(np.argsort(a.scores()), np.argsort(scores[a.name]))
    assert all(gate.mask().all() for gate in searched.gates)


def test_gates_of_which_no_kernel_makes_the_channels_start_by_taylor(caplog):
    inputs = keras.Input((8, 8, 2))
    x = STEGate(name="first")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    searched = stage(model, dataclasses.replace(DEFAULT, target_macs=0.0))
    searched.begin(4)
    assert "start in the order of 'taylor'" in caplog.text
    assert len(set(searched.gates[0].scores())) == 2


def test_a_layer_keeps_its_share_under_any_lambda():
    config = dataclasses.replace(CONFIG, lambda_r=1.0, min_share=0.25, target_flops=0.0)
    searched = stage(supernet(), config)
    run_stage(searched, QUIET)
    assert [int(gate.mask().sum()) for gate in searched.gates] == [2, 2, 2]


def test_a_target_below_the_shares_is_refused():
    config = dataclasses.replace(CONFIG, target_flops="0.2x", min_share=0.75)
    with pytest.raises(UsageError, match="`target_flops` must be"):
        stage(supernet(), config).check_reachable()


def test_lambda_may_be_for_all_of_the_resource():
    still = TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
    config = dataclasses.replace(
        CONFIG, search=still, gate_learning_rate=0.0, target_flops=0.0, lambda_r=0.25,
        lambda_unit="full",
    )  # fmt: skip
    (record,) = run_stage(stage(supernet(), config), QUIET)
    assert record["penalty"] == pytest.approx(0.25, rel=1e-5)


@pytest.mark.slow
def test_round_to_and_alignment_count_in_the_target():
    config = dataclasses.replace(CONFIG, round_to=4, align="extend", target_flops="0.6x")
    found = fgnas(
        small_net(),
        random_images(),
        validation_data=random_images(seed=1),
        config=config,
        session=QUIET,
    )
    assert {len(kept) % 4 for kept in found.architecture.kept_channels.values()} == {0}
    assert costs.count(found.small).flops <= 0.6 * costs.count(small_net()).flops


def test_a_target_is_met_by_what_rounding_leaves():
    model = supernet()
    for gate in gates.find(model):
        gate.set_mask(np.arange(gate.channels) < 5)  # 5 of 8, of which rounding keeps 4
    kept_four = supernet()
    for gate in gates.find(kept_four):
        gate.set_mask(np.arange(gate.channels) < 4)
    target = Resource(kept_four, "flops").exact({g.name: g.mask() for g in gates.find(kept_four)})
    config = dataclasses.replace(CONFIG, target_flops=float(target))
    assert not stage(model, config).is_met()
    rounded = dataclasses.replace(config, round_to=4)
    assert stage(model, dataclasses.replace(rounded, round_streams=False)).is_met()
    assert not stage(model, rounded).is_met()  # 5 of 8 where b and c meet, which 8 hold


def test_configuration_is_checked():
    with pytest.raises(UsageError, match="`latency_table` must be given"):
        FgnasConfig(target_latency_ms="0.5x")
    with pytest.raises(UsageError, match="`steer` needs a target"):
        FgnasConfig(steer="lambda")
    assert FgnasConfig(target_params="0.5x").targets == {"params": "0.5x"}
    assert FgnasConfig().targets == {}


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
def test_mixed_precision_searches(policy):
    keras.utils.set_random_seed(0)
    model = Fgnas(CONFIG).make_supernet(small_net(dtype=policy))
    records = run_stage(stage(model), QUIET)
    assert records[-1]["resource"] <= 0.5 * costs.count(small_net()).flops


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        pytest.param(CONFIG, 3, id="lambda", marks=pytest.mark.slow),
        pytest.param(DEFAULT, 7, id="plan"),
    ],
)
def test_resumes_to_the_same_architecture(tmp_path, config, limit):
    def search(directory, resume, limit=None):
        keras.utils.set_random_seed(7)
        keras.backend.clear_session()
        session = Session(tmp_path / directory, progress="off", checkpoint_every=2, resume=resume)
        model = Fgnas(config).make_supernet(small_net())
        searched = stage(model, config)
        if limit is not None:
            calm = searched.before_step

            def deadly(epoch, step, steps):
                if epoch * steps + step == limit:
                    raise InterruptedError
                calm(epoch, step, steps)

            searched.before_step = deadly
        run_stage(searched, session)
        return arrays(model), Architecture.from_gates(model, method="fgnas").kept_channels

    expected, kept = search("unbroken", False)
    with pytest.raises(InterruptedError):
        search("broken", False, limit)
    resumed, kept_too = search("broken", True)
    assert kept_too == kept
    assert resumed.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_allclose(resumed[path], value, atol=1e-6, err_msg=path)
