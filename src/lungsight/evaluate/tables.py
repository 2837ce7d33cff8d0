"""The door for tables: patients' labels and scores, LUNA16's annotations and marks, as CSV with a header."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lungsight.errors import InputError
from lungsight.evaluate.match import Finding, Mark

__all__ = [
    "CONTEST_COLUMNS",
    "LUNA16_MARK_COLUMNS",
    "PATIENT_LABEL_COLUMNS",
    "PATIENT_SCORE_COLUMNS",
    "PatientLabels",
    "PatientScores",
    "ScanFindings",
    "ScanMarks",
    "header_of",
    "is_of_patients",
    "read_luna16_findings",
    "read_luna16_marks",
    "read_patient_labels",
    "read_patient_scores",
]

PATIENT_LABEL_COLUMNS = ("patient_id", "label")
PATIENT_SCORE_COLUMNS = ("patient_id", "score")
CONTEST_COLUMNS = ("id", "cancer")
"""What the Data Science Bowl 2017 calls them, in its labels and in submissions."""
LUNA16_MARK_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "probability")
_LUNA16_FINDING_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
_LUNA16_FILES = ("annotations.csv", "annotations_excluded.csv", "seriesuids.csv")
_REMEDY = "Correct the file and try again."
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class PatientLabels:
    """Truth: patient -> whether malignant, in the order of the file."""

    label: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class PatientScores:
    """Predictions: patient -> malignancy score, 0 to 1, and what should be known of them."""

    score: Mapping[str, float]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanFindings:
    """Truth: what people found in the listed scans, and what should be known of it."""

    findings: tuple[Finding, ...]
    series_uids: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanMarks:
    """Predictions: what a system marked, in which scans it looked (None: not told), and what should be known of it.

    Of diagnoses `folder_of` tells where that of each scan lies.
    """

    marks: tuple[Mark, ...]
    series_uids: frozenset[str] | None = None
    warnings: tuple[str, ...] = ()
    folder_of: Mapping[str, Path] = field(default_factory=dict)


def read_patient_labels(path: Path) -> PatientLabels:
    """A table ``patient_id,label`` (or ``id,cancer``) with label 0 (benign) or 1 (malignant); others are ignored.

    Raises
    ------
    InputError
        If the file cannot be read, has no such columns or no row, names a patient twice, or a label is another.
    """
    label: dict[str, bool] = {}
    patient, column = _columns_of_patients(path, PATIENT_LABEL_COLUMNS)
    for place, row in _rows(path, (patient, column)):
        number = _number(row[column], f"{place}, {column}", "0 (benign) or 1 (malignant)")
        if number not in (0, 1):
            raise InputError(f"{place}: {column} is {row[column]}", "0 (benign) or 1 (malignant)", _REMEDY)
        _add(label, row[patient], number == 1, place)
    if not label:
        raise InputError(f"{path}: no patients", "a row for each patient", "Give the table that has the patients.")
    return PatientLabels(label)


def read_patient_scores(path: Path) -> PatientScores:
    """A table ``patient_id,score`` (or ``id,cancer``) with scores from 0 to 1; other columns are ignored.

    It may have no row.

    Raises
    ------
    InputError
        If the file cannot be read, has no such columns, names a patient twice, or a score is not in 0 to 1.
    """
    score: dict[str, float] = {}
    patient, column = _columns_of_patients(path, PATIENT_SCORE_COLUMNS)
    for place, row in _rows(path, (patient, column)):
        number = _number(row[column], f"{place}, {column}", "a number from 0 to 1")
        if not 0 <= number <= 1:
            remedy = "Map the scores to 0 to 1, keeping their order, and try again."
            raise InputError(f"{place}: {column} is {row[column]}", "a number from 0 to 1", remedy)
        _add(score, row[patient], number, place)
    return PatientScores(score)


def read_luna16_marks(path: Path) -> ScanMarks:
    """LUNA16's submission, ``seriesuid,coordX,coordY,coordZ,probability``; world coordinates are LPS mm.

    Raises
    ------
    InputError
        If the file cannot be read, has no such columns, or a coordinate or probability is not a finite number.
    """
    marks = []
    for place, row in _rows(path, LUNA16_MARK_COLUMNS):
        score = _number(row["probability"], f"{place}, probability", "a finite number")
        marks.append(Mark(row["seriesuid"], _centre(row, place), score))
    return ScanMarks(tuple(marks))


def read_luna16_findings(folder: Path) -> ScanFindings:
    """LUNA16's truth: ``annotations.csv``, ``annotations_excluded.csv`` and ``seriesuids.csv`` in one folder.

    Parameters
    ----------
    folder
        ``annotations.csv`` and ``annotations_excluded.csv`` have the columns ``seriesuid,coordX,coordY,coordZ,
        diameter_mm``, where a negative or empty diameter is an unknown one; without the second file nothing is
        excluded. ``seriesuids.csv`` lists the scans, one a line: those without nodules are in no
        other file, and without them the false marks per scan are not known.

    Raises
    ------
    InputError
        If a file is absent or cannot be read, a column is missing, a number is none, or a scan is listed twice or not
        at all.
    """
    included, excluded, listed = (folder / name for name in _LUNA16_FILES)
    for path in (included, listed):
        if not path.is_file():
            remedy = "Put the files of LUNA16's evaluation script into one folder."
            raise InputError(f"no {path.name} in {folder}", " and ".join((included.name, listed.name)), remedy)
    series_uids = _series_uids(listed)
    findings = list(_findings(included, excluded=False))
    warnings = []
    if excluded.is_file():
        findings += _findings(excluded, excluded=True)
    else:
        warnings.append(f"There is no {excluded.name}: no finding is excluded.")
    ignored = sum(finding.series_uid not in set(series_uids) for finding in findings)
    if ignored:
        warnings.append(f"{ignored} findings lie in scans that {listed.name} does not list; they are ignored.")
    return ScanFindings(tuple(findings), series_uids, tuple(warnings))


def header_of(path: Path) -> tuple[str, ...]:
    """The names of a table's columns; empty for an empty file.

    Raises
    ------
    InputError
        If the file cannot be read or is not text.
    """
    for _, cells in _lines(path):
        return tuple(cells)
    return ()


def is_of_patients(header: Sequence[str]) -> bool:
    """Whether a table with these columns has a row for each patient.

    Examples
    --------
    >>> is_of_patients(["patient_id", "score"]), is_of_patients(["id", "cancer"]), is_of_patients(["seriesuid"])
    (True, True, False)
    """
    return "patient_id" in header or set(CONTEST_COLUMNS) <= set(header)


def _columns_of_patients(path: Path, columns: tuple[str, str]) -> tuple[str, str]:
    """The columns with the patient and the value: `columns`, or if the table lacks one of them the contest's."""
    header = set(header_of(path))
    return CONTEST_COLUMNS if set(CONTEST_COLUMNS) <= header and not set(columns) <= header else columns


def _findings(path: Path, *, excluded: bool) -> Iterator[Finding]:
    for place, row in _rows(path, _LUNA16_FINDING_COLUMNS):
        size = row["diameter_mm"]
        diameter_mm = _number(size, f"{place}, diameter_mm", "a number") if size else -1.0
        yield Finding(row["seriesuid"], _centre(row, place), None if diameter_mm < 0 else diameter_mm, excluded)


def _centre(row: Mapping[str, str], place: str) -> tuple[float, float, float]:
    x, y, z = (_number(row[name], f"{place}, {name}", "a finite number of mm") for name in LUNA16_MARK_COLUMNS[1:4])
    return x, y, z


def _series_uids(path: Path) -> tuple[str, ...]:
    uids: dict[str, bool] = {}
    for place, cells in _lines(path):
        if cells[0] != LUNA16_MARK_COLUMNS[0]:  # the challenge's list has no header, copies of it do
            _add(uids, cells[0], True, place)
    if not uids:
        raise InputError(f"{path}: no scans", "a Series Instance UID on each line", _REMEDY)
    return tuple(uids)


def _add(table: dict[str, _Value], name: str, value: _Value, place: str) -> None:
    if not name:
        raise InputError(f"{place}: an empty name", "who or what the row is of", _REMEDY)
    if name in table:
        raise InputError(f"{place}: {name} for the second time", "each once", _REMEDY)
    table[name] = value


def _number(text: str, place: str, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{place}: {text!r}", expected, _REMEDY)
    return number


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row as ``(where it stands, column -> cell)``."""
    header: list[str] | None = None
    for place, cells in _lines(path):
        if header is None:
            header = cells
            missing = [name for name in columns if header.count(name) != 1]
            if missing:
                found = f"{path}: the columns {', '.join(header)}"
                raise InputError(found, f"{', '.join(missing)} among them, each once", "Add the header or the columns.")
        elif len(cells) != len(header):
            raise InputError(f"{place}: {len(cells)} cells", f"{len(header)}, as in the header", _REMEDY)
        else:
            yield place, dict(zip(header, cells, strict=True))
    if header is None:
        raise InputError(f"{path}: an empty file", f"a header {','.join(columns)}", "Give the table with its header.")


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each line that is not empty, as ``(where it stands, cells)``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    yield f"{path}, line {lines.line_num}", [cell.strip() for cell in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: {reason}", "a CSV file in UTF-8", "Give a table with commas, as text.") from error
