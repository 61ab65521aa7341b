from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import costs, gates, statistics, surgery
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.layers import Gate, ScaledSigmoidGate
from keras_nas.search import DistillConfig, DnalConfig, Session, TrainConfig, dnal, run_stage
from keras_nas.search.dnal import Dnal
from keras_nas.search.dnal_stages import GateStage, JointStage
from keras_nas.tasks import Classification
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.stage import Stage
from tests.training.nets import arrays, killed_and_resumed, random_images, small_net

QUIET = Session(progress="off")
CONFIG = DnalConfig(
    lambda_a=2e-3,
    weights=TrainConfig(epochs=3, learning_rate=0.1, weight_decay=1e-4),
    architecture=TrainConfig(epochs=5, learning_rate=0.1, weight_decay=0.0),
    finetune=TrainConfig(epochs=1, learning_rate=0.02, weight_decay=1e-4),
)
SHORT = dataclasses.replace(
    CONFIG,
    weights=dataclasses.replace(CONFIG.weights, epochs=1),
    architecture=dataclasses.replace(CONFIG.architecture, epochs=2),
)


def supernet(model=None, **options):
    return gates.insert(model or small_net(), ScaledSigmoidGate, **options)


def stage(model, config=CONFIG, data=None, kind=GateStage, **options):
    return kind(model, data or random_images(), None, Classification.of(model), config, **options)


@pytest.fixture(scope="module")
def result():
    keras.utils.set_random_seed(0)
    model = small_net()
    before = arrays(model)
    found = dnal(
        model, random_images(), validation_data=random_images(seed=1), config=CONFIG, session=QUIET
    )
    for path, value in arrays(model).items():
        np.testing.assert_array_equal(value, before[path])  # the user's model is untouched
    return found


def test_gate_stage_moves_the_logits_alone():
    model = supernet()
    before = arrays(model)
    run_stage(stage(model), QUIET)
    for path, value in arrays(model).items():
        if path.endswith("/logits"):
            assert (value != before[path]).all()
        elif not path.endswith(("/delta", "/mode")):
            np.testing.assert_array_equal(value, before[path], err_msg=path)


def test_no_weight_gradient_is_computed():
    """No filter gradient of a convolution leads to what the step changes; a weight step's do."""

    def filter_gradients(step, batch):
        graph = tf.function(lambda b: step(b).losses).get_concrete_function(batch).graph
        waiting = [op for op in graph.get_operations() if op.type.startswith("Assign")]
        seen = set()
        while waiting:
            op = waiting.pop()
            if op.name not in seen:
                seen.add(op.name)
                waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
        ops = [graph.get_operation_by_name(name) for name in seen]
        return sum("BackpropFilter" in op.type for op in ops)

    model = supernet()
    batch = next(iter(random_images()))
    alone, joint = stage(model), stage(model, kind=JointStage)
    joint.begin(4)
    assert filter_gradients(joint.train_step, batch) == 3
    alone.begin(4)
    assert filter_gradients(alone.train_step, batch) == 0


def test_first_step_is_that_of_equation_4():
    """From s = 0 at δ = 1e4^(1/5): s moves by −lr · δ/4 · (∂L0/∂p + λ_a), Eqs. (4) and (6)."""
    model = supernet()
    (found,) = [gate for gate in gates.find(model) if gate.name.startswith("c_conv")]
    images, labels = next(iter(random_images()))
    first = stage(model, data=random_images().take(1))
    first.epochs = 1
    first.begin(1)
    delta = 1e4**0.2

    def task_loss(p):
        with_p = np.log(p / (1 - p)) / delta
        found.delta.assign(delta)
        found.logits.assign(with_p)
        for gate in gates.find(model):
            gate.delta.assign(delta)
        outputs = model(images, training=False)
        return float(tf.reduce_mean(first.task.loss(labels, outputs)))

    step, slopes = 1e-2, []
    for channel in range(8):
        up, down = np.full((2, 8), 0.5)
        up[channel] += step
        down[channel] -= step
        slopes.append((task_loss(up) - task_loss(down)) / (2 * step))
    found.logits.assign(np.zeros(8))
    tf.function(lambda batch: first.train_step(batch).losses)((images, labels))
    expected = -0.1 * delta / 4 * (np.array(slopes) + CONFIG.lambda_a)
    assert found.logits.numpy() == pytest.approx(expected, rel=2e-2, abs=1e-4)


def test_loss_has_lambda_times_the_plain_sum():
    model = supernet()
    config = dataclasses.replace(
        CONFIG, architecture=TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
    )
    (record,) = run_stage(stage(model, config), QUIET)
    assert record["penalty"] == pytest.approx(2e-3 * 24 * 0.5)
    assert record["loss"] == pytest.approx(record["task_loss"] + record["penalty"])


def test_delta_reaches_its_maximum_and_every_gate_is_decided(result):
    annealed = [record for record in result.history if record["stage"] == "architecture"]
    deltas = [record["delta"] for record in annealed]
    assert deltas == pytest.approx([1, 10, 100, 1000, 10_000], rel=1e-5)
    assert annealed[-1]["undecided"] == 0
    assert annealed[0]["channels"] == 24
    for record in annealed:
        assert sum(record["histogram"]) == 24
        assert record["kept"] == round(24 * record["kept_share"])
        assert sum(record["kept_by_gate"].values()) == record["kept"]


def test_small_equals_the_gated_network_and_has_stock_layers(result):
    (surgery,) = [record for record in result.history if record["stage"] == "surgery"]
    assert surgery["gated_top1"] == surgery["val_top1"]
    assert surgery["gated_loss"] == pytest.approx(surgery["val_loss"], rel=1e-5)
    assert not any(isinstance(layer, Gate) for layer in result.small.layers)
    assert all(gate.mode == "hard" for gate in gates.find(result.supernet))


@pytest.mark.parametrize("batches", [0, 2])
def test_finetuning_starts_from_statistics_of_the_small_networks_own(batches):
    keras.utils.set_random_seed(0)
    config = dataclasses.replace(
        SHORT, finetune=dataclasses.replace(SHORT.finetune, epochs=0), reestimate_batches=batches
    )
    held_out = random_images(seed=1)
    result = dnal(
        small_net(), random_images(), validation_data=held_out, config=config, session=QUIET
    )
    expected = surgery.build(result.supernet, result.architecture)
    record = result.history[-1]
    assert record["gated_loss"] == pytest.approx(record["val_loss"], rel=1e-5)
    if batches:
        statistics.reestimate(expected, random_images(), batches)
        evaluated = Evaluator(result.small, Classification.of(result.small), held_out)()
        assert record["reestimated_loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
        assert record["reestimated_loss"] != pytest.approx(record["val_loss"], rel=1e-3)
    assert ("reestimated_loss" in record) == bool(batches)
    for value, own in zip(expected.get_weights(), result.small.get_weights(), strict=True):
        np.testing.assert_allclose(own, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.5, 0.999])
def test_statistics_that_lag_behind_the_finetuning_are_estimated_anew(momentum):
    model = small_net()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
    config = dataclasses.replace(
        SHORT, finetune=dataclasses.replace(SHORT.finetune, epochs=2), reestimate_batches=2
    )
    held_out = random_images(seed=1)
    result = dnal(model, random_images(), validation_data=held_out, config=config, session=QUIET)
    record = result.history[-1]
    assert ("reestimated_loss" in record) == (momentum == 0.999)
    if momentum == 0.999:
        evaluated = Evaluator(result.small, Classification.of(result.small), held_out)()
        assert record["reestimated_loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
        before = result.small.get_weights()
        statistics.reestimate(result.small, random_images(), 2)
        for value, own in zip(before, result.small.get_weights(), strict=True):
            np.testing.assert_allclose(own, value, rtol=1e-4, atol=1e-5)


def test_finetuning_learns_from_the_network_before_the_search(monkeypatch):
    taught = []

    def watched(self, small, context, name="finetune"):
        taught.append(context.teacher)
        return finetune(self, small, context, name)

    finetune = Dnal.finetune
    monkeypatch.setattr(Dnal, "finetune", watched)
    config = dataclasses.replace(
        SHORT, finetune_distill=DistillConfig(weight=0.5), weights=TrainConfig(epochs=0)
    )
    model = small_net()
    result = dnal(model, random_images(), config=config, session=QUIET)
    (teacher,) = taught
    images = next(iter(random_images()))[0]
    np.testing.assert_allclose(teacher(images), model(images, training=False), atol=1e-5)
    assert result.history[-1]["distill_loss"] > 0
    assert "distill_loss" not in result.history[0]
    absent = dataclasses.replace(config, finetune_distill=DistillConfig(features=("none",)))
    with pytest.raises(UsageError, match="`features` must name layers"):
        dnal(model, random_images(), config=absent, session=QUIET)
    assert len(taught) == 1  # it was said before any stage


def test_architecture_tells_costs_and_settings(result):
    architecture = result.architecture
    kept = sum(map(len, architecture.kept_channels.values()))
    assert 0 < kept < 24
    assert architecture.method == "dnal"
    assert architecture.settings["lambda_a"] == 2e-3
    assert architecture.costs["after"]["macs"] == costs.count(result.small).macs
    assert architecture.costs["after"]["macs"] < architecture.costs["before"]["macs"]


def test_history_has_every_stage_in_order(result):
    stages = [record["stage"] for record in result.history]
    assert stages == ["weights"] * 3 + ["architecture"] * 5 + ["surgery", "finetune"]
    assert result.history[-1]["val_top1"] > 0.9


def test_more_lambda_keeps_less():
    kept = []
    model = supernet()
    for lambda_a in (0.0, 3e-2):
        config = dataclasses.replace(CONFIG, lambda_a=lambda_a)
        kept.append(run_stage(stage(model, config), QUIET)[-1]["kept"])
    assert kept[1] < kept[0]


def test_delta_moves_with_every_step_when_asked():
    seen = []
    model = supernet()

    class Watched(GateStage):
        def before_step(self, epoch, step, steps):
            super().before_step(epoch, step, steps)
            seen.append(float(self.gates[0].delta.numpy()))

    config = dataclasses.replace(
        CONFIG,
        delta_schedule="step",
        architecture=dataclasses.replace(CONFIG.architecture, epochs=2),
    )
    run_stage(stage(model, config, kind=Watched), QUIET)
    assert seen == pytest.approx([1e4 ** (t / 7) for t in range(8)], rel=1e-4)


def test_momentum_starts_anew_in_each_epoch_when_asked():
    def last_logits(reset):
        model = supernet()
        config = dataclasses.replace(
            CONFIG, reset_momentum=reset,
            architecture=dataclasses.replace(CONFIG.architecture, epochs=2),
        )  # fmt: skip
        run_stage(stage(model, config, data=random_images().take(1)), QUIET)
        return gates.find(model)[0].logits.numpy()

    keras.utils.set_random_seed(3)
    kept = last_logits(False)
    keras.utils.set_random_seed(3)
    assert not np.allclose(last_logits(True), kept)


def test_joint_strategy_moves_weights_and_logits():
    config = dataclasses.replace(CONFIG, strategy="joint")
    found = dnal(
        small_net(),
        random_images(),
        validation_data=random_images(seed=1),
        config=config,
        session=QUIET,
    )
    stages = [record["stage"] for record in found.history]
    assert stages == ["joint"] * 8 + ["surgery", "finetune"]
    joint = [record for record in found.history if record["stage"] == "joint"]
    assert joint[-1]["delta"] == pytest.approx(1e4)
    assert joint[-1]["task_loss"] < joint[0]["task_loss"]


def test_a_penalty_that_closes_everything_leaves_a_network():
    config = dataclasses.replace(CONFIG, lambda_a=100.0)
    found = dnal(small_net(), random_images(), config=config, session=QUIET)
    assert sum(map(len, found.architecture.kept_channels.values())) >= 1
    outputs = found.small(next(iter(random_images()))[0], training=False).numpy()
    assert np.ptp(outputs, axis=0).max() > 0


def test_round_to_keeps_multiples_and_surgery_still_equals():
    config = dataclasses.replace(CONFIG, round_to=4)
    found = dnal(
        small_net(),
        random_images(),
        validation_data=random_images(seed=1),
        config=config,
        session=QUIET,
    )
    assert {len(kept) % 4 for kept in found.architecture.kept_channels.values()} == {0}
    (surgery,) = [record for record in found.history if record["stage"] == "surgery"]
    assert surgery["gated_loss"] == pytest.approx(surgery["val_loss"], rel=1e-5)


def test_a_supernet_that_was_born_with_gates_is_searched_itself():
    born = supernet(include=["a_conv", "b_conv"])
    found = dnal(born, random_images(), config=CONFIG, session=QUIET)
    assert found.supernet is born
    assert list(found.architecture.channels) == ["a_conv_gate", "b_conv_gate"]


def test_include_and_exclude_choose_the_gates():
    method = Dnal(dataclasses.replace(CONFIG, exclude=("c_*",)))
    names = [gate.name for gate in gates.find(method.make_supernet(small_net()))]
    assert names == ["a_conv_gate", "b_conv_gate"]


def test_original_is_the_full_network_without_gates():
    model = small_net()
    method = Dnal(CONFIG)
    net = method.make_supernet(model)
    images = next(iter(random_images()))[0]
    original = method.original(net)
    np.testing.assert_allclose(original(images), model(images), rtol=1e-5, atol=1e-5)
    assert costs.count(original).params == costs.count(model).params


def test_the_baselines_network_has_no_gates():
    model, images = small_net(), next(iter(random_images()))[0]
    assert Dnal(CONFIG).bare(model) is model
    found = Dnal(CONFIG).bare(supernet(model))
    assert gates.find(found) == []
    np.testing.assert_allclose(found(images), model(images), rtol=1e-5, atol=1e-5)


def test_gates_of_another_kind_are_refused():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(KerasNasError, match="no ScaledSigmoidGate"):
        stage(model)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_searches(policy):
    model = supernet(small_net(dtype=policy))
    records = run_stage(stage(model), QUIET)
    assert records[-1]["undecided"] == 0
    assert all(np.isfinite(gate.logits.numpy()).all() for gate in gates.find(model))
    assert records[-1]["kept"] > 0


def test_same_seed_same_masks():
    kept = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        keras.backend.clear_session()
        found = dnal(small_net(), random_images(), config=SHORT, session=QUIET)
        kept.append(found.architecture.kept_channels)
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(("weights", 0, 2), marks=pytest.mark.slow),
        ("architecture", 1, 1),
        pytest.param(("finetune", 0, 3), marks=pytest.mark.slow),
    ],
)
def test_a_killed_search_resumes_to_the_same_architecture(tmp_path, monkeypatch, where):
    def search(directory, resume):
        keras.utils.set_random_seed(7)
        keras.backend.clear_session()
        session = Session(tmp_path / directory, progress="off", checkpoint_every=2, resume=resume)
        return dnal(small_net(), random_images(), config=SHORT, session=session)

    kind = GateStage if where[0] == "architecture" else Stage
    expected, found = killed_and_resumed(monkeypatch, search, kind, where)
    assert found.architecture == expected.architecture
    for a, b in zip(found.small.get_weights(), expected.small.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
