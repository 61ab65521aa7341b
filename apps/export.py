r"""Exports a .keras model as .tflite files, each compared with the model before it is written.

    python -m apps.export --model=runs/demo_dnal/finetuned.keras --data=fashion_mnist \
        --formats=float32,float16,dynamic_int8,int8,qat

Beside each file stands <name>.parity.json: differences and the task metric of both. Below the table
stands what XNNPACK and the GPU delegate take of each file.
"""

from __future__ import annotations

from rich.console import Console

from apps import config_flags
from apps.export_config import ExportConfig
from apps.main import load_tensorflow
from apps.main import run as run_app

config_flags.define(ExportConfig())


def main() -> None:
    config = config_flags.read(ExportConfig())
    config.check_paths()
    load_tensorflow()
    from apps.model_export import coverage_lines, export_file, export_table, notes_lines

    console = Console()
    exports = export_file(config)
    console.print(export_table(exports))
    for line in notes_lines(exports) + coverage_lines(exports):
        console.print(line, markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_app(main)
