"""Dice by hand, per lesion and pooled."""

from __future__ import annotations

import numpy as np
import pytest

from lungsight.evaluate.overlap import SIZE_CLASSES, LesionOverlap, measure_overlap, pool, size_class
from lungsight.findings import Region

SPACING_ZYX_MM = (2.5, 0.5, 0.8)  # a voxel is 1 mm3


def row(*labels: int) -> tuple[Region, ...]:
    """The regions of a CT of one row, by number; their boxes end where they do."""
    regions = []
    for number in sorted({*labels} - {0}):
        places = np.flatnonzero(np.array(labels) == number)
        mask = np.zeros((1, 1, np.ptp(places) + 1), np.bool_)
        mask[..., places - places[0]] = True
        regions.append(Region((0, 0, int(places[0])), mask))
    return tuple(regions)


def dice(found: tuple[Region, ...], lesions: tuple[Region, ...], diameters_mm: list[float]) -> list[float]:
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


def test_what_lies_in_the_same_box_is_not_shared_for_that() -> None:
    # The region fills its box but for the one voxel of the lesion.
    assert dice(row(1, 1, 0, 1), row(0, 0, 1, 0), [1]) == [0.0]


def test_boxes_that_overlap_aslant_share_the_voxels_both_hold() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.random((3, 4, 5)) < 0.5, rng.random((4, 3, 6)) < 0.5
    grid_one, grid_other = np.zeros((9, 9, 9), np.bool_), np.zeros((9, 9, 9), np.bool_)
    grid_one[1:4, 2:6, 3:8], grid_other[2:6, 1:4, 2:8] = one, other
    regions = Region((1, 2, 3), one), Region((2, 1, 2), other)
    (lesion,) = measure_overlap(regions[:1], regions[1:], SPACING_ZYX_MM, [3.0])
    assert lesion.shared_mm3 == np.count_nonzero(grid_one & grid_other) > 0


def test_pooled_weighs_by_volume_and_the_mean_by_lesion() -> None:
    small, large = LesionOverlap(5, 100, 0, 0), LesionOverlap(25, 8000, 8000, 6000)
    pooled = pool([small, large])
    assert pooled["all"].mean_dice == (0 + 0.75) / 2
    assert pooled["all"].dice == 12000 / 16100
    assert (pooled["all"].n_lesions, pooled["all"].n_touched) == (2, 1)
    assert (pooled["<6 mm"].dice, pooled["20-30 mm"].dice, pooled["6-10 mm"].dice) == (0.0, 0.75, None)
    assert list(pooled) == ["all", *(each.name for each in SIZE_CLASSES), "unknown"]
    unmeasured = pool([LesionOverlap(None, 10, 10, 5)])
    assert (unmeasured["unknown"].dice, unmeasured["all"].n_lesions, unmeasured["<6 mm"].n_lesions) == (0.5, 1, 0)


@pytest.mark.parametrize(
    ("diameter_mm", "name"),
    [(0, "<6 mm"), (6, "6-10 mm"), (9.99, "6-10 mm"), (10, "10-20 mm"), (20, "20-30 mm"), (30, "20-30 mm")],
)
def test_size_classes_hold_their_lower_end_and_30_mm_is_no_mass(diameter_mm: float, name: str) -> None:
    assert size_class(diameter_mm).name == name


def test_what_does_not_fit_is_refused() -> None:
    for diameters_mm in ([], [1, 2]):
        with pytest.raises(ValueError, match="argument"):
            measure_overlap(row(1, 1), row(1), SPACING_ZYX_MM, diameters_mm)
    for diameter_mm in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="diameter_mm is"):
            size_class(diameter_mm)
