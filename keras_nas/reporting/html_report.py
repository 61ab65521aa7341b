"""One self-contained HTML page about one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from keras_nas.errors import KerasNasError
from keras_nas.files import atomic_write_text
from keras_nas.reporting.comparison import comparison_sections
from keras_nas.reporting.run_contents import RunContents, read_run
from keras_nas.reporting.run_sections import outcome_sections, sections_of
from keras_nas.reporting.run_tables import (
    all_settings_table,
    asked_table,
    command,
    environment_table,
)
from keras_nas.reporting.summary import findings
from keras_nas.version import __version__

TEMPLATE = "report.html.j2"


def write_html_report(run_dirs: Sequence[str | Path], output: str | Path) -> Path:
    """Reads the folders of runs and writes a page about them.

    The page is one file: images stand in it as data URIs, and nothing is loaded from elsewhere.
    What no stage has made yet is left out, with a line that names the stage.

    Args:
        run_dirs: Folders of runs; several give a Pareto plot over them.
        output: The page's path; an older page is replaced at once or not at all.

    Returns:
        The page's path.

    Raises:
        KerasNasError: If there are no folders, one holds no run, or a file of a run is damaged.
    """
    if not run_dirs:
        raise KerasNasError("A report needs the folder of one run or more. Received: none")
    runs = [read_run(path) for path in run_dirs]
    return atomic_write_text(output, html_page(runs))


def html_page(runs: Sequence[RunContents]) -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(TEMPLATE).render(
        title=_title(runs),
        first=[*outcome_sections(runs), *comparison_sections(runs)],
        runs=[_view(run, index) for index, run in enumerate(runs)],
        version=__version__,
    )


def _title(runs: Sequence[RunContents]) -> str:
    return f"Run {runs[0].name}" if len(runs) == 1 else f"{len(runs)} runs"


def _view(run: RunContents, index: int) -> dict:
    return {
        "anchor": f"run{index + 1}",
        "name": run.name,
        "path": str(run.folder.path),
        "data": run.config.get("data", ""),
        "findings": findings(run.results, run.records),
        "command": command(run),
        "asked": asked_table(run),
        "settings": all_settings_table(run),
        "environment": environment_table(run),
        "sections": sections_of(run),
    }
