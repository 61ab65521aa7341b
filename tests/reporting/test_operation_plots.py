"""FGNAS' Fig. 6 and 7: every operation that is kept is in the bars, the original ones too."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import keras_nas as kn
from keras_nas.reporting.operation_plots import kernels_per_layer, operations_per_layer
from keras_nas.reporting.run_sections import operations_by_layer


def heights(figure):
    """The bars' heights by kind, a number a layer."""
    (axes,) = figure.axes
    return {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}


def widened(tmp_path):
    """A 3×3 convolution, a depthwise 3×3 and one of 1×3, widened; saved and read again."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="b")(x)
    x = layers.Conv2D(4, (1, 3), padding="same", activation="relu", name="c")(x)
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    supernet = kn.gates.widen(keras.Model(inputs, outputs), (1, 5), ("prelu",))
    kept = {
        "a_original_gate": [0, 1, 2], "a_original_prelu_gate": [3], "a_conv1x1_relu_gate": [0],
        "b_original_gate": [0, 1], "b_depthwise5x5_prelu_gate": [2, 3],
        "c_original_prelu_gate": [0, 1, 2, 3],
    }  # fmt: skip
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.isin(np.arange(4), kept.get(gate.name, [])))
    kn.Architecture.from_gates(supernet).save(tmp_path / "architecture.json")
    return kn.Architecture.load(tmp_path / "architecture.json")


def test_originals_count_with_their_kernel_size(tmp_path):
    architecture = widened(tmp_path)
    assert architecture.kernel_sizes == {"a": [3, 3], "b": [3, 3], "c": [1, 3]}
    kept = operations_by_layer(architecture)
    assert heights(kernels_per_layer(kept, architecture.kernel_sizes)) == {
        "1×1": [1, 0, 0],
        "1×3": [0, 0, 4],
        "3×3": [4, 2, 0],
        "5×5": [0, 2, 0],
    }


def test_no_operation_is_lost(tmp_path):
    architecture = widened(tmp_path)
    kept = operations_by_layer(architecture)
    for sizes in (architecture.kernel_sizes, {}):
        both = operations_per_layer(kept), kernels_per_layer(kept, sizes)
        by_kind, by_size = (np.sum(list(heights(figure).values()), axis=0) for figure in both)
        np.testing.assert_array_equal(by_kind, by_size)
        assert by_size.tolist() == [5, 4, 4]


def test_originals_of_unknown_size_keep_their_name():
    found = heights(kernels_per_layer({"a": ["original", "original_tanh", "conv1x1"]}))
    assert found == {"1×1": [1], "original": [2]}


def test_other_operations_without_a_size_are_left_out():
    assert heights(kernels_per_layer({"a": ["identity", "sep5"]})) == {"5×5": [1]}
