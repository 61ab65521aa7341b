"""The contest plays each cell once, fairly, and says who is ahead."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import keras_nas as kn
from benchmarks.rivals.contest import Cell, Contest, Start, play
from benchmarks.rivals.entrants import ENTRANTS
from benchmarks.rivals.results import margins, plot, references, results_table, standings


def row(entrant, top1, target=0.5, network="net", **more):
    seen = {"macs": 100.0 * target, "fair": True}
    return {"network": network, "entrant": entrant, "target": target, "top1": top1, **seen, **more}


ROWS = [
    row("full", 0.90, 1.0), row("full", 0.92, 1.0), row("full_twice", 0.92, 1.0),
    row("l1", 0.80), row("l1", 0.82), row("uniform", 0.84), row("uniform", 0.80),
    row("fgnas", 0.83), row("fgnas", 0.85), row("dnal", 0.80), row("dnal", 0.80, fair=False),
]  # fmt: skip


def shown(table):
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()


def test_our_best_mean_is_set_against_the_rivals_best():
    assert margins(standings(ROWS)) == {("net", 0.5): pytest.approx(0.84 - 0.82)}


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


@pytest.fixture
def contest(tmp_path):
    return Contest(tmp_path, train_examples=128, batch_size=64, weights_epochs=1, epochs=1)


def test_a_cell_is_played_once_and_fairly_from_the_one_trained_network(contest):
    cell = Cell("small_resnet", "l1", 0.5, 0)
    first = play(contest, cell, ENTRANTS["l1"])
    assert first["fair"]
    assert first["macs"] == kn.costs.count(kn.load_model(contest.cell_path(cell))).macs

    def never(start, target):
        raise AssertionError("played again")

    assert play(contest, cell, never) == first
    (trained,) = (contest.folder / "trained").iterdir()
    before = kn.load_model(trained).get_weights()
    again = Start(contest, "small_resnet", 0).trained().get_weights()
    assert all((a == b).all() for a, b in zip(before, again, strict=True))
