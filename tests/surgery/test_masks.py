"""Keras masks (Masking, Embedding, `mask=`) through insert, masks of gates, and surgery."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.regularizers import Resource
from keras_nas.search.fgnas.folded_gates import fold_gates
from tests.random_models import randomize

RANDOM = np.random.default_rng(0)
STEPS = RANDOM.normal(size=(4, 6, 3)).astype("float32")
STEPS[0, 4:] = STEPS[1, 2:] = STEPS[2, :2] = 0
WORDS = RANDOM.integers(1, 9, size=(4, 6)).astype("int32")
WORDS[0, 4:] = WORDS[1, 2:] = WORDS[3, 1] = 0
CONDITIONS = RANDOM.random((4, 6)) > 0.3
PAIRS = RANDOM.random((4, 6, 6)) > 0.3

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not support masking")


def dense(width, name):
    return L.Dense(width, name=name)


def head(x):
    return L.Dense(3, name="head")(x)


def pooled(x):
    return head(L.GlobalAveragePooling1D()(x))


def masking():
    inputs = keras.Input((6, 3))
    return inputs, L.Masking()(inputs)


def embedding():
    inputs = keras.Input((6,), dtype="int32")
    return inputs, L.Embedding(9, 5, mask_zero=True)(inputs)


def pooling():
    i, x = masking()
    return i, pooled(L.ReLU()(dense(8, "g1")(x)))


def pooling_that_keeps_axes():
    i, x = masking()
    x = L.GlobalAveragePooling1D(keepdims=True)(dense(8, "g1")(x))
    return i, head(L.Flatten()(x))


def batch_normalization():
    i, x = masking()
    return i, pooled(dense(6, "g2")(L.ReLU()(L.BatchNormalization()(dense(8, "g1")(x)))))


def lstm():
    i, x = embedding()
    return i, head(L.LSTM(4)(L.Dense(8, activation="relu", name="g1")(x)))


def gru_sequence():
    i, x = embedding()
    return i, pooled(dense(8, "g2")(L.GRU(4, return_sequences=True)(dense(8, "g1")(x))))


def bidirectional():
    i, x = embedding()
    x = L.Bidirectional(L.LSTM(4, return_sequences=True))(dense(8, "g1")(x))
    return i, head(L.LSTM(3)(dense(8, "g2")(x)))


def cells():
    i, x = embedding()
    return i, head(L.RNN([L.GRUCell(3), L.LSTMCell(4)])(dense(8, "g1")(x)))


def time_distributed():
    i, x = masking()
    return i, head(L.LSTM(3)(dense(8, "g2")(L.TimeDistributed(L.Dense(5))(dense(8, "g1")(x)))))


def self_attention():
    i, x = masking()
    x = dense(8, "g1")(x)
    return i, pooled(dense(8, "g2")(L.MultiHeadAttention(2, 3)(x, x)))


def causal_attention():
    i, x = embedding()
    x = dense(8, "g1")(x)
    return i, pooled(dense(8, "g2")(L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)))


def cross_attention():
    (i, x), (j, y) = embedding(), masking()
    z = L.MultiHeadAttention(2, 3)(dense(8, "g1")(x), dense(7, "g2")(y))
    return [i, j], pooled(dense(8, "g3")(z))


def grouped_attention():
    i, x = masking()
    x = dense(8, "g1")(x)
    return i, pooled(dense(8, "g2")(L.GroupQueryAttention(4, 2, 2)(x, x)))


def attention():
    i, x = masking()
    x = dense(8, "g1")(x)
    return i, pooled(dense(8, "g2")(L.Attention()([x, x])))


def transformer():
    i, x = embedding()
    x = dense(8, "g1")(x)
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)]))
    y = dense(8, "g3")(L.Dense(12, activation="relu", name="g2")(x))
    return i, pooled(L.LayerNormalization()(L.Add()([x, y])))


def attention_mask():
    i, mask = keras.Input((6, 3)), keras.Input((6, 6), dtype="bool")
    x = dense(8, "g1")(i)
    x = L.MultiHeadAttention(2, 3)(x, x, attention_mask=mask)
    return [i, mask], head(L.Flatten()(x))


def mask_by_name():
    i, mask = keras.Input((6, 3)), keras.Input((6,), dtype="bool")
    return [i, mask], head(L.LSTM(4)(dense(8, "g1")(i), mask=mask))


def mask_by_position():
    i, mask = keras.Input((6, 3)), keras.Input((6,), dtype="bool")
    return [i, mask], head(L.GlobalAveragePooling1D()(dense(8, "g1")(i), mask))


def masking_of_gated_channels():
    """A step is masked where *all* channels are 0: cutting one would change that."""
    i = keras.Input((6, 3))
    x = L.Dense(8, use_bias=False, activation="relu", name="g1")(i)
    return i, head(L.LSTM(3)(dense(8, "g2")(L.Masking()(x))))


def add():
    i, x = masking()
    return i, pooled(L.Add()([dense(8, "g1")(x), dense(8, "g2")(x)]))


def add_unmasked():
    i, x = masking()
    return i, pooled(L.Add()([dense(8, "g1")(x), dense(8, "g2")(i)]))


def add_before_attention():
    i, x = masking()
    a = dense(8, "g1")(x)
    x = L.Add()([a, dense(8, "g2")(L.ReLU()(a))])
    return i, pooled(dense(8, "g3")(L.MultiHeadAttention(2, 3)(x, x)))


def multiply():
    i, x = masking()
    return i, pooled(L.Multiply()([dense(8, "g1")(x), dense(8, "g2")(i)]))


def maximum():
    i, x = masking()
    return i, head(L.LSTM(4)(L.Maximum()([dense(8, "g1")(x), dense(8, "g2")(i)])))


def concatenate():
    i, x = masking()
    x = L.Concatenate()([dense(8, "g1")(x), dense(5, "g2")(x)])
    return i, pooled(dense(6, "g3")(x))


def concatenate_unmasked():
    i, x = masking()
    return i, head(L.LSTM(4)(L.Concatenate()([dense(8, "g1")(x), dense(5, "g2")(i)])))


def two_readers():
    i, x = masking()
    x = L.ReLU()(dense(8, "g1")(x))
    return i, pooled(L.Concatenate()([dense(4, "g2")(x), L.MultiHeadAttention(1, 2)(x, x)]))


def slice_and_product():
    i, x = masking()
    x = L.ReLU()(dense(8, "g1")(x)[:, :, :] * 0.5)
    return i, head(L.LSTM(3)(dense(6, "g2")(x)))


def convolution():
    i, x = embedding()
    return i, pooled(L.ReLU()(L.Conv1D(8, 3, padding="same", name="g1")(x)))


def nested():
    j = keras.Input((6, 3))
    inner = keras.Model(j, L.LSTM(4, return_sequences=True)(dense(8, "inner")(j)))
    i, x = masking()
    return i, pooled(dense(8, "g2")(inner(x)))


def nested_before_attention():
    inner = keras.Sequential([keras.Input((6, 3)), L.Dense(8), L.GRU(4, return_sequences=True)])
    i, x = masking()
    return i, head(L.Flatten()(L.MultiHeadAttention(1, 2)(inner(x), dense(8, "g2")(x))))


class Block(L.Layer):
    """Made of layers, one of which looks for a mask."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = L.Dense(8), L.LSTM(4, return_sequences=True)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 8))

    def call(self, x):
        return self.second(self.first(x))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)


def composite():
    i, x = masking()
    return i, pooled(dense(8, "g2")(Block()(dense(5, "g1")(x))))


class Pick(L.Layer):
    """A user's layer with a mask."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
        return x if mask is None else x * keras.ops.cast(mask, x.dtype)[:, :, None]


def own_layer():
    i, x = masking()
    return i, head(L.LSTM(4)(dense(8, "g2")(Pick()(dense(8, "g1")(x)))))


def sequence_output():
    i, x = embedding()
    return i, head(L.LSTM(4, return_sequences=True)(dense(8, "g1")(x)))


NETS = [
    pooling, pooling_that_keeps_axes, batch_normalization, lstm, gru_sequence, bidirectional, cells,
    time_distributed, self_attention, causal_attention, cross_attention, grouped_attention,
    attention, transformer, attention_mask, mask_by_name, mask_by_position,
    masking_of_gated_channels, add, add_unmasked, add_before_attention, multiply, maximum,
    concatenate, concatenate_unmasked, two_readers, slice_and_product, convolution, nested,
    nested_before_attention, composite, own_layer, sequence_output,
]  # fmt: skip


def built(net):
    model = keras.Model(*net())
    randomize(model)
    data = {"int32": WORDS, "bool": CONDITIONS, "float32": STEPS}
    arrays = [PAIRS if t.shape[1:] == (6, 6) else data[t.dtype] for t in model.inputs]
    arrays = [keras.ops.convert_to_tensor(array) for array in arrays]
    return model, arrays if len(arrays) > 1 else arrays[0]


def gated(model, kind=ScaledSigmoidGate):
    names = [layer.name for layer in model.layers if layer.name in ("g1", "g2", "g3")]
    return kn.gates.insert(model, kind, include=names)


def close_every_second(supernet):
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.arange(gate.channels) % 2 == 1)


@pytest.mark.parametrize("net", NETS)
def test_insert_and_surgery_are_exact(net):
    model, x = built(net)
    supernet = gated(model)
    assert np.array_equal(supernet(x), model(x))
    close_every_second(supernet)
    expected = np.asarray(supernet(x))
    assert np.ptp(expected) > 1e-2
    for align in ("pad", "extend"):
        small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align=align)
        np.testing.assert_allclose(small(x), expected, atol=1e-6 * np.ptp(expected) + 1e-7)


def test_surgery_of_a_gated_model_with_a_nested_one():
    """Nobody flattened it: its layers' masks are named nowhere."""
    j = keras.Input((6, 3))
    y = ScaledSigmoidGate(name="inner_gate")(L.Dense(8)(j))
    inner = keras.Model(j, L.LSTM(4, return_sequences=True)(y))
    i, x = masking()
    supernet = keras.Model(i, pooled(inner(x)))
    randomize(supernet)
    close_every_second(supernet)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    np.testing.assert_allclose(small(STEPS), supernet(STEPS), atol=1e-6)


def test_a_mask_of_its_own_for_a_nested_model_is_refused():
    inner = keras.Sequential([keras.Input((6, 3)), L.Dense(8), L.GRU(4)], name="inner")
    i, mask = keras.Input((6, 3)), keras.Input((6,), dtype="bool")
    model = keras.Model([i, mask], inner(i, mask=mask))
    with pytest.raises(kn.KerasNasError, match="'inner' is called with a mask"):
        kn.gates.insert(model, ScaledSigmoidGate)


def test_channels_behind_masks_are_cut():
    model, _ = built(batch_normalization)
    supernet = gated(model)
    close_every_second(supernet)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), strict=True)
    assert [small.get_layer(name).units for name in ("g1", "g2")] == [4, 3]


def test_a_realigned_tensor_carries_its_mask(tmp_path):
    model, x = built(self_attention)
    supernet = gated(model)
    supernet.get_layer("g1_gate").set_mask(np.arange(8) % 2 == 1)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align="pad")
    carriers = [layer for layer in small.layers if isinstance(layer, L.BatchNormalization)]
    assert [(layer.trainable, layer.scale, layer.epsilon) for layer in carriers] == [
        (False, False, 0)
    ]
    assert any(dim.units == 4 for dim in small.layers if isinstance(dim, L.Dense))
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(loaded(x), supernet(x), atol=1e-6)


def test_a_mask_that_cannot_be_carried_is_refused():
    model, _ = built(self_attention)
    supernet = gated(model)
    supernet.get_layer("g1_gate").set_mask([False] * 8)
    with pytest.raises(kn.KerasNasError, match="Keras mask of 'g1"):
        kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align="pad")


def test_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    i, x = masking()
    x = L.LSTM(4, return_sequences=True)(L.BatchNormalization()(dense(8, "g1")(x)))
    model = keras.Model(i, L.Dense(3, dtype="float32")(L.GlobalAveragePooling1D()(x)))
    randomize(model)
    supernet = gated(model)
    assert np.array_equal(supernet(STEPS), model(STEPS))
    close_every_second(supernet)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    np.testing.assert_allclose(small(STEPS), supernet(STEPS), atol=5e-3)


@pytest.mark.parametrize("net", [batch_normalization, transformer, self_attention, add])
def test_searching_on_masked_networks(net):
    """What a search runs on: folded gates, and the count of what is left."""
    model, x = built(net)
    supernet = gated(model, STEGate)
    close_every_second(supernet)
    folded = fold_gates(supernet)
    np.testing.assert_allclose(folded(x), supernet(x), atol=1e-6)
    architecture = kn.Architecture.from_gates(supernet)
    predicted = kn.surgery.predict_costs(supernet, architecture, align="pad")
    assert float(Resource(supernet, "macs")()) == predicted.macs
    small = kn.surgery.build(supernet, architecture, align="pad")
    assert kn.costs.count(small).macs == predicted.macs
