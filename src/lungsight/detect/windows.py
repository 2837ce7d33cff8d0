"""The `windows` system's eyes: every 50 x 50 px window of every slice, all windows of a slice in one pass.

The published system looks at 50 x 50 px windows at 10 px steps over 512 x 512 slices and labels each *not ROI*, *benign
ROI* or *malignant ROI*. Here the network's convolutions see the real pixels around a window (9 px) instead of zeros. So
neighbouring windows share their features, and a slice is one pass of the network with the same numbers as window by
window.

Slices are seen on working pixels of 0.7 mm (:mod:`lungsight.detect.working`), so that a window is always 35 mm wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.detect.working import PIXEL_MM, working_pixel_mm, working_size, working_slice

__all__ = [
    "CORE_PX",
    "FIELD_PX",
    "MARGIN_PX",
    "STEP_PX",
    "WINDOW_PX",
    "WindowMap",
    "WindowNetwork",
    "label_windows",
    "pixels_in_windows",
    "score_windows",
    "window_counts",
    "window_extent",
]

WINDOW_PX = 50
"""Side of a window (the paper's)."""
STEP_PX = 10
"""Distance between neighbouring windows (the paper's)."""
CORE_PX = 30
"""Side of a window's middle, where a nodule must lie for the window to be a ROI: neighbouring cores overlap."""
MARGIN_PX = 9
"""Pixels that the network sees around a window: 5 convolutions, 2 of them before the first pooling: 2 + 2 * 3, + 1."""
FIELD_PX = WINDOW_PX + 2 * MARGIN_PX
"""Side of what the network sees of one window."""
WindowNetwork = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes a field ``(h, w)``, gives scores ``(3, rows, columns)`` of its windows that sum to 1 over the classes."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowMap:
    """The network's scores for every window of a CT.

    Attributes
    ----------
    scores
        Shape ``(slices, 3, rows, columns)``: not ROI, benign ROI, malignant ROI. Window ``(i, j)`` covers the working
        pixels ``[10 i, 10 i + 50)`` by ``[10 j, 10 j + 50)``. Zero where a window was not evaluated.
    evaluated
        Shape ``(slices, rows, columns)``: True where the window touches the lungs.
    pixel_mm
        Row and column spacing of the working pixels.
    """

    scores: NDArray[np.float32]
    evaluated: NDArray[np.bool_]
    pixel_mm: tuple[float, float]

    @property
    def roi_score(self) -> NDArray[np.float32]:
        """Shape ``(slices, rows, columns)``: benign plus malignant; 0 where not evaluated."""
        score: NDArray[np.float32] = self.scores[:, 1] + self.scores[:, 2]
        return score


def window_counts(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns of windows on a slice; at least one, which then reaches over the slice's end.

    Examples
    --------
    >>> window_counts((512, 512), (0.7, 0.7))
    (47, 47)
    >>> window_counts((512, 512), (0.9, 0.9))
    (61, 61)
    >>> window_counts((40, 64), (0.7, 0.7))
    (1, 2)
    """
    rows, columns = (
        max(1, (working_size(size, mm) - WINDOW_PX) // STEP_PX + 1) for size, mm in zip(shape, spacing_mm, strict=True)
    )
    return rows, columns


def score_windows(
    ct: CTVolume,
    lungs: NDArray[np.bool_],
    network: WindowNetwork,
    progress: Callable[[float], None] = lambda _: None,
    *,
    own_pixels: bool = False,
) -> WindowMap:
    """Evaluate every window that touches the lungs, densely, slice by slice.

    Parameters
    ----------
    ct
        The CT, slices axial.
    lungs
        Lung mask on its grid.
    network
        The dense network.
    progress
        Called with the share of slices done, 0 to 1.
    own_pixels
        Take the CT's own pixels, whatever their size, for a network that was trained so (the published way).

    Returns
    -------
    WindowMap
        Empty lungs give a map without evaluated windows.
    """
    spacing_mm = (PIXEL_MM, PIXEL_MM) if own_pixels else ct.spacing_zyx_mm[1:]
    rows, columns = window_counts(ct.shape[1:], spacing_mm)
    scores = np.zeros((len(ct.hu), 3, rows, columns), np.float32)
    evaluated = np.zeros((len(ct.hu), rows, columns), bool)
    for z in range(len(ct.hu)):
        touching = windows_touching(lungs[z], spacing_mm)
        if touching.any():
            image = working_slice(ct.hu[z], spacing_mm)
            i, j = window_extent(touching, 0), window_extent(touching, 1)
            found = network(field_of_windows(image, i, j))
            evaluated[z] = touching
            scores[z, :, i, j] = np.where(touching[i, j], found, 0)
        progress((z + 1) / len(ct.hu))
    row_mm, column_mm = ct.spacing_zyx_mm[1:] if own_pixels else map(working_pixel_mm, spacing_mm)
    return WindowMap(scores, evaluated, (row_mm, column_mm))


def windows_touching(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Which windows of a slice have at least one pixel of the mask; as :func:`pixels_in_windows`."""
    return pixels_in_windows(mask, spacing_mm) > 0


def pixels_in_windows(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.int32]:
    """How many pixels of the mask each window of a slice has.

    Parameters
    ----------
    mask
        Shape ``(rows, columns)`` of the source slice.
    spacing_mm
        Row and column spacing.

    Returns
    -------
    ndarray
        Shape of :func:`window_counts`; source pixels, those whose centres lie in the window.
    """
    inside = mask.astype(np.int32)
    for axis, count in enumerate(window_counts((mask.shape[0], mask.shape[1]), spacing_mm)):
        per_pixel = working_pixel_mm(spacing_mm[axis]) / spacing_mm[axis]
        starts = np.arange(count) * STEP_PX
        size = mask.shape[axis]
        first = np.minimum(np.ceil((starts - 0.5) * per_pixel).clip(0), size).astype(np.intp)
        last = np.minimum(np.ceil((starts + WINDOW_PX - 0.5) * per_pixel), size).astype(np.intp)
        # Counted with a running sum.
        total = np.concatenate([np.zeros_like(inside.take([0], axis)), inside.cumsum(axis, np.int32)], axis)
        inside = total.take(last, axis) - total.take(first, axis)
    return inside


def field_of_windows(image: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.float32]:
    """What the network must see to score a block of windows; beyond the slice its border is repeated.

    Parameters
    ----------
    image
        A working slice.
    rows, columns
        The windows.

    Returns
    -------
    ndarray
        Shape ``(68 + 10 (n - 1), 68 + 10 (m - 1))`` for n rows and m columns of windows.
    """
    field = image
    for axis, windows in enumerate((rows, columns)):
        wanted = np.arange(STEP_PX * windows.start - MARGIN_PX, STEP_PX * (windows.stop - 1) + WINDOW_PX + MARGIN_PX)
        field = field.take(wanted.clip(0, image.shape[axis] - 1), axis)
    return field


def window_extent(flags: NDArray[np.bool_], axis: int) -> slice:
    """The rows (axis 0) or columns (1) of windows from the first flag to the last; there must be one."""
    where = np.nonzero(flags)[axis]
    return slice(int(where.min()), int(where.max()) + 1)


def label_windows(windows: WindowMap, roi_score: float) -> NDArray[np.uint8]:
    """The label map: 0 not ROI (or not evaluated), 1 benign ROI, 2 malignant ROI.

    Parameters
    ----------
    windows
        The scores.
    roi_score
        Benign plus malignant score from which a window is labelled 1 or 2; the higher of the two says which, and a tie
        is malignant.

    Returns
    -------
    ndarray
        Shape ``(slices, rows, columns)``.
    """
    is_roi = windows.evaluated & (windows.roi_score >= roi_score)
    return np.where(is_roi, np.where(windows.scores[:, 2] >= windows.scores[:, 1], 2, 1), 0).astype(np.uint8)
