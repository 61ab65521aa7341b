"""Every network of keras.applications, its preprocessing adapted, under random masks: exact.

    python -m pytest -m slow tests/surgery/test_every_application.py

builds each at a small image with random weights, statistics and biases, closes half of its
channels and some gates whole, and compares the gated network with the one that surgery builds.
"""

from __future__ import annotations

import gc
import inspect

import keras
import numpy as np
import pytest

import keras_nas as kn
from tests.random_models import randomize

SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
NAMES = sorted(
    name
    for name, make in vars(keras.applications).items()
    if inspect.isfunction(make) and name[0].isupper()
)


def test_the_list_is_whole():
    assert len(NAMES) >= 38
    assert {"ConvNeXtTiny", "EfficientNetB7", "MobileNetV3Small", "NASNetLarge"} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_surgery_is_exact(name):
    keras.backend.clear_session()
    size = SMALLEST.get(name, 64)
    random = np.random.default_rng(0)
    x = random.normal(110, 60, (2, size, size, 3)).astype("float32")
    model = getattr(keras.applications, name)(
        weights=None, classes=10, input_shape=(size, size, 3), classifier_activation=None
    )
    randomize(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            layer.adapt(random.normal(100, 50, (16, size, size, 3)).astype("float32"))
    if not has_preprocessing(model):
        x = (x - 110) / 60

    include = "*pointwise_conv_1" if name.startswith("ConvNeXt") else None  # its wide Dense layers
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate, include=include)
    expected = np.asarray(model(x, training=False))
    np.testing.assert_array_equal(np.asarray(supernet(x, training=False)), expected)
    gates = kn.gates.find(supernet)
    whole = set(random.choice(len(gates), min(3, len(gates) // 4), replace=False))
    for index, gate in enumerate(gates):
        gate.set_mask((random.random(gate.channels) >= 0.5) & (index not in whole))
    kn.surgery.rescue(supernet)
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture)

    a, b = (np.asarray(net(x, training=False)) for net in (supernet, small))
    error, spread = np.abs(a - b).max(), np.ptp(a)
    print(f"{name}: error {error / spread:.1e} of the range {spread:.3g}")
    assert spread > 1e-3
    assert error <= 1e-4 * spread
    costs = kn.costs.count(small)
    after = architecture.costs["after"]
    assert (costs.macs, costs.params) == (after["macs"], after["params"])
    assert costs.macs < 0.8 * kn.costs.count(model).macs
    del model, supernet, small
    gc.collect()


def has_preprocessing(model: keras.Model) -> bool:
    return any(
        isinstance(layer, (keras.layers.Normalization, keras.layers.Rescaling))
        for layer in model.layers[:5]
    )
