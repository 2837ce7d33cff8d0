"""The door for evaluations: a folder with the numbers as JSON, the tables as Markdown, and a page with the plots."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import jinja2

from lungsight import __version__
from lungsight.evaluate.evaluation import Evaluation
from lungsight.report.compared import ComparedSlice
from lungsight.report.figures import FigureTable, evaluation_plots, evaluation_record, evaluation_tables
from lungsight.report.plots import plot_svg
from lungsight.report.staging import check_folder, staged_folder

__all__ = ["check_evaluation_folder", "write_evaluation"]

_OWNED = re.compile(r"evaluation\.(json|md|html)")


def check_evaluation_folder(folder: str | Path, overwrite: bool = False) -> None:
    """Refuse a folder that :func:`write_evaluation` would refuse; for asking before a long computation.

    Raises
    ------
    OutputError
        As :func:`write_evaluation`.
    """
    check_folder(Path(folder), overwrite, _OWNED)


def write_evaluation(
    evaluation: Evaluation, folder: str | Path, overwrite: bool = False, slices: Sequence[ComparedSlice] = ()
) -> Path:
    """Write ``evaluation.json``, ``evaluation.md`` and ``evaluation.html``; all of them, or nothing.

    Parameters
    ----------
    evaluation
        Its numbers may name patients and series as the truth does.
    folder
        Should not exist; its parents are made.
    overwrite
        Replace an earlier evaluation. A folder that holds anything else is refused all the same.
    slices
        Shown in the page, in their order.

    Returns
    -------
    Path
        Of ``evaluation.html``.

    Raises
    ------
    OutputError
        If the folder exists (and `overwrite` is False or it holds other files), or the disk refuses.
    """
    folder = Path(folder)
    with staged_folder(folder, overwrite, _OWNED) as staged:
        record = evaluation_record(evaluation, __version__)
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        (staged / "evaluation.json").write_text(text + "\n", "utf-8")
        tables = evaluation_tables(evaluation)
        (staged / "evaluation.md").write_text(_markdown(tables, evaluation.warnings), "utf-8")
        page = _html(evaluation, tables, slices, datetime.now().astimezone())
        (staged / "evaluation.html").write_text(page, "utf-8")
    return folder / "evaluation.html"


def _html(
    evaluation: Evaluation, tables: Sequence[FigureTable], slices: Sequence[ComparedSlice], made: datetime
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lungsight.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = [(plot.title, plot_svg(plot)) for plot in evaluation_plots(evaluation)]
    return environment.get_template("evaluation.html").render(
        tables=tables,
        plots=plots,
        slices=slices,
        warnings=evaluation.warnings,
        bootstrap=evaluation.bootstrap,
        made=made,
        version=__version__,
    )


def _markdown(tables: Sequence[FigureTable], warnings: Sequence[str]) -> str:
    lines = []
    for table in tables:
        lines += [f"## {table.title}", "", _row(table.columns), _row(["---"] * len(table.columns))]
        lines += [*(_row(row) for row in table.rows), ""]
    lines += [f"Warning: {warning}\n" for warning in warnings]
    return "\n".join([*lines, f"Lungsight {__version__}. Research use only.", ""])


def _row(cells: Sequence[str]) -> str:
    # A bar or a bracket in a cell would be read as Markdown.
    escaped = (re.sub(r"([|<\\])", r"\\\1", cell) for cell in cells)
    return f"| {' | '.join(escaped)} |"
