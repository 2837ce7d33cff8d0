"""The lung mask: found on a coarse grid by rules of anatomy, its border drawn on the CT's own grid."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import LungsConfig
from lungsight.ct.upright import turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.detect.airways import IN_PLANE, find_airways
from lungsight.detect.morphology import close, dilate, erode, open_

__all__ = ["segment_lungs"]

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]
Mask = NDArray[np.bool_]

_LOWEST_HU = -1024  # padding outside the field of view counts as air


def segment_lungs(ct: CTVolume, config: LungsConfig = LungsConfig()) -> Mask:  # noqa: B008 (frozen)
    """Both lungs without trachea and main bronchi, closed over nodules inside and at the pleura.

    Parameters
    ----------
    ct
        A CT that shows lung, with or without the air around the body, in any orientation.
    config
        Settings.

    Returns
    -------
    ndarray
        Shape of ``ct.hu``; all False if the CT shows no lung.

    Notes
    -----
    Air outside the body is what touches the sides of an axial plane and is dark or not between parts of the body;
    the airways are followed from the trachea; lungs are what else is dark, large, and neither bare air nor mostly
    tissue. The closing that keeps nodules at the pleura inside is a rolling ball (Armato and Sensakovic, *Academic
    Radiology* 11, 2004), large under the ribs and small at the mediastinum, where a healthy lung has hollows of its
    own. So a nodule with a broad base (over twice ``closing_mm``) on the mediastinum, at the hilum or at the very
    apex may be cut.
    """
    turn = turn_upright(ct)
    hu = turn.array(ct.hu)
    spacing_mm = [ct.spacing_zyx_mm[axis] for axis in turn.axes]
    fz, fy, fx = (max(1, min(round(config.grid_mm / mm), n)) for mm, n in zip(spacing_mm, hu.shape, strict=True))
    mm_z, mm_y, mm_x = fz * spacing_mm[0], fy * spacing_mm[1], fx * spacing_mm[2]
    mask = np.zeros(ct.shape, np.bool_)
    found = _find(_shrink(hu, (fz, fy, fx)), (mm_z, mm_y, mm_x), config)
    if found is not None:
        turn.array(mask)[...] = _draw_border(hu, *found, (fz, fy, fx), config.border_hu)
    return mask


def _shrink(hu: NDArray[Any], factors: Triple) -> NDArray[np.float32]:
    """Means over blocks; what does not fill a block at the far ends is left out."""
    fz, fy, fx = factors
    nz, ny, nx = (n // f for n, f in zip(hu.shape, factors, strict=True))
    coarse = np.zeros((nz, ny, nx), np.float32)
    for z in range(nz):
        slab = np.maximum(hu[z * fz : (z + 1) * fz, : ny * fy, : nx * fx], _LOWEST_HU).astype(np.float32)
        rows = slab.reshape(fz, ny, fy, nx * fx).sum((0, 2))
        for x in range(fx):
            coarse[z] += rows[:, x::fx]
    coarse /= fz * fy * fx
    return coarse


def _find(hu: NDArray[np.float32], spacing_mm: Spacing, config: LungsConfig) -> tuple[Mask, Mask] | None:
    """On the coarse grid: what surely is lung, and where the border runs; None if there is no lung."""
    airspace = hu < config.border_hu
    airspace &= ~_outside(hu, airspace, config.air_hu)
    airways = find_airways(hu, airspace, spacing_mm, config)
    tubes = dilate(open_(airways, config.airway_radius_mm, spacing_mm), config.airway_wall_mm, spacing_mm)
    lungs = _lung_components(hu, airspace & ~tubes, spacing_mm, config)
    if not lungs.any():
        return None
    closed = _close(lungs, spacing_mm, config) & ~tubes
    inside = ndimage.binary_erosion(closed, border_value=1) | (closed & ~lungs)
    border = ndimage.binary_dilation(closed) & ~tubes
    return inside, border


def _outside(hu: NDArray[np.float32], airspace: Mask, air_hu: float) -> Mask:
    """What touches the sides of an axial plane and is air, or has no body around it (table, blankets)."""
    # Opened, so that thin things in the air do not part it and are no body.
    solid = ndimage.binary_opening(~airspace, IN_PLANE)
    body = cc3d.largest_k(solid, k=1, connectivity=6) > 0
    labels, n = ndimage.label(~solid, IN_PLANE)
    sides = np.concatenate([labels[:, [0, -1]].ravel(), labels[:, :, [0, -1]].ravel()])
    at_side = np.zeros(n + 1, np.bool_)
    at_side[sides] = True
    at_side[0] = False
    enclosed = _share(_between(body, 1) | _between(body, 2), labels, n) > 0.5
    air = _share(hu < air_hu, labels, n) > 0.5
    outside: Mask = (at_side & (air | ~enclosed))[labels]
    return outside


def _between(mask: Mask, axis: int) -> Mask:
    """True where the mask has voxels on both sides along an axis."""
    return np.logical_or.accumulate(mask, axis) & np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis), axis)


def _share(mask: Mask, labels: NDArray[Any], n: int) -> NDArray[np.float64]:
    """For each label 0 to n, the share of its voxels that lie in the mask."""
    voxels = np.bincount(labels.ravel(), minlength=n + 1)
    inside: NDArray[np.float64] = np.bincount(labels[mask], minlength=n + 1) / np.maximum(voxels, 1)
    return inside


def _lung_components(hu: NDArray[np.float32], airspace: Mask, spacing_mm: Spacing, config: LungsConfig) -> Mask:
    """The large regions that hold neither air alone (bowel gas) nor mostly tissue (stool); all False if none is."""
    labels, n = cc3d.connected_components(airspace, connectivity=6, return_N=True)
    voxels = np.bincount(labels.ravel(), minlength=n + 1)
    # Judged without its blurred edge, where air looks like lung; what is all edge is judged as it is.
    core = np.where(ndimage.binary_erosion(airspace, IN_PLANE), labels, 0)
    core = np.where((np.bincount(core.ravel(), minlength=n + 1) == 0)[labels], labels, core)
    air = _share(hu < config.air_hu, core, n) > 0.5
    tissue = _share(hu < config.tissue_hu, core, n) < 0.5
    voxels[air | tissue] = 0
    voxels[0] = 0
    mean_area_mm2 = voxels.max() / len(hu) * spacing_mm[1] * spacing_mm[2]
    if mean_area_mm2 < config.min_area_mm2:
        return np.zeros_like(airspace)
    lungs: Mask = ((voxels > 0) & (voxels >= config.min_share * voxels.max()))[labels]
    return lungs


def _close(lungs: Mask, spacing_mm: Spacing, config: LungsConfig) -> Mask:
    """The lungs with their holes filled and the hollows of their surface closed, more so under the ribs."""
    reach = [int(config.costal_closing_mm / mm) + 1 for mm in spacing_mm]
    tight = ndimage.find_objects(lungs.astype(np.int8))[0]
    box = tuple(slice(max(0, side.start - more), side.stop + more) for side, more in zip(tight, reach, strict=True))
    part = lungs[box]
    # Opened, because a rim that comes and goes from row to row would leave a comb.
    mediastinal = open_(_between(erode(part, config.rim_mm, spacing_mm), 2), config.closing_mm, spacing_mm)
    closed = close(part, config.closing_mm, spacing_mm)
    closed |= close(part, config.costal_closing_mm, spacing_mm) & ~mediastinal
    most_pixels = np.pi * config.costal_closing_mm**2 / (spacing_mm[1] * spacing_mm[2])
    for end in (0, -1):
        closed[end] = _fill_small_holes(closed[end], most_pixels)
    result = np.zeros_like(lungs)
    result[box] = ndimage.binary_fill_holes(closed)
    return result


def _fill_small_holes(plane: Mask, most_pixels: float) -> Mask:
    """A plane at the end of the CT, where a nodule is open to one side; the top of the diaphragm is larger."""
    labels, n = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
    small = np.bincount(labels.ravel(), minlength=n + 1) <= most_pixels
    small[0] = False
    filled: Mask = plane | small[labels]
    return filled


def _draw_border(hu: NDArray[Any], inside: Mask, border: Mask, factors: Triple, border_hu: float) -> Mask:
    """On the CT's grid: everything inside, and along the border what is darker than `border_hu`."""
    fine = _enlarge(border, factors, hu.shape)
    fine &= hu < border_hu
    fine |= _enlarge(inside, factors, hu.shape)
    return fine


def _enlarge(mask: Mask, factors: Triple, shape: tuple[int, ...]) -> Mask:
    for axis, (factor, n) in enumerate(zip(factors, shape, strict=True)):
        mask = np.repeat(mask, factor, axis)
        mask = np.pad(mask, [(0, n - mask.shape[axis] if a == axis else 0) for a in range(3)], "edge")
    return mask
