"""The command that predicts the patients of a contest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.many import diagnose_many
from lungsight.cli.options import (
    DEFAULT_SYSTEM,
    EngineOption,
    JobsOption,
    PrecisionOption,
    SettingsOption,
    SystemOption,
    WeightsOption,
    settings_of,
)
from lungsight.cli.program import app

__all__ = ["predict_dsb"]


@app.command(name="predict-dsb")
def predict_dsb(  # noqa: PLR0913 (each is an option)
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder with <patient_id>/*.dcm.")],
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="CSV", help="The prediction, columns id,cancer; not in ROOT.")
    ],
    system: SystemOption = DEFAULT_SYSTEM,
    weights: WeightsOption = None,
    config: SettingsOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier prediction.")] = False,
) -> None:
    """Predict the Data Science Bowl 2017: a malignancy score for each patient of ROOT, in the order of the folders.

    The diagnoses stay in CSV.diagnoses: what was done by the same version, system, weights and settings is not done
    again. Scores are kept from 0.02 to 0.98; a patient without nodule has 0.02. Whose CT cannot be read or shows no
    lung has the mean of the others, stands in CSV.failed.json, and the exit code is then 2.
    """
    from lungsight.cohort.options import Options
    from lungsight.cohort.submission import plan_submission, score_patients, write_submission

    options = Options(
        system=system,
        weights=weights,
        config=settings_of(config, system, {}),
        engine=engine,
        precision=precision,
        page=False,
        resume=True,
    )
    plan = plan_submission(root, out, options, overwrite)
    submission = score_patients(plan, diagnose_many(plan.studies, plan.folder, options, jobs))
    write_submission(plan, submission)
    for patient, failure in submission.failures.items():
        made_up = f"{submission.score[patient]:.6f}, the mean of the others"
        typer.echo(f"warning: {patient} has the score {made_up}. {failure}", err=True)
    typer.echo(f"{len(submission.score)} patients predicted: {out}")
    if submission.failures:
        typer.echo(f"{len(submission.failures)} of them could not be judged: {plan.failed_file}")
        raise typer.Exit(2)
