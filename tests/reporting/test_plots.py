from __future__ import annotations

import matplotlib.image
import numpy as np

from keras_nas.reporting.plots import channels_per_layer, gate_histograms, save

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
