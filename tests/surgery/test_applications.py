"""Networks of keras.applications under random masks: exact, as cheap as predicted, plain Keras.

    python -m pytest -m slow tests/surgery/test_applications.py

takes every one, its preprocessing adapted, at a small image with random weights, statistics and
biases.
"""

from __future__ import annotations

import gc
import inspect
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
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
NAMES = sorted(
    name
    for name, make in vars(keras.applications).items()
    if inspect.isfunction(make) and name[0].isupper()
)


def application(name: str) -> keras.Model:
    size = SMALLEST.get(name, 64)
    model = getattr(keras.applications, name)(
        weights=None, classes=10, input_shape=(size, size, 3), classifier_activation=None
    )
    randomize(model)
    images = np.random.default_rng(1).normal(100, 50, (16, size, size, 3)).astype("float32")
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            layer.adapt(images)
    return model


def inputs_of(model: keras.Model) -> np.ndarray:
    """Pixels where the network standardises them itself, else what they become."""
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    kinds = (keras.layers.Normalization, keras.layers.Rescaling)
    return 60 * x + 110 if any(isinstance(layer, kinds) for layer in model.layers[:5]) else x


def check(model, off: float, seed: int, emptied: int, **options) -> float:
    """Random masks with `emptied` whole gates off that do not cut the network; then surgery.

    Returns the share of the macs that is left.
    """
    x = inputs_of(model)
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate, **options)
    np.testing.assert_array_equal(supernet(x, training=False), model(x, training=False))
    random = np.random.default_rng(seed)
    gates = kn.gates.find(supernet)
    whole = set(random.choice(len(gates), min(emptied, len(gates) // 4), replace=False))
    for index, gate in enumerate(gates):
        mask = random.random(gate.channels) >= off
        gate.set_mask(mask & (index not in whole))
    kn.surgery.rescue(supernet)
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture)
    a, b = np.asarray(supernet(x, training=False)), np.asarray(small(x, training=False))
    assert np.ptp(a) > 1e-3
    assert np.abs(a - b).max() <= 1e-4 * np.ptp(a)
    costs, after = kn.costs.count(small), architecture.costs["after"]
    assert (costs.macs, costs.params) == (after["macs"], after["params"])
    return costs.macs / kn.costs.count(model).macs


@pytest.fixture(scope="module")
def mobilenet():
    return application("MobileNetV2")


@pytest.mark.parametrize("order", ORDERS)
def test_mobilenet_v2(mobilenet, order):
    assert check(mobilenet, off=0.6, seed=1, emptied=4, order=order) < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0"]
)
def test_any_place_of_the_gates_and_any_share(name):
    model = application(name)
    for order in ORDERS:
        for off in (0.3, 0.6, 0.9):
            assert check(model, off, seed=int(off * 10), emptied=3, order=order) < 1


def test_the_list_is_whole():
    assert len(NAMES) >= 38
    assert {"ConvNeXtTiny", "EfficientNetB7", "MobileNetV3Small", "NASNetLarge"} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_application(name):
    keras.backend.clear_session()
    include = "*pointwise_conv_1" if name.startswith("ConvNeXt") else None  # its wide Dense layers
    assert check(application(name), off=0.5, seed=0, emptied=3, include=include) < 0.8
    gc.collect()


def test_small_model_loads_without_this_package(mobilenet, tmp_path):
    supernet = kn.gates.insert(mobilenet, kn.layers.ScaledSigmoidGate)
    random = np.random.default_rng(2)
    for gate in kn.gates.find(supernet):
        gate.set_mask(random.random(gate.channels) > 0.5)
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture, align="pad")
    small.save(tmp_path / "small.keras")
    x = inputs_of(mobilenet)
    np.save(tmp_path / "x.npy", x)
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
    expected = np.asarray(small(x, training=False))
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
