"""Diagnoses as the program itself writes them, read as scores and as marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lungsight.errors import CorruptFileError, InputError
from lungsight.evaluate.diagnoses import read_diagnosis_marks, read_diagnosis_scores
from lungsight.evaluate.match import Mark
from lungsight.findings import Diagnosis, Verdict
from lungsight.report.record import diagnosis_record, diagnosis_to_json
from refusals import refused
from samples import SERIES_UID, malignant, sample_ct, without_nodule

MASS = malignant(sample_ct())
PLACE = MASS.nodules[0].candidate.location.lps_mm


def put(folder: Path, patient: str, diagnosis: Diagnosis, **changes: Any) -> Path:
    (folder / patient).mkdir(parents=True)
    record = diagnosis_record(diagnosis) | changes
    text = json.dumps(record) if changes else diagnosis_to_json(diagnosis)
    (folder / patient / "diagnosis.json").write_text(text, "utf-8")
    return folder


def test_scores_of_patients(tmp_path: Path) -> None:
    put(tmp_path, "b", without_nodule(sample_ct()))
    put(tmp_path, "a", MASS)
    put(tmp_path, "c", without_nodule(sample_ct(), Verdict.INDETERMINATE))
    put(tmp_path, ".a.partial", MASS)  # what a killed run left
    (tmp_path / "notes.txt").write_text("x")
    told: list[tuple[str, float]] = []
    scores = read_diagnosis_scores(tmp_path, lambda step, done: told.append((step, done)))
    assert scores.score == {"a": 0.96875, "b": 0.0}
    assert scores.warnings == ("The CT of c shows no lung: it has no score.",)
    assert told == [("read", 1 / 3), ("read", 2 / 3), ("read", 1.0)]


def test_nodules_are_marks_in_their_series(tmp_path: Path) -> None:
    put(tmp_path, "a", MASS)
    put(tmp_path, "b", malignant(sample_ct(from_dicom=False)))
    put(tmp_path, "c", without_nodule(sample_ct(from_dicom=False), Verdict.INDETERMINATE))
    marks = read_diagnosis_marks(tmp_path)
    assert marks.marks == (Mark(SERIES_UID, PLACE, 0.875), Mark("b", PLACE, 0.875))
    assert marks.series_uids == frozenset({SERIES_UID, "b", "c"})
    assert marks.folder_of == {SERIES_UID: tmp_path / "a", "b": tmp_path / "b", "c": tmp_path / "c"}
    assert marks.warnings == ("The CT c shows no lung: nothing is marked in it.",)


def test_a_series_diagnosed_twice_is_refused(tmp_path: Path) -> None:
    put(put(tmp_path, "a", MASS), "b", MASS)
    with refused(InputError, f"series {SERIES_UID}", "one diagnosis of each", "Take one of them out"):
        read_diagnosis_marks(tmp_path)


def test_a_folder_without_diagnoses_is_refused(tmp_path: Path) -> None:
    for read in (read_diagnosis_scores, read_diagnosis_marks):
        with refused(InputError, "no .*diagnosis.json in", "one for each patient", "Give the folder"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"verdict": "FINE"}, "the verdict FINE"),
        ({"verdict": 3}, "no verdict"),
        ({"nodules": None}, "no nodules"),
        ({"malignancy_score": None}, "malignancy_score is None"),
        ({"malignancy_score": 1.5}, "malignancy_score is 1.5"),
        ({"malignancy_score": True}, "malignancy_score is True"),
    ],
)
def test_a_file_that_is_no_diagnosis_is_refused(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    with refused(
        CorruptFileError, f"diagnosis.json: {found}", "as `lungsight diagnose` writes", "Diagnose the CT again"
    ):
        read_diagnosis_scores(put(tmp_path, "a", MASS, **changes))


@pytest.mark.parametrize(
    ("nodule", "found"),
    [
        ({"detection_score": 0.5}, "a nodule without centre_lps_mm"),
        ({"centre_lps_mm": [1, 2], "detection_score": 0.5}, "a nodule without centre_lps_mm"),
        ({"centre_lps_mm": [1, 2, "x"], "detection_score": 0.5}, "centre_lps_mm is 'x'"),
        ({"centre_lps_mm": [1, 2, 3]}, "detection_score is None"),
        ("nodule", "a nodule without centre_lps_mm"),
    ],
)
def test_a_nodule_that_is_none_is_refused(tmp_path: Path, nodule: object, found: str) -> None:
    with refused(CorruptFileError, found, "as `lungsight diagnose` writes", "Diagnose the CT again"):
        read_diagnosis_marks(put(tmp_path, "a", MASS, nodules=[nodule]))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "a", MASS) / "a" / "diagnosis.json"
    path.write_text(path.read_text("utf-8")[:100], "utf-8")
    with refused(CorruptFileError, "diagnosis.json: ", "as `lungsight diagnose` writes", "Diagnose the CT again"):
        read_diagnosis_scores(tmp_path)
    path.write_text("[]", "utf-8")
    with refused(CorruptFileError, "no object", "as `lungsight diagnose` writes", "Diagnose the CT again"):
        read_diagnosis_scores(tmp_path)
