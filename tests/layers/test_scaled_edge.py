"""Edges with a λ of their own, and those that hold theirs in one vector: they work alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_nas.layers import ScaledEdge
from keras_nas.layers.edge_scales import Element, factors_together, join_scales
from keras_nas.optimizers import APGNAG

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]], dtype="float32")
INPUTS = np.arange(8, dtype="float32").reshape(2, 4)


def built(**arguments) -> ScaledEdge:
    edge = ScaledEdge(**arguments)
    edge.build((None, 3))
    return edge


def two_paths():
    inputs = keras.Input((4,))
    good = ScaledEdge(name="good")(keras.layers.Dense(1, use_bias=False, name="a")(inputs))
    bad = ScaledEdge(name="bad")(keras.layers.Dense(1, use_bias=False, name="b")(inputs))
    model = keras.Model(inputs, keras.layers.Add()([good, bad]))
    model.get_layer("a").kernel.assign([[1.0], [0.0], [0.0], [0.0]])
    model.get_layer("b").kernel.assign([[0.0], [0.0], [0.0], [1.0]])
    model.get_layer("a").trainable = model.get_layer("b").trainable = False
    return model


def train_two_paths(model, epochs=3):
    x = np.random.default_rng(0).normal(size=(1024, 4)).astype("float32")
    model.fit(x, x[:, :1], batch_size=64, epochs=epochs, verbose=0)
    return model.get_layer("good").scale.numpy()[0], model.get_layer("bad").scale.numpy()[0]


def joined(model):
    edges = [layer for layer in model.layers if isinstance(layer, ScaledEdge)]
    return edges, join_scales(edges)


def five_of_a_block():
    inputs = keras.Input((4,))
    edges = [ScaledEdge(block="b", source="a", name=f"e{i}") for i in range(5)]
    keras.Model(inputs, keras.layers.Add()([edge(inputs) for edge in edges]))
    return edges, join_scales(edges)


def test_starts_as_the_identity():
    edge = built()
    np.testing.assert_array_equal(edge(X), X)
    assert edge.channels == 1
    assert edge.scale.shape == (1,)
    assert edge.mask().tolist() == [True]
    assert [weight.name for weight in edge.trainable_weights] == ["scale"]


@pytest.mark.parametrize(
    ("scale", "mode", "factor"),
    [
        (0.25, "off", 1.0),
        (0.25, "soft", 0.25),
        (0.25, "hard", 0.25),
        (-0.5, "off", 1.0),
        (-0.5, "soft", -0.5),
        (-0.5, "hard", 0.0),
        (0.0, "hard", 0.0),
    ],
)
def test_modes(scale, mode, factor):
    edge = built(mode=mode)
    edge.scale.assign([scale])
    np.testing.assert_allclose(edge(X), factor * X)


def test_mask_and_scale_vector():
    edge = built()
    edge.scale.assign([0.25])
    assert edge.scale_vector(np.array([True])).tolist() == [0.25]
    assert edge.scale_vector(np.array([False])).tolist() == [0.0]
    assert edge.scores().tolist() == [0.25]
    edge.set_mask([True])
    assert edge.mode == "hard"
    assert edge.scale.numpy().tolist() == [0.25]
    edge.set_mask([False])
    assert edge.mask().tolist() == [False]
    np.testing.assert_array_equal(edge(X), np.zeros_like(X))
    edge.set_mask([True])
    assert edge.scale.numpy().tolist() == [1.0]


def test_gradient_reaches_the_scale_at_zero_and_below():
    edge = built()
    model = keras.Sequential([keras.Input((3,)), edge])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: ops.mean(p, axis=-1))
    for start in (0.0, -0.5):
        edge.scale.assign([start])
        model.train_on_batch(X[:1], X[:1])
        # The loss is scale * mean(X[0]) = scale * 2 / 3.
        np.testing.assert_allclose(edge.scale.numpy(), [start - 2 / 3], atol=1e-6)


def test_one_edge_on_tensors_of_two_widths():
    narrow, wide = keras.Input((3,)), keras.Input((5,))
    edge = ScaledEdge(name="shared")
    model = keras.Model([narrow, wide], [edge(narrow), edge(wide)])
    assert len(model.weights) == 2
    edge.scale.assign([0.5])
    outputs = model([X, np.ones((2, 5), "float32")])
    np.testing.assert_allclose(outputs[0], 0.5 * X)
    np.testing.assert_allclose(outputs[1], np.full((2, 5), 0.5))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    edge = built(dtype=policy)
    edge.scale.assign([0.5])
    outputs = edge(X)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    assert edge.scale.dtype == "float32"
    np.testing.assert_allclose(ops.cast(outputs, "float32"), 0.5 * X)


@pytest.mark.parametrize("in_one_vector", [False, True])
def test_apg_closes_the_useless_edge_in_fit(in_one_vector):
    model = two_paths()
    if in_one_vector:
        joined(model)
    model.compile(APGNAG(0.1, gamma=0.05), loss="mse")
    good, bad = train_two_paths(model)
    assert bad == 0.0
    # E[(λ x − x)²] + γ λ has its minimum at λ = 1 − γ / 2, with E[x²] = 1.
    assert good == pytest.approx(0.975, abs=5e-3)


def test_edges_and_weights_have_their_own_optimizers_in_fit():
    model = two_paths()
    model.get_layer("a").trainable = True
    weights = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    routes = keras.optimizers.OptimizerMap(weights, {".*/scale": APGNAG(0.1, gamma=0.05)})
    model.compile(keras.optimizers.MultiOptimizer(routes), loss="mse")
    # The weights can undo what the useless edge brings, so it is γ alone that closes it.
    good, bad = train_two_paths(model, epochs=10)
    assert bad == 0.0
    assert 0 < good < 1
    assert model.get_layer("a").kernel.numpy()[0, 0] > 1.0


@pytest.mark.parametrize("in_one_vector", [False, True])
def test_under_mirrored_strategy(mirrored, in_one_vector):
    with mirrored.scope():
        model = two_paths()
        if in_one_vector:
            joined(model)
        model.compile(APGNAG(0.1, gamma=0.05), loss="mse")
    good, bad = train_two_paths(model)
    assert bad == 0.0
    assert good == pytest.approx(0.975, abs=5e-3)


def test_an_edge_says_what_it_connects():
    told = ScaledEdge(block="b1", source="l1_sep3", target="output", name="any")
    copy = ScaledEdge.from_config(told.get_config())
    assert copy.place == told.place == ("b1", "l1_sep3", "output")
    assert copy.place.operation == "l1_sep3"


@pytest.mark.parametrize(
    ("name", "place", "operation"),
    [
        ("b1_edge_l1_sep3_to_l2_max3", ("b1", "l1_sep3", "l2_max3"), "l2_max3"),
        ("b1_edge_l1_sep3_to_output", ("b1", "l1_sep3", "output"), "l1_sep3"),
        ("edge_input_to_l2_sep3", ("", "input", "l2_sep3"), "l2_sep3"),
        ("b1_edge_mb3_k3", ("b1", "mb3_k3", ""), "mb3_k3"),
        ("good", ("", "good", ""), "good"),
    ],
)
def test_an_edge_that_is_told_nothing_goes_by_its_name(name, place, operation):
    edge = ScaledEdge(name=name)
    assert (edge.place, edge.place.operation) == (place, operation)
    assert "block" not in edge.get_config()


def test_wrong_mode():
    with pytest.raises(ValueError, match="`mode` must be one of"):
        ScaledEdge(mode="open")


def test_one_vector_takes_the_place_of_the_edges_variables():
    model = two_paths()
    model.get_layer("bad").scale.assign([0.25])
    before = model(INPUTS).numpy()
    edges, vectors = joined(model)
    assert [vector.shape for vector in vectors] == [(2,)]
    np.testing.assert_array_equal(vectors[0], [1.0, 0.25])
    np.testing.assert_array_equal(model(INPUTS), before)
    assert [v.path for v in model.trainable_variables] == [vectors[0].path]
    assert join_scales(edges) == vectors


def test_each_block_has_a_vector():
    inputs = keras.Input((4,))
    edges = [ScaledEdge(block=block, source="a", name=f"e{i}") for i, block in enumerate("uvu")]
    keras.Model(inputs, keras.layers.Add()([edge(inputs) for edge in edges]))
    vectors = join_scales(edges)
    assert [vector.shape for vector in vectors] == [(2,), (1,)]
    assert edges[0].scale.vector is edges[2].scale.vector


def test_an_edge_sets_its_own_element():
    model = two_paths()
    edges, (vector,) = joined(model)
    edges[1].scale.assign([0.5])
    edges[0].scale = [2.0]
    np.testing.assert_array_equal(vector, [2.0, 0.5])
    assert isinstance(edges[0].scale, Element)
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        edges[0].scale.assign([1.0, 2.0])
    edges[0].set_mask([False])
    np.testing.assert_array_equal(vector, [0.0, 0.5])


def test_an_edge_sets_its_own_mode():
    model = two_paths()
    edges, _ = joined(model)
    edges[1].mode = "off"
    assert [edge.mode for edge in edges] == ["soft", "off"]
    modes = model.non_trainable_variables[-1]
    np.testing.assert_array_equal(modes, [1, 0])
    edges[1].mode = "hard"
    edges[1].scale.assign([-1.0])
    np.testing.assert_array_equal(edges[1](INPUTS), 0 * INPUTS)


def test_files_hold_each_edges_own_scale_and_mode(tmp_path):
    model = two_paths()
    joined(model)
    model.get_layer("bad").scale.assign([0.25])
    model.get_layer("bad").mode = "off"
    model.save(tmp_path / "joined.keras")
    again = keras.saving.load_model(tmp_path / "joined.keras", safe_mode=True)
    np.testing.assert_array_equal(again.get_layer("bad").scale, [0.25])
    np.testing.assert_array_equal(again(INPUTS), model(INPUTS))
    plain = two_paths()
    model.save_weights(tmp_path / "joined.weights.h5")
    plain.load_weights(tmp_path / "joined.weights.h5")
    np.testing.assert_array_equal(plain(INPUTS), model(INPUTS))
    assert plain.get_layer("bad").mode == again.get_layer("bad").mode == "off"


def test_mixed_precision_keeps_the_vector_in_float32():
    edges = [ScaledEdge(name=name, dtype="mixed_float16") for name in ("a_edge_1", "a_edge_2")]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Add()([edge(inputs) for edge in edges]))
    (vector,) = join_scales(edges)
    assert vector.dtype == "float32"
    assert keras.backend.standardize_dtype(edges[0](INPUTS).dtype) == "float16"
    np.testing.assert_allclose(keras.ops.cast(model(INPUTS), "float32"), 2 * INPUTS)


def test_one_element_starts_again():
    vector = keras.Variable([1.0, 2.0], name="scale")
    optimizer = APGNAG(0.1, gamma=0.0, momentum=0.9)
    optimizer.build([vector])
    optimizer.apply([keras.ops.convert_to_tensor([1.0, 1.0])])
    before = vector.numpy()[1]
    optimizer.restart(vector, 5.0, 0)
    np.testing.assert_allclose(vector.numpy(), [5.0, before])
    optimizer.apply([keras.ops.convert_to_tensor([0.0, 0.0])])
    assert vector.numpy()[0] == 5.0
    assert vector.numpy()[1] < before


@pytest.mark.parametrize("scope", ["all", "neighbours", "apart"])
def test_factors_computed_together_are_those_of_each_edge(scope):
    edges, (vector,) = five_of_a_block()
    vector.assign([0.5, -0.5, 0.0, -2.0, -0.25])
    for edge, mode in zip(edges, ["soft", "hard", "hard", "off", "soft"], strict=True):
        edge.mode = mode
    layers = {"all": edges, "neighbours": edges[3:0:-1], "apart": edges[::2]}[scope]

    def factors_and_gradient(layers):
        with tf.GradientTape() as tape, factors_together(layers):
            found = [edge.factors() for edge in edges]
            total = tf.reduce_sum(tf.concat(found, 0) * [1.0, 2.0, 3.0, 4.0, 5.0])
        return tf.concat(found, 0), tf.convert_to_tensor(tape.gradient(total, vector.value))

    alone = factors_and_gradient([])
    together = factors_and_gradient([*layers, keras.layers.ReLU()])
    np.testing.assert_array_equal(alone[0], [0.5, 0.0, 0.0, 1.0, -0.25])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_reads_two_variables_for_all_edges_of_a_block():
    edges, _ = five_of_a_block()

    @tf.function(autograph=False)
    def total():
        with factors_together(edges):
            return tf.add_n([edge.factors() for edge in edges])

    assert len(total.get_concrete_function().captured_inputs) == 2
