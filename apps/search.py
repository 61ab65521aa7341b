"""Runs a search in a folder: weights, architecture, surgery, finetuning, .tflite, measurement.

    python -m apps.search --flagfile=apps/flagfiles/demo_dnal.cfg
    python -m apps.search --run_dir=runs/mine --model=resnet20_cifar --data=cifar10 --lambda_a=1e-4

Each stage reads and writes files of the run's folder and may be run alone, by --stages.
"""

from __future__ import annotations

from pathlib import Path

from apps.main import load_tensorflow
from apps.main import run as run_app
from apps.run_settings import define_flags, read_flags
from keras_nas.runs.config import check_paths

define_flags()


def main() -> None:
    config, settings = read_flags()
    check_paths(config, settings)
    load_tensorflow()
    from apps.tflite_stages import tflite_stages
    from keras_nas.reporting.plots import draw_run
    from keras_nas.reporting.summary import print_summary
    from keras_nas.runs.folder import RunFolder
    from keras_nas.runs.run import run

    run(config, settings, tflite_stages())
    folder = RunFolder(Path(config.run_dir))
    plots = draw_run(folder)
    print_summary(folder)
    for path in plots:
        print(path)


if __name__ == "__main__":
    run_app(main)
