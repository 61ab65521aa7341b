"""Rewriting for XNNPACK in int8: the same numbers, and no operation that it hands back."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from export.accelerators.rewriting import rewrite_for_xnnpack
from export.accelerators.survey import survey
from export.export_model import ExportData, export_model
from export.export_options import ExportOptions
from tests.export.accelerators.conftest import RANGES


def network(*pooling):
    """Convolutions with poolings between them and a softmax at the end."""
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    for number, pool in enumerate(pooling):
        x = layers.Conv2D(6, 1, name=f"conv_{number}")(pool(x))
    x = layers.GlobalAveragePooling2D(name="squeeze")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x), name="net")


@pytest.mark.parametrize(
    "pool",
    [
        layers.AveragePooling2D(2, name="pool"),
        layers.AveragePooling2D(2, padding="same", name="pool"),
        layers.AveragePooling2D(3, 2, name="pool"),
        layers.AveragePooling2D((2, 4), 2, name="pool"),
    ],
    ids=["halves", "halves_same", "overlap", "oblong"],
)
def test_an_average_is_a_depthwise_convolution_of_one_weight(pool):
    keras.utils.set_random_seed(0)
    model = network(pool)
    rewritten, counts = rewrite_for_xnnpack(model)
    assert counts == {"AveragePooling2D": 1}
    assert isinstance(rewritten.get_layer("pool"), layers.DepthwiseConv2D)
    np.testing.assert_allclose(
        np.asarray(rewritten(RANGES)), np.asarray(model(RANGES)), rtol=1e-5, atol=1e-6
    )
    assert isinstance(model.get_layer("pool"), layers.AveragePooling2D)


@pytest.mark.parametrize(
    "pool",
    [
        layers.AveragePooling2D(3, 3, padding="same"),
        layers.AveragePooling2D(3, 1, padding="same"),
        layers.AveragePooling2D(2, (1, 2)),
        layers.MaxPooling2D(2),
    ],
    ids=["border", "border_of_all", "uneven_strides", "maximum"],
)
def test_other_poolings_stay(pool):
    model = network(pool)
    assert rewrite_for_xnnpack(model) == (model, {})


def test_an_int8_file_is_whole_and_a_float_one_untouched(tmp_path):
    keras.utils.set_random_seed(0)
    model = network(layers.AveragePooling2D(2), layers.AveragePooling2D(2))
    data = ExportData(train=RANGES)

    def exported(format_, accelerator):
        path = tmp_path / f"{accelerator}_{format_}.tflite"
        options = ExportOptions(accelerator=accelerator)
        return export_model(model, path, format_, data=data, options=options)

    plain, _ = exported("int8", "none")
    (before, _) = survey(plain.path)
    assert before.partitions == 4
    assert {one.operation for one in before.left} == {"AVERAGE_POOL_2D", "SOFTMAX"}
    whole, parity = exported("int8", "xnnpack")
    (after, _) = survey(whole.path)
    assert after.is_whole
    assert "rewritten for XNNPACK: AveragePooling2D ×2; softmax in float32" in parity.notes
    assert parity.passed
    file, parity = exported("float32", "xnnpack")
    assert file.operators["AVERAGE_POOL_2D"] == 2
    assert not any("XNNPACK" in note for note in parity.notes)
