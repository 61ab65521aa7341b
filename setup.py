"""What pyproject.toml cannot say: how the folders `apps` and `export` go into the wheel.

They go in beside `keras_nas` as `keras_nas_apps` and `keras_nas_export`, names that nobody else
has, and what is built imports them by these names. So each module has one name in a checkout and
one where it is installed, and never two at once. An editable install leaves the files as they are,
so there the folders' own names are found besides.
"""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

INSTALLED = {"apps": "keras_nas_apps", "export": "keras_nas_export"}
_IMPORT = re.compile(r"^(\s*(?:from|import)\s+)(apps|export)(?=[.\s])", re.MULTILINE)
_COMMAND = re.compile(r"\bpython -m apps\.(?=\w)")


def installed_text(text: str) -> str:
    """A file's text with the names of what is installed: imports, and commands in messages."""
    text = _IMPORT.sub(lambda match: match[1] + INSTALLED[match[2]], text)
    return _COMMAND.sub("keras-nas ", text)


class BuildPy(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            return
        for path in map(Path, self.get_outputs(include_bytecode=False)):
            if path.suffix in (".py", ".cfg"):
                text = path.read_text(encoding="utf-8")
                path.write_text(installed_text(text), encoding="utf-8")


as_they_are = find_packages(include=["apps", "export", "export.*"])
setup(
    packages=[
        *find_packages(include=["keras_nas", "keras_nas.*"]),
        *(f"keras_nas_{name}" for name in as_they_are),
        *(as_they_are if "editable_wheel" in sys.argv else ()),
    ],
    package_dir={installed: folder for folder, installed in INSTALLED.items()},
    cmdclass={"build_py": BuildPy},
)
