from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_nas.layers import ScaledEdge
from keras_nas.optimizers import APGNAG
from tests.layers.two_paths import train_two_paths, two_paths

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]], dtype="float32")


def built(**arguments) -> ScaledEdge:
    edge = ScaledEdge(**arguments)
    edge.build((None, 3))
    return edge


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


def test_saves_and_loads(tmp_path):
    model = keras.Sequential([keras.Input((3,)), ScaledEdge(name="edge", mode="soft")])
    model.layers[0].scale.assign([0.25])
    model.layers[0].mode = "hard"
    model.save(tmp_path / "edge.keras")
    loaded = keras.saving.load_model(tmp_path / "edge.keras")
    assert loaded.layers[0].mode == "hard"
    assert loaded.layers[0].scale.numpy().tolist() == [0.25]
    np.testing.assert_array_equal(loaded(X), model(X))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    edge = built(dtype=policy)
    edge.scale.assign([0.5])
    outputs = edge(X)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    assert edge.scale.dtype == "float32"
    np.testing.assert_allclose(ops.cast(outputs, "float32"), 0.5 * X)


def test_apg_closes_the_useless_edge_in_fit():
    model = two_paths()
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


def test_under_mirrored_strategy(mirrored):
    with mirrored.scope():
        model = two_paths()
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
