"""What the nodule networks of `segments` see: cuts from the CT round a place, of a fixed size in mm.

The *block* tells nodules from vessels: nine slices 2.5 mm apart, so that what runs on through them is seen to. The
*sheaf* tells how a nodule looks: slices of its own, spread over the middle of its height, whatever their spacing.
Both are 64 x 64 working pixels wide (45 mm).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.detect.working import PIXEL_MM, normalise_hu, sample_slice

__all__ = [
    "BLOCK_SLICES",
    "BLOCK_STEP_MM",
    "CUT_PX",
    "SHEAF_PLACES",
    "cut_block",
    "cut_sheaf",
    "sample_block",
    "sheaf_slices",
]

CUT_PX = 64
"""Side of a cut."""
BLOCK_SLICES = 9
"""Slices of a block, the middle one through the place."""
BLOCK_STEP_MM = 2.5
"""Distance between them."""
SHEAF_PLACES = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Where the slices of a sheaf lie in the nodule's height, from 0 to 1: towards its ends it fades."""


def cut_block(ct: CTVolume, centre_zyx: NDArray[np.float64]) -> NDArray[np.float32]:
    """Nine slices round a place, interpolated.

    Parameters
    ----------
    ct
        Upright, slices axial; one slice is enough. Beyond its ends its border is repeated.
    centre_zyx
        Shape ``(3,)``, voxel index, fractional.

    Returns
    -------
    ndarray
        Shape ``(9, 64, 64)``, 0 to 1.
    """
    return normalise_hu(sample_block(ct, centre_zyx, BLOCK_SLICES, CUT_PX))


def sample_block(ct: CTVolume, centre_zyx: NDArray[np.float64], slices: int, side_px: int) -> NDArray[np.float32]:
    """HU ``(slices, side, side)`` round a place: slices 2.5 mm apart, working pixels; the CT's border is repeated."""
    offsets_mm = (np.arange(slices) - (slices - 1) / 2) * BLOCK_STEP_MM
    places = (centre_zyx[0] + offsets_mm / ct.spacing_zyx_mm[0]).clip(0, len(ct.hu) - 1)
    below = places.astype(np.intp)
    above = np.minimum(below + 1, len(ct.hu) - 1)
    planes = {int(z): _plane(ct, int(z), centre_zyx[1:], side_px) for z in np.union1d(below, above)}
    pairs = zip(below.tolist(), above.tolist(), (places - below).astype(np.float32), strict=True)
    return np.stack([(1 - share) * planes[a] + share * planes[b] for a, b, share in pairs])


def cut_sheaf(ct: CTVolume, centre_yx: NDArray[np.float64], first: int, last: int) -> NDArray[np.float32]:
    """Five slices of a nodule.

    Parameters
    ----------
    ct
        Upright, slices axial.
    centre_yx
        Shape ``(2,)``: row and column of the nodule's centre, fractional.
    first, last
        The lowest and highest slice that show it.

    Returns
    -------
    ndarray
        Shape ``(5, 64, 64)``, 0 to 1; a nodule of few slices shows some of them twice.
    """
    return normalise_hu(np.stack([_plane(ct, z, centre_yx, CUT_PX) for z in sheaf_slices(first, last)]))


def sheaf_slices(first: int, last: int) -> list[int]:
    """The slices of a sheaf.

    Examples
    --------
    >>> sheaf_slices(10, 20), sheaf_slices(7, 7), sheaf_slices(3, 4)
    ([13, 14, 15, 16, 17], [7, 7, 7, 7, 7], [3, 3, 3, 4, 4])
    """
    return [first + int(share * (last - first) + 0.5 - 1e-9) for share in SHEAF_PLACES]


def _plane(ct: CTVolume, z: int, centre_yx: NDArray[np.float64], side_px: int) -> NDArray[np.float32]:
    line = np.arange(side_px) - (side_px - 1) / 2
    rows, columns = (at + line * (PIXEL_MM / mm) for at, mm in zip(centre_yx, ct.spacing_zyx_mm[1:], strict=True))
    return sample_slice(np.asarray(ct.hu[z], np.float32), rows, columns)
