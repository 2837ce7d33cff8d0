"""From a label map to ROIs, on a lopsided oblique grid: by hand, and against loops and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import WindowsConfig
from lungsight.ct.volume import CTVolume, SourceInstance
from lungsight.detect.rois import Roi, agree_across_slices, find_rois, highest_scores, overlap, place_scores
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


def rois_of(
    labels: Labels, windows: WindowMap | None = None, min_overlap: int = 8, min_extent_mm: float = 0.0
) -> tuple[Roi, ...]:
    config = WindowsConfig(min_overlap=min_overlap, min_extent_mm=min_extent_mm)
    return find_rois(CT, windows or scored(labels), labels, config)


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


def test_overlap_is_the_sum_over_the_windows_that_cover_a_cell() -> None:
    values = np.random.default_rng(1).integers(0, 5, (3, 6, 9))
    assert np.array_equal(overlap(values), cells_by_loops(values, 0, 5))
    assert np.array_equal(overlap(np.ones((1, 9, 9)))[0, 4:-4, 4:-4], np.full((5, 5), 25))


def test_a_place_has_a_mean_and_a_highest_score_over_the_nine_windows_whose_cores_cover_it() -> None:
    roi_score = np.random.default_rng(2).random((3, 6, 9)).astype(np.float32)
    scores = np.stack([1 - roi_score, roi_score * np.float32(0.25), roi_score * np.float32(0.75)], 1)
    windows = WindowMap(scores, np.ones(roi_score.shape, np.bool_), (0.7, 0.7))
    np.testing.assert_allclose(place_scores(windows), cells_by_loops(roi_score, 1, 4) / 9, atol=1e-6)
    expected = np.zeros((3, 10, 13))
    for z, i, j in np.ndindex(roi_score.shape):
        core = expected[z, i + 1 : i + 4, j + 1 : j + 4]
        np.maximum(core, roi_score[z, i, j], out=core)
    np.testing.assert_allclose(highest_scores(windows), expected, atol=1e-6)


@pytest.mark.parametrize(("spacing_mm", "reach_mm"), [(2.5, 5.0), (1.0, 5.0), (5.0, 5.0), (3.0, 0.0), (0.6, 1.3)])
def test_neighbouring_slices_agree_with_a_weight_that_falls_to_0(spacing_mm: float, reach_mm: float) -> None:
    random = np.random.default_rng(5)
    evaluated = random.random(WINDOWS) < 0.7
    scores = np.where(evaluated[:, None], random.dirichlet((1, 1, 1), WINDOWS).transpose(0, 3, 1, 2), 0)
    found = agree_across_slices(WindowMap(scores.astype(np.float32), evaluated, (0.7, 0.7)), spacing_mm, reach_mm)
    expected = np.zeros_like(scores)
    for z, i, j in np.ndindex(WINDOWS):
        weights = np.array([max(0.0, 1 - abs(n - z) * spacing_mm / max(reach_mm, 1e-9)) for n in range(6)])
        if evaluated[z, i, j]:
            expected[z, :, i, j] = weights @ scores[:, :, i, j] / weights.sum()
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    assert np.array_equal(found.evaluated, evaluated)
    assert found.pixel_mm == (0.7, 0.7)


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_few_thin_slices_agree_among_themselves(slices: int) -> None:
    agreed = agree_across_slices(scored(np.full((slices, 2, 3), 2, np.uint8)), 0.5, 5.0)
    np.testing.assert_allclose(agreed.roi_score, 0.875, atol=1e-6)


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


@pytest.mark.parametrize(("columns", "rois"), [(slice(3, 6), 1), (slice(4, 7), 2)])
def test_rois_that_touch_at_a_corner_across_slices_are_one(columns: slice, rois: int) -> None:
    # Cells 4 to 6 by 2 to 4 below, cells 7 to 9 by 5 to 7 (or 6 to 8) above.
    found = rois_of(blocks((1, slice(2, 5), slice(0, 3), 1), (2, slice(5, 8), columns, 1)))
    assert len(found) == rois


@pytest.mark.parametrize("min_overlap", [1, 5, 8, 12, 25])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_label_maps_give_scipys_components(min_overlap: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.where(random.random(WINDOWS) < min_overlap / 40 + 0.02, random.integers(1, 3, WINDOWS), 0)
    labels = labels.astype(np.uint8)
    labels[4, 2:8, 2:8] = 1
    covering = cells_by_loops(labels > 0, 0, 5)
    numbers, count = ndimage.label(covering >= min_overlap, np.ones((3, 3, 3)))
    found = rois_of(labels, min_overlap=min_overlap)
    assert len(found) == count
    assert np.array_equal(painted(found) > 0, voxels_of(covering >= min_overlap))
    for roi in found:
        region = roi.candidate.region
        z, y, x = np.argwhere(region.mask)[0] + region.start_zyx
        cells = numbers == numbers[z, int((y * ROW_MM + 0.35) // 7), int((x * COLUMN_MM + 0.35) // 7)]
        mine = [
            int(labels[z, i, j])
            for z, i, j in itertools.product(*map(range, WINDOWS))
            if labels[z, i, j] and cells[z, i : i + 5, j : j + 5].any()
        ]
        assert roi.labels.tolist() == mine
        assert roi.candidate.roi_diameter_mm == pytest.approx(2 * np.sqrt(cells.sum((1, 2)).max() * 49 / np.pi))
        place = 0.875 * (cells_by_loops(labels > 0, 1, 4)[cells].max() > 0)
        assert roi.candidate.detection_score == pytest.approx(place, abs=1e-6)


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


@pytest.mark.parametrize(
    ("min_extent_mm", "slices"),
    [(0.0, [1, 2, 3]), (2.5, [1, 2, 3]), (2.6, [2, 3]), (5.0, [2, 3]), (7.5, [3]), (7.6, []), (10.0, [])],
)
def test_a_roi_of_less_extent_is_dropped(min_extent_mm: float, slices: list[int]) -> None:
    left, middle, right = (slice(0, 3), slice(0, 3)), (slice(6, 9), slice(4, 7)), (slice(0, 3), slice(8, 11))
    labels = blocks((0, *left, 1), *((z, *middle, 1) for z in (1, 2)), *((z, *right, 1) for z in (3, 4, 5)))
    assert sorted(len(roi.candidate.region.mask) for roi in rois_of(labels, min_extent_mm=min_extent_mm)) == slices


def test_a_ct_of_fewer_slices_keeps_its_rois() -> None:
    ct = CTVolume(CT.hu[:2], CT.affine)
    labels = blocks(*((z, slice(0, 3), slice(0, 3), 1) for z in (0, 1)))[:2]
    assert len(find_rois(ct, scored(labels), labels, WindowsConfig(min_extent_mm=10.0))) == 1
    assert find_rois(CT, scored(blocks()), blocks(), WindowsConfig(min_extent_mm=10.0)) == ()


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
    (roi,) = find_rois(ct, scored(labels), labels, WindowsConfig(min_overlap=1, min_extent_mm=0.0))
    location, region = roi.candidate.location, roi.candidate.region
    assert 0 <= location.row <= 29
    assert 0 <= location.column <= 40
    assert region.start_zyx == (0, 0, 0)
    assert region.mask.shape == (2, 30, 41)
    assert region.mask.all()
