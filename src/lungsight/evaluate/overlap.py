"""How well a region covers the lesion it was found for: Dice, per lesion and pooled, by size class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lungsight.findings import Region

__all__ = ["SIZE_CLASSES", "LesionOverlap", "PooledOverlap", "SizeClass", "measure_overlap", "pool", "size_class"]


@dataclass(frozen=True, slots=True)
class SizeClass:
    """Lesions of about one size.

    Attributes
    ----------
    name
        Of tables.
    low_mm, high_mm
        Diameter from `low_mm` to under `high_mm`; but 30 mm is not over 30 mm (see :func:`size_class`).
    """

    name: str
    low_mm: float
    high_mm: float


SIZE_CLASSES = (
    SizeClass("<6 mm", 0.0, 6.0),
    SizeClass("6-10 mm", 6.0, 10.0),
    SizeClass("10-20 mm", 10.0, 20.0),
    SizeClass("20-30 mm", 20.0, 30.0),
    SizeClass(">30 mm", 30.0, math.inf),
)
"""From the steps of follow-up (6 mm) to the word *mass* (over 30 mm): Fleischner Society, Radiology 284, 2017."""


@dataclass(frozen=True, slots=True)
class LesionOverlap:
    """One lesion and the regions found for it.

    Attributes
    ----------
    diameter_mm
        Of the lesion; None if it is not known.
    lesion_mm3, found_mm3, shared_mm3
        Volume of the lesion, of all found regions that touch it, and of what both share.
    """

    diameter_mm: float | None
    lesion_mm3: float
    found_mm3: float
    shared_mm3: float

    @property
    def dice(self) -> float:
        """Twice the shared volume over the sum of both, 0 (missed) to 1."""
        return 2 * self.shared_mm3 / (self.lesion_mm3 + self.found_mm3)


@dataclass(frozen=True, slots=True)
class PooledOverlap:
    """All lesions of a set together.

    Attributes
    ----------
    n_lesions, n_touched
        How many there are and how many a found region touches.
    mean_dice
        Of the lesions, each counting the same, missed ones as 0; None of no lesion.
    dice
        Of the summed volumes, so that large lesions count more; None of no lesion.
    """

    n_lesions: int
    n_touched: int
    mean_dice: float | None
    dice: float | None


def size_class(diameter_mm: float) -> SizeClass:
    """The class of a diameter.

    Raises
    ------
    ValueError
        If the diameter is negative or no finite number.

    Examples
    --------
    >>> size_class(5.99).name, size_class(6).name, size_class(30).name, size_class(30.01).name
    ('<6 mm', '6-10 mm', '20-30 mm', '>30 mm')
    """
    if not 0 <= diameter_mm < math.inf:
        raise ValueError(f"diameter_mm is {diameter_mm}, expected a finite number, 0 or more")
    largest = SIZE_CLASSES[-1]
    if diameter_mm == largest.low_mm:
        return SIZE_CLASSES[-2]
    return next(each for each in SIZE_CLASSES if diameter_mm < each.high_mm)


def measure_overlap(
    found: Sequence[Region],
    lesions: Sequence[Region],
    spacing_zyx_mm: tuple[float, float, float],
    diameters_mm: Sequence[float | None],
) -> tuple[LesionOverlap, ...]:
    """Compare the regions found in a CT with its lesions.

    Parameters
    ----------
    found
        No two share a voxel; may be empty.
    lesions
        On the same grid.
    spacing_zyx_mm
        Voxel spacing.
    diameters_mm
        Of the lesions, as many; None where one is not known.

    Returns
    -------
    tuple of LesionOverlap
        Of the lesions, in order. A region that touches two lesions counts for both; one that touches none is the
        business of detection (:mod:`lungsight.evaluate.froc`). No lesion: empty.

    Raises
    ------
    ValueError
        If there are more or fewer diameters than lesions.

    Examples
    --------
    A region of four voxels covers one of the two voxels of a lesion: 2 * 1 / (2 + 4).

    >>> import numpy as np
    >>> found, lesion = Region((0, 0, 0), np.ones((1, 1, 4), bool)), Region((0, 0, 3), np.ones((1, 1, 2), bool))
    >>> round(measure_overlap([found], [lesion], (1.0, 1.0, 1.0), [1.5])[0].dice, 4)
    0.3333
    """
    voxel_mm3 = math.prod(spacing_zyx_mm)
    measured = []
    for lesion, diameter_mm in zip(lesions, diameters_mm, strict=True):
        shared = [region.shared_voxels(lesion) for region in found]
        touching = [int(region.mask.sum()) for region, voxels in zip(found, shared, strict=True) if voxels]
        measured.append(
            LesionOverlap(
                diameter_mm=None if diameter_mm is None else float(diameter_mm),
                lesion_mm3=int(lesion.mask.sum()) * voxel_mm3,
                found_mm3=sum(touching) * voxel_mm3,
                shared_mm3=sum(shared) * voxel_mm3,
            )
        )
    return tuple(measured)


def pool(overlaps: Sequence[LesionOverlap]) -> dict[str, PooledOverlap]:
    """The lesions together: ``"all"``, then each of `SIZE_CLASSES` by name and ``"unknown"``, empty ones included.

    Examples
    --------
    >>> pool([LesionOverlap(8.0, 300.0, 100.0, 100.0)])["6-10 mm"].dice
    0.5
    """
    names = ["unknown" if o.diameter_mm is None else size_class(o.diameter_mm).name for o in overlaps]
    pooled = {"all": _pooled(overlaps)}
    for name in (*(each.name for each in SIZE_CLASSES), "unknown"):
        pooled[name] = _pooled([o for o, of in zip(overlaps, names, strict=True) if of == name])
    return pooled


def _pooled(overlaps: Sequence[LesionOverlap]) -> PooledOverlap:
    if not overlaps:
        return PooledOverlap(0, 0, None, None)
    both_mm3 = sum(o.lesion_mm3 + o.found_mm3 for o in overlaps)
    return PooledOverlap(
        n_lesions=len(overlaps),
        n_touched=sum(o.shared_mm3 > 0 for o in overlaps),
        mean_dice=sum(o.dice for o in overlaps) / len(overlaps),
        dice=2 * sum(o.shared_mm3 for o in overlaps) / both_mm3,
    )
