"""Tables: what is read, and each refusal with its three parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lungsight.errors import InputError
from lungsight.evaluate.match import Finding, Mark
from lungsight.evaluate.tables import (
    read_luna16_findings,
    read_luna16_marks,
    read_patient_labels,
    read_patient_scores,
)
from refusals import refused

FINDINGS = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
MARKS = "seriesuid,coordX,coordY,coordZ,probability\n"


def table(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def luna16(folder: Path, included: str = "", excluded: str | None = "", uids: str = "1.2\n1.3\n") -> Path:
    table(folder, FINDINGS + included, "annotations.csv")
    if excluded is not None:
        table(folder, FINDINGS + excluded, "annotations_excluded.csv")
    table(folder, uids, "seriesuids.csv")
    return folder


def test_labels_and_scores_as_a_spreadsheet_writes_them(tmp_path: Path) -> None:
    # A byte order mark, carriage returns, an empty line, other columns, another order, quotes and spaces.
    text = '\ufefflabel,sex,patient_id\r\n1,f,"P, 1"\r\n\r\n 0 ,m, P2 \r\n'
    assert read_patient_labels(table(tmp_path, text)).label == {"P, 1": True, "P2": False}
    scores = read_patient_scores(table(tmp_path, "patient_id,score\nP2,1\nP1,2.5e-1\n"))
    assert (scores.score, scores.warnings) == ({"P2": 1.0, "P1": 0.25}, ())


def test_labels_and_scores_as_the_contest_calls_them(tmp_path: Path) -> None:
    assert read_patient_labels(table(tmp_path, "id,cancer\nP1,1\nP2,0\n")).label == {"P1": True, "P2": False}
    assert read_patient_scores(table(tmp_path, "cancer,id\n0.25,P1\n")).score == {"P1": 0.25}
    # A table that has both means its own columns by their own names.
    both = table(tmp_path, "id,cancer,patient_id,score\n1,1,P1,0.5\n")
    assert read_patient_scores(both).score == {"P1": 0.5}


def test_no_prediction_at_all_can_be_read(tmp_path: Path) -> None:
    assert read_patient_scores(table(tmp_path, "patient_id,score\n")).score == {}
    assert read_luna16_marks(table(tmp_path, MARKS)).marks == ()


def test_marks_keep_their_world_coordinates(tmp_path: Path) -> None:
    marks = read_luna16_marks(table(tmp_path, "seriesuid,coordZ,coordY,coordX,probability\n1.2,3,-2,1.5,-7\n"))
    assert marks.marks == (Mark("1.2", (1.5, -2.0, 3.0), -7.0),)
    assert marks.series_uids is None


def test_luna16s_findings(tmp_path: Path) -> None:
    folder = luna16(tmp_path, "1.2,1,2,3,8.5\n", "1.2,4,5,6,-1\n1.3,7,8,9,\n", "seriesuid\n1.2\n1.3\n")
    truth = read_luna16_findings(folder)
    assert truth.series_uids == ("1.2", "1.3")
    assert truth.findings == (
        Finding("1.2", (1, 2, 3), 8.5),
        Finding("1.2", (4, 5, 6), None, excluded=True),
        Finding("1.3", (7, 8, 9), None, excluded=True),
    )
    assert truth.warnings == ()


def test_what_is_absent_or_ignored_is_told(tmp_path: Path) -> None:
    truth = read_luna16_findings(luna16(tmp_path, "9.9,1,2,3,8\n", excluded=None))
    no_excluded, not_listed = truth.warnings
    assert no_excluded == "There is no annotations_excluded.csv: no finding is excluded."
    assert not_listed == "1 findings lie in scans that seriesuids.csv does not list; they are ignored."


Read = Callable[[Path], object]


@pytest.mark.parametrize(
    ("read", "text", "found", "expected", "remedy"),
    [
        (read_patient_labels, "", "an empty file", "a header patient_id,label", "with its header"),
        (read_patient_labels, "patient_id,label\n", "no patients", "a row for each", "Give the table"),
        (read_patient_labels, "id,tumour\nP1,1\n", "columns id, tumour", "patient_id, label among", "Add the header"),
        (
            read_patient_labels,
            "patient_id,label,label\nP1,1,0\n",
            "columns patient_id",
            "label among",
            "Add the header",
        ),
        (read_patient_labels, "patient_id,label\nP1,1\nP1,0\n", "line 3: P1 for the second", "each once", "Correct"),
        (read_patient_labels, "patient_id,label\n,1\n", "line 2: an empty name", "who or what", "Correct"),
        (read_patient_labels, "patient_id,label\nP1,2\n", "line 2: label is 2", "0 .benign. or 1", "Correct"),
        (read_patient_labels, "patient_id,label\nP1,yes\n", "line 2, label: 'yes'", "0 .benign. or 1", "Correct"),
        (read_patient_labels, "patient_id,label\nP1\n", "line 2: 1 cells", "2, as in the header", "Correct"),
        (read_patient_labels, 'patient_id,label\n"P1,1\n', "table.csv: ", "a CSV file in UTF-8", "Give a table"),
        (read_patient_labels, "id,cancer\nP1,2\n", "line 2: cancer is 2", "0 .benign. or 1", "Correct"),
        (read_patient_scores, "id,cancer\nP1,-1\n", "line 2: cancer is -1", "from 0 to 1", "Map the scores"),
        (read_patient_scores, "patient_id,score\nP1,high\n", "line 2, score: 'high'", "from 0 to 1", "Correct"),
        (read_patient_scores, "patient_id,score\nP1,nan\n", "line 2, score: 'nan'", "from 0 to 1", "Correct"),
        (read_patient_scores, "patient_id,score\nP1,1.5\n", "line 2: score is 1.5", "from 0 to 1", "Map the scores"),
        (read_patient_scores, "patient_id,score\nP1,0\nP1,0\n", "line 3: P1 for the second", "each once", "Correct"),
        (read_luna16_marks, "seriesuid,coordX,coordY,coordZ\n", "columns seriesuid", "probability among", "Add"),
        (read_luna16_marks, MARKS + "1.2,1,2,,0.5\n", "line 2, coordZ: ''", "a finite number of mm", "Correct"),
        (read_luna16_marks, MARKS + "1.2,1,2,3,inf\n", "line 2, probability: 'inf'", "a finite number", "Correct"),
    ],
)
def test_a_table_that_cannot_be_used(
    tmp_path: Path, read: Read, text: str, found: str, expected: str, remedy: str
) -> None:
    with refused(InputError, found, expected, remedy):
        read(table(tmp_path, text))


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    with refused(InputError, "nowhere.csv: No such file", "a CSV file", "Give a table"):
        read_patient_labels(tmp_path / "nowhere.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\xff\xfe")
    with refused(InputError, "picture.csv: ", "a CSV file in UTF-8", "Give a table"):
        read_patient_labels(tmp_path / "picture.csv")


@pytest.mark.parametrize("name", ["annotations.csv", "seriesuids.csv"])
def test_luna16_needs_its_findings_and_its_list_of_scans(tmp_path: Path, name: str) -> None:
    (luna16(tmp_path) / name).unlink()
    with refused(InputError, f"no {name} in ", "annotations.csv and seriesuids.csv", "Put the files"):
        read_luna16_findings(tmp_path)


def test_luna16s_list_of_scans_is_checked(tmp_path: Path) -> None:
    with refused(InputError, "line 3: 1.2 for the second time", "each once", "Correct"):
        read_luna16_findings(luna16(tmp_path, uids="1.2\n1.3\n1.2\n"))
    with refused(InputError, "seriesuids.csv: no scans", "a Series Instance UID on each line", "Correct"):
        read_luna16_findings(luna16(tmp_path, uids="\n"))
    with refused(InputError, "annotations.csv, line 2, diameter_mm: 'big'", "a number", "Correct"):
        read_luna16_findings(luna16(tmp_path, "1.2,1,2,3,big\n"))
