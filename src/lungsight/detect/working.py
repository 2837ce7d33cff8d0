"""What both systems see of a slice: working pixels of one size, HU scaled to 0 to 1. Training imports it from here.

A pixel is 0.7 mm: a slice of another pixel spacing is resampled to it, so that a nodule of 10 mm always looks the same
size, whatever the field of view. Spacings within 2 % of 0.7 mm are taken as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HU_RANGE",
    "PIXEL_MM",
    "PIXEL_TOLERANCE",
    "normalise_hu",
    "sample_slice",
    "working_pixel_mm",
    "working_size",
    "working_slice",
]

PIXEL_MM = 0.7
"""The working pixel: the most frequent spacing of chest CT at 512 x 512 (about 360 mm field of view)."""
PIXEL_TOLERANCE = 0.02
"""Greatest relative difference from PIXEL_MM that is not resampled."""
HU_RANGE = (-1000.0, 500.0)
"""HU that become 0 and 1; from air to where calcification is beyond doubt."""


def normalise_hu(hu: NDArray[np.floating] | NDArray[np.int16]) -> NDArray[np.float32]:
    """HU as the network sees them: HU_RANGE becomes 0 to 1, what lies outside is clipped.

    Examples
    --------
    >>> normalise_hu(np.array([-2000, -1000, -250, 500, 3000])).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    low, high = HU_RANGE
    scaled: NDArray[np.float32] = (np.asarray(hu, np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    return np.clip(scaled, 0, 1, out=scaled)


def working_pixel_mm(spacing_mm: float) -> float:
    """The working pixel for a source spacing: the source's own within 2 % of 0.7 mm, else 0.7 mm."""
    return spacing_mm if abs(spacing_mm / PIXEL_MM - 1) <= PIXEL_TOLERANCE else PIXEL_MM


def working_size(size: int, spacing_mm: float) -> int:
    """Working pixels that a line of `size` source pixels has room for."""
    return int((size - 1) * spacing_mm / working_pixel_mm(spacing_mm) + 1e-6) + 1


def working_slice(hu: NDArray[np.floating] | NDArray[np.int16], spacing_mm: tuple[float, float]) -> NDArray[np.float32]:
    """One slice on working pixels, normalised; linear interpolation, pixel 0 at the source's pixel 0.

    Parameters
    ----------
    hu
        Shape ``(rows, columns)``.
    spacing_mm
        Row and column spacing.

    Returns
    -------
    ndarray
        Shape ``(working rows, working columns)``, 0 to 1.
    """
    positions = [
        np.arange(working_size(size, mm), dtype=np.float64) * (working_pixel_mm(mm) / mm)
        for size, mm in zip(hu.shape, spacing_mm, strict=True)
    ]
    return sample_slice(normalise_hu(hu), *positions)


def sample_slice(
    image: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A slice at other rows and columns, by linear interpolation; beyond the slice its border is repeated.

    Parameters
    ----------
    image
        Shape ``(h, w)``.
    rows, columns
        Where, in pixels of the image; may be fractional.

    Returns
    -------
    ndarray
        Shape ``(len(rows), len(columns))``.
    """
    for axis, positions in enumerate((rows, columns)):
        image = _interpolate(image, positions, axis)
    return image


def _interpolate(image: NDArray[np.float32], positions: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    last = image.shape[axis] - 1
    positions = positions.clip(0, last)
    before = positions.astype(np.intp)
    if np.array_equal(before, positions):  # the image's own pixels, most often all of them
        return image if np.array_equal(before, np.arange(last + 1)) else image.take(before, axis)
    share = (positions - before).astype(np.float32)
    share = share[:, None] if axis == 0 else share
    after = np.minimum(before + 1, last)
    low = image.take(before, axis)
    mixed: NDArray[np.float32] = image.take(after, axis)
    mixed -= low
    mixed *= share
    mixed += low
    return mixed
