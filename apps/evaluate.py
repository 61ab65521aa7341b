"""Evaluates a .keras or .tflite classifier on a data set: loss, top-1, top-5 and costs.

python -m apps.evaluate --model=runs/demo_dnal/finetuned.keras --data=fashion_mnist
python -m apps.evaluate --model=runs/demo_dnal/finetuned.tflite --data=fashion_mnist
"""

from __future__ import annotations

import json

from apps import config_flags
from apps.evaluation_config import EvaluationConfig
from apps.main import load_tensorflow
from apps.main import run as run_app

config_flags.define(EvaluationConfig())


def main() -> None:
    config = config_flags.read(EvaluationConfig())
    config.check_paths()
    load_tensorflow()
    from apps.model_evaluation import evaluate_file

    print(json.dumps(evaluate_file(config), indent=2))


if __name__ == "__main__":
    run_app(main)
