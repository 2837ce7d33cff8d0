"""LUNA16's matching, case by case; the expected counts follow the challenge's script read line by line."""

from __future__ import annotations

import numpy as np
import pytest

from lungsight.evaluate.match import MAX_MARKS_PER_SCAN, Finding, Mark, Matches, match_marks

MISSED = -np.inf


def nodule(x: float = 0.0, diameter_mm: float | None = 8.0, scan: str = "1") -> Finding:
    return Finding(scan, (x, 20.0, -30.0), diameter_mm)


def excluded(x: float = 0.0, diameter_mm: float | None = 8.0, scan: str = "1") -> Finding:
    return Finding(scan, (x, 20.0, -30.0), diameter_mm, excluded=True)


def mark(x: float, score: float = 0.5, scan: str = "1") -> Mark:
    return Mark(scan, (x, 20.0, -30.0), score)


def counts(matches: Matches) -> tuple[list[float], list[float]]:
    return matches.nodule_score.tolist(), matches.false_score.tolist()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_hit_is_strictly_inside_the_radius(axis: int) -> None:
    centre = np.array([10.0, 20.0, -30.0])
    for off_mm, hit in [(3.999, True), (4.0, False), (-3.999, True), (-4.0, False)]:
        place = centre + off_mm * np.eye(3)[axis]
        one = Mark("1", (float(place[0]), float(place[1]), float(place[2])), 0.5)
        matches = match_marks([one], [Finding("1", (10.0, 20.0, -30.0), 8.0)], ["1"])
        assert counts(matches) == (([0.5], []) if hit else ([MISSED], [0.5]))


def test_the_distance_is_that_in_space() -> None:
    # 2, 3, 6 is 7 mm away: on the radius of 7 it is outside, inside one of 7.0001.
    one = Mark("1", (2.0, 3.0, 6.0), 0.5)
    for diameter_mm, found in [(14.0, MISSED), (14.0002, 0.5)]:
        assert match_marks([one], [Finding("1", (0.0, 0.0, 0.0), diameter_mm)], ["1"]).nodule_score.tolist() == [found]


def test_a_finding_without_size_is_10_mm_wide() -> None:
    for finding in (nodule(diameter_mm=None), excluded(diameter_mm=None)):
        inside, outside = (match_marks([mark(x)], [finding], ["1"]) for x in (4.999, 5.0))
        assert (len(inside.false_score), len(outside.false_score)) == (0, 1)


def test_the_best_mark_counts_and_the_others_are_not_false() -> None:
    matches = match_marks([mark(1, 0.3), mark(2, 0.8), mark(3, 0.6)], [nodule()], ["1"])
    assert counts(matches) == ([0.8], [])
    assert matches.n_repeated == 2


def test_a_mark_on_an_excluded_finding_is_dropped() -> None:
    matches = match_marks([mark(0, 0.9), mark(50, 0.4)], [excluded()], ["1"])
    assert counts(matches) == ([], [0.4])
    assert (matches.n_on_excluded, matches.nodules) == (1, ())


def test_a_mark_on_a_nodule_and_an_excluded_finding_is_a_hit() -> None:
    # The script takes hits from all marks, and only then drops those on excluded findings.
    for findings in ([nodule(), excluded(1)], [excluded(1), nodule()]):
        matches = match_marks([mark(0.5, 0.7)], findings, ["1"])
        assert counts(matches) == ([0.7], [])
        assert matches.n_on_excluded == 0


def test_one_mark_may_hit_two_nodules() -> None:
    assert counts(match_marks([mark(1, 0.7)], [nodule(0), nodule(2)], ["1"])) == ([0.7, 0.7], [])


def test_a_nodule_of_no_width_is_missed() -> None:
    assert counts(match_marks([mark(0, 0.7)], [nodule(0, diameter_mm=0.0)], ["1"])) == ([MISSED], [0.7])


def test_marks_hit_only_in_their_own_scan() -> None:
    matches = match_marks([mark(0, 0.7, scan="2")], [nodule(scan="1"), nodule(scan="3")], ["1", "2", "3"])
    assert counts(matches) == ([MISSED, MISSED], [0.7])
    assert (matches.nodule_scan.tolist(), matches.false_scan.tolist()) == ([0, 2], [1])


def test_scans_that_are_not_listed_are_ignored() -> None:
    matches = match_marks([mark(0, 0.7, scan="9")], [nodule(scan="9")], ["1"])
    assert counts(matches) == ([], [])
    assert (matches.n_marks, matches.series_uids) == (0, ("1",))


def test_a_hundred_marks_are_kept_and_of_more_the_best() -> None:
    many = [mark(100.0 + k, score=k / 1000) for k in range(MAX_MARKS_PER_SCAN)]
    assert match_marks(many, [], ["1"]).n_over_limit == 0
    # The 101st best is 0.0: it and nothing else is dropped.
    matches = match_marks([*many, mark(0, 0.9)], [], ["1"])
    assert sorted(matches.false_score.tolist()) == [k / 1000 for k in range(1, MAX_MARKS_PER_SCAN)] + [0.9]
    assert (matches.n_over_limit, matches.n_marks) == (1, 101)


def test_the_limit_is_per_scan() -> None:
    many = [mark(100.0 + k, score=k / 1000, scan=scan) for k in range(60) for scan in ("1", "2")]
    assert match_marks(many, [], ["1", "2"]).n_over_limit == 0


def test_ties_with_the_101st_are_dropped_as_the_script_does() -> None:
    # 99 marks of 0.9, then three of 0.5: the 101st is 0.5, only what is above it stays.
    tied = [mark(100.0 + k, 0.9) for k in range(99)] + [mark(300.0 + k, 0.5) for k in range(3)]
    matches = match_marks(tied, [], ["1"])
    assert matches.false_score.tolist() == [0.9] * 99
    assert matches.n_over_limit == 3
    # 101 of one score: nothing is above the 101st, none stays.
    assert match_marks([mark(0, 0.5)] * 101, [nodule()], ["1"]).nodule_score.tolist() == [MISSED]


def test_nothing_at_all() -> None:
    matches = match_marks([], [], ["1", "2"])
    assert counts(matches) == ([], [])
    assert (matches.n_marks, matches.n_over_limit, matches.n_on_excluded, matches.n_repeated) == (0, 0, 0, 0)


def test_scans_must_be_listed_each_once() -> None:
    with pytest.raises(ValueError, match="0 scans"):
        match_marks([], [], [])
    with pytest.raises(ValueError, match="3 scans, 2 of them distinct"):
        match_marks([], [], ["1", "2", "1"])


@pytest.mark.parametrize(
    ("marks", "findings"),
    [
        ([mark(np.nan)], []),
        ([mark(0, np.inf)], []),
        ([], [nodule(np.inf)]),
        ([], [nodule(0, np.nan)]),
        ([], [nodule(0, -1.0)]),
    ],
)
def test_numbers_that_are_none_are_refused(marks: list[Mark], findings: list[Finding]) -> None:
    with pytest.raises(ValueError, match="not a finite number, or a diameter is negative"):
        match_marks(marks, findings, ["1"])
