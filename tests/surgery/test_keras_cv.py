"""Models of keras-cv, with its composite layers, through gates, masks and surgery."""

from __future__ import annotations

import keras_cv
import numpy as np
import pytest

import keras_nas as kn
from tests.random_models import randomize

X = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")


def resnet():
    return keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[16, 32, 48, 64],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=(64, 64, 3),
    )


def mobilenet():
    return keras_cv.models.MobileNetV3Backbone(
        stackwise_expansion=[1, 4, 6],
        stackwise_filters=[16, 24, 40],
        stackwise_kernel_size=[3, 3, 5],
        stackwise_stride=[2, 2, 2],
        stackwise_se_ratio=[0.25, None, 0.25],
        stackwise_activation=["relu", "relu", "hard_swish"],
        include_rescaling=True,
        input_shape=(64, 64, 3),
    )


MODELS = {
    "deeplab": lambda: keras_cv.models.DeepLabV3Plus(backbone=resnet(), num_classes=4),
    "resnet": lambda: keras_cv.models.ImageClassifier(
        backbone=resnet(), num_classes=5, activation=None
    ),
    "mobilenet": lambda: keras_cv.models.ImageClassifier(
        backbone=mobilenet(), num_classes=5, activation=None
    ),
}


@pytest.mark.filterwarnings("ignore")  # keras-cv's own deprecations
@pytest.mark.parametrize("name", MODELS)
def test_keras_cv_model(name):
    model = MODELS[name]()
    randomize(model)
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate)
    np.testing.assert_array_equal(supernet(X, training=False), model(X, training=False))
    random = np.random.default_rng(1)
    for gate in kn.gates.find(supernet):
        gate.set_mask(random.random(gate.channels) > 0.5)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), strict=True)
    a, b = np.asarray(supernet(X, training=False)), np.asarray(small(X, training=False))
    assert np.abs(a - b).max() <= 1e-4 * np.ptp(a)
    assert kn.costs.count(small).params < 0.6 * kn.costs.count(model).params
