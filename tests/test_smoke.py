"""The way once, small: gate a network, close gates, rebuild it, count it, save it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

import keras_nas as kn


def residual_network() -> keras.Model:
    """8x8x3 -> conv 8 -> (conv 8 + shortcut) -> pooling -> 5 logits."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    stem = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(inputs)
    stem = layers.BatchNormalization(name="stem_bn")(stem)
    stem = layers.ReLU(name="stem_relu")(stem)
    branch = layers.Conv2D(8, 3, padding="same", use_bias=False, name="branch_conv")(stem)
    branch = layers.BatchNormalization(name="branch_bn")(branch)
    total = layers.ReLU(name="relu")(layers.Add(name="add")([stem, branch]))
    pooled = layers.GlobalAveragePooling2D(name="pool")(total)
    return keras.Model(inputs, layers.Dense(5, name="logits")(pooled), name="residual_network")


def test_a_gated_network_becomes_a_smaller_one_with_the_same_outputs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    model = residual_network()
    for variable in model.variables:
        variable.assign(generator.uniform(0.2, 1.2, variable.shape))
    images = generator.normal(size=(4, 8, 8, 3)).astype("float32")

    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate)
    np.testing.assert_array_equal(supernet(images), model(images))

    gates = kn.gates.find(supernet)
    assert [gate.channels for gate in gates] == [8, 8]
    for gate in gates:
        gate.set_mask(np.arange(8) < 3)
    gated = np.asarray(supernet(images))
    assert np.abs(gated - np.asarray(model(images))).max() > 1e-3

    architecture = kn.Architecture.from_gates(supernet)
    architecture.save(tmp_path / "architecture.json")
    architecture = kn.Architecture.load(tmp_path / "architecture.json")
    small = kn.surgery.build(supernet, architecture)
    np.testing.assert_allclose(small(images), gated, rtol=1e-5, atol=1e-5 * np.ptp(gated))

    # Three channels of eight stay: the stem 3*3*3*3, the branch 3*3*3*3, the logits 3*5.
    assert kn.costs.count(small).macs == 64 * 81 + 64 * 81 + 15
    assert kn.costs.count(model).macs == 64 * 216 + 64 * 576 + 40

    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(loaded(images), small(images))
