from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.detect.morphology import close, dilate, erode, open_

SPACING_MM = (2.5, 1.7, 0.9)


def scattered() -> NDArray[np.bool_]:
    return np.random.default_rng(7).random((14, 17, 23)) < 0.02


@pytest.mark.parametrize("radius_mm", [0.5, 1.7, 4.0, 9.3])
def test_dilate_agrees_with_the_distance_transform(radius_mm: float) -> None:
    mask = scattered()
    expected = ndimage.distance_transform_edt(~mask, sampling=SPACING_MM) <= radius_mm
    assert expected.sum() >= mask.sum() > 0
    np.testing.assert_array_equal(dilate(mask, radius_mm, SPACING_MM), expected)


@pytest.mark.parametrize("radius_mm", [1.7, 4.0])
def test_erode_agrees_with_the_distance_transform(radius_mm: float) -> None:
    mask = ~scattered()
    expected = ndimage.distance_transform_edt(mask, sampling=SPACING_MM) > radius_mm
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(erode(mask, radius_mm, SPACING_MM), expected)


def test_radius_zero_changes_nothing_and_shares_nothing() -> None:
    mask = scattered()
    same = dilate(mask, 0.0, SPACING_MM)
    np.testing.assert_array_equal(same, mask)
    assert not np.shares_memory(same, mask)


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_stay_as_they_are(value: bool) -> None:
    mask = np.full((3, 4, 5), value)
    for operation in (dilate, erode, open_, close):
        np.testing.assert_array_equal(operation(mask, 3.0, SPACING_MM), mask)


def test_close_fills_a_narrow_gap_and_leaves_a_wide_one() -> None:
    row = np.zeros((1, 1, 30), np.bool_)
    row[..., :10] = row[..., 13:20] = row[..., 28:] = True
    closed = close(row, 2.0, (1.0, 1.0, 1.0))[0, 0]
    assert closed[:20].all()
    assert not closed[20:28].any()


def test_close_goes_on_beyond_the_border_as_the_border_is() -> None:
    ring = np.zeros((1, 9, 9), np.bool_)
    ring[:, 1:8, 1:8] = True
    ring[:, 3:6, 3:6] = False
    assert close(ring, 3.0, (1.0, 1.0, 1.0))[0, 4, 4]


def test_open_drops_what_is_thin() -> None:
    mask = np.zeros((9, 20, 20), np.bool_)
    mask[:, 2:12, 2:12] = True
    mask[4, 15:17, :] = True
    opened = open_(mask, 2.0, (1.0, 1.0, 1.0))
    assert opened[:, 4:10, 4:10].all()
    assert not opened[4, 15:17].any()
