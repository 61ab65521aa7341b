r"""Runs a search for each value of a setting, and makes the Pareto report.

    python -m apps.sweep --run_dir=runs/sweep --vary=lambda_a --values=1e-5,1e-4,2e-4 \
        --model=resnet20_cifar --data=cifar10
    python -m apps.sweep --flagfile=apps/flagfiles/demo_dnal.cfg --run_dir=runs/demo_sweep \
        --vary=target_macs --values=0.5x,0.39x,0.25x

The weight stage is run once where it does not depend on the setting. The same command again does
what is not done yet. The page is report.html in --run_dir.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from apps.main import load_tensorflow
from apps.main import run as run_app
from apps.run_settings import define_flags, read_flags
from keras_nas.errors import KerasNasError
from keras_nas.runs.config import check_paths
from keras_nas.runs.sweep_plan import plan_sweep

define_flags()
_VARY = flags.DEFINE_string("vary", "lambda_a", "The setting that the runs differ in.")
_VALUES = flags.DEFINE_list("values", [], "Its values, separated by commas.")
_DEVICES = flags.DEFINE_list(
    "devices", [], "GPUs to run on at the same time, as CUDA_VISIBLE_DEVICES names them."
)


def main() -> None:
    config, settings = read_flags()
    check_paths(config, settings)
    sweep = plan_sweep(config, settings, _VARY.value, _VALUES.value)
    load_tensorflow()
    from keras_nas.reporting.html_report import write_html_report
    from keras_nas.runs.sweep import run_sweep

    failed = run_sweep(sweep, [sys.executable, "-m", f"{__package__}.search"], _DEVICES.value)
    finished = [job.folder.path for job in sweep.jobs if job.folder.path.name not in failed]
    if finished:
        print(write_html_report(finished, Path(config.run_dir, "report.html")))
    if failed:
        raise KerasNasError(
            f"Of the sweep's runs {', '.join(failed)} failed; see above. The same command does "
            "what is not done yet."
        )


if __name__ == "__main__":
    run_app(main)
