"""What the apps read from a flagfile: every setting by its flag."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.source_tree import ROOT

FOLDER = ROOT / "apps" / "flagfiles"
SCRIPT = """
import json, sys
from absl import flags
from apps.run_settings import define_flags, read_flags
from keras_nas.settings import flatten
define_flags()
found = {}
for path in sys.argv[1:]:
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["app", f"--flagfile={path}"])
    config, settings = read_flags()
    found[path] = {**flatten(config), **flatten(settings)}
print(json.dumps(found))
"""


def parse(paths: list[Path]) -> dict[str, dict]:
    """The values of all settings in each file, by the file's stem."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, paths)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {Path(path).stem: values for path, values in json.loads(done.stdout).items()}
