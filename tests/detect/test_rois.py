"""From a label map to ROIs, on a lopsided oblique grid: by hand, and against loops and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import WindowsConfig
from lungsight.ct.volume import CTVolume, SourceInstance
from lungsight.detect.rois import Roi, find_rois
from lungsight.detect.windows import WindowMap
from phantom import affine_of, turned

ROW_MM, COLUMN_MM = 0.9, 0.6
SHAPE = (6, 110, 180)
WINDOWS = (6, 10, 11)  # 141 by 154 working pixels of 0.7 mm
CT = CTVolume(
    np.zeros(SHAPE, np.int16),
    affine_of((2.5, ROW_MM, COLUMN_MM), (-183.4, 71.6, -1204.9), turned(20, 7)),
    "1.2.3",
    tuple(SourceInstance(f"1.2.3.{z}", 60 - z) for z in range(6)),
)
HALF_A_CELL_MM = 3.5
Labels = NDArray[np.uint8]


def blocks(*at: tuple[int, slice, slice, int]) -> Labels:
    """A label map: slice, rows and columns of windows, and their label."""
    labels = np.zeros(WINDOWS, np.uint8)
    for z, rows, columns, label in at:
        labels[z, rows, columns] = label
    return labels


def scored(labels: Labels, sure: float = 0.875) -> WindowMap:
    """Scores that give these labels: `sure` for the label, nothing for the other kind."""
    scores = np.zeros((len(labels), 3, *labels.shape[1:]), np.float32)
    scores[:, 1] = np.select([labels == 1, labels == 2], [sure, 0.0])
    scores[:, 2] = np.select([labels == 2, labels == 1], [sure, 0.0])
    scores[:, 0] = 1 - scores[:, 1] - scores[:, 2]
    return WindowMap(scores, np.ones(labels.shape, np.bool_), (0.7, 0.7))


def rois_of(labels: Labels, windows: WindowMap | None = None, min_overlap: int = 8) -> tuple[Roi, ...]:
    return find_rois(CT, windows or scored(labels), labels, WindowsConfig(min_overlap=min_overlap))


def cells_by_loops(values: NDArray[np.generic], first: int, behind: int) -> NDArray[np.float64]:
    """Sum over the windows that cover each cell with their cells `first` to `behind` of 5."""
    total = np.zeros((values.shape[0], values.shape[1] + 4, values.shape[2] + 4))
    for z, i, j in np.ndindex(values.shape):
        total[z, i + first : i + behind, j + first : j + behind] += float(values[z, i, j])
    return total


def voxels_of(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells as voxels: those whose centre lies in a cell, 7 mm wide, the first beginning half a pixel before 0."""
    mask = np.zeros(SHAPE, np.bool_)
    for z, y, x in np.ndindex(SHAPE):
        i, j = int((y * ROW_MM + 0.35) // 7), int((x * COLUMN_MM + 0.35) // 7)
        if i < cells.shape[1] and j < cells.shape[2]:
            mask[z, y, x] = cells[z, i, j]
    return mask


def painted(rois: tuple[Roi, ...]) -> NDArray[np.int64]:
    numbers = np.zeros(SHAPE, np.int64)
    for number, roi in enumerate(rois, 1):
        region = roi.candidate.region
        assert not numbers[region.box][region.mask].any()
        numbers[region.box][region.mask] = number
    return numbers


def distance_mm(roi: Roi, centre_zyx: tuple[float, float, float]) -> float:
    return float(np.linalg.norm(np.subtract(roi.candidate.location.lps_mm, CT.to_lps(centre_zyx))))


def centre_of_cells(z: float, i: float, j: float) -> tuple[float, float, float]:
    """Voxel index of the middle of cell (i, j): working pixel 10 i + 4.5, 0.7 mm each."""
    return z, (10 * i + 4.5) * 0.7 / ROW_MM, (10 * j + 4.5) * 0.7 / COLUMN_MM


def test_no_labelled_window_is_no_roi() -> None:
    assert rois_of(blocks()) == ()


def test_the_nine_windows_of_a_small_nodule_make_the_roi_in_their_middle() -> None:
    # Their overlap along each axis is 1 2 3 3 3 2 1: only the middle 3 x 3 cells reach 8.
    (roi,) = rois_of(blocks((2, slice(2, 5), slice(3, 6), 2)))
    candidate = roi.candidate
    expected = np.zeros((6, 14, 15), np.bool_)
    expected[2, 4:7, 5:8] = True
    assert np.array_equal(painted((roi,)) > 0, voxels_of(expected))
    centre = centre_of_cells(2, 5, 6)
    assert centre == pytest.approx((2, 42.39, 75.25), abs=0.01)
    assert distance_mm(roi, centre) < HALF_A_CELL_MM
    location = candidate.location
    assert CT.to_lps((location.slice_index, location.row, location.column)) == pytest.approx(location.lps_mm, abs=1e-9)
    assert (location.slice_index, location.sop_instance_uid, location.instance_number) == (2, "1.2.3.2", 58)
    assert candidate.detection_score == pytest.approx(0.875, abs=1e-6)
    # Nine cells of 7 mm: 441 mm².
    assert candidate.roi_diameter_mm == pytest.approx(2 * np.sqrt(441 / np.pi), abs=1e-9)
    assert roi.labels.tolist() == [2] * 9


def test_a_window_in_the_corner_makes_a_roi_in_the_corner() -> None:
    first, last = rois_of(blocks((0, slice(0, 1), slice(0, 1), 1), (5, slice(9, 10), slice(10, 11), 1)), min_overlap=1)
    assert first.candidate.region.start_zyx == (0, 0, 0)
    assert distance_mm(first, centre_of_cells(0, 2, 2)) < HALF_A_CELL_MM
    assert last.candidate.location.slice_index == 5
    assert distance_mm(last, centre_of_cells(5, 11, 12)) < HALF_A_CELL_MM
    expected = np.zeros((6, 14, 15), np.bool_)
    expected[0, :5, :5] = expected[5, 9:, 10:] = True
    assert np.array_equal(painted((first, last)) > 0, voxels_of(expected))


def test_rois_of_neighbouring_slices_are_one() -> None:
    middle = (slice(2, 5), slice(3, 6))
    (roi,) = rois_of(blocks((1, *middle, 2), (2, *middle, 1), (3, *middle, 2)))
    assert roi.candidate.region.start_zyx[0] == 1
    assert len(roi.candidate.region.mask) == 3
    assert distance_mm(roi, centre_of_cells(2, 5, 6)) < HALF_A_CELL_MM
    assert sorted(roi.labels.tolist()) == [1] * 9 + [2] * 18
    assert roi.candidate.roi_diameter_mm == pytest.approx(2 * np.sqrt(441 / np.pi), abs=1e-9)


def test_a_slice_between_separates_them() -> None:
    middle = (slice(2, 5), slice(3, 6))
    assert len(rois_of(blocks((1, *middle, 2), (3, *middle, 2)))) == 2


@pytest.mark.parametrize("min_overlap", [1, 5, 8, 12, 25])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_label_maps_give_scipys_components_divided(min_overlap: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.where(random.random(WINDOWS) < min_overlap / 40 + 0.02, random.integers(1, 3, WINDOWS), 0)
    labels = labels.astype(np.uint8)
    labels[4, 2:8, 2:8] = 1
    covering = cells_by_loops(labels > 0, 0, 5)
    numbers, count = ndimage.label(covering >= min_overlap, np.ones((3, 3, 3)))
    found = rois_of(labels, min_overlap=min_overlap)
    assert np.array_equal(painted(found) > 0, voxels_of(covering >= min_overlap))
    seen = set()
    for roi in found:
        region = roi.candidate.region
        voxels = np.argwhere(region.mask) + region.start_zyx
        at = {(z, int((y * ROW_MM + 0.35) // 7), int((x * COLUMN_MM + 0.35) // 7)) for z, y, x in voxels.tolist()}
        cells = np.zeros(numbers.shape, np.bool_)
        cells[tuple(np.array(sorted(at)).T)] = True
        (component,) = set(numbers[cells].tolist())
        seen.add(component)
        voting = [
            (z, i, j)
            for z, i, j in itertools.product(*map(range, WINDOWS))
            if labels[z, i, j] and cells[z, i : i + 5, j : j + 5].any()
        ]
        assert roi.labels.tolist() == [int(labels[each]) for each in voting]
        assert roi.voters.tolist() == [np.ravel_multi_index(each, WINDOWS) for each in voting]
        assert roi.candidate.roi_diameter_mm == pytest.approx(2 * np.sqrt(cells.sum((1, 2)).max() * 49 / np.pi))
        assert roi.candidate.detection_score == roi.peak.highest
    assert seen == set(range(1, count + 1))


def test_two_nodules_side_by_side_are_two_rois() -> None:
    # Nine windows each; the cells between are covered by some of both.
    rows = slice(2, 5)
    left, right = (0, rows, slice(0, 3), 1), (0, rows, slice(5, 8), 2)
    found = sorted(rois_of(blocks(left, right), min_overlap=2), key=lambda roi: roi.candidate.location.column)
    assert [distance_mm(roi, centre_of_cells(0, 5, j)) < HALF_A_CELL_MM for roi, j in zip(found, (2, 7), strict=True)]
    assert [len(roi.candidate.region.mask) for roi in found] == [1, 1]
    first, second = (roi.candidate.region for roi in found)
    assert not first.shared_voxels(second)


def test_a_peak_is_told_with_what_the_slices_beside_it_say() -> None:
    middle = (slice(2, 5), slice(3, 6))
    places = [(1, *middle, 2), (2, *middle, 2), (3, *middle, 2), (4, *middle, 2)]
    sure = (0.5, 0.75, 0.875, 0.625)
    scores = sum(scored(blocks(place), each).scores for place, each in zip(places, sure, strict=True))
    assert isinstance(scores, np.ndarray)
    (roi,) = rois_of(blocks(*places), WindowMap(scores, np.ones(WINDOWS, np.bool_), (0.7, 0.7)))
    assert roi.candidate.location.slice_index == 3
    # Slices 2.5 mm apart: 5 mm away are slices 1 and 5, and nothing is in 5.
    assert (roi.peak.highest, roi.peak.place, roi.peak.beside) == pytest.approx((0.875, 0.875, 0.25), abs=1e-6)


def test_a_window_that_covers_two_rois_votes_in_both() -> None:
    # Cells 2 to 4 and 8 to 10; the lone malignant window covers cells 4 to 8 and lifts none of them to 8.
    rows = slice(2, 5)
    labels = blocks((0, rows, slice(0, 3), 1), (0, rows, slice(6, 9), 1), (0, slice(3, 4), slice(4, 5), 2))
    left, right = rois_of(labels)
    assert sorted(left.labels.tolist()) == sorted(right.labels.tolist()) == [1] * 9 + [2]
    columns = sorted(roi.candidate.location.column for roi in (left, right))
    assert columns == pytest.approx([centre_of_cells(0, 5, j)[2] for j in (3, 9)], abs=HALF_A_CELL_MM / COLUMN_MM)


@pytest.mark.parametrize(("min_overlap", "cells"), [(1, 49), (2, 45), (3, 37), (4, 25), (6, 21), (9, 9), (10, 0)])
def test_more_must_overlap_for_less_roi(min_overlap: int, cells: int) -> None:
    # The products of 1 2 3 3 3 2 1 with itself: so many reach min_overlap.
    rois = rois_of(blocks((0, slice(2, 5), slice(3, 6), 2)), min_overlap=min_overlap)
    assert [round(np.pi / 4 * roi.candidate.roi_diameter_mm**2 / 49) for roi in rois] == ([cells] if cells else [])


def test_the_best_detection_comes_first() -> None:
    places = [(0, slice(0, 3), slice(0, 3), 1), (2, slice(6, 9), slice(4, 7), 2), (4, slice(0, 3), slice(8, 11), 1)]
    labels = blocks(*places)
    scores = sum(scored(blocks(place), sure).scores for place, sure in zip(places, (0.5, 0.75, 0.625), strict=True))
    assert isinstance(scores, np.ndarray)
    found = rois_of(labels, WindowMap(scores, np.ones(WINDOWS, np.bool_), (0.7, 0.7)))
    assert [roi.candidate.location.slice_index for roi in found] == [2, 4, 0]
    assert [roi.candidate.detection_score for roi in found] == pytest.approx([0.75, 0.625, 0.5], abs=1e-6)


def test_a_detection_score_is_at_most_1() -> None:
    # A softmax in float32 may sum to a little more than 1.
    labels = np.full(WINDOWS, 2, np.uint8)
    windows = scored(labels)
    windows.scores[:, 2] = np.nextafter(np.float32(1), np.float32(2))
    (roi,) = rois_of(labels, windows)
    assert 0.999 < roi.candidate.detection_score <= 1


def test_a_slice_smaller_than_a_window_has_a_roi_inside_itself() -> None:
    ct = CTVolume(np.zeros((2, 30, 41), np.int16), CT.affine)
    labels = np.ones((2, 1, 1), np.uint8)
    (roi,) = find_rois(ct, scored(labels), labels, WindowsConfig(min_overlap=1))
    location, region = roi.candidate.location, roi.candidate.region
    assert 0 <= location.row <= 29
    assert 0 <= location.column <= 40
    assert region.start_zyx == (0, 0, 0)
    assert region.mask.shape == (2, 30, 41)
    assert region.mask.all()
