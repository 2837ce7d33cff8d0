"""The `windows` system's map: where labelled windows overlap is a region of interest (ROI).

A window covers 5 x 5 cells of 10 x 10 working pixels, its core 3 x 3. The overlap of a cell is the number of windows
labelled 1 or 2 that cover it: at most 25, and 9 for a small nodule, which lies in the cores of 9 windows. Cells that
enough windows cover are ROI; cells that touch in a slice or across neighbouring slices are one ROI. Its place is where
the mean over the windows whose core covers a cell is highest; its score is that of its best window, since a small
nodule may be in the middle of only one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import WindowsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.windows import CORE_PX, STEP_PX, WINDOW_PX, WindowMap
from lungsight.findings import Candidate, Region

__all__ = [
    "CELLS",
    "Roi",
    "agree_across_slices",
    "find_rois",
    "highest_scores",
    "overlap",
    "place_scores",
    "slices_that_agree",
]

CELLS = WINDOW_PX // STEP_PX
"""Cells a window is wide."""
CORE_CELLS = CORE_PX // STEP_PX
"""Cells its core is wide."""
PEAK = 0.9
"""Cells of this share of the highest score are the middle of a ROI."""


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """A detected ROI and the windows that made it.

    Attributes
    ----------
    candidate
        Where it is.
    labels
        Labels (1 or 2) of the windows that cover a cell of it, of all its slices.
    """

    candidate: Candidate
    labels: NDArray[np.uint8]


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


def find_rois(ct: CTVolume, windows: WindowMap, labels: NDArray[np.uint8], config: WindowsConfig) -> tuple[Roi, ...]:
    """The ROIs of a label map.

    Parameters
    ----------
    ct
        The CT the windows were cut from.
    windows
        Their scores.
    labels
        Their labels, shape ``(slices, rows, columns)``.
    config
        How many windows must overlap, and over how many slices.

    Returns
    -------
    tuple of Roi
        Best detection score first; empty if no windows overlap enough.
    """
    is_roi = overlap(labels > 0) >= config.min_overlap
    numbers, count = cc3d.connected_components(is_roi.astype(np.uint8), connectivity=26, return_N=True)
    if not count:
        return ()
    place, highest = place_scores(windows), highest_scores(windows)
    boxes = cc3d.statistics(numbers)["bounding_boxes"]
    # Rounded, since 2 slices of 2.5 mm may be 5.0000001 mm.
    fewest = min(np.ceil(round(config.min_extent_mm / ct.spacing_zyx_mm[0], 3)), len(ct.hu))
    rois = []
    for number in range(1, count + 1):
        box = boxes[number]
        if box[0].stop - box[0].start >= fewest:
            mine = numbers[box] == number
            score = float(highest[box][mine].max())
            candidate = _candidate(ct, windows, mine, np.where(mine, place[box], 0), box, score)
            rois.append(Roi(candidate, _labels_over(labels, mine, box)))
    return tuple(sorted(rois, key=lambda roi: -roi.candidate.detection_score))


def _candidate(
    ct: CTVolume,
    windows: WindowMap,
    cells: NDArray[np.bool_],
    place: NDArray[np.float64],
    box: tuple[slice, slice, slice],
    score: float,
) -> Candidate:
    """A connected set of cells as a candidate on the CT's grid."""
    z, i, j = _middle(windows, place, box)
    per_working = [pixel_mm / mm for pixel_mm, mm in zip(windows.pixel_mm, ct.spacing_zyx_mm[1:], strict=True)]
    centre = np.array([z, *((k + 0.5) * STEP_PX - 0.5 for k in (i, j))]) * [1, *per_working]
    # ROI cells may reach over the slice's last pixels; the centre may not.
    centre = np.minimum(centre, np.subtract(ct.shape, 1))
    largest_mm2 = cells.sum((1, 2)).max() * STEP_PX**2 * windows.pixel_mm[0] * windows.pixel_mm[1]
    return Candidate(
        location=ct.locate(centre),
        roi_diameter_mm=float(2 * np.sqrt(largest_mm2 / np.pi)),
        detection_score=min(score, 1.0),  # a softmax in float32 may sum to a little more
        region=_region(ct, cells, box, per_working),
    )


def _middle(
    windows: WindowMap, place: NDArray[np.float64], box: tuple[slice, slice, slice]
) -> tuple[int, float, float]:
    """Slice of the highest place score, and there the centre of gravity of the windows round it, in cells.

    A nodule's windows lie round it evenly, so their middle is known better than to a cell.
    """
    highest = np.argwhere(place >= PEAK * place.max()).mean(0) + [b.start for b in box]
    z = round(float(highest[0]))
    to_middle = CELLS // 2
    i, j = (round(float(k)) - to_middle for k in highest[1:])
    reach = CORE_CELLS
    rows, columns = (slice(max(0, k - reach), k + reach + 1) for k in (i, j))
    weight = windows.roi_score[z, rows, columns].astype(np.float64) ** 2
    row, column = (
        float((weight.sum(1 - axis) * np.arange(near.start, near.start + weight.shape[axis])).sum() / weight.sum())
        for axis, near in enumerate((rows, columns))
    )
    return z, row + to_middle, column + to_middle


def _region(
    ct: CTVolume, cells: NDArray[np.bool_], box: tuple[slice, slice, slice], per_working: list[float]
) -> Region:
    """Cells as voxels: a voxel belongs to the cell that its centre lies in."""
    start, mask = [box[0].start], cells
    for axis in (1, 2):
        working = np.arange(ct.shape[axis]) / per_working[axis - 1]
        cell = ((working + 0.5) / STEP_PX).astype(np.intp)
        first, last = np.searchsorted(cell, (box[axis].start, box[axis].stop))
        start.append(int(first))
        mask = mask.take(cell[first:last] - box[axis].start, axis)
    z, y, x = start
    return Region((z, y, x), mask)


def _labels_over(
    labels: NDArray[np.uint8], cells: NDArray[np.bool_], box: tuple[slice, slice, slice]
) -> NDArray[np.uint8]:
    """Labels of the windows labelled 1 or 2 that cover a cell of the ROI."""
    rows, columns = (slice(max(0, b.start - CELLS + 1), b.stop) for b in box[1:])
    near = labels[box[0], rows, columns]
    # A window covers a cell if the cell lies 0 to 4 cells behind its own.
    padded = np.zeros((len(cells), near.shape[1] + CELLS, near.shape[2] + CELLS), np.float64)
    i, j = box[1].start - rows.start, box[2].start - columns.start
    padded[:, i : i + cells.shape[1], j : j + cells.shape[2]] = cells
    total = np.pad(padded, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    held = total[:, CELLS:] - total[:, :-CELLS]
    held = held[:, :, CELLS:] - held[:, :, :-CELLS]
    covers = held[:, : near.shape[1], : near.shape[2]] > 0
    found: NDArray[np.uint8] = near[covers & (near > 0)]
    return found
