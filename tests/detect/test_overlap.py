"""What windows say of the cells they cover, and what neighbouring slices say: against loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.detect.overlap import agree_across_slices, highest_scores, overlap, place_scores
from lungsight.detect.windows import WindowMap

WINDOWS = (6, 10, 11)


def cells_by_loops(values: NDArray[np.generic], first: int, behind: int) -> NDArray[np.float64]:
    """Sum over the windows that cover each cell with their cells `first` to `behind` of 5."""
    total = np.zeros((values.shape[0], values.shape[1] + 4, values.shape[2] + 4))
    for z, i, j in np.ndindex(values.shape):
        total[z, i + first : i + behind, j + first : j + behind] += float(values[z, i, j])
    return total


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
    scores = np.zeros((slices, 3, 2, 3), np.float32)
    scores[:, 0], scores[:, 2] = 0.125, 0.875
    agreed = agree_across_slices(WindowMap(scores, np.ones((slices, 2, 3), np.bool_), (0.7, 0.7)), 0.5, 5.0)
    np.testing.assert_allclose(agreed.roi_score, 0.875, atol=1e-6)
