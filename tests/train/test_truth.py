import subprocess
import sys
from pathlib import Path

import pytest

from lungsight.errors import CorruptFileError, InputError
from lungsight.train.truth import count_readers_around, read_lidc_xml

POINT = "<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>"


def roi(points: list[tuple[int, int]], uid: str = "1.2.47", inclusion: str = "TRUE", z: str = "-125.000000 ") -> str:
    """As in LIDC-IDRI's files: x is the column, y the row, and the position has a space behind it."""
    marks = "\n".join(POINT.format(x=x, y=y) for x, y in points)
    return (
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>{uid}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{marks}</roi>"
    )


OUTLINE = [(10, 5), (20, 5), (20, 9), (14, 9), (14, 15), (10, 15)]  # an L: wide at the top, its leg at the left
HOLE = [(11, 6), (13, 6), (13, 8), (11, 8)]
SLICE = "<imageSOP_UID>1.2.47</imageSOP_UID>"
RATED = (
    "<characteristics><subtlety>5</subtlety><calcification>6</calcification>"
    "<malignancy>4</malignancy></characteristics>"
)
FIRST = (
    f"<unblindedReadNodule><noduleID>Nodule 001</noduleID>{RATED}"
    f"{roi(OUTLINE)}{roi(HOLE, inclusion='FALSE')}{roi(OUTLINE[:4], '1.2.48')}</unblindedReadNodule>"
)
SMALL = f"<unblindedReadNodule><noduleID>2</noduleID>{roi([(40, 41)])}</unblindedReadNodule>"
NON_NODULE = (
    "<nonNodule><nonNoduleID>9</nonNoduleID><imageZposition>-9</imageZposition><imageSOP_UID>1.2.9</imageSOP_UID>"
    "<locus><xCoord>1</xCoord><yCoord>2</yCoord></locus></nonNodule>"
)
WITHOUT_RATINGS = f"<unblindedReadNodule><noduleID>3</noduleID>{roi(OUTLINE)}</unblindedReadNodule>"


def document(*sessions: str, root: str = "LidcReadMessage", series: str = "1.2.840.7") -> str:
    read = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion>"
        f"<servicingRadiologistID>5</servicingRadiologistID>{session}</readingSession>"
        for session in sessions
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} uid="1.3" xmlns="http://www.nih.gov">'
        f"<ResponseHeader><Version>1.8.1</Version><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>"
        f"{read}</{root}>"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "069.xml"
    path.write_text(document(FIRST + SMALL + NON_NODULE, WITHOUT_RATINGS, ""), "utf-8")
    return path


def test_each_session_is_a_reading(path: Path) -> None:
    readings = read_lidc_xml(path)
    assert [reading.series_uid for reading in readings] == ["1.2.840.7"] * 3
    assert [[nodule.name for nodule in reading.nodules] for reading in readings] == [["Nodule 001", "2"], ["3"], []]
    first, small = readings[0].nodules
    assert dict(first.ratings) == {"subtlety": 5, "calcification": 6, "malignancy": 4}
    assert dict(small.ratings) == {}
    assert [outline.is_hole for outline in first.outlines] == [False, True, False]
    assert first.outlines[0].z_mm == -125.0
    assert first.outlines[2].sop_instance_uid == "1.2.48"


def test_x_is_the_column_and_y_the_row(path: Path) -> None:
    outline = read_lidc_xml(path)[0].nodules[0].outlines[0]
    assert outline.points_row_column[:2].tolist() == [[5, 10], [5, 20]]


@pytest.mark.parametrize(
    ("row", "column", "readers"),
    [
        (6.5, 17.5, 2),  # the wide part
        (12.0, 12.0, 2),  # the leg
        (12.0, 17.5, 0),  # beside the leg: rows and columns changed over would be inside
        (7.0, 12.0, 1),  # in the hole that one reader drew
        (4.0, 15.0, 0),
        (41.0, 40.0, 0),  # a single point encloses nothing
    ],
)
def test_how_many_readers_drew_around_a_point(path: Path, row: float, column: float, readers: int) -> None:
    readings = read_lidc_xml(path)
    assert count_readers_around(readings, "1.2.47", row, column) == readers
    assert count_readers_around(readings, "1.2.1", row, column) == 0


def test_an_outline_counts_in_its_own_slice_only(path: Path) -> None:
    assert count_readers_around(read_lidc_xml(path), "1.2.48", 6.5, 17.5) == 1


@pytest.mark.parametrize(
    ("text", "error", "found"),
    [
        (document(FIRST)[:-30], CorruptFileError, r"069\.xml"),
        (document(FIRST.replace(">5</yCoord>", ">five</yCoord>")), CorruptFileError, "five"),
        (
            document(FIRST.replace("<imageSOP_UID>1.2.47</imageSOP_UID>", "")),
            CorruptFileError,
            "imageSOP_UID is missing",
        ),
        (document(FIRST, series=""), CorruptFileError, "SeriesInstanceUid is missing"),
        (
            document(f"<unblindedReadNodule><noduleID>1</noduleID>{roi([])}</unblindedReadNodule>"),
            CorruptFileError,
            "edgeMap",
        ),
        (document(FIRST, root="IdriReadMessage"), InputError, "IdriReadMessage"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", InputError, "document type"),
        ("no XML", CorruptFileError, "syntax error"),
    ],
)
def test_what_cannot_be_read_is_refused(path: Path, text: str, error: type[InputError], found: str) -> None:
    path.write_text(text, "utf-8")
    with pytest.raises(error, match=found) as caught:
        read_lidc_xml(path)
    assert "069.xml" in caught.value.found
    assert caught.value.expected
    assert "LIDC-IDRI" in caught.value.remedy


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_lidc_xml(tmp_path / "none.xml")


def test_reading_the_truth_needs_no_torch() -> None:
    code = "import sys, lungsight.train.truth; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    assert ran.stdout == "False\n"
