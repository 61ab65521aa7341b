"""Every app's way of ending: exit codes and one-line errors."""

from __future__ import annotations

import pytest

from tests.apps.commands import call_forked

APP = """
from absl import flags
from keras_nas.errors import KerasNasError, UsageError

THREADS = flags.DEFINE_integer("threads", 1, "Threads.", lower_bound=1)
FAULT = flags.DEFINE_string("fault", "", "What goes wrong.")
FAULTS = {
    "usage": UsageError("`a` needs `b`."),
    "user": KerasNasError("The file\\n`m.tflite` is empty."),
    "bug": ZeroDivisionError("oh"),
    "interrupt": KeyboardInterrupt(),
    "extra": ModuleNotFoundError("No module named 'tf_keras'", name="tf_keras"),
    "absent": ModuleNotFoundError("No module named 'nobody'", name="nobody"),
}

def app():
    if FAULT.value:
        raise FAULTS[FAULT.value]
    print("threads", THREADS.value)
"""
ERRORS = [
    (["--treads=2"], 2, "Error: Unknown command line flag 'treads'. Did you mean: threads ?"),
    (["--threads=0"], 2, "Error: flag --threads=0: "),
    (["--flagfile=absent.cfg"], 2, "Error: "),
    (["m.tflite"], 2, "Error: Every argument must be a flag (--name=value). Received: 'm.tflite'"),
    (["--fault=usage"], 2, "Error: `a` needs `b`."),
    (["--fault=user"], 1, "Error: The file `m.tflite` is empty."),
    (["--fault=bug"], 1, "Error: ZeroDivisionError: oh (--debug shows where)"),
    (["--fault=interrupt"], 130, "Error: interrupted"),
    (["--fault=extra"], 1, "Error: tf_keras is not installed: pip install 'keras-nas[export]'"),
    (["--fault=absent"], 1, "Error: ModuleNotFoundError: No module named 'nobody' (--debug"),
]
OTHERS = [["--threads=2"], ["--help"], ["--fault=usage", "--debug"]]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    commands = [arguments for arguments, _, _ in ERRORS] + OTHERS
    return call_forked(APP, commands, tmp_path_factory.mktemp("app"))


def test_success_ends_with_0(ended):
    assert ended["--threads=2",] == (0, "threads 2\n", "")


def test_help_ends_with_0(ended):
    code, out, _ = ended["--help",]
    assert code == 0
    assert "--threads" in out


@pytest.mark.parametrize(("arguments", "code", "line"), ERRORS)
def test_an_error_is_one_line(ended, arguments, code, line):
    found, out, err = ended[tuple(arguments)]
    assert found == code
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert out == ""


def test_debug_adds_the_traceback_and_keeps_the_code(ended):
    code, _, err = ended["--fault=usage", "--debug"]
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert err.endswith("Error: `a` needs `b`.\n")
