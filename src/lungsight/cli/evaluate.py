"""The command that measures predictions against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.program import app
from lungsight.config import WindowsConfig
from lungsight.terminal import progress_bars, tell

__all__ = ["evaluate"]


@app.command()
def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Folder of <patient_id>/diagnosis.json, CSV patient_id,score or id,cancer, or LUNA16's marks.",
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH",
            help="Dataset: CTs with masks and labels.csv, LIDC-IDRI, LUNA16, DSB2017. Or CSV patient_id,label or "
            "id,cancer, or folder with LUNA16's annotations(_excluded).csv and seriesuids.csv.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the result; should not exist.")],
    vote_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Score from which a patient is called malignant.")
    ] = WindowsConfig().vote_threshold,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier evaluation in OUT.")] = False,
) -> None:
    """Measure predictions against the truth, and write evaluation.html, evaluation.md and evaluation.json into OUT."""
    from lungsight.comparison import compare
    from lungsight.report.evaluation import check_evaluation_folder, write_evaluation
    from lungsight.report.lines import evaluation_lines

    check_evaluation_folder(out, overwrite)
    with progress_bars() as progress:
        compared = compare(predictions, truth, vote_threshold, progress=progress)
        evaluation = compared.evaluation
        page = write_evaluation(evaluation, out, overwrite, compared.slices)
    tell(evaluation.warnings, *evaluation_lines(evaluation), f"Evaluation: {page}")
