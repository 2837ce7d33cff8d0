"""Nodules to be set into other lungs: cuts with masks, or cut out of the CTs of a dataset, or drawn from outlines."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from lungsight.ct.nifti import NIFTI_SUFFIXES, read_nifti
from lungsight.errors import CorruptFileError, InputError
from lungsight.train.stamp import Piece
from lungsight.train.tables import Row, read_table

__all__ = ["LEAST_READERS", "MIDDLE_RATING", "VOI_TABLE", "Donor", "is_wanted", "read_vois"]

LEAST_READERS = 3
"""Nodules that fewer rated are left out."""

MIDDLE_RATING = 3.0
"""Rated higher a nodule counts as malignant, lower as benign; this itself is neither."""

HIGHEST_RATING = 5

VOI_TABLE = "nodules.csv"

_IDS = ("patient_id", "nodule_id")
_RATINGS = "malignancy"
_MAJORITY, _READERS = "Malignancy_value", "len_mal_details"
_REMEDY = "Lay out the nodules as image/<patient>_R_<nodule>.nii.gz, nodule_mask/ with the same names, and their table."


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """A nodule of known rating, not yet read.

    Attributes
    ----------
    nodule_id
        Within the patient.
    patient_id
        Whose nodule.
    malignancy
        The readers' rating, 1 to 5; over 3 malignant. An opinion, no pathology.
    piece
        Reads it.
    """

    nodule_id: str
    patient_id: str
    malignancy: float
    piece: Callable[[], Piece]

    @property
    def is_malignant(self) -> bool:
        """Whether it was rated over 3."""
        return self.malignancy > MIDDLE_RATING


def is_wanted(patient_id: str, only: Collection[str] | None, exclude: Collection[str]) -> bool:
    """Whether a patient may be used: among `only` (None: all) and not among `exclude`.

    Examples
    --------
    >>> is_wanted("A", None, ()), is_wanted("A", {"A", "B"}, {"A"})
    (True, False)
    """
    return (only is None or patient_id in only) and patient_id not in exclude


def read_vois(
    root: Path,
    table: Path | None = None,
    only: Collection[str] | None = None,
    exclude: Collection[str] = (),
    *,
    unclear: bool = False,
) -> tuple[tuple[Donor, ...], tuple[str, ...]]:
    """Nodules cut from CTs, with masks.

    Parameters
    ----------
    root
        Holds ``image/<patient_id>_R_<nodule_id>.nii.gz`` (HU) and ``nodule_mask/`` with the same names (not 0 is
        nodule), as the VOIs of LIDC-IDRI are handed round.
    table
        Columns ``patient_id,nodule_id,malignancy``: readers' ratings from 1 to 5, separated by ``|``, of which the
        median counts. Without the last, ``Malignancy_value,len_mal_details`` (rating by majority, number of raters) as
        the VOIs of LIDC-IDRI bring them; where no rating has the majority that is the lowest of the most frequent, so
        ``2|3|4|5`` counts as 2. None for ``nodules.csv`` in `root`.
    only, exclude
        Patients that may and may not be used.
    unclear
        Whether nodules of fewer than three raters, and those rated 3, are given too.

    Returns
    -------
    tuple of Donor, and warnings
        Of three or more raters and not rated 3, in the order of the table; all if they may be unclear. Those without
        image or mask are left out, and told.

    Raises
    ------
    InputError
        If folders or table are not there, or the table names no nodule that is.
    CorruptFileError
        If the table is damaged; on reading a donor, if its files are.
    """
    images, masks = root / "image", root / "nodule_mask"
    if not images.is_dir() or not masks.is_dir():
        raise InputError(f"{root} has no image/ and nodule_mask/", "the two folders with a file a nodule", _REMEDY)
    donors, absent = [], []
    for row in _rows(table or root / VOI_TABLE):
        patient_id, nodule_id = row.text("patient_id"), row.text("nodule_id")
        if not is_wanted(patient_id, only, exclude):
            continue
        rating, readers = _rating(row)
        if not unclear and (readers < LEAST_READERS or rating == MIDDLE_RATING):
            continue
        name = f"{patient_id}_R_{nodule_id}{NIFTI_SUFFIXES[1]}"
        if (images / name).is_file() and (masks / name).is_file():
            donors.append(Donor(nodule_id, patient_id, rating, partial(read_voi, images / name, masks / name)))
        else:
            absent.append(name)
    warnings = (f"{len(absent)} nodules of the table have no image or mask, first {absent[0]}.",) if absent else ()
    return tuple(donors), warnings


def _rows(table: Path) -> tuple[Row, ...]:
    rows = read_table(table, _IDS)
    return rows if rows and _RATINGS in rows[0].values else read_table(table, (*_IDS, _MAJORITY, _READERS))


def _rating(row: Row) -> tuple[float, float]:
    """The rating of a nodule and how many rated it."""
    if _RATINGS not in row.values:
        return row.number(_MAJORITY), row.number(_READERS)
    text = row.text(_RATINGS)
    try:
        ratings = [int(each) for each in text.split("|")]
    except ValueError:
        ratings = []
    if not ratings or not all(1 <= each <= HIGHEST_RATING for each in ratings):
        found = f"{row.place}: {_RATINGS} is {text!r}"
        raise CorruptFileError(found, "readers' ratings from 1 to 5, separated by |", _REMEDY)
    return float(median(ratings)), len(ratings)


def read_voi(image: Path, mask: Path) -> Piece:
    """One nodule with its mask.

    Raises
    ------
    InputError
        If they differ in size, or the mask is empty.
    CorruptFileError
        If a file is damaged.
    """
    ct, inside = read_nifti(image), read_nifti(mask).hu != 0
    if ct.shape != inside.shape or not inside.any():
        raise InputError(
            f"{image} of {' x '.join(map(str, ct.shape))} voxels and a mask of {' x '.join(map(str, inside.shape))}, "
            f"{inside.sum()} of them set",
            "an image and a mask of its size with a nodule in it",
            _REMEDY,
        )
    return Piece(ct.hu.astype(np.float32), np.asarray(inside), ct.spacing_zyx_mm)
