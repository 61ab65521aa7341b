"""Real networks under random masks: exact, as cheap as predicted, and free of this package."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import keras_nas as kn
from export.tflite import convert
from tests.random_models import randomize

ORDERS = ("conv_bn_gate_relu", "conv_gate_bn_relu", "conv_bn_relu_gate")
X = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")


def application(name: str) -> keras.Model:
    make = getattr(keras.applications, name)
    model = make(weights=None, classes=10, input_shape=(64, 64, 3), classifier_activation=None)
    randomize(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            layer.adapt(X * [1, 2, 3] + [0.5, 1, 2])
    return model


def check(model, order: str, off: float, seed: int, emptied: int) -> keras.Model:
    """Random masks with `emptied` whole gates off that do not cut the network; then surgery."""
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate, order=order)
    np.testing.assert_array_equal(supernet(X, training=False), model(X, training=False))
    random = np.random.default_rng(seed)
    gates = kn.gates.find(supernet)
    whole = set(random.choice(len(gates), emptied, replace=False))
    for index, gate in enumerate(gates):
        mask = random.random(gate.channels) >= off
        gate.set_mask(mask & (index not in whole))
    kn.surgery.rescue(supernet)
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture)
    a, b = np.asarray(supernet(X, training=False)), np.asarray(small(X, training=False))
    assert np.ptp(a) > 1e-3
    assert np.abs(a - b).max() <= 1e-4 * np.ptp(a)
    costs = kn.costs.count(small)
    assert costs.macs == architecture.costs["after"]["macs"] < kn.costs.count(model).macs
    assert costs.params == architecture.costs["after"]["params"]
    return small


@pytest.fixture(scope="module")
def mobilenet():
    return application("MobileNetV2")


@pytest.mark.parametrize("order", ORDERS)
def test_mobilenet_v2(mobilenet, order):
    check(mobilenet, order, off=0.6, seed=1, emptied=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0"]
)
def test_applications(name):
    model = application(name)
    for order in ORDERS:
        for off in (0.3, 0.6, 0.9):
            check(model, order, off, seed=int(off * 10), emptied=3)


def test_small_model_loads_without_this_package(mobilenet, tmp_path):
    supernet = kn.gates.insert(mobilenet, kn.layers.ScaledSigmoidGate)
    random = np.random.default_rng(2)
    for gate in kn.gates.find(supernet):
        gate.set_mask(random.random(gate.channels) > 0.5)
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture, align="pad")
    small.save(tmp_path / "small.keras")
    np.save(tmp_path / "x.npy", X)
    script = """
        import sys, keras, numpy as np
        model = keras.models.load_model("small.keras")
        np.save("y.npy", model(np.load("x.npy"), training=False))
        assert not [name for name in sys.modules if name.startswith("keras_nas")]
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "-1"},
    )
    expected = np.asarray(small(X, training=False))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("align", ["pad", "extend"])
def test_small_model_converts_to_built_in_ops(tmp_path, align):
    model = kn.models.create("small_resnet")
    randomize(model)
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate)
    random = np.random.default_rng(0)
    for gate in kn.gates.find(supernet):
        gate.set_mask(random.random(gate.channels) > 0.5)
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture, align=align)
    convert(small, tmp_path / "small.tflite")
    x = random.normal(size=(1, *model.input_shape[1:])).astype("float32")
    interpreter = Interpreter(str(tmp_path / "small.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, supernet(x, training=False), atol=1e-4)
