"""What the windows that cover a place say of it, cell by cell, and what neighbouring slices say.

A window covers 5 x 5 cells of 10 x 10 working pixels, its core 3 x 3. The overlap of a cell is the number of windows
labelled 1 or 2 that cover it: at most 25, and 9 for a small nodule, which lies in the cores of 9 windows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.detect.windows import CORE_PX, STEP_PX, WINDOW_PX, WindowMap

__all__ = [
    "CELLS",
    "CORE_CELLS",
    "agree_across_slices",
    "highest_scores",
    "overlap",
    "place_scores",
    "slices_that_agree",
]

CELLS = WINDOW_PX // STEP_PX
"""Cells a window is wide."""
CORE_CELLS = CORE_PX // STEP_PX
"""Cells its core is wide."""


def overlap(windows: NDArray[np.generic], cells: int = CELLS) -> NDArray[np.float64]:
    """Sum over the windows that cover each cell.

    Parameters
    ----------
    windows
        Shape ``(slices, rows, columns)``, a value for each window.
    cells
        Width of the windows in cells.

    Returns
    -------
    ndarray
        Shape ``(slices, rows + cells - 1, columns + cells - 1)``.

    Examples
    --------
    >>> overlap(np.ones((1, 2, 1)), 3)[0].tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    """
    around = ((0, 0), (cells, cells - 1), (cells, cells - 1))
    total = np.pad(windows.astype(np.float64), around).cumsum(1).cumsum(2)
    rows: NDArray[np.float64] = total[:, cells:] - total[:, :-cells]
    return rows[:, :, cells:] - rows[:, :, :-cells]


def place_scores(windows: WindowMap) -> NDArray[np.float64]:
    """ROI score of each cell: the mean over the windows whose core covers it; shape as of :func:`overlap`."""
    rim = (CELLS - CORE_CELLS) // 2
    return np.pad(overlap(windows.roi_score, CORE_CELLS) / CORE_CELLS**2, ((0, 0), (rim, rim), (rim, rim)))


def highest_scores(windows: WindowMap) -> NDArray[np.float64]:
    """ROI score of each cell's best window, of those whose core covers it; shape as of :func:`overlap`."""
    rim = CELLS // 2
    scores = np.pad(windows.roi_score.astype(np.float64), ((0, 0), (rim, rim), (rim, rim)))
    highest: NDArray[np.float64] = ndimage.maximum_filter(scores, (1, CORE_CELLS, CORE_CELLS), mode="constant")
    return highest


def slices_that_agree(count: int, slice_spacing_mm: float, reach_mm: float) -> int:
    """How many slices on either side have a weight in :func:`agree_across_slices`, at most all of `count`.

    Examples
    --------
    >>> slices_that_agree(133, 2.5, 0.0), slices_that_agree(133, 2.5, 2.5), slices_that_agree(133, 2.5, 5.1)
    (0, 0, 2)
    """
    return max(0, min(int(np.ceil(reach_mm / slice_spacing_mm)), count) - 1)


def agree_across_slices(windows: WindowMap, slice_spacing_mm: float, reach_mm: float) -> WindowMap:
    """Average each window's scores with those of the slices around it: a nodule is seen in more than one, noise is not.

    Parameters
    ----------
    windows
        The scores; what was not evaluated counts as not ROI.
    slice_spacing_mm
        Distance between slices.
    reach_mm
        Distance at which the weight of a slice, which falls linearly, is 0. Not above `slice_spacing_mm`: nothing
        changes, as in the paper.

    Returns
    -------
    WindowMap
        Of the same shape. Beyond the first and last slice nothing is added.
    """
    reach = slices_that_agree(len(windows.scores), slice_spacing_mm, reach_mm)
    if not reach:
        return windows
    total = np.zeros_like(windows.scores)
    weights = np.zeros(len(total), np.float32)
    for step in range(-reach, reach + 1):
        weight = np.float32(1 - abs(step) * slice_spacing_mm / reach_mm)
        here = slice(max(0, -step), len(total) - max(0, step))
        there = slice(max(0, step), len(total) + min(0, step))
        total[here] += weight * windows.scores[there]
        weights[here] += weight
    total /= weights[:, None, None, None]
    return replace(windows, scores=np.where(windows.evaluated[:, None], total, 0))
