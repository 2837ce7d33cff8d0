"""Distance merging and Z-merging: worked by hand, against loops over whole numbers, and what holds of any input."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lungsight.detect.merge import merge_in_slice, merge_through_slices

Point = tuple[int, int]
Centre = tuple[int, int, int]
Sets = Counter[tuple[tuple[float, ...], ...]]

# Small grids of whole mm, often full: ties, distances met exactly and coincident centres are all common on them.
POINTS = st.integers(0, 16).flatmap(
    lambda n: st.lists(st.tuples(st.integers(0, 12), st.integers(-6, 6)), min_size=n, max_size=n)
)
CENTRES = st.integers(0, 16).flatmap(
    lambda n: st.lists(st.tuples(st.integers(3, 6), st.integers(0, 4), st.integers(-2, 2)), min_size=n, max_size=n)
)
DISTANCES = st.integers(0, 5)
ANYWHERE = st.floats(-500, 500)
CENTRES_ANYWHERE = st.lists(st.tuples(st.integers(-2, 4), ANYWHERE, ANYWHERE), max_size=24)


def groups_of(points: Sequence[tuple[float, float]], distance_mm: float) -> list[int]:
    return list(merge_in_slice(np.array(points, float).reshape(-1, 2), distance_mm))


def nodules_of(centres: Sequence[tuple[int, float, float]], distance_mm: float) -> list[int]:
    slices = np.array([z for z, _, _ in centres], np.intp)
    centres_mm = np.array([at for _, *at in centres], float).reshape(-1, 2)
    return list(merge_through_slices(slices, centres_mm, distance_mm))


def sets_of(members: Sequence[tuple[float, ...]], numbers: Sequence[int]) -> Sets:
    """The sets as such, however numbered: each the sorted list of its members."""
    return Counter(
        tuple(sorted(member for member, its in zip(members, numbers, strict=True) if its == number))
        for number in set(numbers)
    )


def squared(one: Sequence[int], other: Sequence[int]) -> int:
    return (one[-2] - other[-2]) ** 2 + (one[-1] - other[-1]) ** 2


def groups_by_flooding(points: Sequence[Point], distance_mm: int) -> Sets:
    """Single linkage: take any centre, add what is near to what is taken until nothing is."""
    left, found = list(points), []
    while left:
        group, edge = [], [left.pop()]
        while edge:
            here = edge.pop()
            group.append(here)
            edge += [point for point in left if squared(here, point) < distance_mm**2]
            left = [point for point in left if squared(here, point) >= distance_mm**2]
        found.append(tuple(sorted(group)))
    return Counter(found)


def nodules_by_scanning(centres: Sequence[Centre], distance_mm: int) -> Sets:
    """Between two slices: link the first of all pairs that are free and near, look again, until none is left."""
    known = sorted(centres)
    nodule = list(range(len(known)))
    for z in sorted({z for z, _, _ in known}):
        lower, upper = ([i for i, centre in enumerate(known) if centre[0] == at] for at in (z, z + 1))
        while near := [
            (squared(known[i], known[j]), i, j)
            for i in lower
            for j in upper
            if squared(known[i], known[j]) < distance_mm**2
        ]:
            _, i, j = min(near)
            nodule[j] = nodule[i]
            lower.remove(i)
            upper.remove(j)
    return sets_of(known, nodule)


@pytest.mark.parametrize(
    ("points", "distance_mm", "groups"),
    [
        pytest.param([(3, 4)], 5, [0], id="single"),
        pytest.param([(0, 0), (3, 4)], 5, [0, 1], id="exactly at the distance: apart"),
        pytest.param([(0, 0), (3, 4)], math.nextafter(5, 6), [0, 0], id="a hair nearer: together"),
        pytest.param([(0, 0), (0, 0.3)], 0.3, [0, 1], id="exactly at a distance that is no binary fraction"),
        pytest.param([(0, 0), (0, 0)], 0.1, [0, 0], id="coincident"),
        pytest.param([(0, 0), (0, 0)], 0, [0, 1], id="nothing is nearer than 0"),
        pytest.param([(0, 6), (0, 0), (0, 4), (0, 2)], 3, [0, 0, 0, 0], id="a chain joins its far ends"),
        pytest.param([(0, 7), (0, 0), (0, 4), (0, 2)], 3, [1, 0, 0, 0], id="the chain breaks at a step of 3 mm"),
        pytest.param([(9, 0), (1, 5), (1, 0), (1, 4)], 2, [2, 1, 0, 1], id="numbered by row, then column"),
        pytest.param([(-5, 0), (-4, 9), (-5, 1)], 2, [0, 1, 0], id="negative coordinates"),
    ],
)
def test_groups_worked_by_hand(points: list[tuple[float, float]], distance_mm: float, groups: list[int]) -> None:
    assert groups_of(points, distance_mm) == groups


@pytest.mark.parametrize(
    ("centres", "distance_mm", "nodules"),
    [
        pytest.param([(4, 3, 4)], 5, [0], id="single"),
        pytest.param([(4, 0, 0), (5, 3, 4)], 5, [0, 1], id="exactly at the distance: apart"),
        pytest.param([(4, 0, 0), (5, 3, 4)], math.nextafter(5, 6), [0, 0], id="a hair nearer: together"),
        pytest.param([(4, 1, 1), (5, 1, 1)], 0, [0, 1], id="nothing is nearer than 0"),
        pytest.param([(6, 0, 2), (4, 0, 0), (7, 0, 3), (5, 0, 1)], 2, [0, 0, 0, 0], id="a chain is one nodule"),
        pytest.param([(-1, 0, 0), (0, 0, 1), (1, 0, 2)], 2, [0, 0, 0], id="through slice 0"),
        pytest.param([(4, 0, 0), (6, 0, 0)], 9, [0, 1], id="a slice without it ends a nodule"),
        pytest.param([(4, 0, 0), (4, 0, 1)], 9, [0, 1], id="two of one slice stay two"),
        pytest.param(
            [(4, 0, 0), (4, 0, 6), (5, 0, 1), (5, 0, 7), (6, 0, 2), (6, 0, 8)], 9, [0, 1] * 3, id="side by side"
        ),
        # Every centre but the last ones is within 9 mm of both of the next slice.
        pytest.param([(4, 0, 0), (4, 0, 6), (5, 0, 5)], 9, [0, 1, 1], id="one ends where the other goes on"),
        pytest.param([(4, 0, 5), (5, 0, 0), (5, 0, 6)], 9, [0, 1, 0], id="one begins beside the other"),
        # 4-5 apart first, by 1; so 0 keeps 8 (8 mm), though 0-4 and 5-8 would be 4 and 3.
        pytest.param([(4, 0, 0), (4, 0, 5), (5, 0, 4), (5, 0, 8)], 9, [0, 1, 1, 0], id="nearest first"),
        pytest.param([(4, 0, 0), (4, 0, 5), (5, 0, 4), (5, 0, 8)], 8, [0, 1, 1, 2], id="what is left is too far"),
        pytest.param([(4, 0, 4), (5, 0, 8), (5, 0, 0)], 9, [0, 1, 0], id="tie: the lower column above"),
        pytest.param([(4, 0, 8), (4, 0, 0), (5, 0, 4)], 9, [1, 0, 0], id="tie: the lower column below"),
        pytest.param([(4, 5, 0), (4, 1, 4), (5, 3, 2)], 9, [1, 0, 0], id="tie: rows go before columns"),
        # At column 3 of slice 5 both ties meet: 2-3 and 3-4 below, 3-2 and 3-4 above.
        pytest.param([(4, 0, 2), (4, 0, 4), (5, 0, 3), (6, 0, 4), (6, 0, 2)], 9, [0, 1, 0, 2, 0], id="ties twice"),
    ],
)
def test_nodules_worked_by_hand(
    centres: list[tuple[int, float, float]], distance_mm: float, nodules: list[int]
) -> None:
    assert nodules_of(centres, distance_mm) == nodules


def test_nothing_in_nothing_out() -> None:
    for found in (
        merge_in_slice(np.empty((0, 2)), 5),
        merge_through_slices(np.empty(0, np.intp), np.empty((0, 2)), 5),
    ):
        assert found.shape == (0,)
        assert found.dtype == np.intp


@given(POINTS, DISTANCES)
def test_groups_are_those_of_flooding(points: list[Point], distance_mm: int) -> None:
    assert sets_of(points, groups_of(points, distance_mm)) == groups_by_flooding(points, distance_mm)


@given(CENTRES, DISTANCES)
def test_nodules_are_those_of_scanning(centres: list[Centre], distance_mm: int) -> None:
    assert sets_of(centres, nodules_of(centres, distance_mm)) == nodules_by_scanning(centres, distance_mm)


@given(st.data(), POINTS, st.integers(1, 6))
def test_groups_and_their_numbers_do_not_depend_on_the_order(
    data: st.DataObject, points: list[Point], distance_mm: int
) -> None:
    order = data.draw(st.permutations(range(len(points))))
    groups = groups_of(points, distance_mm)
    assert groups_of([points[i] for i in order], distance_mm) == [groups[i] for i in order]


@given(st.data(), st.one_of(CENTRES.map(set).map(list), CENTRES_ANYWHERE.map(set).map(list)), st.integers(0, 200))
def test_nodules_and_their_numbers_do_not_depend_on_the_order(
    data: st.DataObject, centres: list[tuple[int, float, float]], distance_mm: int
) -> None:
    order = data.draw(st.permutations(range(len(centres))))
    nodules = nodules_of(centres, distance_mm)
    assert nodules_of([centres[i] for i in order], distance_mm) == [nodules[i] for i in order]


@given(st.data(), CENTRES, DISTANCES)
def test_of_coincident_centres_only_the_shapes_do_not_depend_on_the_order(
    data: st.DataObject, centres: list[Centre], distance_mm: int
) -> None:
    centres = [*centres, *centres[:6]]
    shuffled = data.draw(st.permutations(centres))
    found = sets_of(shuffled, nodules_of(shuffled, distance_mm))
    assert found == sets_of(centres, nodules_of(centres, distance_mm))


@given(POINTS, POINTS, DISTANCES)
def test_far_points_never_join(here: list[Point], there: list[Point], distance_mm: int) -> None:
    far = [(row + 12 + distance_mm, column) for row, column in there]
    groups = groups_of([*here, *far], distance_mm)
    assert not set(groups[: len(here)]) & set(groups[len(here) :])


@given(CENTRES_ANYWHERE, st.floats(0, 400))
def test_a_nodule_has_one_centre_a_slice_skips_none_and_takes_no_long_step(
    centres: list[tuple[int, float, float]], distance_mm: float
) -> None:
    for nodule in sets_of(centres, nodules_of(centres, distance_mm)):
        slices = [int(centre[0]) for centre in nodule]
        assert slices == list(range(slices[0], slices[0] + len(slices)))
        assert all(math.dist(a[1:], b[1:]) <= distance_mm for a, b in itertools.pairwise(nodule))


@given(CENTRES.map(set).map(list), DISTANCES)
def test_who_goes_without_a_partner_in_reach_lost_it_to_one_as_near(centres: list[Centre], distance_mm: int) -> None:
    nodules = nodules_of(centres, distance_mm)
    steps = [
        (a, b, squared(a, b), i == j)
        for a, i in zip(centres, nodules, strict=True)
        for b, j in zip(centres, nodules, strict=True)
        if b[0] - a[0] == 1
    ]
    linked_mm2 = {(centre, side): mm2 for a, b, mm2, one in steps if one for centre, side in ((a, "up"), (b, "down"))}
    for a, b, mm2, one in steps:
        if mm2 < distance_mm**2 and not one:
            assert min(linked_mm2.get((a, "up"), math.inf), linked_mm2.get((b, "down"), math.inf)) <= mm2


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=30), st.integers(-9, 9))
def test_one_chain_through_slices_is_one_nodule(steps_mm: list[tuple[float, float]], first: int) -> None:
    path = np.cumsum(steps_mm, axis=0)
    assert nodules_of([(first + i, *at) for i, at in enumerate(path.tolist())], 3) == [0] * len(path)


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 2, st.floats(4, 9)), min_size=2, max_size=30))
def test_two_nodules_side_by_side_in_the_same_slices_stay_two(paths: list[tuple[float, float, float]]) -> None:
    """Each centre is in reach of all of the next slice; the left nodule's steps are shorter than any to the right."""
    left = [(z, row, column) for z, (row, column, _) in enumerate(paths)]
    right = [(z, row, column) for z, (row, _, column) in enumerate(paths)]
    assert nodules_of([*left, *right], 11) == [0] * len(left) + [1] * len(right)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=9),
    st.lists(st.tuples(st.floats(-1, 1), st.floats(4, 6)), min_size=1, max_size=9),
    st.integers(-10, 10),
)
def test_two_nodules_side_by_side_in_neighbouring_slices_stay_two(
    left: list[tuple[float, float]], right: list[tuple[float, float]], first_of_right: int
) -> None:
    """Wherever the right one begins: below the left, beside it, or just where it ends. They are 3 mm apart."""
    centres = [(z, *at) for z, at in enumerate(left)] + [(z, *at) for z, at in enumerate(right, first_of_right)]
    nodules = nodules_of(centres, 3)
    assert sets_of(centres, nodules) == Counter([tuple(centres[: len(left)]), tuple(centres[len(left) :])])


def test_a_whole_ct_takes_little_time() -> None:
    rng = np.random.default_rng(7)
    slices = np.repeat(np.arange(300, dtype=np.intp), 12)
    centres_mm = rng.uniform(0, 300, (len(slices), 2))
    seconds = []
    for _ in range(3):
        started = time.process_time()
        groups = [merge_in_slice(centres_mm[slices == z], 8) for z in range(300)]
        nodules = merge_through_slices(slices, centres_mm, 8)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1
    assert sum(int(numbers.max()) + 1 for numbers in groups) < len(slices)
    assert nodules.max() + 1 < len(slices)


@pytest.mark.parametrize("centres_mm", [np.zeros(2), np.zeros((3, 3)), np.zeros((1, 3, 2)), np.empty(0)])
def test_centres_of_another_shape_are_refused(centres_mm: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"centres_mm: found shape .*, expected \(n, 2\)"):
        merge_in_slice(centres_mm, 5)
    with pytest.raises(ValueError, match=r"centres_mm: found shape .*, expected \(n, 2\)"):
        merge_through_slices(np.zeros(len(centres_mm), np.intp), centres_mm, 5)


@pytest.mark.parametrize("slices", [np.zeros(2, np.intp), np.zeros((3, 1), np.intp), np.zeros(3), np.zeros(3, bool)])
def test_slices_that_are_not_an_integer_for_each_centre_are_refused(slices: NDArray[np.intp]) -> None:
    with pytest.raises(ValueError, match=r"slices: found \w+ of shape .*, expected 3 integers"):
        merge_through_slices(slices, np.zeros((3, 2)), 5)


@pytest.mark.parametrize("distance_mm", [-0.1, math.nan, math.inf])
def test_a_distance_that_is_none_is_refused(distance_mm: float) -> None:
    with pytest.raises(ValueError, match=r"distance_mm: found -?[\w.]+, expected 0 or more"):
        merge_in_slice(np.zeros((1, 2)), distance_mm)
    with pytest.raises(ValueError, match=r"distance_mm: found -?[\w.]+, expected 0 or more"):
        merge_through_slices(np.zeros(1, np.intp), np.zeros((1, 2)), distance_mm)


@pytest.mark.parametrize("coordinate", [math.nan, math.inf])
def test_a_coordinate_that_is_none_is_refused(coordinate: float) -> None:
    with pytest.raises(ValueError, match="centres_mm: found a coordinate that is not finite"):
        merge_in_slice(np.array([[0, coordinate]]), 5)
