"""Setting a stamp into a lung, and making slices thick: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.volume import CTVolume
from lungsight.train.stamp import (
    BESIDE_MM,
    LUNG_AT_MOST_HU,
    LUNG_HU,
    TISSUE_HU,
    Stamp,
    beside_of,
    fine_structure,
    noise_of_lung,
    tissue_share,
)

__all__ = ["Host", "find_place", "hu_step", "kept_slices", "paste", "slab_weights", "thicken"]

TRIES = 400
"""Places tried for one stamp in one host."""

PLACES = 24
"""Places where it could be set that are compared; real nodules touch vessels and pleura more often than most do."""

ALIKE = 0.03
"""Two shares of tissue beside a nodule that differ by less are alike."""

MOST_TISSUE = 0.15
"""Share of tissue in a place, over which it is no parenchyma: a nodule would swallow a large vessel."""

NOISE_AT_MOST = 2.5
"""Standard deviations beyond which fine structure is no noise."""

CONTEXT_PX = 8
"""Around a stamp: what is looked at to know the lung and the noise of the place."""


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """A CT with axial slices, head up, that nodules are set into.

    Attributes
    ----------
    patient_id
        Whose CT.
    ct
        The CT.
    lungs
        Shape of the CT, boolean.
    closed
        Shape of the CT, boolean: lesions, where nothing is set.
    """

    patient_id: str
    ct: CTVolume
    lungs: NDArray[np.bool_]
    closed: NDArray[np.bool_]


def find_place(
    rng: np.random.Generator, host: Host, hu: NDArray[np.int16], closed: NDArray[np.bool_], stamp: Stamp
) -> tuple[slice, slice, slice] | None:
    """A box of the host where a stamp may be set; None if none was found.

    Parameters
    ----------
    rng
        Chooses.
    host
        Its lungs.
    hu
        The host's HU, with what was set before.
    closed
        The host's lesions and what was set before.
    stamp
        On the host's grid.

    Returns
    -------
    tuple of slice, or None
        Shape of the stamp. Its mask lies wholly inside the lungs, nothing of it touches `closed`, and at most 15 % of
        what the mask covers is tissue. Of `PLACES` such places it is the one with about as much tissue, vessels and
        pleura, beside the nodule as there was in its own lung; if it has none of its own, any is as likely.
    """
    open_voxels = np.flatnonzero(host.lungs & ~closed)
    covers = stamp.alpha > 0
    wide = [int(np.ceil(BESIDE_MM[1] / mm)) for mm in host.ct.spacing_zyx_mm[1:]]
    beside = beside_of(np.pad(stamp.mask, [(0, 0), *((n, n) for n in wide)]), host.ct.spacing_zyx_mm)
    best, least, places = None, np.inf, 0
    for _ in range(TRIES if open_voxels.size else 0):
        at = np.unravel_index(open_voxels[rng.integers(open_voxels.size)], hu.shape)
        start = np.subtract(at, stamp.centre_zyx)
        stop = start + stamp.alpha.shape
        if (start < 0).any() or (stop > hu.shape).any():
            continue
        z, y, x = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        inside = bool(host.lungs[z, y, x][stamp.mask].all())
        if not inside or closed[z, y, x][covers].any():
            continue
        if (hu[z, y, x][stamp.mask] > TISSUE_HU).mean() > MOST_TISSUE:
            continue
        if stamp.tissue_beside is None:
            return z, y, x
        apart = abs(_tissue_around(hu, (z, y, x), beside, wide) - stamp.tissue_beside)
        if apart < least:
            best, least = (z, y, x), apart
        places += 1
        if least <= ALIKE or places == PLACES:
            break
    return best


def _tissue_around(
    hu: NDArray[np.int16], box: tuple[slice, slice, slice], beside: NDArray[np.bool_], wide: Sequence[int]
) -> float:
    """Tissue beside a stamp in a box; `beside` is so many rows and columns wider on each side, the CT may end there."""
    z, *plane = box
    low = [min(n, s.start) for s, n in zip(plane, wide, strict=True)]
    high = [min(n, size - s.stop) for s, n, size in zip(plane, wide, hu.shape[1:], strict=True)]
    there = tuple(slice(s.start - a, s.stop + b) for s, a, b in zip(plane, low, high, strict=True))
    kept = tuple(slice(n - a, size - n + b) for size, n, a, b in zip(beside.shape[1:], wide, low, high, strict=True))
    return tissue_share(hu[z, *there], beside[:, *kept])


def paste(
    hu: NDArray[np.int16], lungs: NDArray[np.bool_], stamp: Stamp, box: tuple[slice, slice, slice], step_hu: int = 1
) -> None:
    """Set a stamp into a CT, in place; nothing changes outside the lungs or where the stamp does not reach.

    The stamp takes on the lung and the noise of the place: voxels that hold lung beside the nodule are shifted by what
    the two lungs differ; noise in excess is damped, and where it lacks, the place's own is kept.

    Parameters
    ----------
    hu
        Shape ``(slices, rows, columns)``; changed.
    lungs
        Same shape, boolean.
    stamp
        On that grid.
    box
        Where, of the stamp's shape.
    step_hu
        What HU are rounded to, see :func:`hu_step`.
    """
    wide = tuple(
        slice(max(0, s.start - CONTEXT_PX * (axis > 0)), s.stop + CONTEXT_PX * (axis > 0)) for axis, s in enumerate(box)
    )
    inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wide, strict=True))
    place = hu[wide].astype(np.float64)
    clean = lungs[wide] & (place < LUNG_AT_MOST_HU)
    lung_hu = float(np.median(place[clean])) if clean.any() else LUNG_HU
    fine = fine_structure(place)
    noise_hu = noise_of_lung(place, clean)
    there = place[inner]
    stamped = stamp.hu + (lung_hu - stamp.lung_hu) * stamp.lung_share
    if noise_hu is not None and stamp.noise_hu is not None:
        if stamp.noise_hu > noise_hu:
            most_hu = NOISE_AT_MOST * stamp.noise_hu
            # Against the median, which leaves edges where they are.
            excess = np.clip(stamped - ndimage.median_filter(stamped, (1, 3, 3)), -most_hu, most_hu)
            stamped = stamped - excess * (1 - noise_hu / stamp.noise_hu)
        elif noise_hu > 0:
            most_hu = NOISE_AT_MOST * noise_hu
            lacking = np.sqrt(1 - (stamp.noise_hu / noise_hu) ** 2)
            stamped = stamped + np.clip(fine[inner], -most_hu, most_hu) * lacking
    # A vessel or the pleura of the place reaches up to the nodule; lung of the stamp does not cut into it.
    tissue = np.clip((there - fine[inner] - LUNG_AT_MOST_HU) / (TISSUE_HU - LUNG_AT_MOST_HU), 0, 1)
    alpha = stamp.alpha * lungs[box] * (1 - tissue * (1 - stamp.mask_share) * stamp.lung_share)
    blended = np.rint((there + alpha * (stamped - there)) / step_hu) * step_hu
    hu[box] = np.where(alpha > 0, np.clip(blended, -1024, 3071), there).astype(np.int16)


def hu_step(hu: NDArray[np.integer]) -> int:
    """What a CT's HU were rounded to: 1, or more if all are multiples of it.

    Examples
    --------
    >>> hu_step(np.array([-1024, -848, 16], np.int16))
    16
    """
    return max(1, int(np.gcd.reduce(hu.ravel().astype(np.int32))))


def kept_slices(slices: int, spacing_mm: float, thickness_mm: float) -> int:
    """How many slices of a CT lie wholly in slabs of a thickness that follow each other without gap.

    Examples
    --------
    >>> kept_slices(7, 2.5, 5.0)
    6
    """
    slabs = int(slices * spacing_mm / thickness_mm + 1e-6)
    return int(slabs * thickness_mm / spacing_mm + 1e-6)


def slab_weights(slices: int, spacing_mm: float, thickness_mm: float) -> NDArray[np.float64]:
    """Share of each slice in each slab, shape ``(slabs, slices)``; a slab's shares sum to 1.

    A slice is taken to show the tissue up to half way to its neighbours. What does not fill a slab at the far end is
    left out.

    Examples
    --------
    >>> slab_weights(5, 2.0, 5.0).round(1).tolist()
    [[0.4, 0.4, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, 0.4, 0.4]]
    """
    slabs = int(slices * spacing_mm / thickness_mm + 1e-6)
    ends = np.arange(slices + 1) * spacing_mm
    low, high = np.arange(slabs)[:, None] * thickness_mm, np.arange(1, slabs + 1)[:, None] * thickness_mm
    overlap = np.clip(np.minimum(ends[1:], high) - np.maximum(ends[:-1], low), 0, None)
    weights: NDArray[np.float64] = overlap / overlap.sum(1, keepdims=True)
    return weights


def thicken(ct: CTVolume, thickness_mm: float) -> CTVolume:
    """The CT as slices of a thickness, each the mean over its slab, the next beginning where it ends.

    Parameters
    ----------
    ct
        At most as coarse as `thickness_mm`, and at least as long.
    thickness_mm
        Thickness and spacing of the new slices.

    Returns
    -------
    CTVolume
        int16; each point of the patient keeps its place.

    Raises
    ------
    ValueError
        If the CT's slices are farther apart than that, or it is shorter.
    """
    spacing_mm = ct.spacing_zyx_mm[0]
    if not spacing_mm - 1e-3 <= thickness_mm <= len(ct.hu) * spacing_mm:
        raise ValueError(f"{len(ct.hu)} slices {spacing_mm:g} mm apart cannot be made {thickness_mm:g} mm thick")
    weights = slab_weights(len(ct.hu), spacing_mm, thickness_mm)
    affine = ct.affine.copy()
    affine[:3, 0] *= thickness_mm / spacing_mm
    affine[:3, 3] += ct.affine[:3, 0] * (thickness_mm / spacing_mm - 1) / 2
    return CTVolume(np.rint(average_slabs(ct.hu, weights)).astype(np.int16), affine)


def average_slabs(values: NDArray[np.generic], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Means over slabs, shape ``(slabs, rows, columns)``."""
    result = np.zeros((len(weights), *values.shape[1:]), np.float32)
    for slab, index in np.argwhere(weights).tolist():
        result[slab] += np.float32(weights[slab, index]) * values[index].astype(np.float32)
    return result
