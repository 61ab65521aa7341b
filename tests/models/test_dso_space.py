from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_nas import models
from keras_nas.errors import KerasNasError
from keras_nas.layers import ScaledEdge
from keras_nas.models import DsoSpace
from keras_nas.models.dso import space_config
from keras_nas.models.dso_edges import (
    block_edges,
    edges_by_block,
    live_edges,
    live_nodes,
    node_levels,
    operations_by_block,
)
from keras_nas.models.dso_operations import OPERATIONS
from tests.training.nets import DSO


def edges_of(model):
    return [layer for layer in model.layers if isinstance(layer, ScaledEdge)]


def randomize(model, seed=0):
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if "mode" in variable.name or variable.path.endswith("scale"):
            continue
        values = generator.normal(size=variable.shape)
        if "variance" in variable.name:
            values = np.abs(values) + 0.5
        variable.assign(values.astype("float32"))
    return model


@pytest.fixture(scope="module")
def supernet():
    return randomize(DSO.supernet())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("float32")


def test_each_block_of_the_full_scope_has_its_own_edges(supernet):
    assert len(edges_of(supernet)) == 20
    names = {name for block in DSO.edge_names().values() for name in block.values()}
    assert names == {edge.name for edge in edges_of(supernet)}
    assert "stage1_block1_edge_l1_sep3_to_l2_max3" in names


def test_all_blocks_of_the_share_scope_have_the_same_edges():
    space = DsoSpace(**{**space_config(DSO), "scope": "share", "stage_blocks": (2, 1)})
    supernet = space.supernet()
    assert len(edges_of(supernet)) == 10
    assert {len(edge._inbound_nodes) for edge in edges_of(supernet)} == {3}
    supernet.get_layer("edge_l1_sep3_to_output").set_mask([False])
    genotype = space.genotype(supernet)
    assert list(genotype) == ["stage1_block1", "stage1_block2", "stage2_block1"]
    assert all(["l1_sep3", "output"] not in edges for edges in genotype.values())
    assert len({str(edges) for edges in genotype.values()}) == 1


def test_scaled_reductions():
    space = DsoSpace(**{**space_config(DSO), "scaled_reductions": True})
    supernet = space.supernet()
    assert len(edges_of(supernet)) == 22
    supernet.get_layer("stage1_reduction_edge_conv1_to_output").set_mask([False])
    genotype = space.genotype(supernet)
    assert genotype["stage1_reduction"] == [["conv3", "output"]]
    names = {layer.name for layer in space.network(genotype).layers}
    assert "stage1_reduction_conv3_conv" in names
    assert "stage1_reduction_conv1_conv" not in names


def test_the_block_computes_equations_2_and_8(supernet, images):
    """The first block of the small supernet, written down node by node."""
    scales = np.random.default_rng(2).uniform(0.2, 1.5, size=10)
    names = DSO.edge_names()["stage1_block1"]
    scale = dict(zip(names, scales, strict=True))
    for edge, name in names.items():
        supernet.get_layer(name).scale.assign([scale[edge]])

    def layer(name):
        return supernet.get_layer(f"stage1_block1_{name}")

    def sep3(x, node):
        return norm(layer(f"{node}_conv")(layer(f"{node}_depthwise")(x)), node)

    def max3(x, node):
        return norm(keras.ops.max_pool(x, 3, 1, "same"), node)

    def norm(x, node):
        return keras.ops.relu(layer(f"{node}_bn")(x))

    stem = keras.Model(supernet.input, supernet.get_layer("stem_relu").output)(images)
    h = {"input": stem, "l1_sep3": sep3(stem, "l1_sep3"), "l1_max3": max3(stem, "l1_max3")}
    for node, operation in (("l2_sep3", sep3), ("l2_max3", max3)):
        read = sum(scale[s, node] * h[s] for s in ("input", "l1_sep3", "l1_max3"))
        h[node] = operation(read, node)
    nodes = ["l1_sep3", "l1_max3", "l2_sep3", "l2_max3"]
    joined = np.concatenate([scale[node, "output"] * h[node] for node in nodes], axis=-1)
    expected = norm(layer("output_conv")(joined), "output") + stem
    found = keras.Model(supernet.input, layer("add").output)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for edge in edges_of(supernet):
        edge.scale.assign([1.0])


def test_a_block_without_edges_is_its_input(images):
    empty = DSO.network({})
    names = [layer.name for layer in empty.layers]
    assert not any("block" in name for name in names)
    assert sum("reduction" in name and name.endswith("_conv") for name in names) == 2
    assert empty(images).shape == (3, 4)


@settings(max_examples=5)
@given(st.data())
def test_the_network_of_a_genotype_computes_what_the_supernet_does(data):
    supernet = randomize(DSO.supernet())
    every = block_edges(2, DSO.operations)
    for names in DSO.edge_names().values():
        kept = live_edges({("l1_sep3", "output"), *data.draw(st.sets(st.sampled_from(every)))})
        for edge, name in names.items():
            supernet.get_layer(name).set_mask([edge in kept])
    genotype = DSO.genotype(supernet)
    network = DSO.network(genotype)
    copy_weights(supernet, network, genotype)
    images = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("float32")
    expected = supernet(images, training=False)
    np.testing.assert_allclose(network(images, training=False), expected, rtol=1e-3, atol=1e-4)


def copy_weights(supernet, network, genotype):
    for layer in network.layers:
        source = supernet.get_layer(layer.name) if layer.weights else None
        if isinstance(layer, keras.layers.BatchNormalization):
            beta, mean, variance = source.get_weights()
            layer.set_weights([np.ones_like(beta), beta, mean, variance])
        elif layer.name.endswith("output_conv"):
            block = layer.name.removesuffix("_output_conv")
            nodes = [s for s, t in block_edges(2, DSO.operations) if t == "output"]
            fed = [s for s, t in genotype[block] if t == "output"]
            parts = np.split(source.kernel.numpy(), len(nodes), axis=2)
            kernel = np.concatenate([parts[nodes.index(node)] for node in fed], axis=2)
            layer.kernel.assign(kernel)
        elif layer.weights:
            layer.set_weights(source.get_weights())


def test_an_empty_block_of_the_supernet_adds_a_constant_alone(supernet, images):
    for name in DSO.edge_names()["stage1_block1"].values():
        supernet.get_layer(name).set_mask([False])
    probe = keras.Model(
        supernet.input,
        [supernet.get_layer(f"stage1_block1_{name}").output for name in ("add", "output_relu")],
    )
    stem = keras.Model(supernet.input, supernet.get_layer("stem_relu").output)(images)
    total, constant = probe(images, training=False)
    np.testing.assert_allclose(total - stem, constant, atol=1e-5)
    np.testing.assert_array_equal(constant, np.broadcast_to(constant[0, 0, 0], constant.shape))
    for name in DSO.edge_names()["stage1_block1"].values():
        supernet.get_layer(name).set_mask([True])
        supernet.get_layer(name).mode = "soft"


def test_names_do_not_depend_on_what_was_built_before():
    def names(model):
        return [layer.name for layer in model.layers]

    assert names(DSO.supernet()) == names(DSO.supernet())
    assert names(DSO.network()) == names(DSO.network())


def test_search_batch_normalization_has_no_scale(supernet):
    norms = [x for x in supernet.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norms
    assert not any(norm.scale for norm in norms)
    norms = [x for x in DSO.network().layers if isinstance(x, keras.layers.BatchNormalization)]
    assert all(norm.scale for norm in norms)


def test_shapes_of_the_papers_networks():
    space = DsoSpace(stage_blocks=(1, 1, 1), levels=1)
    network = space.network()
    sizes = {
        name: network.get_layer(f"{name}_add").output.shape[1:]
        for name in (*space.block_names, *space.reduction_names)
    }
    assert sizes == {
        "stage1_block1": (32, 32, 48),
        "stage1_reduction": (16, 16, 96),
        "stage2_block1": (16, 16, 96),
        "stage2_reduction": (8, 8, 192),
        "stage3_block1": (8, 8, 192),
    }
    space = DsoSpace.imagenet(stage_blocks=(1, 1, 1, 1), levels=1)
    network = space.network()
    assert network.get_layer("stem1_relu").output.shape[1:] == (112, 112, 14)
    assert network.get_layer("stage1_block1_add").output.shape[1:] == (56, 56, 28)
    assert network.get_layer("stage4_block1_add").output.shape[1:] == (7, 7, 224)
    assert len(DsoSpace.imagenet().block_names) == 23
    assert len(DsoSpace().block_names) == 24


def test_output_stride_16():
    space = DsoSpace.imagenet(stage_blocks=(1, 1, 1, 1), levels=1, last_stage_dilation=2)
    network = space.network()
    assert network.get_layer("stage4_block1_add").output.shape[1:] == (14, 14, 224)
    assert network.get_layer("stage4_block1_l1_sep3_depthwise").dilation_rate == (2, 2)
    assert network.get_layer("stage3_block1_l1_sep3_depthwise").dilation_rate == (1, 1)


def test_regularisation_of_the_retrained_network():
    network = DSO.network(None, stage_widths=(8, 12), dropout=0.6, drop_path=0.5)
    drop = network.get_layer("stage1_block1_drop_path")
    assert drop.rate == 0.5
    assert network.get_layer("head_dropout").rate == 0.6
    x = np.ones((64, 2, 2, 3), "float32")
    kept = np.asarray(drop(x, training=True)).reshape(64, -1)
    # Whole examples are dropped or doubled.
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert np.all(kept.min(axis=1) == kept.max(axis=1))
    np.testing.assert_array_equal(drop(x, training=False), x)


def test_random_genotypes_have_the_edges_asked_for():
    space = DsoSpace(stage_blocks=(2, 1, 1))
    genotype = space.random_genotype(edges=20, seed=3)
    assert genotype == space.random_genotype(edges=20, seed=3)
    assert genotype != space.random_genotype(edges=20, seed=4)
    assert list(genotype) == space.block_names
    counts = [len(edges) for edges in genotype.values()]
    assert counts == [20] * 4
    for edges in genotype.values():
        assert live_edges(tuple(edge) for edge in edges) == [tuple(edge) for edge in edges]
    shared = DsoSpace(scope="share").random_genotype(edges=20, seed=3)
    assert len({str(edges) for edges in shared.values()}) == 1


def test_zoo_builders_survive_json(images):
    model = models.create("dso_cifar", stage_blocks=[1, 1], stage_widths=[4, 6], levels=1)
    assert len(edges_of(model)) == 8
    network = models.create(
        "dso_network",
        space=space_config(DSO),
        genotype={"stage1_block1": [["l1_sep3", "output"]]},
        dropout=0.5,
    )
    assert network(images).shape == (3, 4)
    assert models.create(
        "dso_imagenet", stage_blocks=[1, 1], stage_widths=[4, 6], levels=1, num_classes=7
    ).output_shape == (None, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": "tiny"}, "`stem` must be one of"),
        ({"scope": "stage"}, "`scope` must be one of"),
        ({"levels": 0}, "`levels` must be 1 or more"),
        ({"operations": ("conv3",)}, "`operations` must be one or more of"),
        ({"operations": ("sep3", "sep3")}, "`operations` must not repeat"),
        ({"stage_blocks": (1,)}, "one entry a stage"),
        ({"num_classes": 0}, "must be 1 or more"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(KerasNasError, match=message):
        DsoSpace(**changes)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ({"stage9_block1": []}, "`genotype` must name blocks of the space"),
        ({"stage1_block1": [["l2_sep3", "l1_sep3"]]}, "`genotype` must hold edges"),
    ],
)
def test_wrong_genotype(genotype, message):
    with pytest.raises(KerasNasError, match=message):
        DSO.network(genotype)


def test_a_reduction_reads_every_other_pixel_as_a_strided_convolution_does():
    model = DSO.supernet()
    layer = model.get_layer("stage1_reduction_conv1_conv")
    assert layer.strides == (1, 1)
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype("float32")
    pooled = model.get_layer("stage1_reduction_conv1_stride")(x)
    np.testing.assert_array_equal(pooled, x[:, ::2, ::2])


def test_gradients_of_large_images_stay_in_their_memory():
    """TensorFlow 2.19 with oneDNN ends the process in a strided 1×1 convolution's gradient."""
    space = DsoSpace(
        input_shape=(192, 160, 1), stage_widths=(8, 16), stage_blocks=(1, 1), levels=1,
        operations=("sep3",),
    )  # fmt: skip
    model = space.supernet()
    x = tf.random.stateless_normal((4, 192, 160, 1), seed=(0, 0))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in gradients])

    assert step()


def test_the_papers_block_has_124_edges():
    # Levels 2 to 4 read 1 + 4, 1 + 8 and 1 + 12 nodes: 20 + 36 + 52, and 16 go to the output.
    edges = block_edges(4, OPERATIONS[:4])
    assert len(edges) == 124
    targets = [target.split("_")[0] for _, target in edges]
    counts = [targets.count(level) for level in ("l1", "l2", "l3", "l4", "output")]
    assert counts == [0, 20, 36, 52, 16]


@pytest.mark.parametrize("levels", range(1, 6))
@pytest.mark.parametrize("operations", range(1, 6))
def test_the_number_of_edges_is_the_papers(levels, operations):
    """(M² − M) N² / 2 + 2 M N − N, with M levels of N operations (section 3.1)."""
    edges = block_edges(levels, OPERATIONS[:operations])
    m, n = levels, operations
    assert len(edges) == len(set(edges)) == (m * m - m) * n * n // 2 + 2 * m * n - n


@pytest.mark.parametrize(
    ("levels", "operations", "count"), [(1, 1, 1), (2, 2, 10), (2, 4, 28), (5, 4, 196), (4, 5, 185)]
)
def test_the_number_of_edges_by_hand(levels, operations, count):
    assert len(block_edges(levels, OPERATIONS[:operations])) == count


def test_dead_ends_take_their_edges_with_them():
    #  input ── l2_a ── l3_a ── output     l1_b ── l2_b (nobody reads it)
    #  l3_b (reads nothing) ── output
    edges = [
        ("input", "l2_a"),
        ("l1_b", "l2_b"),
        ("l2_a", "l3_a"),
        ("l3_a", "output"),
        ("l3_b", "output"),
    ]
    assert live_edges(edges) == [("input", "l2_a"), ("l2_a", "l3_a"), ("l3_a", "output")]
    assert live_nodes(edges) == {"l2_a", "l3_a"}
    assert live_edges([]) == []
    assert live_edges([("input", "l2_a")]) == []


@given(st.sets(st.sampled_from(block_edges(3, OPERATIONS[:2]))))
def test_every_live_edge_lies_on_a_path(chosen):
    live = set(live_edges(chosen))
    assert live <= chosen

    def from_input(node):
        return (
            node == "input"
            or node.startswith("l1_")
            or any(from_input(source) for source, target in chosen if target == node)
        )

    def to_output(node):
        return node == "output" or any(
            to_output(target) for source, target in chosen if source == node
        )

    assert live == {(s, t) for s, t in chosen if from_input(s) and to_output(t)}


def test_node_names():
    assert node_levels(2, ["sep3", "max3"]) == [["l1_sep3", "l1_max3"], ["l2_sep3", "l2_max3"]]


def test_edges_without_a_block_are_shared_and_dead_ends_go():
    edges = {"edge_l1_sep3_to_output": 1.0, "edge_l1_max3_to_l2_avg3": 1.0}
    assert edges_by_block(edges) == {"every block": [("l1_sep3", "output")]}
    assert operations_by_block(edges) == {"every block": ["sep3"]}
