"""The plots: bars of what is kept, histograms over δ, held-out curves."""

from __future__ import annotations

import keras
import matplotlib.image
import numpy as np
from keras import layers

import keras_nas as kn
from keras_nas.reporting.operation_plots import kernels_per_layer, operations_per_layer
from keras_nas.reporting.plots import (
    channels_per_layer,
    gate_histograms,
    held_out_curves,
    latency_bars,
    save,
)
from keras_nas.reporting.run_sections import operations_by_layer

FULL = {"stem_conv_gate": 16, "block1_conv_gate": 32, "block2_conv_gate": 64}
KEPT = {"stem_conv_gate": 16, "block1_conv_gate": 8, "block2_conv_gate": 0}


def record(delta, zeros, ones, between):
    histogram = [0] * 20
    histogram[0], histogram[19], histogram[10] = zeros, ones, between
    return {"delta": delta, "histogram": histogram, "undecided": between, "channels": 100}


def test_bars_are_the_channels():
    (axes,) = channels_per_layer(FULL, KEPT).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [16, 32, 64, 16, 8, 0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "stem_conv", "block1_conv", "block2_conv",
    ]  # fmt: skip
    assert axes.get_title() == "Channels per layer: 21% of 112 kept"
    assert axes.get_legend() is not None


def test_a_time_without_percentiles_has_a_bar_without_whiskers():
    measured = {
        "device": {"name": "a phone"}, "runtime": {"name": "a runtime", "delegate": "xnnpack"},
        "model": {"path": "small.tflite"}, "threads": 1, "mean_ms": 3.0,
    }  # fmt: skip
    known = {"min_ms": 1.5, "median_ms": 2.0, "p90_ms": 4.0}
    (axes,) = latency_bars([measured | dict.fromkeys(known), measured | known]).axes
    assert [bar.get_width() for bar in axes.patches] == [3.0, 2.0]
    (whiskers,) = axes.collections
    ends = [segment[:, 0].tolist() for segment in whiskers.get_segments()]
    assert ends == [[3.0, 3.0], [1.5, 4.0]]


def test_histograms_are_shares_by_delta():
    records = [record(2.5, 0, 0, 100), record(1e4, 60, 40, 0)]
    axes = gate_histograms(records).axes[0]
    shares = axes.images[0].get_array()
    assert shares[1, 0] == 60
    assert shares[1, 19] == 40
    assert shares[0, 10] == 100
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2.5", "1e+04"]


def test_images_are_written_whole(tmp_path):
    path = save(channels_per_layer(FULL, KEPT), tmp_path / "plots" / "channels.png")
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 300
    assert np.ptp(image[..., :3]) > 0.5
    assert [file.name for file in path.parent.iterdir()] == ["channels.png"]


def of_epoch(stage, epoch, **values):
    return {"stage": stage, "epoch": epoch, **values}


def lines(figure):
    (axes,) = figure.axes
    labelled = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    return {
        line.get_label(): (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in labelled
    }


def test_stages_stand_behind_one_another_and_the_baseline_beside_them():
    records = [
        of_epoch("weights", 1, val_top1=0.5), of_epoch("weights", 2, val_top1=0.75),
        of_epoch("baseline", 1, val_top1=0.625),
        of_epoch("architecture", 1, val_top1=0.25), of_epoch("surgery", 0, val_top1=0.125),
        of_epoch("finetune", 1, val_top1=0.875), of_epoch("random_1", 1, val_top1=0.375),
    ]  # fmt: skip
    figure = held_out_curves(records)
    assert lines(figure) == {
        "search": ([1, 2, 3, 4], [50, 75, 25, 87.5]),
        "baseline": ([1], [62.5]),
        "random_1": ([1], [37.5]),
    }
    (axes,) = figure.axes
    assert axes.get_ylabel() == "top-1 %, held out"
    marks = [(text.get_text().strip(), text.get_position()[0]) for text in axes.texts]
    assert marks == [("weights", 0.5), ("architecture", 2.5), ("finetune", 3.5)]


def test_images_are_judged_in_decibels():
    figure = held_out_curves([of_epoch("weights", 1, val_psnr_y=38.5, val_ssim_y=0.9)])
    assert lines(figure) == {"search": ([1], [38.5])}


def test_without_held_out_data_there_is_no_curve():
    assert held_out_curves([of_epoch("weights", 1, top1=0.5)]) is None
    assert held_out_curves([of_epoch("surgery", 0, val_top1=0.5)]) is None
    assert held_out_curves([]) is None


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
