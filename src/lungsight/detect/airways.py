"""Trachea and main bronchi on the coarse grid: air in a tube, followed from the neck into the lungs."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import LungsConfig

__all__ = ["find_airways"]

# A trachea in an axial plane; 10 to 27 mm across in adults (Breatnach et al., AJR 142, 1984), the carina is wider.
_TRACHEA_MM2 = (40.0, 900.0)
# Upper bounds of the air in a bronchus, tried until the region does not leak: a leak is lung nearly as dark as air.
_LUMEN_HU = (-875.0, -900.0, -925.0, -950.0)
# Two levels that touch in a plane, none through planes: each axial plane is labelled by itself.
IN_PLANE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], bool)


def find_airways(
    hu: NDArray[np.float32], airspace: NDArray[np.bool_], spacing_mm: tuple[float, float, float], config: LungsConfig
) -> NDArray[np.bool_]:
    """The lumen of trachea and bronchi, as far as it can be followed without leaking into the lung.

    Parameters
    ----------
    hu
        Shape ``(z, y, x)``, the CT on the coarse grid; axis 0 runs to the head.
    airspace
        Same shape, True in lungs, airways and bowel gas, False in the air around the body.
    spacing_mm
        Spacing of the coarse grid.
    config
        Settings.

    Returns
    -------
    ndarray
        Same shape; all False if there is no trachea.
    """
    trachea = _trachea(hu, airspace, spacing_mm)
    if not trachea.any():
        return trachea
    most_voxels = 1000 * config.max_airways_ml / np.prod(spacing_mm)
    for lumen_hu in _LUMEN_HU:
        labels = cc3d.connected_components((airspace & (hu < lumen_hu)) | trachea, connectivity=6)
        airways: NDArray[np.bool_] = labels == labels[tuple(np.argwhere(trachea)[0])]
        if airways.sum() <= most_voxels:
            return airways
    return trachea


def _trachea(
    hu: NDArray[np.float32], airspace: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Discs of air in the axial planes that have soft tissue around them and lie on one another."""
    labels, n = ndimage.label(airspace, IN_PLANE)
    area_mm2 = np.bincount(labels.ravel(), minlength=n + 1) * spacing_mm[1] * spacing_mm[2]
    air = np.bincount(labels.ravel(), weights=(hu < _LUMEN_HU[0]).ravel(), minlength=n + 1)
    air_mm2 = air * spacing_mm[1] * spacing_mm[2]
    disc = (area_mm2 >= _TRACHEA_MM2[0]) & (area_mm2 <= _TRACHEA_MM2[1]) & (air_mm2 >= 0.4 * area_mm2)
    disc[0] = False
    stacks = cc3d.connected_components(disc[labels], connectivity=6)
    boxes = cc3d.statistics(stacks)["bounding_boxes"][1:]
    heights = [_height(box, airspace) for box in boxes]
    if not any(heights):
        return np.zeros_like(airspace)
    found: NDArray[np.bool_] = stacks == 1 + int(np.argmax(heights))
    return found


def _height(box: tuple[slice, slice, slice], airspace: NDArray[np.bool_]) -> int:
    """How many planes a stack of discs spans; 0 if it lies where no trachea is: low or far from the middle."""
    planes, _, columns = (np.flatnonzero(airspace.any(others)) for others in ((1, 2), (0, 2), (0, 1)))
    low = box[0].stop <= (planes[0] + planes[-1]) / 2
    middle = (columns[0] + columns[-1]) / 2
    aside = abs((box[2].start + box[2].stop) / 2 - middle) > (columns[-1] - columns[0]) / 4
    return 0 if low or aside else box[0].stop - box[0].start
