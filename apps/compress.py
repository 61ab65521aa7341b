r"""Makes a trained Keras model fit a budget: smaller, finetuned, as .tflite files, measured.

    python -m apps.compress --model=my_model.keras --data=photos/ --target_macs=0.5x --output=small
    python -m apps.compress --model=my_model.keras --data=photos/ --target_macs=0.5x --minutes=30 \
        --output=small

Data is what the model was trained on: a folder with a folder of pictures for each class, and so on
(see --data). What is done, why, and how long it takes is said before it starts; --resume goes on
after an interruption. The folder then holds .keras and .tflite files, results.json, report.html.
"""

from __future__ import annotations

from rich.console import Console

from apps import config_flags
from apps.compress_config import CompressAppConfig
from apps.main import load_tensorflow
from apps.main import run as run_app

config_flags.define(CompressAppConfig())


def main() -> None:
    config = config_flags.read(CompressAppConfig())
    config.check_paths()
    load_tensorflow()
    from apps.compression import compress_file

    outcome, page = compress_file(config)
    console = Console(highlight=False)
    console.print(outcome.table())
    console.print(f"{config.output}: the files; {page}: the report", soft_wrap=True)


if __name__ == "__main__":
    run_app(main)
