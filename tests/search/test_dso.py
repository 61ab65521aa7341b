from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nas as kn
from keras_nas.costs import LatencyTable
from keras_nas.costs.latency_fit import Point
from keras_nas.costs.latency_operations import timed_operations
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.models import DsoSpace
from keras_nas.models.proxyless import proxyless
from keras_nas.search.dso.auxiliary_tower import AuxiliaryStage
from keras_nas.search.dso.config import DsoConfig
from keras_nas.search.dso.edge_gammas import fixed_gammas
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.search.dso.edge_stage import EdgeStage, FullNetworkStage
from keras_nas.search.dso.method import Dso, dso
from keras_nas.search.method import Context, search
from keras_nas.tasks import Classification
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.distillation import Distillation
from keras_nas.training.loop import run_stage
from keras_nas.training.session import Session
from keras_nas.training.trainer import TrainConfig
from tests.training.nets import open_operations, random_images

SPACE = DsoSpace(
    input_shape=(8, 8, 2), num_classes=4, stage_widths=(6, 12), stage_blocks=(1, 1), levels=1,
    operations=("sep3", "max3", "avg3"),
)  # fmt: skip
TRAIN = TrainConfig(epochs=2, learning_rate=0.05, nesterov=True)
CONFIG = DsoConfig(
    gamma=0.1,
    weights=TRAIN,
    architecture=dataclasses.replace(TRAIN, epochs=5),
    finetune=dataclasses.replace(TRAIN, epochs=2),
    patience=2,
    dropout=0.0,
    drop_path=0.0,
    target_macs=200e3,
)


@pytest.fixture(scope="module")
def data():
    """D_w, D_λ and validation data."""
    return random_images(192, seed=1), random_images(192, seed=2), random_images(128, seed=3)


@pytest.fixture(scope="module")
def result(data):
    keras.utils.set_random_seed(0)
    train_data, structure_data, validation_data = data
    return dso(
        SPACE, train_data, validation_data=validation_data, structure_data=structure_data,
        config=CONFIG,
    )  # fmt: skip


def stages(result, name):
    return [record for record in result.history if record["stage"] == name]


def test_the_support_shrinks_to_a_network_that_still_works(result):
    records = stages(result, "architecture")
    assert records[0]["edges"] == 6
    assert 0 < records[-1]["live_edges"] < 6
    assert records[-1]["val_top1"] > 0.95
    assert stages(result, "weights")[-1]["val_top1"] > 0.95


def test_the_supernet_ends_exactly_sparse_without_dead_ends(result):
    edges = kn.gates.find(result.supernet)
    assert {edge.mode for edge in edges} == {"hard"}
    opened = {edge.name for edge in edges if edge.scale.numpy()[0] > 0}
    closed = [edge for edge in edges if edge.name not in opened]
    assert all(edge.scale.numpy()[0] == 0.0 for edge in closed)
    assert EdgeGraph(result.supernet).live_edges(opened) == opened
    live = sum(len(edges) for edges in SPACE.genotype(result.supernet).values())
    assert live == len(opened) == stages(result, "architecture")[-1]["live_edges"]


def test_surgery_keeps_the_supernets_outputs(result, data):
    rebuilt = kn.surgery.build(result.supernet, result.architecture)
    x = np.concatenate([x for x, _ in data[2].as_numpy_iterator()])
    expected, found = (np.asarray(m(x, training=False)) for m in (result.supernet, rebuilt))
    assert np.abs(expected - found).max() <= 1e-4 * np.ptp(expected)
    [record] = stages(result, "surgery")
    assert record["gated_top1"] == record["val_top1"]


def test_the_retrained_network_meets_its_budget_and_learns(result):
    assert 0.97 * 200e3 <= kn.costs.count(result.small).macs <= 200e3
    assert stages(result, "finetune")[-1]["val_top1"] > 0.9
    # The auxiliary tower trains, and is no part of the network.
    assert "auxiliary_loss" in stages(result, "finetune")[-1]
    assert len(result.small.outputs) == 1
    assert not [layer for layer in result.small.layers if layer.name.startswith("auxiliary")]


def test_the_architecture_rebuilds_in_another_process(result, tmp_path):
    result.architecture.save(tmp_path / "architecture.json")
    loaded = kn.Architecture.load(tmp_path / "architecture.json")
    assert loaded.method == "dso"
    assert loaded.kept_edges == result.architecture.kept_edges
    assert loaded.settings["gamma"] == 0.1
    fresh = kn.models.create(loaded.model["builder"], **loaded.model["config"])
    small = kn.surgery.build(fresh, loaded)
    assert kn.costs.count(small).macs == loaded.costs["after"]["macs"]


def stage_of(model, config, weights, edges, **changes):
    graph = EdgeGraph(model)
    config = dataclasses.replace(config, **changes)
    return EdgeStage(
        model, weights, edges, None, Classification(4), config, graph,
        fixed_gammas(graph, config.gamma),
    )  # fmt: skip


def tiny():
    """One edge and one weight on a path; another path without an edge."""
    inputs = keras.Input((2,))
    a = keras.layers.Dense(4, use_bias=False, kernel_initializer="ones", name="a")(inputs)
    x = keras.layers.Add()([kn.layers.ScaledEdge(name="block_edge_a")(a), a])
    return keras.Model(inputs, x)


def test_one_step_moves_the_edges_on_one_set_and_then_the_weights_on_the_other():
    model = tiny()
    x_w, x_edge = np.array([[1.0, 2.0]], "float32"), np.array([[3.0, -1.0]], "float32")
    y_w, y_edge = np.array([1]), np.array([2])
    config = DsoConfig(gamma=0.25, architecture=TrainConfig(epochs=1, learning_rate=0.5,
                       momentum=0.9, nesterov=True, weight_decay=0.0))  # fmt: skip
    sets = [tf.data.Dataset.from_tensor_slices(s).batch(1) for s in ((x_w, y_w), (x_edge, y_edge))]
    run_stage(stage_of(model, config, *sets))

    def softmax(z):
        return np.exp(z - z.max()) / np.exp(z - z.max()).sum()

    kernel = np.ones((2, 4))
    a = x_edge[0] @ kernel
    slope = (softmax(2 * a) - np.eye(4)[2]) @ a
    scale = max(1 - 0.5 * slope - 0.5 * 0.25, 0)
    assert model.get_layer("block_edge_a").scale.numpy()[0] == pytest.approx(scale, abs=1e-5)
    # The weights' step comes second: it sees the new scale (μ_1 = 0, so λ' = λ).
    a = x_w[0] @ kernel
    gradient = np.outer(x_w[0], (softmax((1 + scale) * a) - np.eye(4)[1]) * (1 + scale))
    expected = kernel - 0.5 * 1.9 * gradient
    np.testing.assert_allclose(model.get_layer("a").kernel.numpy(), expected, atol=1e-5)


def test_a_teacher_is_learned_from_beside_the_auxiliary_tower():
    model = tiny_net()
    x = keras.layers.GlobalAveragePooling2D()(model.layers[1].output)
    tower = keras.Model(model.input, [model.output, keras.layers.Dense(4)(x)])
    task, settings = Classification(4), DistillConfig(weight=0.25, features=(model.layers[1].name,))
    still = TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
    teacher = keras.models.clone_model(model)
    stage = AuxiliaryStage(
        "finetune", model, tower, 0.4, random_images(64), random_images(16), task, still,
        Distillation.of(teacher, tower, task, settings),
    )  # fmt: skip
    (record,) = run_stage(stage)
    parts = record["task_loss"], record["distill_loss"]
    expected = 0.75 * parts[0] + 0.25 * parts[1] + 0.4 * record["auxiliary_loss"]
    assert record["loss"] == pytest.approx(expected + record["feature_loss"], rel=1e-4)
    assert min(parts) > 0
    assert 0 <= record["val_top1"] <= 1


@pytest.mark.parametrize(("ratio", "steps"), [("1:1", 12), ("3:1", 4)])
def test_ratio_of_the_steps_and_one_trace(data, ratio, steps):
    traces = []

    class Counted(EdgeStage):
        def train_step(self, batch):
            traces.append(1)
            return super().train_step(batch)

    model = tiny_net()
    graph = EdgeGraph(model)
    config = dataclasses.replace(
        CONFIG, split_ratio=ratio, architecture=dataclasses.replace(TRAIN, epochs=2)
    )
    stage = Counted(
        model, data[0], data[1], None, Classification(4), config, graph, fixed_gammas(graph, 0.0)
    )
    records = run_stage(stage)
    assert [record["steps"] for record in records] == [steps, steps]
    x, y = (int(part) for part in ratio.split(":"))
    assert int(stage.optimizer.iterations.numpy()) == 2 * steps * x
    assert int(stage.apg.iterations.numpy()) == 2 * steps * y
    assert len(traces) == 1


def test_the_joint_ablation_needs_no_second_set(data):
    stage = stage_of(
        tiny_net(), CONFIG, data[0], None, architecture=dataclasses.replace(TRAIN, epochs=1)
    )
    records = run_stage(stage)
    assert records[0]["steps"] == 12
    assert int(stage.apg.iterations.numpy()) == int(stage.optimizer.iterations.numpy()) == 12


def test_bn_scales_are_held():
    inputs = x = keras.Input((8, 8, 2))
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    task, config = Classification(4), dataclasses.replace(TRAIN, epochs=1)
    gamma = model.get_layer("bn").gamma
    for hold in (True, False):
        settings = DsoConfig(hold_bn_scale=hold)
        run_stage(FullNetworkStage("w", model, random_images(64), None, task, config, settings))
        assert bool(np.all(gamma.numpy() == 1)) == hold


@pytest.mark.slow
def test_the_mobile_space_ends_with_one_operation_a_block(data):
    config = {
        "input_shape": [8, 8, 2], "num_classes": 4, "stem_width": 4, "stem_strides": 1,
        "first_width": 4, "stage_widths": [4, 6], "stage_blocks": [1, 1],
        "stage_strides": [1, 2], "head_width": 8, "edges": True,
        "block_operations": [["mb3_k3", "mb6_k3"]] * 2,
    }  # fmt: skip
    settings = dataclasses.replace(
        CONFIG, gamma=0.2, gamma_growth=1.5, stop="one_operation", target_macs=0.0,
        architecture=dataclasses.replace(TRAIN, epochs=20),
    )  # fmt: skip
    result = search(
        Dso(settings), proxyless(**config), data[0], structure_data=data[1], task=Classification(4),
        session=Session(progress="off"), source={"builder": "proxyless", "config": config},
    )  # fmt: skip
    live = open_operations(result.supernet)
    assert [len(operations) for operations in live.values()] == [1, 1]
    assert result.small.count_params() < 0.7 * result.supernet.count_params()


def parallel_blocks(blocks=2, operations=3):
    """Blocks `b0_`, `b1_`, … of parallel edges beside a shortcut."""
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    for block in range(blocks):
        summed = [x]
        for operation in range(operations):
            y = keras.layers.Dense(2, activation="tanh")(x)
            summed.append(kn.layers.ScaledEdge(name=f"b{block}_edge_{operation}")(y))
        x = keras.layers.Add()(summed)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def test_the_last_operation_of_a_block_stops_shrinking():
    stage = stage_of(
        parallel_blocks(),
        CONFIG,
        random_images(16),
        random_images(16),
        stop="one_operation",
        gamma=2.0,
    )
    stage.begin(1)
    scales = {edge.name: edge.scale for edge in stage.edges}

    def step(**values):
        stage.before_step(0, 1, 10)
        for name, value in values.items():
            stage.apg.restart(scales[name].vector, value, scales[name].index)
        assert not stage.satisfied()

    def gamma(name):
        return float(stage.apg.get_gamma(scales[name].vector)[scales[name].index])

    stage.apg.iterations.assign(1)
    step(b0_edge_0=0.5, b0_edge_1=0.25, b0_edge_2=0.0)
    assert [gamma(f"b0_edge_{i}") for i in range(3)] == [2.0] * 3
    step(b0_edge_1=0.0)
    assert gamma("b0_edge_0") == 0.0
    assert gamma("b1_edge_0") == 2.0
    step(b0_edge_0=0.0)  # its own gradient closes it: taken back
    assert stage.strengths()["b0_edge_0"] == 0.5
    assert float(scales["b0_edge_0"].numpy()[0]) == 0.5
    step(b1_edge_0=0.3, b1_edge_1=0.6, b1_edge_2=0.1)
    step(b1_edge_0=0.0, b1_edge_1=0.0, b1_edge_2=0.0)  # three in one step: the strongest stays
    assert [stage.strengths()[f"b1_edge_{i}"] for i in range(3)] == pytest.approx([0, 0.6, 0])
    stage.before_step(1, 0, 10)  # a new epoch sets every γ
    found = {name: gamma(name) for name in scales}
    assert [name for name, gamma in found.items() if gamma == 0] == ["b0_edge_0", "b1_edge_1"]
    record = stage.after_epoch(0)
    assert (record["most_in_a_group"], stage.finished([record])) == (1, True)


def test_a_strong_gamma_leaves_every_block_one_operation(data):
    """γ 50 closes all edges in a step or two, however few epochs there are."""
    keras.utils.set_random_seed(0)
    model = parallel_blocks(blocks=4)
    stage = stage_of(
        model, CONFIG, data[0].take(2), data[1].take(2), stop="one_operation", gamma=50.0,
        architecture=dataclasses.replace(TRAIN, epochs=3),
    )  # fmt: skip
    records = run_stage(stage)
    assert len(records) == 1
    assert stage.close() == []
    opened = [edge.name for edge in stage.edges if edge.scale.numpy()[0] > 0]
    assert sorted(name.split("_")[0] for name in opened) == ["b0", "b1", "b2", "b3"]


def test_without_one_operation_a_block_may_go_whole(data):
    stage = stage_of(parallel_blocks(), CONFIG, data[0].take(2), data[1].take(2), gamma=50.0)
    run_stage(stage)
    assert not any(stage.strengths().values())


def test_a_missing_latency_table_is_said_before_training(data, tmp_path):
    config = DsoConfig(adaptive="latency", latency_table=str(tmp_path / "none.json"))
    context = Context(Classification(4), data[0], None, data[1], Session(progress="off"))
    with pytest.raises(KerasNasError, match=r"Cannot read the latency table .*none\.json"):
        Dso(config).train_weights(SPACE.supernet(), context)


def test_the_last_way_is_kept_by_its_strongest_edge():
    model = proxyless(
        input_shape=(8, 8, 2), num_classes=4, stem_width=4, first_width=4, stage_widths=(4,),
        stage_blocks=(1,), stage_strides=(2,), head_width=8, edges=True,
        block_operations=[["mb3_k3", "mb3_k5"]],
    )  # fmt: skip
    stage = stage_of(model, CONFIG, random_images(16), random_images(16))
    stage.begin(1)
    edges = {edge.name: edge for edge in stage.edges}
    edges["stage1_block1_edge_mb3_k3"].scale.assign([0.125])
    edges["stage1_block1_edge_mb3_k5"].scale.assign([0.25])
    stage.after_epoch(0)
    for edge in edges.values():
        edge.scale.assign([0.0])
    assert stage.close() == ["stage1_block1_edge_mb3_k5"]
    assert edges["stage1_block1_edge_mb3_k5"].scale.numpy()[0] == 0.25
    assert edges["stage1_block1_edge_mb3_k3"].scale.numpy()[0] == 0.0


def test_a_search_that_was_stopped_goes_on_where_it_was(data, tmp_path):
    def run(directory, epochs, resume):
        keras.utils.set_random_seed(5)
        supernet = tiny_net()
        config = dataclasses.replace(
            CONFIG, patience=0, architecture=dataclasses.replace(TRAIN, epochs=epochs)
        )
        stage = stage_of(supernet, config, data[0], data[1])
        # γ that is another one at each step: a resumed epoch must go on with the one it began with.
        stage.gammas = lambda _: {k: v / 5 for k, v in stage.strengths().items()}
        session = Session(directory=directory, resume=resume, progress="off", checkpoint_every=1)
        run_stage(stage, session)
        return stage.strengths()

    whole = run(tmp_path / "whole", 2, False)

    class Stop(Exception):  # noqa: N818 - it stands for a power cut
        pass

    def interrupt(self, epoch, step, steps):
        if (epoch, step) == (1, 2):
            raise Stop
        original(self, epoch, step, steps)

    original = EdgeStage.before_step
    EdgeStage.before_step = interrupt
    try:
        with pytest.raises(Stop):
            run(tmp_path / "broken", 2, False)
    finally:
        EdgeStage.before_step = original
    resumed = run(tmp_path / "broken", 2, True)
    assert resumed == pytest.approx(whole, abs=1e-6)


def test_under_mirrored_strategy(data, mirrored):
    with mirrored.scope():
        keras.utils.set_random_seed(0)
        model = tiny_net()
        records = run_stage(stage_of(
            model, CONFIG, data[0], data[1], architecture=dataclasses.replace(TRAIN, epochs=2)
        ))  # fmt: skip
    assert records[-1]["loss"] < records[0]["loss"]
    scale = model.get_layer("block_edge_a").scale.numpy()[0]
    assert 0 <= scale < 1


def tiny_net():
    inputs = x = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 3, name="a")(x)
    y = kn.layers.ScaledEdge(name="block_edge_a")(keras.layers.Conv2D(4, 1, name="b")(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def test_the_baselines_network_has_every_edge_and_no_scale():
    model = tiny_net()
    bare = Dso().bare(model)
    assert kn.gates.find(bare) == []
    x = next(iter(random_images(16, seed=4)))[0]
    np.testing.assert_allclose(bare(x), model(x), atol=1e-5)


def test_adaptive_latency_reads_the_table(tmp_path):
    """A nanosecond a flop: an edge is weighed by the work that dies with it."""
    supernet = SPACE.supernet()
    method = Dso()
    points: dict = {}
    for operation in timed_operations(kn.graph.read(method.original(supernet), (1, 8, 8, 2))):
        channels = operation.in_channels, operation.out_channels
        point = Point(*channels, operation.flops, operation.flops * 1e-6)
        points.setdefault(operation.condition, []).append(point)
    LatencyTable("here", "LiteRT", points).save(tmp_path / "table.json")
    config = DsoConfig(
        adaptive="latency", latency_table=str(tmp_path / "table.json"), gamma=1.0, gamma_0=0.5
    )
    gammas = Dso(config).gammas(supernet, EdgeGraph(supernet))
    names = SPACE.edge_names()["stage1_block1"]
    found = gammas([edge.name for edge in kn.gates.find(supernet)])
    separable, pooled = (found[names[f"l1_{op}", "output"]] for op in ("sep3", "max3"))
    assert max(found.values()) == pytest.approx(1.5)
    assert min(found.values()) == pytest.approx(0.5)
    assert separable > 2 * pooled - 0.5


def test_errors(data):
    with pytest.raises(KerasNasError, match="has no ScaledEdge to learn"):
        dso(SPACE.network(), data[0], structure_data=data[1])
    with pytest.raises(UsageError, match="give `structure_data`"):
        dso(SPACE, data[0], config=dataclasses.replace(
            CONFIG, weights=dataclasses.replace(TRAIN, epochs=0)
        ))  # fmt: skip
    for wrong in (
        {"gamma": -1.0},
        {"split_ratio": "1"},
        {"dropout": 1.0},
        {"adaptive": "energy"},
        {"adaptive": "latency"},
        {"target_macs": "half"},
        {"target_macs": 1.0, "target_params": 1.0},
    ):
        with pytest.raises(UsageError, match="Received"):
            DsoConfig(**wrong)
