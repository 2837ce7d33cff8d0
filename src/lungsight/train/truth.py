"""Ground truth: what people marked in CTs. Reading it needs no network library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import CorruptFileError, InputError

__all__ = ["MarkedNodule", "Outline", "Reading", "count_readers_around", "read_lidc_xml"]


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One closed line in one slice.

    Attributes
    ----------
    sop_instance_uid
        The slice.
    z_mm
        Its position, as the file gives it.
    points_row_column
        Shape ``(n, 2)``, n >= 1, pixel indices in the order drawn; 0 is the centre of the first pixel. LIDC's readers
        drew along the first pixels outside the nodule.
    is_hole
        What it encloses does not belong to the nodule.
    """

    sop_instance_uid: str
    z_mm: float
    points_row_column: NDArray[np.float64]
    is_hole: bool = False

    def encloses(self, row: float, column: float) -> bool:
        """Whether a point lies inside the line (even-odd rule); a line of one or two points encloses nothing.

        Examples
        --------
        >>> square = Outline("1.2", 0.0, np.array([[0, 0], [0, 4], [4, 4], [4, 0]], float))
        >>> square.encloses(1, 3), square.encloses(1, 5)
        (True, False)
        """
        rows, columns = self.points_row_column.T
        next_rows, next_columns = np.roll(rows, -1), np.roll(columns, -1)
        crosses = (rows > row) != (next_rows > row)
        height = np.where(crosses, next_rows - rows, 1.0)
        at_column = columns + (row - rows) / height * (next_columns - columns)
        return bool(np.count_nonzero(crosses & (column < at_column)) % 2)


@dataclass(frozen=True, slots=True)
class MarkedNodule:
    """A nodule as one reader marked it.

    Attributes
    ----------
    name
        The reader's own number for it; readers do not share them.
    outlines
        Of all slices; of a nodule under 3 mm one outline with one point.
    ratings
        ``malignancy``, ``spiculation``, ``texture`` and so on, 1 to 5 (calcification 1 to 6); empty for a nodule under
        3 mm.
    """

    name: str
    outlines: tuple[Outline, ...]
    ratings: Mapping[str, int] = field(default_factory=dict)

    def contains(self, sop_instance_uid: str, row: float, column: float) -> bool:
        """Whether a point of a slice lies inside the nodule: in an outline and in no hole."""
        around = [o for o in self.outlines if o.sop_instance_uid == sop_instance_uid and o.encloses(row, column)]
        return bool(around) and not any(outline.is_hole for outline in around)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader marked in one CT.

    Attributes
    ----------
    series_uid
        The CT.
    nodules
        In the order of the file; empty if the reader saw none.
    """

    series_uid: str
    nodules: tuple[MarkedNodule, ...]


def count_readers_around(readings: tuple[Reading, ...], sop_instance_uid: str, row: float, column: float) -> int:
    """How many readers marked a nodule that contains a point of a slice."""
    return sum(any(n.contains(sop_instance_uid, row, column) for n in reading.nodules) for reading in readings)


def read_lidc_xml(path: Path) -> tuple[Reading, ...]:
    """The outlines and ratings of LIDC-IDRI's radiologists for one CT.

    Parameters
    ----------
    path
        An XML file of LIDC-IDRI, as The Cancer Imaging Archive gives it out.

    Returns
    -------
    tuple
        One reading for each reading session, in the order of the file. Marks of *non-nodules* are left out.

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
        return tuple(Reading(series_uid, _nodules(session)) for session in sessions)
    except ElementTree.ParseError as error:
        raise CorruptFileError(f"{path}: {error}", "a whole XML file", remedy) from error
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}", "numbers and UIDs in every mark", remedy) from error


def _nodules(session: ElementTree.Element) -> tuple[MarkedNodule, ...]:
    return tuple(
        MarkedNodule(
            name=_text(nodule, "{*}noduleID"),
            outlines=tuple(_outline(roi) for roi in nodule.findall("{*}roi")),
            ratings={r.tag.rpartition("}")[2]: int(r.text or "") for r in nodule.findall("{*}characteristics/{*}*")},
        )
        for nodule in session.findall("{*}unblindedReadNodule")
    )


def _outline(roi: ElementTree.Element) -> Outline:
    points = [(float(_text(p, "{*}yCoord")), float(_text(p, "{*}xCoord"))) for p in roi.findall("{*}edgeMap")]
    if not points:
        raise ValueError("a roi without an edgeMap")
    return Outline(
        sop_instance_uid=_text(roi, "{*}imageSOP_UID"),
        z_mm=float(_text(roi, "{*}imageZposition")),
        points_row_column=np.array(points),
        is_hole=_text(roi, "{*}inclusion").upper() == "FALSE",
    )


def _text(element: ElementTree.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"{path.rpartition('}')[2]} is missing")
    return text
