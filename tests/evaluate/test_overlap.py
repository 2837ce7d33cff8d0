"""Dice by hand, per lesion and pooled."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.evaluate.overlap import SIZE_CLASSES, LesionOverlap, measure_overlap, pool, size_class

SPACING_ZYX_MM = (2.5, 0.5, 0.8)  # a voxel is 1 mm3


def row(*labels: int) -> NDArray[np.uint8]:
    return np.array([[labels]], np.uint8)


def dice(found: NDArray[np.uint8], lesions: NDArray[np.uint8], diameters_mm: list[float]) -> list[float]:
    return [lesion.dice for lesion in measure_overlap(found, lesions, SPACING_ZYX_MM, diameters_mm)]


def test_dice_of_one_lesion() -> None:
    # Region 4 voxels, lesion 3, shared 2: 4 / 7.
    (lesion,) = measure_overlap(row(1, 1, 1, 1, 0), row(0, 0, 1, 1, 1), SPACING_ZYX_MM, [3.0])
    assert lesion == LesionOverlap(3.0, lesion_mm3=3.0, found_mm3=4.0, shared_mm3=2.0)
    assert lesion.dice == 4 / 7


def test_a_perfect_region_gets_1_and_a_missed_lesion_0() -> None:
    assert dice(row(0, 1, 1, 0, 0), row(0, 1, 1, 0, 2), [1, 2]) == [1.0, 0.0]
    assert dice(row(1, 1, 0, 0, 0), row(0, 0, 1, 1, 0), [1]) == [0.0]  # beside it is not on it


def test_all_of_each_region_that_touches_counts_and_no_other() -> None:
    # Regions 3 (two voxels) and 5 (one) touch, region 4 does not: shared 2, sum 3 + 3.
    assert dice(row(4, 3, 3, 5, 0), row(0, 0, 1, 1, 1), [3]) == [4 / 6]


def test_a_region_over_two_lesions_counts_for_both() -> None:
    # Five voxels over two lesions of one voxel: 2 / 6 each.
    assert dice(row(1, 1, 1, 1, 1), row(1, 0, 0, 0, 2), [1, 1]) == [2 / 6, 2 / 6]


def test_no_lesion_is_empty() -> None:
    assert measure_overlap(row(1, 1), row(0, 0), SPACING_ZYX_MM, []) == ()


def test_pooled_weighs_by_volume_and_the_mean_by_lesion() -> None:
    small, large = LesionOverlap(5, 100, 0, 0), LesionOverlap(25, 8000, 8000, 6000)
    pooled = pool([small, large])
    assert pooled["all"].mean_dice == (0 + 0.75) / 2
    assert pooled["all"].dice == 12000 / 16100
    assert (pooled["all"].n_lesions, pooled["all"].n_touched) == (2, 1)
    assert (pooled["<6 mm"].dice, pooled["20-30 mm"].dice, pooled["6-10 mm"].dice) == (0.0, 0.75, None)
    assert list(pooled) == ["all", *(each.name for each in SIZE_CLASSES)]


@pytest.mark.parametrize(
    ("diameter_mm", "name"),
    [(0, "<6 mm"), (6, "6-10 mm"), (9.99, "6-10 mm"), (10, "10-20 mm"), (20, "20-30 mm"), (30, "20-30 mm")],
)
def test_size_classes_hold_their_lower_end_and_30_mm_is_no_mass(diameter_mm: float, name: str) -> None:
    assert size_class(diameter_mm).name == name


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(1, 1, 2\) and \(1, 1, 1\)"):
        measure_overlap(row(1, 1), row(1), SPACING_ZYX_MM, [1])
    with pytest.raises(ValueError, match=r"numbered \[2\], expected 1 to 1"):
        measure_overlap(row(1, 1), row(2, 2), SPACING_ZYX_MM, [1])
    for diameter_mm in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="diameter_mm is"):
            size_class(diameter_mm)
