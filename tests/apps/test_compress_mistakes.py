"""What newcomers do wrong with apps.compress: one line each; nothing is written or lost."""

from __future__ import annotations

import re
import shutil
import zipfile

import pytest

from keras_nas.files import atomic_write_text
from tests.apps import trained_place
from tests.apps.commands import call_forked

APP = """
from apps import compress
app = compress.main
"""

GOOD = ("--model=model.keras", "--data=photos", "--target_macs=0.5x")
MISTAKES = {
    "a misspelt flag": (("--target_mac=0.5x",), 2, "Did you mean: target_macs"),
    "an argument without a flag": (
        ("photos",), 2,
        r"must be a flag \(--name=value\). Received: 'photos'",
    ),
    "an unknown choice": (("--method=best",), 2, r"should be one of <auto\|dnal\|fgnas>"),
    "no model": (("--model=",), 2, "`model` must name a .keras or .h5 file"),
    "a model that is not there": (
        ("--model=mymodel.keras",), 1,
        "mymodel.keras, which does not exist",
    ),
    "a model of another program": (
        ("--model=model.onnx",), 2,
        "must name a .keras or .h5 file .*model.onnx",
    ),
    "a text named .keras": (
        ("--model=text.keras",), 1,
        "is no .keras file .* another kind of file",
    ),
    "a text named .h5": (("--model=text.h5",), 1, "is no HDF5 file: .* another kind of file"),
    "a zip named .keras": (("--model=zip.keras",), 1, "the archive lacks config.json"),
    "a cut model": (("--model=cut.keras",), 1, "is no .keras file .* it is cut short"),
    "a folder that is no SavedModel": (
        ("--model=photos",), 2,
        "must name a .keras or .h5 file .*'photos'",
    ),
    "an exported SavedModel": (
        ("--model=exported",), 1,
        r"holds no Keras model.*model.save\('model.keras'\)",
    ),
    "no data": (
        ("--data=",), 2,
        "`data` must name a folder, a .csv or .npz file, or .*tfds:NAME,.* Received: data=''",
    ),
    "data that is not there": (("--data=picturs",), 2, "'picturs', which does not exist"),
    "a data set that is unknown": (
        ("--data=mnist",), 2,
        "one of fashion_mnist, .*'mnist', which does not exist",
    ),
    "an empty folder": (("--data=empty",), 1, "`empty` holds neither pictures nor a folder"),
    "the folder of one class": (
        ("--data=one_class/train",), 1,
        "two or more classes .*: give the folder above them",
    ),
    "a file of another kind": (
        ("--data=text.txt",), 1,
        "must be a folder, or end in .csv or .npz. Received: text.txt",
    ),
    "no budget": (("--target_macs=0",), 2, "A budget must be given: .*such as target_macs=0.5x"),
    "a share of nothing": (
        ("--target_macs=0x",), 2,
        "`target_macs` must be a number above 0, .*'0x'",
    ),
    "a share above one": (
        ("--target_macs=1.5x",), 2,
        "or a share of the full network's as 0.5x.*'1.5x'",
    ),
    "a negative share": (("--target_macs=-0.5x",), 2, "above 0, .*'-0.5x'"),
    "a share without its x": (
        ("--target_macs=0.5",), 2,
        "must be 1 or more, or a share of the full network's as 0.5x. .*=0.5$",
    ),
    "a percentage": (("--target_macs=50%",), 2, "a share of the full network's as 0.5x.*'50%'"),
    "half": (("--target_macs=half",), 2, "a share of the full network's as 0.5x.*'half'"),
    "another format": (
        ("--target_bytes=int4:200k",), 2,
        "`target_bytes` must be of one of .*as in float32:200k. .*'int4:200k'",
    ),
    "kilobytes": (
        ("--target_bytes=int8:200KB",), 2,
        "200k and 1.5M are numbers too. .*'int8:200KB'",
    ),
    "a table without a latency": (
        ("--latency_table=text.txt",), 2,
        "`latency_table` must be given with `target_latency_ms` only",
    ),
    "a table that is not there": (
        ("--target_latency_ms=3", "--latency_table=table.json"), 1,
        "`latency_table` must be a file. Received: table.json, which does not",
    ),
    "negative minutes": (("--minutes=-5",), 2, "`minutes` must be 0 or more"),
    "one epoch": (
        ("--epochs=1",), 2,
        "`epochs` must be 2 or more: one for the search, one for the finetuning",
    ),
    "epochs in words": (("--epochs=ten",), 2, "--epochs=ten"),
    "a format that is none": (("--formats=int4",), 2, "`formats` must be of .*'int4'"),
    "pixels that are none": (("--pixels=0..100",), 2, "should be one of <standardized"),
    "all held back": (("--validation_share=1",), 2, "`validation_share` must be below 1"),
    "no output": (("--output=",), 2, "`output` must name a folder"),
    "a file as output": (
        ("--output=text.txt",), 1,
        "`output` must be a folder that files can be written to. Received: text.txt",
    ),
    "an output inside a file": (
        ("--output=text.txt/small",), 1,
        "`output` must be a folder .*text.txt/small",
    ),
    "an output that cannot be written": (
        ("--output=/proc/small",), 1,
        "`output` must be a folder .*/proc/small",
    ),
    "the data's folder as output": (
        ("--output=photos",), 2,
        "`output` must be a folder outside of the data's",
    ),
    "a folder of the data as output": (
        ("--output=photos/train/small",), 2,
        "`output` must be a folder outside of the data's",
    ),
    "a folder with another compression": (
        ("--output=begun",), 1,
        "`--resume` goes on with it, `--overwrite` starts anew",
    ),
    "going on and starting anew": (("--resume", "--overwrite"), 2, "exclude each other"),
}  # fmt: skip
"""What is said before TensorFlow: the flags beside the right ones, the exit code, the line."""


def write_models(folder):
    trained_place.net().export(folder / "exported", verbose=False)
    whole = (folder / "model.keras").read_bytes()
    (folder / "cut.keras").write_bytes(whole[: len(whole) // 2])
    for name in ("text.keras", "text.h5", "text.txt", "model.onnx"):
        (folder / name).write_text("hello")
    with zipfile.ZipFile(folder / "zip.keras", "w") as archive:
        archive.writestr("notes.txt", "hello")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    trained_place.make(folder)
    write_models(folder)
    (folder / "empty").mkdir()
    shutil.copytree(folder / "photos" / "train" / "dark", folder / "one_class" / "train" / "dark")
    atomic_write_text(folder / "begun" / "config.json", "{}")
    return folder


def content(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".out", ".err", ".py")
    }


@pytest.fixture(scope="module")
def before(place):
    """The files that are there, which stay as they are."""
    return content(place)


@pytest.fixture(scope="module")
def said(place, before):
    """What each of the first mistakes ended with."""
    commands = {
        name: (*GOOD, *(() if "--output" in flags[0] else ("--output=small",)), *flags)
        for name, (flags, *_) in MISTAKES.items()
    }
    ended = call_forked(APP, list(commands.values()), place)
    return {name: ended[flags] for name, flags in commands.items()}


def check(line, message, place, before):
    assert re.search(message, line), line
    assert "\n" not in line
    assert content(place) == before
    assert not (place / "small").exists()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, said, place, before):
    code, out, err = said[name]
    _, expected, message = MISTAKES[name]
    assert (code, out) == (expected, ""), err
    assert err.startswith("Error: ")
    check(err.removesuffix("\n"), message, place, before)
