"""What an app says before TensorFlow: help, misspelt flags, wrong values, files and folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from keras_nas.gates import insert
from keras_nas.layers import ScaledSigmoidGate
from tests.source_tree import ROOT
from tests.training.nets import small_net

APPS = {
    "benchmark": "--models",
    "benchmark_android": "--benchmark_binary",
    "compress": "--minutes",
    "evaluate": "--split",
    "evaluate_sr": "--triptychs",
    "export": "--formats",
    "fetch_data": "--task",
    "finetune": "--finetune_epochs",
    "profile_latency": "--statistic",
    "report": "--output",
    "search": "--lambda_a",
    "sweep": "--vary",
}
"""Every app, and a flag of its own."""
RUNNER = """
import json, os, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
import apps.config_flags, apps.main, apps.run_settings  # once for all forks

def run(app, arguments):
    sys.argv = ["-m", *arguments]
    code = 0
    with open("out", "w") as out, redirect_stdout(out):
        with open("err", "w") as err, redirect_stderr(err):
            try:
                runpy.run_module(f"apps.{app}", run_name="__main__", alter_sys=True)
            except SystemExit as error:
                code = error.code
    heavy = [name for name in ("tensorflow", "keras", "ai_edge_litert") if name in sys.modules]
    print(json.dumps([code, open("out").read(), open("err").read(), heavy]), flush=True)

for app, arguments in json.loads(sys.argv[1]):
    if not os.fork():
        run(app, arguments)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Runs commands, each in a fork of one process; code, stdout, stderr and heavy imports."""
    folder = tmp_path_factory.mktemp("apps")

    def run(commands, columns=100):
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, json.dumps(commands)],
            cwd=folder, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns)},
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_every_app_is_here():
    programs = {
        path.stem for path in (ROOT / "apps").glob("*.py") if "run_app(" in path.read_text()
    }
    assert programs <= set(APPS)


def test_a_misspelt_flag_is_said_without_tensorflow_and_with_the_nearest(said):
    commands = [(app, [f"{flag[:-1]}=1"]) for app, flag in APPS.items()]
    for (app, (argument,)), (code, out, err, heavy) in zip(commands, said(commands), strict=True):
        flag = argument.strip("-").split("=")[0]
        expected = f"Error: Unknown command line flag '{flag}'. Did you mean: "
        assert (code, out, heavy) == (2, "", []), app
        assert err.startswith(expected), err
        assert APPS[app].strip("-") in err[len(expected) :].replace(",", " ").split()
        assert err.count("\n") == 1


def test_help_lists_an_apps_own_flags_with_defaults_without_tensorflow(said):
    for (app, flag), (code, out, err, heavy) in zip(
        APPS.items(), said([(app, ["--help"]) for app in APPS]), strict=True
    ):
        assert (code, err, heavy) == (0, "", []), app
        assert f"  {flag}:" in out, out
        assert "--[no]debug" in out
        assert "--pdb_post_mortem" not in out  # absl's own
        assert not re.search(r"\S {4,}--", out), "a command over two lines became one"


HEADINGS = {
    "search": {
        "What a run works on, where, and how": ("run_dir", "method", "data"),
        "--weights_…": ("weights_epochs",),
        "DNAL's settings": ("lambda_a", "delta_max"),
        "Settings of dnal, fgnas": ("target_latency_ms", "order"),
        "Settings of dnal, dso, fgnas": ("align", "align_prices"),
    },
    "sweep": {"The app's own flags": ("vary", "values"), "DNAL's settings": ("lambda_a",)},
    "fetch_data": {"The app's own flags": ("task", "data_dir")},
    "export": {"Which model to export, in which formats, with which data": ("model", "formats")},
}
"""Some headings of --help, with flags that stand under them."""


@pytest.mark.parametrize("columns", [80, 200])
def test_help_groups_the_flags_under_headings(said, columns):
    helps = said([(app, ["--help"]) for app in HEADINGS], columns)
    for headings, (_, out, _, _) in zip(HEADINGS.values(), helps, strict=True):
        groups = dict(part.split(":\n", 1) for part in out.split("\n\n") if ":\n  --" in part)
        assert max(map(len, out[out.index(next(iter(groups))) :].splitlines())) <= columns
        for heading, names in headings.items():
            found = re.findall(r"^  --(?:\[no\])?(\w+): ", f"{groups[heading]}", re.MULTILINE)
            assert set(names) <= set(found), heading
        assert "  --flagfile: " in groups["Every app's flags"]


def test_help_names_the_default_of_each_method_where_they_differ(said):
    ((_, out, _, _),) = said([("search", ["--help"])])
    text = " ".join(out.split())
    assert "(default: 130 for dnal, 630 for dso, 160 for fgnas)" in text
    assert "Global batch size. (default: 128)" in text


WITHIN = ("--output=x", "--model=whole.keras", "--target_macs=0.5x")
ON_PHONE = ("--data=fashion_mnist", "--phone")
ERRORS = [
    ("search", [], 2, "`run_dir` must name a folder"),
    ("search", ["--run_dir=x", "--data=mnist"], 2, "value should be one of"),
    ("search", ["--run_dir=x", "--method=magic"], 2, "value should be one of"),
    ("search", ["--run_dir=x", "--batch_size=0"], 2, "`batch_size` must be 1 or more"),
    ("search", ["--run_dir=x", "--weights_epochs=-1"], 2, "settings `weights_…`: `epochs` must be"),
    ("search", ["--run_dir=x", "--finetune_boundaries=80,30"], 2, "`boundaries` must rise"),
    ("search", ["--run_dir=x", "--stages=weights,fly"], 2, "Received: 'fly'"),
    ("search", ["--run_dir=x", "--gamma=1"], 2, "--gamma is a setting of dso, not of"),
    ("search", ["--run_dir=x", "--lambda_a=much"], 2, "could not convert string to float"),
    ("search", ["--run_dir=x", "--resume", "--overwrite"], 2, "exclude each other"),
    ("search", ["--run_dir=x", "--method=fgnas", "--target_macs=1.5x"], 2, "`target_macs` must be"),
    ("search", ["--run_dir=x", "--method=fgnas", "--target_macs=half"], 2, "`target_macs` must be"),
    ("search", ["--run_dir=file/x"], 1, "`run_dir` must be a folder"),
    ("search", ["--run_dir=x", "--model=none.keras"], 1, "none.keras, which does not exist"),
    ("search", ["--run_dir=x", "--model=none.h5"], 1, "none.h5, which does not exist"),
    ("search", ["--run_dir=x", "--model=file.keras"], 1, "is no .keras file"),
    ("search", ["--run_dir=x", "--data_dir=none"], 1, "none, which does not exist"),
    ("search", ["--run_dir=x", "--flagfile=none.cfg"], 2, "none.cfg"),
    (
        "search",
        ["--run_dir=x", "--method=fgnas", "--target_latency_ms=0.5x", "--latency_table=none.json"],
        1,
        "`latency_table` must be a file. Received: none.json",
    ),
    ("compress", [], 2, "`output` must name a folder"),
    ("compress", ["--output=file/x"], 1, "`output` must be a folder"),
    ("compress", ["--output=x"], 2, "`model` must name a .keras or .h5 file"),
    ("compress", ["--output=x", "--model=file.keras"], 1, "is no .keras file"),
    ("compress", ["--output=x", "--model=whole.keras"], 2, "A budget must be given"),
    ("compress", [*WITHIN], 2, "`data` must name a folder, a .csv or .npz file"),
    ("compress", [*WITHIN, "--data=none"], 2, "'none', which does not exist"),
    ("compress", [*WITHIN, "--data=file"], 1, "end in .csv or .npz"),
    ("compress", [*WITHIN, "--data=empty"], 1, "holds neither pictures nor a folder"),
    (
        "compress",
        [*WITHIN, "--data=fashion_mnist", "--serial=x"],
        2,
        "`phone` must be on (--phone)",
    ),
    ("compress", [*WITHIN, *ON_PHONE], 2, "(--benchmark_binary)"),
    ("compress", [*WITHIN, *ON_PHONE, "--benchmark_binary=none"], 2, "`binary` must be a file"),
    (
        "compress",
        [*WITHIN, *ON_PHONE, "--benchmark_binary=file"],
        1,
        "'file' is no program for Android",
    ),
    (
        "compress",
        [*WITHIN, *ON_PHONE, "--benchmark_binary=arm_program", "--adb=none"],
        1,
        "'none' is not found: install adb",
    ),
    ("compress", [*WITHIN, "--latency_table=file"], 2, "`latency_table` must be given with"),
    ("compress", [*WITHIN, "--formats=int4"], 2, "`formats` must be of"),
    ("compress", [*WITHIN, "--epochs=1"], 2, "`epochs` must be 2 or more"),
    ("compress", [*WITHIN, "--minutes=-1"], 2, "`minutes` must be 0 or more"),
    ("compress", [*WITHIN, "--target_macs=1.5x"], 2, "`target_macs` must be"),
    ("compress", [*WITHIN, "--pixels=0..2"], 2, "value should be one of"),
    ("compress", [*WITHIN, "--resume", "--overwrite"], 2, "exclude each other"),
    ("finetune", [], 2, "`run_dir` must name the folder"),
    ("finetune", ["--run_dir=none"], 1, "none holds no run"),
    ("sweep", ["--run_dir=x", "--values=1,1"], 2, "`values` must be one or more, all different"),
    ("sweep", ["--run_dir=x", "--values=1", "--vary=speed"], 2, "`vary` must be a setting"),
    ("sweep", ["--run_dir=file/x", "--values=1"], 1, "`run_dir` must be a folder"),
    ("evaluate", [], 2, "`model` must name a .keras, .h5 or .tflite file"),
    ("evaluate", ["--model=x.onnx"], 2, "`model` must name a .keras, .h5 or .tflite file"),
    ("evaluate", ["--model=none.tflite"], 1, "none.tflite, which does not exist"),
    ("evaluate", ["--model=file.h5"], 1, "is no HDF5 file"),
    ("evaluate", ["--model=file.tflite", "--data_dir=file"], 1, "which is a file"),
    (
        "evaluate",
        ["--model=file.tflite", "--split=validation", "--validation_share=0"],
        2,
        "needs `validation_share` above 0",
    ),
    ("evaluate_sr", ["--model=file.tflite"], 2, "`folder` must name a folder"),
    ("evaluate_sr", ["--model=file.tflite", "--folder=none"], 1, "`folder` must be a folder"),
    ("export", ["--model=x.pb"], 2, "`model` must name a .keras or .h5 file"),
    ("export", ["--model=whole.keras", "--formats=int4"], 2, "`formats` must be some of"),
    ("export", ["--model=whole.keras", "--output_dir=file"], 1, "`output_dir` must be a folder"),
    ("export", ["--model=whole.keras", "--data=mnist"], 2, "`data` must be one of"),
    ("export", ["--model=whole.keras", "--labels=none.txt"], 1, "`labels` must be a file"),
    ("benchmark", [], 2, "`models` must name .tflite files"),
    ("profile_latency", ["--operations=conv"], 2, "`output` must be the JSON file"),
    ("profile_latency", ["--output=x", "--points=0"], 2, "`points` must be 1 or more"),
    ("profile_latency", ["--output=x", "--models=none.keras"], 1, "none.keras, which does not"),
    ("profile_latency", ["--output=file/x", "--operations=conv"], 1, "`output's folder` must be"),
    (
        "profile_latency",
        ["--output=x", "--operations=conv", "--align_prices=file/x"],
        1,
        "`align_prices's folder` must be",
    ),
    ("report", [], 2, "Give the folders of one run or more"),
    ("report", ["none"], 1, "none holds no run"),
    ("fetch_data", ["--task=mnist"], 2, "value should be one of"),
]


def test_wrong_values_files_and_folders_are_said_without_tensorflow(said, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "apps0"
    for name in ("file", "file.keras", "file.h5", "file.tflite"):
        (folder / name).write_text("not a model")
    elf = b"\x7fELF" + bytes([2, 1, 1]) + bytes(11) + (183).to_bytes(2, "little")
    (folder / "arm_program").write_bytes(elf)
    (folder / "empty").mkdir()
    small_net().save(folder / "whole.keras")
    answers = said([(app, arguments) for app, arguments, _, _ in ERRORS])
    for (app, arguments, expected, message), (code, _, err, heavy) in zip(
        ERRORS, answers, strict=True
    ):
        assert (code, heavy) == (expected, []), (app, arguments, err)
        assert err.startswith("Error: "), err
        assert message in err, (app, arguments, err)
        assert err.count("\n") == 1, err
    assert not (folder / "x").exists()


WHOLE = """
import sys
{before}
import keras_nas as kn
{after}
import keras
model = keras.models.load_model(sys.argv[1])
assert [type(layer) for layer in kn.gates.find(model)] == 3 * [kn.layers.ScaledSigmoidGate]
assert callable(kn.search.dnal) and kn.search.DnalConfig().lambda_a and kn.Architecture
assert set(kn.__all__) <= set(dir(kn))
print("whole")
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("from apps.main import load_tensorflow", "load_tensorflow()"),
    ],
)
def test_a_supernet_loads_after_import_keras_nas_whatever_came_before(tmp_path, before, after):
    """Keras loads classes that are registered, which importing keras_nas must see to."""
    insert(small_net(), ScaledSigmoidGate).save(tmp_path / "supernet.keras")
    done = subprocess.run(
        [sys.executable, "-c", WHOLE.format(before=before, after=after),
         str(tmp_path / "supernet.keras")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "whole", done.stderr[-2000:]
