from __future__ import annotations

import matplotlib.image
import numpy as np

from keras_nas.reporting.plots import channels_per_layer, gate_histograms, held_out_curves, save

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
