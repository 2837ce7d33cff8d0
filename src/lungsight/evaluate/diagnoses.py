"""The door for diagnoses: what `lungsight diagnose` wrote for many CTs, as scores of patients or marks in scans."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lungsight.errors import CorruptFileError, InputError
from lungsight.evaluate.intervals import ignore_progress
from lungsight.evaluate.match import Mark
from lungsight.evaluate.tables import PatientScores, ScanMarks
from lungsight.findings import Verdict

__all__ = ["read_diagnosis_marks", "read_diagnosis_scores"]

_FILE = "diagnosis.json"


def read_diagnosis_scores(folder: Path, progress: Callable[[str, float], None] = ignore_progress) -> PatientScores:
    """The malignancy score of each patient, from ``<folder>/<patient_id>/diagnosis.json``.

    A CT without nodule scores 0. One that shows no lung (INDETERMINATE) was not judged: the patient has no score, which
    the warnings tell.

    Parameters
    ----------
    folder
        Holds a folder for each patient; other files are ignored.
    progress
        Told ``("read", done)``.

    Raises
    ------
    InputError
        If there is no diagnosis.
    CorruptFileError
        If one is not what `lungsight diagnose` writes.
    """
    score: dict[str, float] = {}
    not_judged = []
    for path, record in _records(folder, progress):
        patient, verdict = path.parent.name, record["verdict"]
        if verdict == Verdict.INDETERMINATE:
            not_judged.append(patient)
        elif verdict == Verdict.NO_NODULE:
            score[patient] = 0.0
        else:
            score[patient] = _number(record.get("malignancy_score"), path, "malignancy_score", from_0_to_1=True)
    warnings = [f"The CT of {patient} shows no lung: it has no score." for patient in not_judged]
    return PatientScores(score, tuple(warnings))


def read_diagnosis_marks(folder: Path, progress: Callable[[str, float], None] = ignore_progress) -> ScanMarks:
    """The nodules of each scan as marks that score as the detection did.

    Parameters
    ----------
    folder
        As in :func:`read_diagnosis_scores`. A scan is named by its series UID, without one (NIfTI) by its folder.
    progress
        Told ``("read", done)``.

    Raises
    ------
    InputError
        If there is no diagnosis, or two are of one series.
    CorruptFileError
        If one is not what `lungsight diagnose` writes.
    """
    marks: list[Mark] = []
    path_of: dict[str, Path] = {}
    warnings = []
    for path, record in _records(folder, progress):
        series_uid = record["provenance"].get("series_uid") or path.parent.name
        if series_uid in path_of:
            found = f"{path_of[series_uid]} and {path} are of the series {series_uid}"
            raise InputError(found, "one diagnosis of each series", "Take one of them out of the folder.")
        path_of[series_uid] = path
        if record["verdict"] == Verdict.INDETERMINATE:
            warnings.append(f"The CT {series_uid} shows no lung: nothing is marked in it.")
        for nodule in record["nodules"]:
            place = nodule.get("centre_lps_mm") if isinstance(nodule, dict) else None
            if not isinstance(place, list) or len(place) != 3:
                raise _corrupt(path, "a nodule without centre_lps_mm")
            x, y, z = (_number(mm, path, "centre_lps_mm") for mm in place)
            marks.append(Mark(series_uid, (x, y, z), _number(nodule.get("detection_score"), path, "detection_score")))
    folder_of = {uid: path.parent for uid, path in path_of.items()}
    return ScanMarks(tuple(marks), frozenset(path_of), tuple(warnings), folder_of)


def _records(folder: Path, progress: Callable[[str, float], None]) -> list[tuple[Path, dict[str, Any]]]:
    # What a killed run left half written has a name that begins with a dot.
    paths = sorted(path for path in folder.glob(f"*/{_FILE}") if not path.parent.name.startswith("."))
    if not paths:
        remedy = "Give the folder that holds one folder, made by `lungsight diagnose`, for each patient."
        raise InputError(f"no */{_FILE} in {folder}", "one for each patient", remedy)
    records = []
    for k, path in enumerate(paths, start=1):
        records.append((path, _record(path)))
        progress("read", k / len(paths))
    return records


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _corrupt(path, str(error)) from error
    if not isinstance(record, dict):
        raise _corrupt(path, "no object")
    for name, kind in {"verdict": str, "nodules": list, "provenance": dict}.items():
        if not isinstance(record.get(name), kind):
            raise _corrupt(path, f"no {name}")
    if record["verdict"] not in list(Verdict):
        raise _corrupt(path, f"the verdict {record['verdict']}")
    return record


def _number(value: Any, path: Path, name: str, *, from_0_to_1: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _corrupt(path, f"{name} is {value!r}")
    if from_0_to_1 and not 0 <= value <= 1:
        raise _corrupt(path, f"{name} is {value!r}")
    return float(value)


def _corrupt(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(
        f"{path}: {what}", "a diagnosis as `lungsight diagnose` writes it", "Diagnose the CT again."
    )
