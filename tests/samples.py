"""A small lopsided CT with a lopsided ROI, and diagnoses of it, for the tests of what is told."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from lungsight.config import Config
from lungsight.ct.volume import CTVolume, SourceInstance
from lungsight.findings import Candidate, Density, Diagnosis, Measurements, Nodule, Provenance, Region, Verdict

SERIES_UID = "1.2.826.0.1.3680043.2.1125.7"
START_ZYX = (2, 11, 30)
# An L with a hole, so that a turn, a mirror or a transposition shows.
FOOT = np.array(
    [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
    ],
    np.bool_,
)
# Not what the mask below measures; no two numbers alike.
MEASURED = Measurements(4.2426, 3.5, 45.325, -612.25, Density.PART_SOLID, 2.1, "right", "upper", 7.0)


def lopsided_region() -> Region:
    mask = np.stack([FOOT, np.zeros_like(FOOT), FOOT[:, ::-1] & FOOT])
    return Region(START_ZYX, mask)


def lopsided_mask() -> Region:
    """The nodule inside that region: five pixels of its first slice."""
    z, y, x = START_ZYX
    return Region((z, y + 2, x), np.array([[[1, 1, 1], [1, 1, 0]]], np.bool_))


def sample_ct(
    from_dicom: bool = True,
    shape: tuple[int, int, int] = (7, 40, 64),
    spacing_zyx_mm: tuple[float, float, float] = (2.5, 0.7, 0.7),
) -> CTVolume:
    slices, rows, columns = np.indices(shape)
    hu = (-1000 + 10 * rows + 7 * columns + 31 * slices).astype(np.int16)
    affine: NDArray[np.float64] = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing_zyx_mm
    affine[:, 3] = (-100.5, 20.25, 300, 1)
    if not from_dicom:
        return CTVolume(hu, affine)
    count = len(hu)
    instances = tuple(SourceInstance(f"{SERIES_UID}.{count - i}", count - i) for i in range(count))
    return CTVolume(hu, affine, SERIES_UID, instances)


def provenance_of(ct: CTVolume) -> Provenance:
    return Provenance(
        series_uid=ct.series_uid,
        version="0.1.0",
        weights_sha256="0123456789abcdef" * 4,
        engine="Abacus 1.0, float32",
        config=dataclasses.asdict(Config()),
        seconds={"lungs": 0.61, "detect": 3.1, "vote": 0.02},
    )


def malignant(ct: CTVolume, warnings: tuple[str, ...] = ()) -> Diagnosis:
    candidate = Candidate(ct.locate((2, 13.25, 31.5)), 4.1, 0.875, lopsided_region())
    nodule = Nodule(candidate, 0.9375, lopsided_mask(), MEASURED)
    return Diagnosis(Verdict.MALIGNANT, 0.96875, "windows", (nodule,), provenance_of(ct), warnings)


def without_nodule(ct: CTVolume, verdict: Verdict = Verdict.NO_NODULE, warnings: tuple[str, ...] = ()) -> Diagnosis:
    return Diagnosis(verdict, None, "windows", (), provenance_of(ct), warnings)
