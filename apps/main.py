"""How every app starts and ends: flags, one-line errors, exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

import keras_nas.compression
import keras_nas.data
import keras_nas.search
from apps import custom_objects, flagfile
from apps.app_help import HelpFlag
from apps.config_flags import HEADINGS
from export.quiet import quiet_stderr
from keras_nas.errors import KerasNasError, UsageError

EXTRAS = {
    "ai_edge_litert": "export",
    "flatbuffers": "export",
    "nibabel": "data",
    "tensorflow_datasets": "data",
    "tensorflow_lite_support": "metadata",
    "tensorflow_model_optimization": "export",
    "tf_keras": "export",
}
"""The extra of the package (pyproject.toml) that brings a module which not everybody needs."""
_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")
_CUSTOM_OBJECTS = flags.DEFINE_list(
    "custom_objects",
    [],
    "Classes and functions of your own in models that are loaded, as module:Name; or a module that "
    "registers them.",
)
flags.disclaim_key_flags()


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls `main()` and ends the process.

    The exit code is 0 after success and after `--help`, 2 when the command is wrong (an unknown
    flag, a bad value, a stray argument, a `UsageError` from `main`), 1 after any other error. An
    error is one line on standard error; `--debug` adds its traceback.

    Example:
        def main() -> None:
            config = config_flags.read(ExportConfig())
            load_tensorflow()
            from apps.model_export import export_file

            print(export_file(config))

        if __name__ == "__main__":
            run(main)
    """

    def without_arguments(arguments: list[str]) -> None:
        if arguments:
            raise UsageError(
                f"Every argument must be a flag (--name=value). Received: {arguments[0]!r}"
            )
        main()

    run_with_arguments(without_arguments)


def run_with_arguments(main: Callable[[list[str]], None]) -> None:
    """As `run`, for an app that takes arguments beside its flags: calls `main(arguments)`."""

    def call(argv: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # TensorFlow has a line for each saving
        main(list(argv[1:]))

    def guarded(argv: Sequence[str]) -> None:
        try:
            call(argv)
        except (UsageError, flags.Error) as error:
            _end(error, 2)
        except KeyboardInterrupt as error:
            _end(error, 130)
        except Exception as error:  # noqa: BLE001
            _end(error, 1)

    app.define_help_flags()
    flags.DEFINE_flag(HelpFlag(HEADINGS))
    app.run(guarded, flags_parser=_parse)


def load_tensorflow() -> None:
    """Imports TensorFlow, whose banner is held back, all of keras_nas, and `--custom_objects`.

    An app's `main` calls it when everything is checked that can be without.
    """
    with quiet_stderr():
        import tensorflow  # noqa: F401

        for package in (keras_nas.data, keras_nas.search, keras_nas.compression, keras_nas):
            importlib.reload(package)  # with what apps/__init__.py has put off
    if flags.FLAGS.is_parsed():  # what imports this before it has flags loads no model yet
        custom_objects.register(_CUSTOM_OBJECTS.value)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS([argv[0], *flagfile.expand(argv[1:])])
    except flags.Error as error:
        print(_one_line(error), file=sys.stderr)
        sys.exit(2)
    except SystemExit:  # absl's help flags end with 1
        sys.exit(0)
    except BrokenPipeError:  # of `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _end(error: BaseException, code: int) -> NoReturn:
    if _DEBUG.value:
        traceback.print_exception(error)
    print(_one_line(error), file=sys.stderr)
    sys.exit(code)


def _one_line(error: BaseException) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        extra = f"pip install 'keras-nas[{EXTRAS[error.name]}]'"
        return f"Error: {error.name} is not installed: {extra}"
    if isinstance(error, (KerasNasError, flags.Error)):
        return f"Error: {message}"
    if isinstance(error, KeyboardInterrupt):
        return "Error: interrupted"
    return f"Error: {type(error).__name__}: {message} (--debug shows where)"
