"""The nodule inside a detected ROI: a seeded threshold at half height, with vessels and pleura cut off.

Half-way between the nodule's core and the parenchyma round it lies the true edge of whatever a scanner has blurred, as
long as the nodule is wider than the blur; so diameters are measured without bias. What hangs on to the nodule is
thinner than it is: an opening by a ball of a share of its own radius takes vessels off, the lung mask's closed surface
the chest wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import OutlineConfig
from lungsight.ct.volume import CTVolume
from lungsight.findings import Candidate, Region

__all__ = ["outline_nodule"]

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
_AIR_HU, _TISSUE_HU = -1000.0, 100.0
"""What is denser than soft tissue (calcium, metal) counts as soft tissue: the threshold shall not rise with it."""
_NO_PARENCHYMA_HU = -850.0
"""The parenchyma's HU where none is left to measure."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """The part of a CT round a ROI."""

    hu: NDArray[np.float32]
    lungs: Mask
    near: Mask
    spacing_mm: Spacing


def outline_nodule(
    ct: CTVolume,
    lungs: NDArray[np.bool_],
    candidate: Candidate,
    config: OutlineConfig = OutlineConfig(),  # noqa: B008 (frozen)
) -> Region | None:
    """The voxels of the nodule that a candidate points at.

    Parameters
    ----------
    ct
        An upright CT.
    lungs
        Shape of ``ct.hu``; closed over nodules at the pleura, as by :func:`~lungsight.detect.lungs.segment_lungs`.
    candidate
        Its location is where the nodule is looked for first, its region, with a margin, the most it may fill.
    config
        Settings.

    Returns
    -------
    Region or None
        One connected part of the lungs, on the grid of `ct`; None if nothing of ``least_diameter_mm`` near the location
        is denser than the parenchyma.

    Notes
    -----
    Seeded thresholding with an opening that scales with the nodule: Kostis, Reeves, Yankelevitz and Henschke,
    *IEEE Transactions on Medical Imaging* 22(10):1259-1274, 2003. The settings were tuned on half of the patients of
    LIDC-IDRI, see ``benchmarks/measurements.md`` for the other half.
    """
    margin = [int(np.ceil(config.margin_mm / mm)) for mm in ct.spacing_zyx_mm]
    starts = [max(0, a - m) for a, m in zip(candidate.region.start_zyx, margin, strict=True)]
    stops = [min(n, b + m) for n, b, m in zip(ct.shape, candidate.region.stop_zyx, margin, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    z0, y0, x0 = starts
    place = _Place(
        np.clip(ct.hu[box].astype(np.float32), _AIR_HU, _TISSUE_HU),
        lungs[box],
        _grown_columns(candidate.region, box, margin),
        ct.spacing_zyx_mm,
    )
    location = candidate.location
    centre_zyx = np.array([location.slice_index, location.row, location.column]) - starts
    seed = _seed(place, centre_zyx, config)
    if seed is None:
        return None
    mask = _nodule_at(place, seed, config)
    if mask is None or _ball_diameter_mm(mask, ct.spacing_zyx_mm) < config.least_diameter_mm:
        return None
    tight = ndimage.find_objects(mask.astype(np.int8))[0]
    z, y, x = (side.start for side in tight)
    return Region((z0 + z, y0 + y, x0 + x), np.ascontiguousarray(mask[tight]))


def _grown_columns(region: Region, box: tuple[slice, ...], margin: list[int]) -> Mask:
    """The region grown by a margin, as a box-shaped array: windows are squares, so it grows as squares do."""
    before = [a - side.start for a, side in zip(region.start_zyx, box, strict=True)]
    after = [side.stop - b for b, side in zip(region.stop_zyx, box, strict=True)]
    grown = np.pad(region.mask, list(zip(before, after, strict=True)))
    for axis, reach in enumerate(margin):
        grown = ndimage.maximum_filter1d(grown, 2 * reach + 1, axis, mode="constant")
    return grown


def _seed(place: _Place, centre_zyx: NDArray[np.float64], config: OutlineConfig) -> tuple[int, int, int] | None:
    """The voxel that stands out most, with a handicap for its distance from the centre."""
    smooth = ndimage.gaussian_filter(place.hu, [config.seed_sigma_mm / mm for mm in place.spacing_mm], truncate=2.5)
    handicap = config.seed_hu_per_mm * _off_mm(place, centre_zyx)
    merit = np.where(place.lungs & place.near, smooth - handicap, -np.inf)
    best = np.unravel_index(int(merit.argmax()), merit.shape)
    if not place.lungs[best] or smooth[best] < config.least_hu:
        return None
    return int(best[0]), int(best[1]), int(best[2])


def _off_mm(place: _Place, point_zyx: NDArray[np.float64] | NDArray[np.intp]) -> NDArray[np.float64]:
    """Distance of each voxel from a point."""
    z, y, x = (
        ((np.arange(n) - c) * mm) ** 2 for n, c, mm in zip(place.hu.shape, point_zyx, place.spacing_mm, strict=True)
    )
    away: NDArray[np.float64] = np.sqrt(z[:, None, None] + y[:, None] + x)
    return away


def _nodule_at(place: _Place, seed: tuple[int, int, int], config: OutlineConfig) -> Mask | None:
    """The nodule round a seed: its dense part, or all of it if ground glass surrounds that."""
    dark = place.hu[place.lungs & (place.hu < config.parenchyma_hu)]
    parenchyma = float(np.median(dark)) if dark.size else _NO_PARENCHYMA_HU
    core = float(np.median(place.hu[_ball(place, seed, config.core_mm)]))
    if core - parenchyma < config.least_contrast_hu:
        return None
    mask = _opened(place, seed, (core + parenchyma) / 2, config)
    halo = _halo(place, mask, config)
    if halo is not None and halo - parenchyma > config.least_contrast_hu:
        mask = _opened(place, seed, (halo + parenchyma) / 2, config) | mask
    return mask


def _ball_diameter_mm(mask: Mask, spacing_mm: Spacing) -> float:
    return float(np.cbrt(6 / np.pi * mask.sum() * np.prod(spacing_mm)))


def _halo(place: _Place, mask: Mask, config: OutlineConfig) -> float | None:
    """HU of ground glass round a mask; None if most of what surrounds it is no ground glass."""
    away_mm = ndimage.distance_transform_edt(~mask, sampling=place.spacing_mm)
    ring = place.hu[(away_mm > config.halo_inner_mm) & (away_mm <= config.halo_outer_mm) & place.lungs]
    if not ring.size:
        return None
    glass = ring[(ring > config.glass_low_hu) & (ring < config.glass_high_hu)]
    return float(np.median(glass)) if glass.size > config.halo_share * ring.size else None


def _ball(place: _Place, centre: tuple[int, int, int], radius_mm: float) -> tuple[slice, slice, slice]:
    z, y, x = (
        slice(max(0, c - int(radius_mm / mm)), c + int(radius_mm / mm) + 1)
        for c, mm in zip(centre, place.spacing_mm, strict=True)
    )
    return z, y, x


def _opened(place: _Place, seed: tuple[int, int, int], threshold_hu: float, config: OutlineConfig) -> Mask:
    """What is denser than the threshold and hangs together with the seed, without what is much thinner than it."""
    dense = (place.hu > threshold_hu) & place.lungs & place.near
    dense[seed] = True
    labels = cc3d.connected_components(dense.astype(np.uint8), connectivity=6)
    mask = labels == labels[seed]
    # Padded, so that what is cut by the box has a border there too (but not at the CT's first and last slice).
    depth_mm = ndimage.distance_transform_edt(np.pad(mask, ((0, 0), (1, 1), (1, 1))), sampling=place.spacing_mm)
    depth_mm = depth_mm[:, 1:-1, 1:-1]
    near = _ball(place, seed, config.core_reach_mm)
    inside = np.where(mask[near], depth_mm[near], 0)
    peak = tuple(
        int(k) + side.start for k, side in zip(np.unravel_index(inside.argmax(), inside.shape), near, strict=True)
    )
    radius_mm = config.opening_share * float(depth_mm[peak])
    deep = depth_mm >= radius_mm
    deep &= _off_mm(place, np.array(peak)) <= config.span_share * float(depth_mm[peak])
    core = cc3d.connected_components(deep.astype(np.uint8), connectivity=26)
    away_mm = ndimage.distance_transform_edt(core != core[peak], sampling=place.spacing_mm)
    opened: Mask = mask & (away_mm <= radius_mm)
    return opened
