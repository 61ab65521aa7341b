"""Scores a super-resolution .keras or .tflite on a folder: PSNR and SSIM beside bicubic's.

python -m apps.evaluate_sr --model=runs/edsr/edsr.keras --folder=benchmark/Set5
python -m apps.evaluate_sr --model=runs/edsr/edsr.tflite --folder=benchmark/Set5 --overlap=12
"""

from __future__ import annotations

from rich.console import Console

from apps import config_flags
from apps.evaluation_config import SuperResolutionEvaluationConfig
from apps.main import load_tensorflow
from apps.main import run as run_app

config_flags.define(SuperResolutionEvaluationConfig())


def main() -> None:
    config = config_flags.read(SuperResolutionEvaluationConfig())
    config.check_paths()
    load_tensorflow()
    from apps.super_resolution_evaluation import score_file, score_table

    scores = score_file(config)
    Console(highlight=False).print(score_table(scores))


if __name__ == "__main__":
    run_app(main)
