"""Edges that hold their λ in one vector work as edges with one of their own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import ScaledEdge
from keras_nas.layers.edge_scales import Element, factors_together, join_scales
from keras_nas.optimizers import APGNAG
from tests.layers.two_paths import train_two_paths, two_paths

X = np.arange(8, dtype="float32").reshape(2, 4)


def joined(model):
    edges = [layer for layer in model.layers if isinstance(layer, ScaledEdge)]
    return edges, join_scales(edges)


def test_one_vector_takes_the_place_of_the_edges_variables():
    model = two_paths()
    model.get_layer("bad").scale.assign([0.25])
    before = model(X).numpy()
    edges, vectors = joined(model)
    assert [vector.shape for vector in vectors] == [(2,)]
    np.testing.assert_array_equal(vectors[0], [1.0, 0.25])
    np.testing.assert_array_equal(model(X), before)
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
    np.testing.assert_array_equal(edges[1](X), 0 * X)


def test_files_hold_each_edges_own_scale_and_mode(tmp_path):
    model = two_paths()
    joined(model)
    model.get_layer("bad").scale.assign([0.25])
    model.get_layer("bad").mode = "off"
    model.save(tmp_path / "joined.keras")
    again = keras.saving.load_model(tmp_path / "joined.keras", safe_mode=True)
    np.testing.assert_array_equal(again.get_layer("bad").scale, [0.25])
    np.testing.assert_array_equal(again(X), model(X))
    plain = two_paths()
    model.save_weights(tmp_path / "joined.weights.h5")
    plain.load_weights(tmp_path / "joined.weights.h5")
    np.testing.assert_array_equal(plain(X), model(X))
    assert plain.get_layer("bad").mode == again.get_layer("bad").mode == "off"


def test_mixed_precision_keeps_the_vector_in_float32():
    edges = [ScaledEdge(name=name, dtype="mixed_float16") for name in ("a_edge_1", "a_edge_2")]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Add()([edge(inputs) for edge in edges]))
    (vector,) = join_scales(edges)
    assert vector.dtype == "float32"
    assert keras.backend.standardize_dtype(edges[0](X).dtype) == "float16"
    np.testing.assert_allclose(keras.ops.cast(model(X), "float32"), 2 * X)


def test_apg_closes_the_useless_edge_of_a_vector():
    model = two_paths()
    joined(model)
    model.compile(APGNAG(0.1, gamma=0.05), loss="mse")
    good, bad = train_two_paths(model)
    assert bad == 0.0
    assert good == pytest.approx(0.975, abs=5e-3)


def test_under_mirrored_strategy(mirrored):
    with mirrored.scope():
        model = two_paths()
        joined(model)
        model.compile(APGNAG(0.1, gamma=0.05), loss="mse")
    good, bad = train_two_paths(model)
    assert bad == 0.0
    assert good == pytest.approx(0.975, abs=5e-3)


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
    inputs = keras.Input((4,))
    edges = [ScaledEdge(block="b", source="a", name=f"e{i}") for i in range(5)]
    keras.Model(inputs, keras.layers.Add()([edge(inputs) for edge in edges]))
    (vector,) = join_scales(edges)
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
    inputs = keras.Input((4,))
    edges = [ScaledEdge(block="b", source="a", name=f"e{i}") for i in range(5)]
    keras.Model(inputs, keras.layers.Add()([edge(inputs) for edge in edges]))
    join_scales(edges)

    @tf.function(autograph=False)
    def total():
        with factors_together(edges):
            return tf.add_n([edge.factors() for edge in edges])

    assert len(total.get_concrete_function().captured_inputs) == 2
