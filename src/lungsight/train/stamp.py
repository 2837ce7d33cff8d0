"""A piece of a CT made ready to be set into another: brought to the other's grid, with a soft border.

A nodule's cut ends near its mask, and holds lung, vessels and pleura of another patient. So the border of the stamp
follows the mask, the lung within that border is told apart from the nodule, and what is bright outside the mask and no
edge of the nodule (pleura, a vessel that would end in nothing) is dimmed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Piece", "Stamp", "cut_stamp", "fine_structure", "noise_of_lung", "resample_weights", "resampled"]

OPAQUE_MM = 0.75
"""Up to this distance from the mask a stamp covers its place wholly: the blurred edge of a nodule belongs to it."""

CLEAR_MM = 2.5
"""From this distance on it leaves its place untouched."""

EDGE_SHARE = 0.6
"""Most of a nodule that a voxel beside its mask can hold; falls to 0 at `CLEAR_MM`."""

NODULE_PERCENTILE = 90.0
"""Of the HU in a mask: what a voxel filled by the nodule shows."""

LUNG_HU = -850.0
"""Lung where none is seen."""

LUNG_AT_MOST_HU = -600.0
"""Voxels over this are no air-filled lung."""

TISSUE_HU = -500.0
"""Voxels over this are vessel, wall of a bronchus, nodule or chest wall."""

BESIDE_MM = (1.5, 3.5)
"""Distances from a nodule between which what touches it is seen: nearer is its own blurred edge."""

CLEAN_VOXELS = 40
"""Fewer voxels of lung say nothing of the noise."""

FINE_PX = 1.0
"""Standard deviation of the Gaussian, in the plane, that parts noise and fine structure from the rest."""

_MAD_TO_SD = 1.4826
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A nodule, or a block of lung, as it was cut from a CT with axial slices, head up.

    Attributes
    ----------
    hu
        Shape ``(slices, rows, columns)``.
    mask
        Same shape, boolean; at least one voxel is set.
    spacing_zyx_mm
        Of its grid.
    solid_hu
        HU of a voxel that the nodule fills; None takes it from the mask.
    noiseless
        Whether it was drawn and holds no noise.
    """

    hu: NDArray[np.float32]
    mask: NDArray[np.bool_]
    spacing_zyx_mm: Triple
    solid_hu: float | None = None
    noiseless: bool = False

    def __post_init__(self) -> None:
        if self.hu.shape != self.mask.shape or self.mask.ndim != 3 or not self.mask.any():
            raise ValueError(f"a piece has a 3D mask with a voxel in it and HU of its shape, not {self.mask.shape}")

    @property
    def diameter_mm(self) -> float:
        """Of the ball with the volume of the mask."""
        return float((6 / np.pi * self.mask.sum() * np.prod(self.spacing_zyx_mm)) ** (1 / 3))


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A piece on the grid of a host, cut to where it covers anything.

    Attributes
    ----------
    alpha
        Shape ``(slices, rows, columns)``: how far each voxel is covered, 0 to 1.
    hu
        Same shape.
    lung_share
        Same shape: how much of each voxel is lung and no nodule, 0 to 1, by its HU.
    mask_share
        Same shape: how much of each voxel lies in the piece's mask, 0 to 1.
    centre_zyx
        The voxel of the stamp that is the piece's middle.
    lung_hu
        The lung beside the nodule.
    noise_hu
        Standard deviation of the noise in that lung, on this grid; None where too little of it is seen.
    tissue_beside
        How much of what lay beside the piece's mask was tissue: vessels and pleura that touched it; None if it was
        drawn.
    """

    alpha: NDArray[np.float32]
    hu: NDArray[np.float32]
    lung_share: NDArray[np.float32]
    mask_share: NDArray[np.float32]
    centre_zyx: tuple[int, int, int]
    lung_hu: float
    noise_hu: float | None
    tissue_beside: float | None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Voxels of which half or more lie in the piece's mask; the fullest ones if none does."""
        mask: NDArray[np.bool_] = self.mask_share >= min(0.5, float(self.mask_share.max()))
        return mask


def cut_stamp(piece: Piece, spacing_zyx_mm: Triple) -> Stamp:
    """Bring a piece to a host's grid.

    Parameters
    ----------
    piece
        On its own grid.
    spacing_zyx_mm
        Of the host. The voxel next to the mask's centroid falls on a voxel of the host, so nothing is interpolated
        where both grids have the same spacing.

    Returns
    -------
    Stamp
        HU of the nodule's middle are the piece's own, averaged where the host's voxels are larger.
    """
    away_mm = ndimage.distance_transform_edt(~piece.mask, sampling=piece.spacing_zyx_mm)
    beside = (away_mm > CLEAR_MM) & (piece.hu < LUNG_AT_MOST_HU)
    lung_hu = float(np.median(piece.hu[beside])) if beside.sum() >= CLEAN_VOXELS else LUNG_HU
    solid_hu = piece.solid_hu
    if solid_hu is None:
        solid_hu = max(float(np.percentile(piece.hu[piece.mask], NODULE_PERCENTILE)), lung_hu + 1.0)
    fade = np.clip((CLEAR_MM - away_mm) / (CLEAR_MM - OPAQUE_MM), 0, 1)
    alpha = (1 - np.cos(np.pi * fade)) / 2
    brightest_hu = lung_hu + (solid_hu - lung_hu) * EDGE_SHARE * np.clip(1 - away_mm / CLEAR_MM, 0, 1)
    # The noise of the lung goes both ways: it is left above what the edge may show.
    margin_hu = _spread(piece.hu[beside]) if beside.any() else 0.0
    dimmed = np.where(piece.mask, piece.hu, np.minimum(piece.hu, brightest_hu + margin_hu))
    lung_share = np.clip((solid_hu - dimmed) / (solid_hu - lung_hu), 0, 1)

    weights, middle = resample_weights(piece, spacing_zyx_mm)
    covered = resampled(alpha, weights)
    whole = [w / np.maximum(w.sum(1, keepdims=True), 1e-9) for w in weights]
    mask_share = resampled(piece.mask, weights)
    noise_hu: float | None = 0.0
    if not piece.noiseless:
        noise_hu = noise_of_lung(resampled(piece.hu, whole), resampled(beside, whole) > 0.99)
    used = covered > 1e-3
    box = ndimage.find_objects(used.astype(np.int8))[0]
    z, y, x = (at - side.start for at, side in zip(middle, box, strict=True))
    return Stamp(
        alpha=np.where(used, covered, 0)[box].astype(np.float32),
        hu=resampled(dimmed, whole)[box].astype(np.float32),
        lung_share=resampled(lung_share, whole)[box].astype(np.float32),
        mask_share=mask_share[box].astype(np.float32),
        centre_zyx=(z, y, x),
        lung_hu=lung_hu,
        noise_hu=noise_hu,
        tissue_beside=None if piece.noiseless else tissue_share(piece.hu, beside_of(piece.mask, piece.spacing_zyx_mm)),
    )


def beside_of(mask: NDArray[np.bool_], spacing_zyx_mm: Triple) -> NDArray[np.bool_]:
    """What lies beside a nodule, in the slices that show it: its mask's shape, `BESIDE_MM` away from it."""
    away_mm = ndimage.distance_transform_edt(~mask, sampling=spacing_zyx_mm)
    beside: NDArray[np.bool_] = (away_mm > BESIDE_MM[0]) & (away_mm <= BESIDE_MM[1])
    return beside & mask.any((1, 2), keepdims=True)


def tissue_share(hu: NDArray[np.floating] | NDArray[np.integer], beside: NDArray[np.bool_]) -> float:
    """How much of what lies beside a nodule is tissue, 0 to 1; 0 of nothing."""
    return float((hu[beside] > TISSUE_HU).mean()) if beside.any() else 0.0


def resample_weights(piece: Piece, spacing_zyx_mm: Triple) -> tuple[list[NDArray[np.float64]], tuple[int, int, int]]:
    """How each voxel of a new grid is made of a piece's, one matrix ``(new, old)`` an axis, and the new middle voxel.

    A triangle as wide as the larger of the two spacings: linear interpolation to finer grids, the average over a slab
    to coarser ones. Rows sum to 1, less where the piece ends.
    """
    centroid = np.rint(np.argwhere(piece.mask).mean(0))
    weights, middle = [], []
    for size, at, old_mm, new_mm in zip(piece.mask.shape, centroid, piece.spacing_zyx_mm, spacing_zyx_mm, strict=True):
        width_mm = max(old_mm, new_mm)
        beyond = 2 * int(np.ceil(width_mm / old_mm)) + 1
        old = (np.arange(-beyond, size + beyond) - at) * old_mm
        first = -int(np.ceil((at * old_mm + width_mm) / new_mm))
        last = int(np.ceil(((size - 1 - at) * old_mm + width_mm) / new_mm))
        new = np.arange(first, last + 1) * new_mm
        w = np.clip(1 - np.abs(new[:, None] - old) / width_mm, 0, None)
        weights.append((w / w.sum(1, keepdims=True))[:, beyond:-beyond])
        middle.append(-first)
    z, y, x = middle
    return weights, (z, y, x)


def resampled(values: NDArray[np.generic], weights: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """An array on the new grid, one matrix an axis."""
    result: NDArray[np.float64] = values.astype(np.float64)
    for axis, w in enumerate(weights):
        result = np.moveaxis(np.tensordot(w, result, (1, axis)), 0, axis)
    return result


def fine_structure(hu: NDArray[np.floating]) -> NDArray[np.float64]:
    """What is finer in the plane than a pixel or two: noise, and the edges of what is there."""
    values: NDArray[np.float64] = hu.astype(np.float64)
    fine: NDArray[np.float64] = values - ndimage.gaussian_filter(values, (0, FINE_PX, FINE_PX), mode="nearest")
    return fine


def noise_of_lung(hu: NDArray[np.floating], lung: NDArray[np.bool_]) -> float | None:
    """Standard deviation of the fine structure of lung two pixels or more from tissue; None if there is little of it.

    The edge of a vessel or of the pleura is fine structure too, and no noise.
    """
    fine = fine_structure(hu)
    clean = lung & (ndimage.maximum_filter(hu - fine, (1, 5, 5)) < LUNG_AT_MOST_HU)
    return _spread(fine[clean]) if clean.sum() >= CLEAN_VOXELS else None


def _spread(values: NDArray[np.floating]) -> float:
    return float(_MAD_TO_SD * np.median(np.abs(values - np.median(values))))
