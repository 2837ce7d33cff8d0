"""Files against files: each kind of predictions with each kind of truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungsight.errors import InputError
from lungsight.evaluate.evaluation import evaluate_files, found_by_size
from lungsight.evaluate.intervals import Bootstrap, Proportion
from lungsight.evaluate.match import Finding, Mark, match_marks
from lungsight.evaluate.roc import Table
from lungsight.report.record import diagnosis_to_json
from refusals import refused
from samples import SERIES_UID, malignant, sample_ct, without_nodule

FEW = Bootstrap(draws=20)
LABELS = "patient_id,label\na,1\nb,0\nc,1\n"
FINDINGS = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
MARKS = "seriesuid,coordX,coordY,coordZ,probability\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def luna16(folder: Path, included: str, uids: str = "1.2\n1.3\n") -> Path:
    write(folder / "annotations.csv", FINDINGS + included)
    write(folder / "annotations_excluded.csv", FINDINGS)
    return write(folder / "seriesuids.csv", uids).parent


def test_scores_of_patients(tmp_path: Path) -> None:
    scores = write(tmp_path / "scores.csv", "patient_id,score\nb,0.2\na,0.4\n")
    evaluation = evaluate_files(scores, write(tmp_path / "truth.csv", LABELS), 0.4, FEW)
    assert evaluation.patients is not None
    assert evaluation.patients.table == Table(1, 0, 1, 1)
    assert evaluation.warnings == ("1 of 3 patients have no prediction and count as wrong: c.",)
    assert (evaluation.bootstrap, evaluation.detection, evaluation.overlap) == (FEW, None, None)


def test_diagnoses_of_patients(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a" / "diagnosis.json", diagnosis_to_json(malignant(sample_ct())))
    write(tmp_path / "out" / "b" / "diagnosis.json", diagnosis_to_json(without_nodule(sample_ct())))
    evaluation = evaluate_files(tmp_path / "out", write(tmp_path / "truth.csv", LABELS), 0.5, FEW)
    assert evaluation.patients is not None
    assert evaluation.patients.table == Table(1, 0, 1, 1)


def test_one_class_is_told(tmp_path: Path) -> None:
    scores = write(tmp_path / "scores.csv", "patient_id,score\na,0.4\n")
    evaluation = evaluate_files(scores, write(tmp_path / "truth.csv", "patient_id,label\na,1\n"), 0.5, FEW)
    assert evaluation.warnings == ("No patient is benign: what needs both kinds is not defined.",)


def test_marks_in_scans(tmp_path: Path) -> None:
    marks = write(tmp_path / "marks.csv", MARKS + "1.2,1,2,3,0.9\n9.9,1,2,3,0.9\n")
    evaluation = evaluate_files(marks, luna16(tmp_path / "luna", "1.2,1,2,4,8\n1.3,1,2,4,8\n"), 0.5, FEW)
    assert evaluation.detection is not None
    assert evaluation.detection.froc.cpm.value == 0.5
    assert (evaluation.bootstrap, evaluation.patients) == (FEW, None)
    assert evaluation.warnings == ("The truth does not list 1 scans with marks; they are ignored: 9.9.",)


def test_diagnoses_of_scans(tmp_path: Path) -> None:
    diagnosis = malignant(sample_ct())
    x, y, z = diagnosis.nodules[0].candidate.location.lps_mm
    write(tmp_path / "out" / "a" / "diagnosis.json", diagnosis_to_json(diagnosis))
    truth = luna16(tmp_path / "luna", f"{SERIES_UID},{x},{y + 1},{z},4\n", f"{SERIES_UID}\n1.3\n")
    evaluation = evaluate_files(tmp_path / "out", truth, 0.5, FEW)
    assert evaluation.detection is not None
    assert evaluation.detection.froc.cpm.value == 1.0
    assert evaluation.warnings == ("1 of 2 scans have no diagnosis, all is missed there: 1.3.",)


def test_what_the_rules_drop_or_leave_open_is_told(tmp_path: Path) -> None:
    many = "".join(f"1.2,{k},0,0,{k / 200}\n" for k in range(103))
    marks = write(tmp_path / "marks.csv", MARKS + many)
    no_nodule, dropped = evaluate_files(marks, luna16(tmp_path / "luna", ""), 0.5, FEW).warnings
    assert no_nodule == "There is no nodule in the listed scans: sensitivity and CPM are not defined."
    assert dropped == "3 marks were dropped in scans with more than the rules allow."


def test_no_marks_at_all_is_a_result(tmp_path: Path) -> None:
    marks = write(tmp_path / "marks.csv", MARKS)
    result = evaluate_files(marks, luna16(tmp_path / "luna", "1.2,1,2,3,8\n"), 0.5, FEW).detection
    assert result is not None
    assert result.froc.cpm.value == 0.0


def test_predictions_of_another_kind_than_the_truth_are_refused(tmp_path: Path) -> None:
    labels, truth = write(tmp_path / "truth.csv", LABELS), luna16(tmp_path / "luna", "")
    scores, marks = write(tmp_path / "s.csv", "patient_id,score\n"), write(tmp_path / "m.csv", MARKS)
    with refused(InputError, "m.csv: marks in scans", "scores of patients", "nodules are marked"):
        evaluate_files(marks, labels, 0.5, FEW)
    with refused(InputError, "s.csv: scores of patients", "marks in scans", "labels of patients"):
        evaluate_files(scores, truth, 0.5, FEW)


def test_predictions_that_belong_to_other_cases_are_refused(tmp_path: Path) -> None:
    strangers = "".join(f"x{k},0.5\n" for k in range(7))
    scores = write(tmp_path / "s.csv", "patient_id,score\na,0.5\n" + strangers)
    with refused(InputError, r"7 predictions .* x0, x1, x2, x3, x4, \.\.\.$", "3 patients", "Add their labels"):
        evaluate_files(scores, write(tmp_path / "truth.csv", LABELS), 0.5, FEW)
    marks = write(tmp_path / "m.csv", MARKS + "9.9,1,2,3,0.9\n")
    with refused(InputError, "all marks .* does not list: 9.9", "2 listed scans", "name the same series"):
        evaluate_files(marks, luna16(tmp_path / "luna", ""), 0.5, FEW)


def test_progress_goes_from_reading_to_the_last_draw(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    scores = write(tmp_path / "s.csv", "patient_id,score\na,0.5\n")
    truth = write(tmp_path / "truth.csv", LABELS)
    evaluate_files(scores, truth, 0.5, FEW, lambda step, done: told.append((step, done)))
    assert (told[0], told[1], told[-1]) == (("read", 0.0), ("read", 1.0), ("bootstrap", 1.0))


@pytest.mark.parametrize(("diameter_mm", "name"), [(5.0, "<6 mm"), (31.0, ">30 mm"), (None, "unknown")])
def test_nodules_are_counted_by_size(diameter_mm: float | None, name: str) -> None:
    findings = [Finding("1", (x, 0, 0), diameter_mm) for x in (0.0, 100.0)]
    shares = found_by_size(match_marks([Mark("1", (0, 0, 0), -3.0)], findings, ["1"]))
    assert shares.pop(name) == Proportion(1, 2)
    assert set(shares.values()) == {Proportion(0, 0)}
