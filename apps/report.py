"""Makes one self-contained HTML page of one run or several.

    python -m apps.report runs/demo_dnal
    python -m apps.report runs/a runs/b --output=comparison.html

By default the page is report.html in the folder of the only run; for several runs --output says
where it goes.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from apps.main import load_tensorflow, run_with_arguments
from keras_nas.errors import UsageError
from keras_nas.file_checks import check_output_file
from keras_nas.runs.config import read_config

_OUTPUT = flags.DEFINE_string("output", "", "The page's file; needed for several runs.")


def main(run_dirs: list[str]) -> None:
    if not run_dirs:
        raise UsageError("Give the folders of one run or more: python -m apps.report RUN_DIR …")
    if len(run_dirs) > 1 and not _OUTPUT.value:
        raise UsageError("`output` must name the page (--output) for several runs.")
    for run_dir in run_dirs:
        read_config(run_dir)
    output = _OUTPUT.value or Path(run_dirs[0], "report.html")
    check_output_file(output)
    load_tensorflow()
    from keras_nas.reporting.html_report import write_html_report

    print(write_html_report(run_dirs, output))


if __name__ == "__main__":
    run_with_arguments(main)
