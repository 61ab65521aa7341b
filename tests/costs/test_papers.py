"""The cost columns of the papers' tables, and the params of known networks."""

from __future__ import annotations

import math

import keras
import pytest

import keras_nas as kn
from keras_nas.costs import count

DNAL, FGNAS = 0.005, 0.01

COLUMNS = [
    ("vgg16_cifar", "macs", 313.47e6, DNAL),
    ("vgg16_cifar", "params", 14.99e6, DNAL),
    ("resnet56_cifar", "macs", 125.49e6, DNAL),
    ("resnet56_cifar", "params", 0.85e6, DNAL),
    ("mobilenet_v2_cifar", "macs", 91.17e6, DNAL),
    ("mobilenet_v2_cifar", "params", 2.30e6, DNAL),
    ("resnet50", "macs", 4.09e9, DNAL),
    ("resnet50", "params", 25.55e6, DNAL),
    ("mobilenet_v2", "macs", 300.79e6, DNAL),
    ("mobilenet_v2", "params", 3.50e6, DNAL),
    ("vgg16_cifar", "flops", 627e6, FGNAS),
    ("vgg19_cifar", "flops", 797e6, FGNAS),
    ("resnet20_cifar", "flops", 81e6, FGNAS),
    ("densenet40_cifar", "flops", 566e6, FGNAS),
    ("mobilenet_v2", "flops", 600e6, FGNAS),
]


@pytest.fixture(scope="module")
def zoo():
    return {name: count(kn.models.create(name)) for name in {row[0] for row in COLUMNS}}


@pytest.mark.parametrize(("name", "column", "printed", "tolerance"), COLUMNS)
def test_column(zoo, name, column, printed, tolerance):
    assert getattr(zoo[name], column) == pytest.approx(printed, rel=tolerance)


def test_exact_counts(zoo):
    """The same numbers to the last digit, as other public implementations of these nets have."""
    assert zoo["resnet56_cifar"].macs == 125_485_696
    assert zoo["resnet50"].params == 25_557_032
    assert zoo["mobilenet_v2"].params == 3_504_872
    assert zoo["mobilenet_v2"].macs == 300_774_272
    assert zoo["mobilenet_v2_cifar"].params == 2_296_922


def test_efficientnet_b0_with_ten_classes():
    model = kn.models.efficientnet_b0(num_classes=10)
    assert count(model).params == pytest.approx(4.0e6, rel=FGNAS)


def test_edsr_baseline_for_a_hd_image():
    """1728 + 33 · 36864 + 147456 weights at 360·640 places, and 1728 at 720·1280."""
    costs = count(kn.models.edsr(), input_shapes=(360, 640, 3))
    assert costs.params == 1_369_859
    low, high = 1728 + 33 * 36_864 + 147_456, 1728
    assert costs.macs == low * 360 * 640 + high * 720 * 1280


@pytest.mark.slow
def test_vgg16_for_imagenet():
    costs = count(kn.models.vgg16())
    assert costs.macs == pytest.approx(15.47e9, rel=DNAL)
    assert costs.params == pytest.approx(138.37e6, rel=DNAL)


@pytest.mark.parametrize(
    ("application", "macs", "ours"),
    [
        ("MobileNetV2", 300_774_272, "mobilenet_v2"),
        ("ResNet50", None, None),
        ("DenseNet121", None, None),
        ("EfficientNetB0", None, "efficientnet_b0"),
    ],
)
def test_params_and_state_of_keras_applications(application, macs, ours):
    """Counted from configuration and shapes, equal to what the weights hold, layer by layer."""
    model = getattr(keras.applications, application)(weights=None)
    costs = count(model)
    assert costs.uncounted == ()
    for layer in model.layers:
        if layer.name in costs.by_layer:
            found = costs.by_layer[layer.name]
            assert found.params == _size(layer.trainable_weights), layer.name
            assert found.state == _size(layer.non_trainable_weights, without="seed"), layer.name
    assert costs.params == _size(model.trainable_weights)
    if macs is not None:
        assert costs.macs == macs
    if ours is not None:
        assert count(kn.models.create(ours)).macs == costs.macs
        assert count(kn.models.create(ours)).params == costs.params


def _size(variables, without=None):
    kept = [v for v in variables if without is None or without not in v.path]
    return sum(math.prod(variable.shape) for variable in kept)
