"""The report page: one file, every part that the run has, and a line for what it has not."""

from __future__ import annotations

import base64
import html
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from keras_nas.architecture import Architecture
from keras_nas.compression.outcome import Outcome, OutcomeRow
from keras_nas.errors import KerasNasError
from keras_nas.reporting.html_report import write_html_report
from keras_nas.reporting.run_sections import operations_by_layer
from keras_nas.runs.folder import RunFolder
from tests.reporting.run_files import write_config, write_run

SVG = "data:image/svg+xml;base64,"


class Page(HTMLParser):
    """What a page shows: text by section heading, images by caption, and every address in it."""

    def __init__(self, text: str):
        super().__init__()
        self.images: dict[str, str] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.sections = {
            html.unescape(re.sub(r"<[^>]+>", "", heading)): html.unescape(body)
            for heading, body in re.findall(
                r"<section>\s*<h3>(.*?)</h3>(.*?)</section>", text, re.DOTALL
            )
        }

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "img":
            self.images[attributes["alt"]] = attributes["src"]


def cells(body: str) -> list[list[str]]:
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]


def page_of(tmp_path, *runs) -> Page:
    return Page(write_html_report(runs, tmp_path / "page.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run = write_run(folder / "mine", lambda_a=3e-4, data="cifar10", model="vgg16_cifar")
    return page_of(folder, run)


def test_the_page_is_one_file(finished):
    assert all(address.startswith(("data:image/", "#")) for address in finished.addresses)
    assert not {"script", "link", "iframe", "object"} & set(finished.tags)


def test_every_image_can_be_read(finished):
    sources = list(finished.images.values())
    figures = [source.removeprefix(SVG) for source in sources if source.startswith(SVG)]
    assert len(sources) == 5
    assert len(figures) == 4
    for figure in figures:
        root = ElementTree.fromstring(base64.b64decode(figure))
        assert root.tag.endswith("svg")


def test_the_page_says_what_accelerators_take_of_each_file(finished):
    rows = [row for row in cells(finished.sections["What accelerators take"]) if row]
    assert rows == [
        ["small.tflite", "xnnpack", "8 of 9", "2", "GATHER ×1 (why)", "LiteRT"],
        ["small.tflite", "nnapi", "9 of 9", "", "", "a log"],
    ]


def test_the_table_has_each_network_beside_the_original(finished):
    rows = {row[0]: row[1:] for row in cells(finished.sections["Accuracy and cost"]) if row}
    assert rows["original"][:4] == ["before the search", "90.00", "99.00", "1 k (1.00×)"]
    assert rows["pruned"][:4] == ["after surgery", "80.00", "", "400 (0.40×)"]
    assert rows["reestimated"][:2] == ["statistics estimated anew", "85.00"]
    assert rows["finetuned"][4] == "9 M (0.45×)"
    assert rows["small.tflite"][0] == "as .tflite"
    assert rows["small.tflite"][-1] == "0.250"


def test_what_a_compression_reached_comes_first(tmp_path, finished):
    assert "Asked and reached" not in finished.sections
    run = write_run(tmp_path / "run")
    missed = OutcomeRow("macs", 2e6, 1.1e6, asked=1e6)
    unknown = OutcomeRow("time by table", 1.5, math.nan, asked=1.0, kind="ms")
    RunFolder(run).update_results(outcome=Outcome([missed, unknown]).record())
    page = page_of(tmp_path, run)
    assert cells(page.sections["Asked and reached"])[1:] == [
        ["macs", "2.00 M", "1.10 M (0.55x)", "≤ 1.00 M", "missed by 10.0 %"],
        ["time by table", "1.500 ms", "unknown", "≤ 1.000 ms", "cannot be told"],
    ]
    assert next(iter(page.sections)) == "Asked and reached"
    recorded = json.loads(RunFolder(run).results.read_text(encoding="utf-8"))["outcome"]
    assert recorded["met"] is False
    assert recorded["rows"][1]["small"] is None


def test_what_was_asked_shows_what_is_not_a_default(finished):
    asked = finished.sections["What was asked"].split("<details>")[0]
    assert ["lambda_a", "0.0003"] in cells(asked)
    assert "weights_epochs" not in asked
    assert "--lambda_a=0.0003" in finished.sections["What was asked"]


def test_the_environment_has_versions_devices_and_times(finished):
    lines = cells(finished.sections["Environment"])
    assert ["tensorflow", "2.19.1"] in lines
    assert ["measured on (host)", "a host, Linux"] in lines
    assert ["stage weights", "61.5 s"] in lines


def test_cifar_runs_stand_beside_the_papers_rows(finished):
    assert "DNAL (Tables I–III)" in finished.sections["Quality against cost"]


def test_other_data_has_no_rows_of_papers(tmp_path):
    page = page_of(tmp_path, write_run(tmp_path / "run", data="fashion_mnist"))
    body = page.sections["Quality against cost"]
    assert "No rows of the papers" in body
    assert "fashion_mnist" in body


def test_several_runs_are_numbered_points_with_what_differs(tmp_path):
    runs = [
        write_run(tmp_path / f"run{index}", lambda_a=value, data="fashion_mnist")
        for index, value in enumerate((1e-4, 2e-4))
    ]
    rows = cells(page_of(tmp_path, *runs).sections["Quality against cost"])[1:]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0][1].startswith("original")
    assert rows[1][1] == "run0, finetuned (lambda_a=0.0001)"
    assert rows[2][2:] == ["89.00", "9 M", "400"]


def test_runs_on_different_data_have_plots_of_their_own(tmp_path):
    runs = [write_run(tmp_path / name, data=name) for name in ("cifar10", "fashion_mnist")]
    titles = page_of(tmp_path, *runs).sections
    assert {"Quality against cost: cifar10", "Quality against cost: fashion_mnist"} <= set(titles)


def test_a_run_that_just_started_says_which_stage_makes_what(tmp_path):
    page = page_of(tmp_path, write_config(tmp_path / "new"))
    for title, stage in (
        ("Accuracy and cost", "weights"),
        ("Channels per layer", "architecture"),
        ("Gates by δ", "architecture"),
        ("Latency", "benchmark"),
    ):
        assert f"--stages={stage}" in page.sections[title], title
    assert page.images == {}


def test_a_search_over_edges_has_blocks_and_operations(tmp_path):
    run = write_run(tmp_path / "dso", method="dso")
    edges = {
        "b1_edge_l1_sep3_to_output": 0.5,
        "b1_edge_l1_max3_to_l2_sep5": 0.25,
        "b1_edge_l2_sep5_to_output": 0.125,
        "b1_edge_input_to_l2_avg3": 0.5,
    }
    Architecture({}, {}, kept_edges=edges).save(run / "architecture.json")
    page = page_of(tmp_path, run)
    assert "keeps edges" in page.sections["Channels per layer"]
    captions = set(page.images)
    assert "Live operations and edges of each block (DSO's Fig. 6)." in captions
    assert "The same by kernel size." in captions


def test_operations_of_a_mixed_layer_count_once_for_each_channel():
    architecture = Architecture(
        {"a_conv3_relu_gate": [0, 2], "a_conv5_relu_gate": [1], "b_gate": [0]},
        {"a_conv3_relu_gate": 3, "a_conv5_relu_gate": 3, "b_gate": 1},
        kept_operations={"a": ["conv3_relu", "conv5_relu"], "b": ["conv1_relu"]},
    )
    assert operations_by_layer(architecture) == {
        "a": ["conv3_relu", "conv3_relu", "conv5_relu"],
        "b": ["conv1_relu"],
    }


def test_a_name_cannot_become_markup(tmp_path):
    run = write_run(tmp_path / "<img src=x>")
    text = write_html_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text


def test_a_folder_without_a_run_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(KerasNasError, match=r"empty holds no run: config\.json is missing"):
        write_html_report([tmp_path / "empty"], tmp_path / "page.html")
    with pytest.raises(KerasNasError, match="absent is not a folder"):
        write_html_report([tmp_path / "absent"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", ["config.json", "results.json", "metrics.jsonl", "benchmark.json"])
def test_a_damaged_file_is_named(tmp_path, name):
    run = write_run(tmp_path / "run")
    (run / name).write_text('{"run": ')
    with pytest.raises(KerasNasError, match=re.escape(name)):
        write_html_report([run], tmp_path / "page.html")
