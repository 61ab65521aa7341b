"""Evaluates a .keras or .tflite classifier on a data set: loss, top-1, top-5 and costs.

python -m apps.evaluate --model=runs/demo_dnal/finetuned.keras --data=fashion_mnist
python -m apps.evaluate --model=runs/demo_dnal/finetuned.tflite --data=fashion_mnist
"""

from __future__ import annotations

import json

from apps import config_flags
from apps.main import run as run_app
from apps.model_evaluation import EvaluationConfig, evaluate_file

config_flags.define(EvaluationConfig())


def main() -> None:
    print(json.dumps(evaluate_file(config_flags.read(EvaluationConfig())), indent=2))


if __name__ == "__main__":
    run_app(main)
