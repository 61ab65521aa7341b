"""Section 3.4 of FGNAS: where 1×1 convolutions stand before residual and dense blocks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.gates.blocks import block_beginnings
from keras_nas.graph import read
from tests.random_models import randomize

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def beginnings(model):
    return sorted(node.name for node in block_beginnings(read(model, open_composites=True)))


def conv(x, filters, size, name, strides=1):
    return layers.Conv2D(filters, size, strides, padding="same", use_bias=False, name=name)(x)


def norm_relu(x, name):
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


def finish(inputs, x):
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def dense_net():
    """Two dense stages of two layers and the transition between them, as in DenseNet."""
    inputs = keras.Input((8, 8, 3))
    x = conv(inputs, 4, 3, "stem")
    for stage in (1, 2):
        for layer in (1, 2):
            new = conv(norm_relu(x, f"s{stage}l{layer}"), 3, 3, f"s{stage}l{layer}")
            x = layers.Concatenate(name=f"s{stage}l{layer}_concat")([x, new])
        if stage == 1:
            x = layers.AveragePooling2D(2)(conv(norm_relu(x, "transition"), 5, 1, "transition"))
    return finish(inputs, norm_relu(x, "head"))


def residual_net():
    """An identity block, one whose shortcut is thinned and padded, one with a projection."""
    inputs = keras.Input((8, 8, 3))
    x = norm_relu(conv(inputs, 4, 3, "stem"), "stem")
    y = conv(norm_relu(conv(x, 6, 3, "a1"), "a1"), 4, 3, "a2")
    x = layers.ReLU(name="a_out")(layers.Add(name="a_add")([x, y]))
    y = conv(norm_relu(conv(x, 6, 3, "b1", 2), "b1"), 8, 3, "b2")
    short = ops.pad(layers.MaxPooling2D(1, 2)(x), [[0, 0], [0, 0], [0, 0], [0, 4]])
    x = layers.ReLU(name="b_out")(layers.Add(name="b_add")([short, y]))
    y = conv(norm_relu(conv(x, 6, 3, "c1", 2), "c1"), 5, 3, "c2")
    short = layers.BatchNormalization(name="c_short_bn")(conv(x, 5, 1, "c_short", 2))
    x = layers.Add(name="c_add")([short, y])
    return finish(inputs, conv(x, 5, 1, "tail"))


@pytest.mark.parametrize(
    ("builder", "arguments", "count"),
    [
        ("densenet40_cifar", {}, 36),
        ("resnet20_cifar", {}, 9),
        ("resnet20_cifar", {"shortcut": "projection"}, 9),
        ("resnet18", {}, 8),
        ("resnet50", {}, 15),  # the first block's shortcut is a projection of the stem
        ("mobilenet_v2", {}, 10),
        ("mobilenet_v2_cifar", {}, 12),  # two blocks with a projection follow an identity
        ("efficientnet_b0", {}, 9),
        ("edsr", {}, 16),
        ("vgg16_cifar", {}, 0),
    ],
)
def test_each_block_of_a_backbone_begins_once(builder, arguments, count):
    assert len(beginnings(kn.models.create(builder, **arguments))) == count


def test_dense_blocks_begin_behind_each_concatenation():
    assert beginnings(dense_net()) == ["s1l1", "s1l2", "s2l1", "s2l2"]


def test_residual_blocks_begin_whatever_their_shortcut_is():
    assert beginnings(residual_net()) == ["a1", "b1", "c1"]


def test_a_pre_activation_block_begins_behind_its_normalisation():
    inputs = keras.Input((8, 8, 3))
    x = conv(inputs, 4, 3, "stem")
    y = conv(norm_relu(x, "pre"), 4, 3, "a1")
    y = conv(norm_relu(y, "mid"), 4, 3, "a2")
    x = layers.Add()([x, y])
    y = layers.ZeroPadding2D(1)(norm_relu(x, "pre2"))
    y = layers.Conv2D(4, 3, use_bias=False, name="b1")(y)
    assert beginnings(finish(inputs, layers.Add()([y, x]))) == ["a1", "b1"]


def test_parallel_branches_without_an_identity_are_no_block():
    """Inception: pooled and convolved side by side, then concatenated."""
    inputs = keras.Input((8, 8, 3))
    x = conv(inputs, 4, 3, "stem")
    pooled = layers.MaxPooling2D(3, 1, padding="same")(x)
    x = layers.Concatenate()([conv(x, 2, 1, "a"), conv(x, 2, 3, "b"), pooled])
    x = layers.Add()([conv(x, 4, 1, "c"), conv(x, 4, 3, "d")])
    assert beginnings(finish(inputs, x)) == []


def test_a_concatenation_of_space_is_no_dense_block():
    inputs = keras.Input((8, 8, 3))
    x = conv(inputs, 4, 3, "stem")
    x = layers.Concatenate(axis=1)([x, conv(x, 4, 3, "a")])
    assert beginnings(finish(inputs, x)) == []


@pytest.mark.parametrize("build", [dense_net, residual_net])
def test_entries_let_a_block_read_less_and_surgery_equals(build):
    model = build()
    randomize(model, 1)
    supernet = kn.gates.widen(model, entries=True)
    np.testing.assert_allclose(supernet(X), model(X), atol=1e-5)
    entries = [gate for gate in kn.gates.find(supernet) if gate.name.endswith("_entry_gate")]
    assert [gate.name.removesuffix("_entry_gate") for gate in entries] == beginnings(model)
    for gate in entries:
        gate.set_mask(np.arange(gate.channels) < 2)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    for name in beginnings(model):
        assert small.get_layer(name).kernel.shape[-2] == 2
    np.testing.assert_allclose(small(X), supernet(X), atol=1e-5)
    randomize(supernet, 2)
    for gate in entries:
        gate.set_mask(np.arange(gate.channels) != 1)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    expected = np.asarray(supernet(X))
    np.testing.assert_allclose(small(X), expected, atol=2e-5 * max(1, np.abs(expected).max()))


def test_entries_of_one_dimension():
    inputs = keras.Input((12, 3))
    x = layers.Conv1D(4, 3, padding="same", name="stem")(inputs)
    x = layers.Add()([x, layers.Conv1D(4, 3, padding="same", name="a")(x)])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    randomize(model, 1)
    supernet = kn.gates.widen(model, entries=True)
    assert isinstance(supernet.get_layer("a_entry"), layers.Conv1D)
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")
    np.testing.assert_allclose(supernet(x), model(x), atol=1e-5)
