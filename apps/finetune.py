"""Finetunes the small network of a run: small.keras to finetuned.keras.

    python -m apps.finetune --run_dir=runs/demo_dnal --finetune_epochs=5 --overwrite

The settings are the run's own, unless a flag says otherwise.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from apps.main import load_tensorflow
from apps.main import run as run_app
from apps.run_settings import define_flags, read_flags_over_run
from keras_nas.runs.config import check_paths

define_flags()


def main() -> None:
    config, settings = read_flags_over_run()
    config = dataclasses.replace(config, stages=("finetune",))
    check_paths(config, settings)
    load_tensorflow()
    from keras_nas.reporting.summary import print_summary
    from keras_nas.runs.folder import RunFolder
    from keras_nas.runs.run import run

    run(config, settings)
    print_summary(RunFolder(Path(config.run_dir)))


if __name__ == "__main__":
    run_app(main)
