"""The `windows` system's map: where labelled windows overlap is a region of interest (ROI).

Cells that enough windows cover are ROI; such cells that touch, in a slice or across neighbouring slices, hang together.
Where nodules lie side by side, or a nodule on a vessel, the scores have several peaks: each is a ROI of its own, of the
cells that are nearest to it. Its place is the middle of the windows round its peak; its score is that of its best
window, since a small nodule may be in the middle of only one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lungsight.config import WindowsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.overlap import CELLS, CORE_CELLS, highest_scores, overlap, place_scores
from lungsight.detect.windows import STEP_PX, WindowMap
from lungsight.findings import Candidate, Region

__all__ = ["Peak", "Roi", "find_rois"]

PEAK_REACH_MM = 5.0
"""No other peak is so near in other slices; in a slice, none in the cells around."""
HIGHEST_SHARE = 0.3
"""Of the best window in what peaks are peaks of; the mean of the windows has the rest. The mean tells where the middle
is, the best window that a small nodule is there."""


@dataclass(frozen=True, slots=True)
class Peak:
    """What the windows say of a ROI's best place.

    Attributes
    ----------
    highest
        ROI score of the best window whose core covers it, 0 to 1.
    place
        The mean over the windows whose core covers it, 0 to 1.
    beside
        The mean of that in the slices 5 mm below and above, 0 to 1: a vessel goes on there, a small nodule does not.
        Beyond the first and last slice it is 0.
    """

    highest: float
    place: float
    beside: float


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """A detected ROI and the windows that made it.

    Attributes
    ----------
    candidate
        Where it is.
    peak
        What the windows say of its best place.
    voters, labels
        Number in the label map, and label (1 or 2), of the windows that cover a cell of it, of all its slices.
    """

    candidate: Candidate
    peak: Peak
    voters: NDArray[np.intp]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The cells of one peak.

    Attributes
    ----------
    box
        The part of the grid of cells that holds them.
    cells
        Shape of the box.
    peak_zij
        The peak's cell in the whole grid.
    """

    box: tuple[slice, slice, slice]
    cells: NDArray[np.bool_]
    peak_zij: tuple[int, int, int]


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
        How many windows must overlap.

    Returns
    -------
    tuple of Roi
        Best detection score first; empty if no windows overlap enough.
    """
    is_roi = overlap(labels > 0) >= config.min_overlap
    if not is_roi.any():
        return ()
    place, highest = place_scores(windows), highest_scores(windows)
    cell_mm = np.array([ct.spacing_zyx_mm[0], *(STEP_PX * mm for mm in windows.pixel_mm)])
    away = max(1, round(PEAK_REACH_MM / cell_mm[0]))
    merit = np.where(is_roi, (1 - HIGHEST_SHARE) * place + HIGHEST_SHARE * highest, -1.0)
    rois = []
    for part in _parts(is_roi, merit, away, cell_mm):
        z, i, j = part.peak_zij
        beside = sum(float(place[k, i, j]) for k in (z - away, z + away) if 0 <= k < len(place)) / 2
        # A softmax in float32 may sum to a little more than 1.
        peak = Peak(*(min(1.0, float(each)) for each in (highest[z, i, j], place[z, i, j], beside)))
        rois.append(Roi(_candidate(ct, windows, part, peak.highest), peak, *_labels_over(labels, part)))
    return tuple(sorted(rois, key=lambda roi: -roi.peak.highest))


def _parts(
    is_roi: NDArray[np.bool_], merit: NDArray[np.float64], away: int, cell_mm: NDArray[np.float64]
) -> Iterator[_Part]:
    """ROI cells that hang together, divided between their peaks."""
    whole, count = cc3d.connected_components(is_roi.astype(np.uint8), connectivity=26, return_N=True)
    around = ndimage.maximum_filter(merit, (2 * away + 1, 3, 3), mode="constant", cval=-1.0)
    # Cells of the same merit that touch are one peak.
    peaks = cc3d.connected_components((is_roi & (merit >= around)).astype(np.uint8), connectivity=26)
    boxes = cc3d.statistics(whole)["bounding_boxes"]
    for number in range(1, count + 1):
        box = boxes[number]
        start = np.array([side.start for side in box])
        cells = np.argwhere(whole[box] == number)
        at, merits = (values[box][tuple(cells.T)] for values in (peaks, merit))
        if not at.any():  # a higher peak lies beside, beyond a slice without ROI
            at = (merits == merits.max()).astype(np.uint8)
        middles = np.array([_middle_cell(cells[at == each]) for each in np.unique(at[at > 0])])
        _, nearest = cKDTree(middles * cell_mm).query(cells * cell_mm)
        for k, middle in enumerate(middles):
            mine = cells[nearest == k]
            low, high = mine.min(0), mine.max(0) + 1
            mask = np.zeros(high - low, np.bool_)
            mask[tuple((mine - low).T)] = True
            z, i, j = (int(each) for each in middle + start)
            yield _Part(_box(low + start, high + start), mask, (z, i, j))


def _box(low: NDArray[np.intp], high: NDArray[np.intp]) -> tuple[slice, slice, slice]:
    z, i, j = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, i, j


def _middle_cell(cells: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of some cells ``(n, 3)`` that which is nearest to their middle."""
    middle: NDArray[np.intp] = cells[np.linalg.norm(cells - cells.mean(0), axis=1).argmin()]
    return middle


def _candidate(ct: CTVolume, windows: WindowMap, part: _Part, score: float) -> Candidate:
    """The cells of a peak as a candidate on the CT's grid."""
    z, i, j = _middle(windows, part.peak_zij)
    per_working = [pixel_mm / mm for pixel_mm, mm in zip(windows.pixel_mm, ct.spacing_zyx_mm[1:], strict=True)]
    centre = np.array([z, *((k + 0.5) * STEP_PX - 0.5 for k in (i, j))]) * [1, *per_working]
    # ROI cells may reach over the slice's last pixels; the centre may not.
    centre = np.minimum(centre, np.subtract(ct.shape, 1))
    largest_mm2 = part.cells.sum((1, 2)).max() * STEP_PX**2 * windows.pixel_mm[0] * windows.pixel_mm[1]
    return Candidate(
        location=ct.locate(centre),
        roi_diameter_mm=float(2 * np.sqrt(largest_mm2 / np.pi)),
        detection_score=score,
        region=_region(ct, part, per_working),
    )


def _middle(windows: WindowMap, peak_zij: tuple[int, int, int]) -> tuple[int, float, float]:
    """The centre of gravity of the windows round a peak, in cells.

    A nodule's windows lie round it evenly, so their middle is known better than to a cell.
    """
    to_middle, reach = CELLS // 2, CORE_CELLS // 2
    z, i, j = peak_zij
    rows, columns = (slice(max(0, k - to_middle - reach), max(1, k - to_middle + reach + 1)) for k in (i, j))
    weight = windows.roi_score[z, rows, columns].astype(np.float64) ** 2
    if not weight.any():
        return z, float(i), float(j)
    row, column = (
        float((weight.sum(1 - axis) * np.arange(near.start, near.start + weight.shape[axis])).sum() / weight.sum())
        for axis, near in enumerate((rows, columns))
    )
    return z, row + to_middle, column + to_middle


def _region(ct: CTVolume, part: _Part, per_working: list[float]) -> Region:
    """Cells as voxels: a voxel belongs to the cell that its centre lies in."""
    start, mask = [part.box[0].start], part.cells
    for axis in (1, 2):
        working = np.arange(ct.shape[axis]) / per_working[axis - 1]
        cell = ((working + 0.5) / STEP_PX).astype(np.intp)
        first, last = np.searchsorted(cell, (part.box[axis].start, part.box[axis].stop))
        start.append(int(first))
        mask = mask.take(cell[first:last] - part.box[axis].start, axis)
    z, y, x = start
    return Region((z, y, x), mask)


def _labels_over(labels: NDArray[np.uint8], part: _Part) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Number and label of the windows labelled 1 or 2 that cover a cell of the ROI."""
    (slices, *sides), cells = part.box, part.cells
    rows, columns = (slice(max(0, b.start - CELLS + 1), b.stop) for b in sides)
    near = labels[slices, rows, columns]
    # A window covers a cell if the cell lies 0 to 4 cells behind its own.
    padded = np.zeros((len(cells), near.shape[1] + CELLS, near.shape[2] + CELLS), np.float64)
    i, j = sides[0].start - rows.start, sides[1].start - columns.start
    padded[:, i : i + cells.shape[1], j : j + cells.shape[2]] = cells
    total = np.pad(padded, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    held = total[:, CELLS:] - total[:, :-CELLS]
    held = held[:, :, CELLS:] - held[:, :, :-CELLS]
    covers = held[:, : near.shape[1], : near.shape[2]] > 0
    voting = covers & (near > 0)
    z, row, column = np.nonzero(voting)
    numbers = np.ravel_multi_index((z + slices.start, row + rows.start, column + columns.start), labels.shape)
    return numbers.astype(np.intp), near[voting]
