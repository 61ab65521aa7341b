"""The contest plays each cell once, fairly, and says who is ahead."""

from __future__ import annotations

import dataclasses
import io

import keras
import pytest
from rich.console import Console

import keras_nas as kn
from benchmarks.rivals.contest import Cell, Contest, Start, play
from benchmarks.rivals.entrants import ENTRANTS, early
from benchmarks.rivals.networks import NETWORKS
from benchmarks.rivals.results import (
    margins,
    margins_in_time,
    metrics_of,
    plot,
    quality_of,
    references,
    results_table,
    row_text,
    standings,
)
from benchmarks.rivals.sparsity import sparsity_for
from benchmarks.rivals.timing import measure_all
from keras_nas.errors import KerasNasError, UsageError


def row(entrant, top1, target=0.5, network="net", **more):
    seen = {"macs": 100.0 * target, "fair": True, "seed": 0}
    return {"network": network, "entrant": entrant, "target": target, "top1": top1, **seen, **more}


ROWS = [
    row("full", 0.90, 1.0), row("full", 0.92, 1.0, seed=1), row("full_twice", 0.92, 1.0),
    row("l1", 0.80), row("l1", 0.82, seed=1), row("uniform", 0.84), row("uniform", 0.80, seed=1),
    row("fgnas", 0.83), row("fgnas", 0.85, seed=1),
    row("dnal", 0.80), row("dnal", 0.80, seed=1, fair=False),
]  # fmt: skip


def shown(table):
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()


def test_our_best_mean_is_set_against_the_rivals_best():
    assert margins(standings(ROWS)) == {("net", 0.5): pytest.approx(0.84 - 0.82)}


def test_unequal_macs_count_on_neither_side():
    rows = [*ROWS, row("tfmot_sparsity", 0.99, fair=False), row("dnal_scratch", 0.99, fair=False)]
    assert margins(standings(rows)) == {("net", 0.5): pytest.approx(0.84 - 0.82)}


def test_who_lacks_a_seed_does_not_count():
    rows = [*ROWS, row("slimming", 0.99), row("dnal_early", 0.99)]
    assert margins(standings(rows)) == {("net", 0.5): pytest.approx(0.84 - 0.82)}


def test_as_many_seeds_are_not_the_same_seeds():
    rows = [row("dnal", 0.80, seed=0), row("dnal", 0.90, seed=1)]
    others = [row("l1", 0.70, seed=1), row("l1", 0.75, seed=2)]
    assert margins(standings([*rows, *others])) == {}
    assert margins(standings([*rows, row("l1", 0.70, seed=1), row("l1", 0.75)])) != {}


def test_in_time_a_rival_has_what_lies_between_its_networks():
    rows = [
        row("full", 0.90, 1.0, latency_ms=1.0),
        row("l1", 0.80, 0.5, latency_ms=0.5), row("l1", 0.70, 0.25, latency_ms=0.3),
        row("uniform", 0.83, 0.5, latency_ms=0.6), row("uniform", 0.60, 0.25, latency_ms=0.5),
        row("dnal", 0.85, 0.5, latency_ms=0.75), row("fgnas", 0.82, 0.5, latency_ms=0.4),
        row("dnal", 0.72, 0.25, latency_ms=0.2),
    ]  # fmt: skip
    between = 0.83 + (0.90 - 0.83) * 0.15 / 0.4  # uniform's at 0.75 ms; l1 has 0.85 there
    assert between > 0.85
    ahead = margins_in_time(standings(rows))
    assert ahead[("net", 0.5)] == pytest.approx(0.82 - 0.75)  # fgnas; l1 at 0.4 ms has 0.75
    assert ahead[("net", 0.25)] == pytest.approx(0.72 - 0.70)  # nobody is as fast
    assert "+7.00" in shown(results_table(standings(rows), "latency_ms"))
    assert margins_in_time(standings(ROWS)) == {}


def test_the_table_has_means_spreads_and_a_star_for_unequal_macs():
    text = shown(results_table(standings(ROWS)))
    assert "81.00 ± 1.41" in text
    assert "80.00 ± 0.00*" in text
    assert "+2.00" in text
    assert "full" not in text


def test_the_full_networks_line_says_what_more_epochs_bring():
    (line,) = references(standings(ROWS))
    assert "91.00 ± 1.41 %" in line
    assert "(+1.00)" in line


def test_milliseconds_have_a_table_and_a_plot_of_their_own():
    rows = [{**each, "latency_ms": 0.25} for each in ROWS]
    assert "0.250" in shown(results_table(standings(rows), "latency_ms"))
    figure = plot(standings(rows), "net", "latency_ms")
    assert "ms" in figure.axes[0].get_xlabel()


def test_sizes_are_shown_in_kilobytes():
    rows = [{**each, "size_bytes": 40_000, "gzip_bytes": 23_456} for each in ROWS[2:]]
    rows = [{**row("full", 0.9, 1.0), "size_bytes": 98_700}, *rows]
    text = shown(results_table(standings(rows), "size_bytes"))
    assert "40.0" in text
    assert "98.7" in text
    assert "23.5" in shown(results_table(standings(rows), "gzip_bytes"))


def test_each_task_is_told_by_its_own_metric():
    psnr = {"psnr_y": 31.25, "psnr_y_Set14": 30.5, "top1": None}
    rows = [{**row("l1", 0), **psnr}, {**row("dnal", 0), **psnr, "psnr_y_Set14": 30.75}]
    for each in rows:
        del each["top1"]
    assert metrics_of(rows) == ["psnr_y", "psnr_y_Set14"]
    assert quality_of("psnr_y_Set14").label == "PSNR (Y) of Set14 dB"
    assert row_text(rows[0]) == "PSNR (Y) dB 31.25  PSNR (Y) of Set14 dB 30.50"
    found = standings(rows, "psnr_y_Set14")
    text = shown(results_table(found))
    assert "30.75" in text
    assert "+0.25" in text
    assert "Set14" in plot(found, "net").axes[0].get_ylabel()
    assert metrics_of(ROWS) == ["top1"]
    assert standings(ROWS, "psnr_y") == []


@pytest.fixture
def contest(tmp_path):
    return Contest(tmp_path, train_examples=128, batch_size=64, weights_epochs=1, epochs=1)


def test_a_folder_is_refused_to_other_settings_and_other_recipes(contest, monkeypatch):
    contest.claim(["small_resnet"])
    contest.claim(["small_resnet", "resnet20"])
    with pytest.raises(UsageError, match="begun with epochs=1"):
        dataclasses.replace(contest, epochs=2).claim(["small_resnet"])
    other = dataclasses.replace(NETWORKS["resnet20"], finetune_learning_rate=0.01)
    monkeypatch.setitem(NETWORKS, "resnet20", other)
    contest.claim(["small_resnet"])
    with pytest.raises(UsageError, match="begun with resnet20="):
        contest.claim(["resnet20"])


def test_a_cell_is_played_once_and_fairly_from_the_one_trained_network(contest):
    cell = Cell("small_resnet", "l1", 0.5, 0)
    first = play(contest, cell, ENTRANTS["l1"])
    assert first["fair"]
    assert first["macs"] == kn.costs.count(kn.load_model(contest.cell_path(cell))).macs

    def never(start, target):
        raise AssertionError("played again")

    assert play(contest, cell, never) == first
    assert contest.played(["small_resnet"]) == [first]
    assert contest.played(["mobilenet"]) == []
    (trained,) = (contest.folder / "trained").iterdir()
    before = kn.load_model(trained).get_weights()
    again = Start(contest, "small_resnet", 0).trained().get_weights()
    assert all((a == b).all() for a, b in zip(before, again, strict=True))


def test_those_that_begin_early_share_one_schedule_and_meet_the_target(contest):
    contest = dataclasses.replace(contest, weights_epochs=2, epochs=2)
    parts = early(Start(contest, "small_resnet", 0))
    assert [part.epochs for part in parts] == [1, 1, 2]
    assert [part.schedule_start for part in parts] == [0, 1, 2]
    assert {part.schedule_epochs for part in parts} == {4}
    played = play(contest, Cell("small_resnet", "dnal_early", 0.5, 0), ENTRANTS["dnal_early"])
    assert played["fair"]
    assert not (contest.folder / "trained").exists()


@pytest.mark.parametrize("name", ["dnal_short", "dnal_early_short"])
def test_networks_without_branches_have_fewer_layers_for_the_same_macs(contest, name):
    played = play(contest, Cell("small_resnet", name, 0.5, 0), ENTRANTS[name])
    assert played["fair"]
    short = kn.load_model(contest.cell_path(Cell("small_resnet", name, 0.5, 0)))
    whole = Start(contest, "small_resnet", 0).fresh()
    additions = [sum(isinstance(x, keras.layers.Add) for x in m.layers) for m in (short, whole)]
    assert additions == [4, 6]
    assert (contest.folder / "trained").exists() == (name == "dnal_short")


def test_sparse_weights_save_no_macs_and_only_compress_better(contest):
    cells = [Cell("small_resnet", name, 0.5, 0) for name in ("full", "tfmot_sparsity")]
    for cell in cells:
        play(contest, cell, ENTRANTS[cell.entrant])
    full, sparse = rows = contest.played(["small_resnet"])
    assert sparse["macs"] == full["macs"]
    assert not sparse["fair"]
    assert sparse["nonzero_params"] == pytest.approx(0.5 * full["params"], rel=0.01)
    measure_all(contest, rows)
    assert sparse["size_bytes"] == pytest.approx(full["size_bytes"], rel=0.01)
    assert sparse["gzip_bytes"] < 0.75 * full["gzip_bytes"]
    assert min(sparse["latency_ms"], full["latency_ms"]) > 0
    assert play(contest, cells[1], ENTRANTS["full"]) == sparse


def test_sparsity_that_kernels_alone_cannot_reach_is_refused():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 1, use_bias=False)(inputs))
    model = keras.Model(inputs, x)
    kernels = [model.layers[1].kernel]
    assert sparsity_for(model, kernels, 0.7) == pytest.approx(0.3 * 20 / 12)
    with pytest.raises(KerasNasError, match="12 of 20"):
        sparsity_for(model, kernels, 0.3)
