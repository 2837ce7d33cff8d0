"""What is measured on a nodule's mask: diameters, volume, density, and where in the lungs it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from lungsight.config import MeasureConfig
from lungsight.ct.volume import CTVolume
from lungsight.findings import Density, Measurements, Region

__all__ = ["Landmarks", "find_landmarks", "in_plane_axes_mm", "measure_nodule"]

Side = Literal["left", "right"]
Zone = Literal["upper", "middle", "lower"]

_EDGE_PX = 0.5
"""Between the centres of a mask's outermost pixels and its border lie, on discs and ellipses of 5 to 30 mm in all
positions, 0.1 to 0.6 pixels on both ends together."""
_SURFACE_GRID_MM = 1.4
"""The lungs' surface and height are taken on a grid thinned to about this."""
_LEAST_LUNG = 0.05
"""With less than this share of the lungs on one side of the middle, there is one lung only."""


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """What positions in the lungs are told by.

    Attributes
    ----------
    midline_lps_x_mm
        The sagittal plane between the lungs.
    heights_lps_z_mm
        Lowest and highest point of each lung; both have the same numbers where there is only one.
    surface
        Points on the lungs' surface, LPS mm.
    touch_mm
        What is nearer to such a point touches the surface: the points stand for the voxels between them.
    """

    midline_lps_x_mm: float
    heights_lps_z_mm: dict[Side, tuple[float, float]]
    surface: KDTree
    touch_mm: float


def find_landmarks(ct: CTVolume, lungs: NDArray[np.bool_]) -> Landmarks | None:
    """The landmarks of a CT.

    Parameters
    ----------
    ct
        An upright CT.
    lungs
        Its lung mask, of the same shape.

    Returns
    -------
    Landmarks or None
        None without a lung.
    """
    steps = [max(1, round(_SURFACE_GRID_MM / mm)) for mm in ct.spacing_zyx_mm]
    thin = lungs[:: steps[0], :: steps[1], :: steps[2]]
    inside = np.argwhere(thin)
    if not len(inside):
        return None
    # Where the CT ends the lungs do not: beyond its border there is more of the same.
    core = ndimage.binary_erosion(thin, border_value=1)
    surface = ct.to_lps(np.argwhere(thin & ~core) * steps)
    if not len(surface):
        return None
    x_mm, _, z_mm = ct.to_lps(inside * steps).T
    midline = _midline(x_mm, ct)
    heights: dict[Side, tuple[float, float]] = {}
    sides: tuple[tuple[Side, NDArray[np.bool_]], ...] = (("right", x_mm <= midline), ("left", x_mm > midline))
    for side, here in sides:
        z = z_mm[here] if here.mean() >= _LEAST_LUNG else z_mm
        heights[side] = float(z.min()), float(z.max())
    left_out_mm = [(step - 1) * mm for step, mm in zip(steps, ct.spacing_zyx_mm, strict=True)]
    return Landmarks(midline, heights, KDTree(surface), float(np.linalg.norm(left_out_mm)) + ct.spacing_zyx_mm[1])


def measure_nodule(
    ct: CTVolume,
    mask: Region,
    landmarks: Landmarks,
    config: MeasureConfig = MeasureConfig(),  # noqa: B008 (frozen)
) -> Measurements:
    """Measure one nodule.

    Parameters
    ----------
    ct
        An upright CT.
    mask
        The nodule, on its grid.
    landmarks
        Of the same CT.
    config
        The HU rules.

    Returns
    -------
    Measurements
        Long and short axis are of the slice in which the nodule is largest. Their error on digital spheres and
        ellipsoids, and against readers, is in ``benchmarks/measurements.md``.

    Notes
    -----
    Long axis and the diameter perpendicular to it in the same plane: Bankier et al., *Radiology* 285(2):584-600, 2017
    (Fleischner Society, recommendations for measuring nodules). Density classes by HU: a voxel is solid from
    ``solid_hu`` on; a nodule whose inner voxels are mostly solid is solid, one with a solid component part-solid, else
    it is ground glass.
    """
    _, row_mm, column_mm = ct.spacing_zyx_mm
    hu = ct.hu[mask.box]
    largest = mask.mask[int(mask.mask.sum((1, 2)).argmax())]
    long_mm, short_mm = in_plane_axes_mm(largest, (row_mm, column_mm))
    density, solid_mm = _density(hu, mask.mask, (row_mm, column_mm), config)
    points_lps = ct.to_lps(np.argwhere(mask.mask) + mask.start_zyx)
    side: Side = "left" if points_lps[:, 0].mean() > landmarks.midline_lps_x_mm else "right"
    distances_mm, _ = landmarks.surface.query(points_lps[_border(mask.mask)])
    nearest_mm = float(distances_mm.min())
    return Measurements(
        long_axis_mm=long_mm,
        short_axis_mm=short_mm,
        volume_mm3=float(mask.mask.sum() * abs(np.linalg.det(ct.affine[:3, :3]))),
        mean_hu=float(hu[mask.mask].mean()),
        density=density,
        solid_diameter_mm=solid_mm,
        side=side,
        zone=_zone(float(points_lps[:, 2].mean()), landmarks.heights_lps_z_mm[side]),
        pleura_distance_mm=nearest_mm if nearest_mm > landmarks.touch_mm else 0.0,
    )


def in_plane_axes_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Long axis and the greatest extent perpendicular to it.

    Parameters
    ----------
    mask
        Shape ``(rows, columns)``, with at least one True pixel.
    spacing_mm
        Distance between rows, between columns.

    Returns
    -------
    tuple of float
        Long axis, short axis; mm.

    Examples
    --------
    >>> plate = np.ones((4, 10), bool)
    >>> in_plane_axes_mm(np.array([[True]]), (0.7, 0.7))
    (0.35, 0.35)
    """
    rows = np.flatnonzero(mask.any(1))
    # The ends of the long axis are the first or last pixels of their rows.
    first = mask[rows].argmax(1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    ends_mm = np.column_stack([np.tile(rows, 2), np.concatenate([first, last])]) * spacing_mm
    apart = cdist(ends_mm, ends_mm)
    a, b = np.unravel_index(int(apart.argmax()), apart.shape)
    long_mm = float(apart[a, b])
    along = (ends_mm[b] - ends_mm[a]) / long_mm if long_mm else np.array([1.0, 0.0])
    across_mm = ends_mm @ np.array([-along[1], along[0]])
    edge_mm = _EDGE_PX * float(np.sqrt(spacing_mm[0] * spacing_mm[1]))
    return long_mm + edge_mm, float(np.ptp(across_mm)) + edge_mm


def _density(
    hu: NDArray[np.int16] | NDArray[np.float32],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float],
    config: MeasureConfig,
) -> tuple[Density, float | None]:
    """The class, and the mean diameter of the solid component if there is more to the nodule."""
    flat = ndimage.binary_erosion(mask, np.ones((1, 3, 3)))
    inner = hu[flat] if flat.any() else hu[mask]
    solid = mask & (hu >= config.solid_hu)
    if np.mean(inner >= config.solid_hu) >= config.solid_share:
        return Density.SOLID, None
    if not solid.any():
        return Density.GROUND_GLASS, None
    parts = cc3d.largest_k(solid.astype(np.uint8), k=1, connectivity=6) > 0
    largest = parts[int(parts.sum((1, 2)).argmax())]
    solid_mm = float(np.mean(in_plane_axes_mm(largest, spacing_mm)))
    return (Density.PART_SOLID, solid_mm) if solid_mm >= config.least_solid_mm else (Density.GROUND_GLASS, None)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the mask's voxels, in their order, have a neighbour outside it."""
    border: NDArray[np.bool_] = (mask & ~ndimage.binary_erosion(mask))[mask]
    return border


def _midline(x_mm: NDArray[np.float64], ct: CTVolume) -> float:
    """Where between the lungs fewest of their voxels lie; the CT's middle if there is one lung only."""
    corners = ct.to_lps(np.array([(0, 0, 0), ct.shape]) - 0.5)
    middle, width = float(corners[:, 0].mean()), float(np.ptp(x_mm))
    edges = np.linspace(middle - width / 4, middle + width / 4, 41)
    counts, _ = np.histogram(x_mm, edges)
    smooth = ndimage.uniform_filter1d(counts.astype(np.float64), 5, mode="nearest")
    fewest = np.flatnonzero(smooth == smooth.min())
    split = float((edges[fewest].mean() + edges[fewest + 1].mean()) / 2)
    share = float(np.mean(x_mm > split))
    return split if _LEAST_LUNG <= share <= 1 - _LEAST_LUNG else middle


def _zone(z_mm: float, height: tuple[float, float]) -> Zone:
    low, high = height
    share = (z_mm - low) / (high - low) if high > low else 0.5
    return "lower" if share < 1 / 3 else "middle" if share < 2 / 3 else "upper"
