from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.errors import KerasNasError
from keras_nas.models.mixed import apply_mixed_layer
from tests.random_models import randomize

X = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")


def net() -> keras.Model:
    inputs = keras.Input((6, 6, 4))
    x = apply_mixed_layer(
        inputs, 4, kernels=(1, 3), activations=("relu", "tanh"), types=("normal", "depthwise"),
        shortcut=inputs, name="mixed",
    )  # fmt: skip
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def test_output_is_the_shortcut_plus_the_mean_of_all_operations():
    model = net()
    randomize(model, 0)
    for gate in kn.gates.find(model):
        gate.set_mask([True] * 4)
    parts = [
        model.get_layer(f"mixed_{kind}{size}x{size}_{activation}").output
        for kind in ("conv", "depthwise")
        for size in (1, 3)
        for activation in ("relu", "tanh")
    ]
    outputs = keras.Model(model.input, [*parts, model.get_layer("mixed_shortcut").output])(X)
    expected = X + np.mean([np.asarray(part) for part in outputs[:-1]], axis=0)
    np.testing.assert_allclose(outputs[-1], expected, rtol=1e-5, atol=1e-5)
    assert len(kn.gates.find(model)) == 8
    assert sum(isinstance(layer, layers.Conv2D) for layer in model.layers) == 2


def test_surgery_keeps_what_is_live():
    model = net()
    randomize(model, 1)
    for gate in kn.gates.find(model):
        gate.set_mask([gate.operation == "depthwise3x3_tanh", False, False, True])
    architecture = kn.Architecture.from_gates(model)
    small = kn.surgery.build(model, architecture, align="pad")
    np.testing.assert_allclose(np.asarray(small(X)), np.asarray(model(X)), atol=1e-5)
    assert len(architecture.kept_operations["mixed"]) == 8
    assert small.get_layer("mixed_conv3x3").filters == 1


def test_refusals():
    inputs = keras.Input((6, 6, 4))
    with pytest.raises(KerasNasError, match="`filters` must be a multiple of the input's 4"):
        apply_mixed_layer(inputs, 6, types=("depthwise",), name="m")
    with pytest.raises(KerasNasError, match="must name one or more"):
        apply_mixed_layer(inputs, 4, kernels=(), name="m")
