"""Many CTs, a folder each: what is done stays, what fails is listed, the rest goes on."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lungsight.cohort.ahead import reading_ahead
from lungsight.cohort.names import name_studies
from lungsight.cohort.options import Options, Outcome, Study
from lungsight.cohort.study import Progress, load_system
from lungsight.cohort.workers import Load, Run, worker_processes
from lungsight.errors import CorruptFileError, InputError, OutputError
from lungsight.report.staging import check_folder, remove_leftovers

__all__ = ["FAILED_FILE", "SOURCES_FILE", "diagnose_cohort", "plan_cohort", "read_list"]

FAILED_FILE, SOURCES_FILE = "failed.json", "sources.json"
_NOTHING = re.compile(r"(?!)")


def read_list(path: Path) -> list[Path]:
    """The inputs that a text file lists: one a line, empty lines and those that begin with ``#`` left out.

    Raises
    ------
    InputError
        If the file cannot be read or lists nothing.
    """
    remedy = "Write one input a line; relative paths count from the folder you are in."
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "a text file", remedy) from error
    sources = [Path(line) for line in lines if line and not line.startswith("#")]
    if not sources:
        raise InputError(f"{path} lists nothing", "at least one input", remedy)
    return sources


def plan_cohort(sources: Sequence[Path], out: Path, options: Options) -> tuple[Study, ...]:
    """Say which CT goes to which folder of `out`, and refuse an `out` that may not be written to.

    Parameters
    ----------
    sources
        The inputs; one that stands there twice is taken once.
    out
        Should not exist, unless `options` say `overwrite` or `resume`; then an input keeps the folder it had.
    options
        See there.

    Returns
    -------
    tuple of Study
        In the order of `sources`; the folders are named by :func:`~lungsight.cohort.names.name_studies`.

    Raises
    ------
    OutputError
        If `out` exists and neither was said, or it cannot be written to.
    CorruptFileError
        If `out` holds a ``sources.json`` that is none.
    """
    if out.is_dir() and not (options.overwrite or options.resume):
        remedy = "Choose another folder, say --resume to go on in it, or --overwrite to do all anew."
        raise OutputError(f"the folder {out} exists", "one that does not", remedy)
    if not out.is_dir():
        check_folder(out, False, _NOTHING)
    named = name_studies(sources, _read_sources(out / SOURCES_FILE), (FAILED_FILE, SOURCES_FILE))
    return tuple(Study(source, out / name) for name, source in named.items())


def diagnose_cohort(
    studies: Sequence[Study],
    out: Path,
    options: Options,
    *,
    jobs: int = 1,
    load: Load = load_system,
    tell: Callable[[Outcome], None],
    progress: Progress,
) -> tuple[Outcome, ...]:
    """Diagnose many CTs with a system that is loaded once (a process).

    Parameters
    ----------
    studies, out
        Of :func:`plan_cohort`. ``out/sources.json`` tells which input has which folder; ``out/failed.json`` lists those
        that could not be diagnosed, if there are any.
    options
        See there.
    jobs
        1 computes here; more, in as many processes that share the cores. One that dies costs the CT it had.
    load
        Gives the system; importable by its name if `jobs` is more than 1.
    tell
        Told of each CT as it is done, in any order.
    progress
        Told ``("CTs", share)``, and where it is computed here each step of each CT.

    Returns
    -------
    tuple of Outcome
        In the order of `studies`.

    Raises
    ------
    LungsightError
        If the system cannot be loaded (then nothing is written), or `out` cannot be written to.
    """
    outcomes: dict[Path, Outcome] = {}
    with _here(load, options, progress) if jobs == 1 else worker_processes(load, options, jobs) as run:
        _prepare(out, studies)
        progress("CTs", 0.0)
        for outcome in run(studies):
            outcomes[outcome.study.folder] = outcome
            if outcome.failure is not None:
                _write_failures(out, studies, outcomes)
            tell(outcome)
            progress("CTs", len(outcomes) / len(studies))
    return tuple(outcomes[study.folder] for study in studies)


@contextlib.contextmanager
def _here(load: Load, options: Options, progress: Progress) -> Iterator[Run]:
    with reading_ahead(load(options), options, progress) as run:
        yield run


def _prepare(out: Path, studies: Sequence[Study]) -> None:
    """Before the first result: tell the inputs, clear what a killed run left, forget what failed then."""
    known = _read_sources(out / SOURCES_FILE)
    sources = known | {study.folder.name: study.source for study in studies}
    _write_json(out / SOURCES_FILE, {name: str(source) for name, source in sources.items()})
    (out / FAILED_FILE).unlink(missing_ok=True)
    remove_leftovers(out, {FAILED_FILE, SOURCES_FILE, *sources})


def _write_failures(out: Path, studies: Sequence[Study], outcomes: dict[Path, Outcome]) -> None:
    failed = [outcomes[study.folder] for study in studies if study.folder in outcomes]
    rows = [
        {"name": each.study.folder.name, "source": str(each.study.source), **asdict(each.failure)}
        for each in failed
        if each.failure is not None
    ]
    _write_json(out / FAILED_FILE, rows)


def _read_sources(path: Path) -> dict[str, Path]:
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text("utf-8"))
        return {name: Path(source) for name, source in record.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        remedy = "Choose another folder, or delete the file: then folders are named anew."
        raise CorruptFileError(f"{path}: {error}", "folder names with their inputs", remedy) from error


def _write_json(path: Path, record: Any) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        found = f"{path} cannot be written: {error.strerror or error}"
        raise OutputError(found, "a place with room and the right to write", "Free some space.") from error
