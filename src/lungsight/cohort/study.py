"""One CT all the way: files -> CT -> diagnosis -> growth -> guidelines -> the folder with its result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from lungsight import __version__
from lungsight import pipeline as systems
from lungsight import prior as prior_ct
from lungsight.cohort.options import Failure, Options, Outcome, Study
from lungsight.config import Config
from lungsight.ct.acquired import read_acquisition_date
from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError, LungsightError
from lungsight.fastest import other_work
from lungsight.findings import Diagnosis
from lungsight.guidelines.assess import apply_guidelines
from lungsight.guidelines.patient import Patient
from lungsight.pipeline import Pipeline
from lungsight.regions import REGIONS_FILE
from lungsight.report.lines import diagnosis_line
from lungsight.report.nodules import nodule_files
from lungsight.report.page import DIAGNOSIS_FILE, PAGE_FILE, check_report_folder, write_report

__all__ = [
    "ReadStudy",
    "attempt_study",
    "begin_study",
    "diagnose_study",
    "is_done",
    "load_system",
    "load_while",
    "read_study",
]

Progress = Callable[[str, float], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class ReadStudy:
    """A study's CT as it was read.

    Attributes
    ----------
    ct
        The CT.
    seconds
        Wall-clock time it took.
    """

    ct: CTVolume
    seconds: float


def load_system(options: Options) -> Pipeline:
    """The system that `options` ask for, ready for many CTs.

    Raises
    ------
    LungsightError
        If there is no such system or engine, or its network cannot be loaded.
    """
    return systems.load_pipeline(
        options.system, options.weights, options.config, engine=options.engine, precision=options.precision
    )


def load_while(options: Options, read: Callable[[], _T]) -> tuple[Pipeline, _T]:
    """Load the system while something is read, each on a core of its own.

    Parameters
    ----------
    options
        As for :func:`load_system`.
    read
        Called here, not in another thread.

    Returns
    -------
    Pipeline
        Of :func:`load_system`.
    object
        What `read` gave.

    Raises
    ------
    Exception
        What `read` raises; if it raises nothing, what :func:`load_system` raises.
    """
    with ThreadPoolExecutor(1, "load") as thread:
        loading = thread.submit(load_system, options)
        with other_work():
            result = read()
        return loading.result(), result


def read_study(study: Study, options: Options) -> ReadStudy:
    """Read a study's CT, after looking whether its folder may be written to.

    Parameters
    ----------
    study
        The CT.
    options
        `resume` counts as `overwrite`.

    Raises
    ------
    LungsightError
        If the CT cannot be used or its folder is refused.
    """
    check_report_folder(study.folder, options.overwrite or options.resume)
    started = time.perf_counter()
    ct = read_ct(study.source, study.series_uid)
    if options.dicom:
        from lungsight.report.dicom import check_source  # noqa: PLC0415 - highdicom takes a second

        check_source(ct)
    return ReadStudy(ct, time.perf_counter() - started)


def diagnose_study(
    study: Study, read: ReadStudy, pipeline: Pipeline, options: Options, progress: Progress
) -> tuple[Diagnosis, Path]:
    """Diagnose one CT and write its folder, whole or not at all.

    Parameters
    ----------
    study
        The CT.
    read
        Of :func:`read_study`.
    pipeline
        Of :func:`load_system`.
    options
        What to write; `resume` counts as `overwrite`.
    progress
        Told the step's name and its share done, 0 to 1.

    Returns
    -------
    Diagnosis
        As it was written.
    Path
        The page, or without it ``diagnosis.json``.

    Raises
    ------
    LungsightError
        If the earlier CT cannot be used or the folder cannot be written.
    """
    ct, seconds = read.ct, {"read": read.seconds}
    diagnosis = pipeline(ct, progress=progress)
    if study.prior is not None:
        progress("prior", 0.0)
        started = time.perf_counter()
        diagnosis = _compared(diagnosis, ct, study.source, study.prior, options.config)
        seconds["prior"] = time.perf_counter() - started
        progress("prior", 1.0)
    diagnosis = apply_guidelines(diagnosis, study.known or Patient())
    provenance = diagnosis.provenance
    diagnosis = replace(diagnosis, provenance=replace(provenance, seconds={**seconds, **provenance.seconds}))
    if options.dicom:
        from lungsight.report.dicom import warn_without_seg  # noqa: PLC0415

        diagnosis = warn_without_seg(diagnosis)
    progress("report", 0.0)
    dicom_source = study.source if options.dicom else None
    written = write_report(
        diagnosis,
        ct,
        study.folder,
        options.overwrite or options.resume,
        dicom_source,
        page=options.page,
        save_nodules=options.save_nodules,
    )
    progress("report", 1.0)
    return diagnosis, written


def begin_study(study: Study, pipeline: Pipeline, options: Options) -> ReadStudy | None:
    """Read one CT of many; None if `options` say `resume` and it is done, see :func:`is_done`.

    Raises
    ------
    LungsightError
        As :func:`read_study`.
    """
    return None if options.resume and is_done(study.folder, pipeline, options) else read_study(study, options)


def attempt_study(
    study: Study, begin: Callable[[], ReadStudy | None], pipeline: Pipeline, options: Options, progress: Progress
) -> Outcome:
    """Diagnose one CT of many: what goes wrong with it is an outcome, not an error.

    Parameters
    ----------
    begin
        Gives what :func:`begin_study` gives, or raises what it raises; a CT that is done is left as it is.
    study, pipeline, options, progress
        As in :func:`diagnose_study`.
    """
    try:
        progress("read", 0.0)
        read = begin()
        progress("read", 1.0)
        if read is None:
            return Outcome(study)
        diagnosis, _ = diagnose_study(study, read, pipeline, options, progress)
    except LungsightError as error:
        return Outcome(study, failure=Failure(type(error).__name__, error.found, error.expected, error.remedy))
    except Exception as error:  # a bug, or a CT nobody thought of: the others must go on
        return Outcome(
            study,
            failure=Failure(
                type(error).__name__,
                f"{type(error).__name__}: {error}",
                "a CT that Lungsight can take, or a clear refusal: this is a bug in Lungsight",
                "Report it to the developers with the output of `lungsight --debug diagnose` on this CT alone.",
            ),
        )
    count = len(diagnosis.warnings)
    warned = f" ({count} warning{'' if count == 1 else 's'})" if count else ""
    return Outcome(study, diagnosis_line(diagnosis) + warned)


def is_done(folder: Path, pipeline: Pipeline, options: Options) -> bool:
    """Whether a folder holds all that would be written, by the same version, system, weights and settings.

    The engine may be another: its precision is no setting, and a run may go on on another machine.
    """
    wanted = [REGIONS_FILE, *([PAGE_FILE] if options.page else []), *(["dicom/sr.dcm"] if options.dicom else [])]
    try:
        record = json.loads((folder / DIAGNOSIS_FILE).read_text("utf-8"))
        how = record["provenance"]
        found = (record["system"], how["weights_sha256"], how["config"], how["version"])
        wanted += nodule_files(len(record["nodules"])) if options.save_nodules else []
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return found == _identity(pipeline) and all((folder / name).is_file() for name in wanted)


def _identity(pipeline: Pipeline) -> tuple[str, str, Any, str]:
    """What the record of a CT that this pipeline diagnosed tells of it."""
    config = json.loads(json.dumps(asdict(pipeline.config)))  # tuples are lists in the record
    return pipeline.system, pipeline.weights_sha256, config, __version__


def _compared(diagnosis: Diagnosis, ct: CTVolume, source: Path, prior: Path, config: Config) -> Diagnosis:
    earlier = read_ct(prior)
    now, then = read_acquisition_date(source, ct.series_uid), read_acquisition_date(prior, earlier.series_uid)
    days = (now - then).days if now and then else None
    if days is not None and days <= 0:
        found = f"{prior}, acquired {-days} days after {source}" if days else f"two CTs of one day, {then}"
        raise InputError(found, "an earlier CT after --prior", "Exchange the two, or leave out --prior.")
    return prior_ct.compare_with_prior(diagnosis, ct, earlier, days, config)
