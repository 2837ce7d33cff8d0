"""What the systems find: one frozen type for each step from a suspicion to a diagnosis.

:class:`Candidate` (where something might be) -> :class:`Nodule` (judged) -> :class:`Diagnosis` (the patient).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Candidate",
    "Density",
    "Diagnosis",
    "Growth",
    "GuidelineResult",
    "Location",
    "Measurements",
    "Nodule",
    "Provenance",
    "Region",
    "Verdict",
]


class Verdict(StrEnum):
    """What is said of the patient."""

    NO_NODULE = "NO_NODULE"
    """The lungs were searched and nothing was found."""
    BENIGN = "BENIGN"
    """Something was found; the patient's score is under the threshold."""
    MALIGNANT = "MALIGNANT"
    """Something was found; the patient's score is the threshold or more."""
    INDETERMINATE = "INDETERMINATE"
    """Nothing could be searched, because the CT shows no lung."""


class Density(StrEnum):
    """What a nodule looks like in the lung window."""

    SOLID = "SOLID"
    """It hides the vessels that run through it."""
    PART_SOLID = "PART_SOLID"
    """Ground glass with a solid component."""
    GROUND_GLASS = "GROUND_GLASS"
    """Hazy; vessels can be seen through it."""


@dataclass(frozen=True, slots=True)
class Location:
    """One point, in the patient and in the source images.

    Attributes
    ----------
    lps_mm
        Patient coordinates in mm: to the left, to the back (posterior), to the head (superior).
    slice_index
        Counted from 0 by ascending position on the slice normal.
    row, column
        Index in that slice, fractional, 0 at the centre of the first pixel.
    sop_instance_uid, instance_number
        The DICOM instance that holds the slice; None if the CT did not come from DICOM.
    """

    lps_mm: tuple[float, float, float]
    slice_index: int
    row: float
    column: float
    sop_instance_uid: str | None = None
    instance_number: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A set of voxels of the source grid: a box and a mask inside it.

    Attributes
    ----------
    start_zyx
        Voxel index of the box's first voxel: slice, row, column.
    mask
        Shape of the box, True where the voxel belongs to the region; at least one voxel does.
    """

    start_zyx: tuple[int, int, int]
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.mask.ndim != 3 or not self.mask.any():
            raise ValueError(f"a region is a 3D mask with a voxel in it, not shape {self.mask.shape}")

    @property
    def stop_zyx(self) -> tuple[int, int, int]:
        """Voxel index behind the box's last voxel (boxes are half open)."""
        z, y, x = (start + size for start, size in zip(self.start_zyx, self.mask.shape, strict=True))
        return z, y, x

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The box as an index: ``ct.hu[region.box]`` is what the mask covers."""
        z, y, x = (slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    def shared_voxels(self, other: Region) -> int:
        """How many voxels both have; 0 where their boxes do not meet."""
        low, high = np.maximum(self.start_zyx, other.start_zyx), np.minimum(self.stop_zyx, other.stop_zyx)
        if (low >= high).any():
            return 0
        one, two = (each.mask[tuple(map(slice, low - each.start_zyx, high - each.start_zyx))] for each in (self, other))
        return int(np.count_nonzero(one & two))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place where a nodule might be, not yet judged.

    Attributes
    ----------
    location
        Its centre.
    roi_diameter_mm
        Diameter of the circle with the area of the region's largest slice. It is the size of the detected region,
        which is larger than the nodule where windows found it, and is the nodule's mask where a U-Net drew it.
    detection_score
        0 to 1, higher is more certainly a nodule.
    region
        The voxels it covers, on the source grid.
    """

    location: Location
    roi_diameter_mm: float
    detection_score: float
    region: Region


@dataclass(frozen=True, slots=True)
class Measurements:
    """What is measured on the mask of one nodule.

    Attributes
    ----------
    long_axis_mm
        Its greatest diameter in an axial plane.
    short_axis_mm
        Its greatest diameter perpendicular to the long axis, in the same plane.
    volume_mm3
        Of the mask.
    mean_hu
        Over the mask.
    density
        Solid, part-solid or ground glass.
    solid_diameter_mm
        Mean diameter of the solid component; None unless it is part-solid.
    side
        The lung that holds it.
    zone
        The third of that lung's height that holds its centre.
    pleura_distance_mm
        From the nodule's border to the surface of the lung, 0 if it touches.
    """

    long_axis_mm: float
    short_axis_mm: float
    volume_mm3: float
    mean_hu: float
    density: Density
    solid_diameter_mm: float | None
    side: Literal["left", "right"]
    zone: Literal["upper", "middle", "lower"]
    pleura_distance_mm: float

    @property
    def mean_diameter_mm(self) -> float:
        """The mean of long and short axis, as the guidelines want it, not rounded."""
        return (self.long_axis_mm + self.short_axis_mm) / 2


@dataclass(frozen=True, slots=True)
class Growth:
    """A nodule against an earlier CT of the same patient.

    Attributes
    ----------
    earlier
        What was measured then; None if the nodule was not found in the earlier CT: it is new.
    days
        From the earlier CT to this one; None if the dates are not known.
    mean_diameter_change_mm
        Now less then; None for a new nodule.
    volume_doubling_days
        Time in which the volume doubles, negative while it shrinks; None for a new nodule, without dates, or if the
        volume stayed the same.
    """

    earlier: Measurements | None
    days: int | None = None
    mean_diameter_change_mm: float | None = None
    volume_doubling_days: float | None = None


@dataclass(frozen=True, slots=True)
class GuidelineResult:
    """What one guideline says, and why.

    Attributes
    ----------
    guideline
        Name and version.
    nodule
        Number of the nodule, counted from 1 as in the report; None if it is said of the patient.
    result
        A category, a recommendation, a probability, or that nothing was computed.
    because
        The rule and the measurements that made it.
    unknown
        What the guideline asks and nobody knows here.
    """

    guideline: str
    nodule: int | None
    result: str
    because: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nodule:
    """A candidate that was judged.

    Attributes
    ----------
    candidate
        Where it is.
    malignancy_score
        0 to 1, higher looks more malignant. A score, not a probability, as long as the model card says so.
    mask
        The voxels of the nodule itself, on the source grid (`candidate.region` is what was detected); None if it was
        not outlined.
    measurements
        What was measured on the mask; None without one.
    growth
        Against an earlier CT; None if there is none, or nothing was measured.
    """

    candidate: Candidate
    malignancy_score: float
    mask: Region | None = None
    measurements: Measurements | None = None
    growth: Growth | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a diagnosis came to be.

    Attributes
    ----------
    series_uid
        DICOM Series Instance UID; None if the CT did not come from DICOM.
    version
        Lungsight's version.
    weights_sha256
        SHA-256 of the network's file; of several networks, that of the lines ``sha256sum`` writes of their files.
    engine
        What ran it, and in which precision.
    config
        Every setting in force, as nested tables of plain values.
    seconds
        Wall-clock time of each step.
    calibrated
        Whether the malignancy scores were calibrated to be probabilities.
    """

    series_uid: str | None
    version: str
    weights_sha256: str
    engine: str
    config: Mapping[str, Any]
    seconds: Mapping[str, float]
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one system says of one CT.

    Attributes
    ----------
    verdict
        Of the patient.
    malignancy_score
        Of the patient, 0 to 1; None if there is no nodule.
    system
        ``"windows"`` or ``"segments"``.
    nodules
        Best detection first; empty if there is none.
    provenance
        How it came to be.
    warnings
        What was repaired or should be known, a sentence each.
    guidelines
        What guidelines say of the measurements; empty if they were not asked.
    """

    verdict: Verdict
    malignancy_score: float | None
    system: str
    nodules: tuple[Nodule, ...]
    provenance: Provenance
    warnings: tuple[str, ...] = field(default=())
    guidelines: tuple[GuidelineResult, ...] = ()
