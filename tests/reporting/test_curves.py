from __future__ import annotations

from keras_nas.reporting.curves import held_out_curves


def record(stage, epoch, **values):
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
        record("weights", 1, val_top1=0.5), record("weights", 2, val_top1=0.75),
        record("baseline", 1, val_top1=0.625),
        record("architecture", 1, val_top1=0.25), record("surgery", 0, val_top1=0.125),
        record("finetune", 1, val_top1=0.875), record("random_1", 1, val_top1=0.375),
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
    figure = held_out_curves([record("weights", 1, val_psnr_y=38.5, val_ssim_y=0.9)])
    assert lines(figure) == {"search": ([1], [38.5])}


def test_without_held_out_data_there_is_no_curve():
    assert held_out_curves([record("weights", 1, top1=0.5)]) is None
    assert held_out_curves([record("surgery", 0, val_top1=0.5)]) is None
    assert held_out_curves([]) is None
