"""FROC and CPM: fractions by hand, and a judge written after the challenge's script with scikit-learn's ROC curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from lungsight.evaluate.froc import FP_RATES, froc, froc_curve
from lungsight.evaluate.intervals import Bootstrap, Estimate
from lungsight.evaluate.match import Finding, Mark, match_marks

FEW = Bootstrap(draws=50)


def nodule(scan: str, x: float = 0.0) -> Finding:
    return Finding(scan, (x, 0.0, 0.0), 8.0)


def hit(scan: str, score: float, x: float = 0.0) -> Mark:
    return Mark(scan, (x + 1.0, 0.0, 0.0), score)


def false(scan: str, score: float) -> Mark:
    return Mark(scan, (500.0, 0.0, 0.0), score)


def sensitivities(marks: list[Mark], findings: list[Finding], scans: list[str]) -> list[float | None]:
    return [estimate.value for estimate in froc(match_marks(marks, findings, scans), FEW).sensitivity_at]


def test_a_perfect_detector_gets_1() -> None:
    scans = ["1", "2", "3"]
    result = froc(match_marks([hit("1", 0.9), hit("2", 0.1)], [nodule("1"), nodule("2")], scans), FEW)
    assert result.cpm == Estimate(1.0, 1.0, 1.0)
    assert result.sensitivity_at == (Estimate(1.0, 1.0, 1.0),) * 7


def test_all_missed_gets_0_with_and_without_false_marks() -> None:
    for marks in ([], [false("1", 0.9)]):
        result = froc(match_marks(marks, [nodule("1")], ["1"]), FEW)
        assert result.cpm == Estimate(0.0, 0.0, 0.0)


def test_without_a_nodule_there_is_no_sensitivity() -> None:
    for marks in ([], [false("1", 0.9)]):
        result = froc(match_marks(marks, [], ["1", "2"]), FEW)
        assert result.cpm == Estimate(None, None, None)
        assert result.sensitivity_at == (Estimate(None, None, None),) * 7


def test_half_found_without_false_marks_is_a_half() -> None:
    assert sensitivities([hit("1", 0.9)], [nodule("1"), nodule("2")], ["1", "2"]) == [0.5] * 7


def test_the_rate_divides_by_all_listed_scans() -> None:
    # Best first: hit 0.9, false 0.8, hit 0.7; 8 scans, most without a mark. Points (false per scan, sensitivity):
    # (0, 0), (0, 1/2), (1/8, 1/2), (1/8, 1). At 1/8 and beyond both nodules are found.
    scans = [str(k) for k in range(8)]
    marks = [hit("0", 0.9), false("5", 0.8), hit("1", 0.7)]
    matches = match_marks(marks, [nodule("0"), nodule("1")], scans)
    curve = froc_curve(matches)
    assert curve.thresholds.tolist() == [math.inf, 0.9, 0.8, 0.7]
    assert curve.fp_per_scan.tolist() == [0, 0, 1 / 8, 1 / 8]
    assert curve.sensitivity.tolist() == [0, 0.5, 0.5, 1]
    assert froc(matches, FEW).cpm.value == 1.0
    # In 4 scans the false mark costs 1/4 per scan. At 1/8, between (0, 1/2) and (1/4, 1/2): 1/2. CPM (1/2 + 6) / 7.
    matches = match_marks([hit("0", 0.9), false("3", 0.8), hit("1", 0.7)], [nodule("0"), nodule("1")], scans[:4])
    assert froc(matches, FEW).cpm.value == pytest.approx(6.5 / 7)


def test_between_points_the_curve_is_straight_and_beyond_the_last_it_is_level() -> None:
    # One scan. 0.9: a hit and a false mark at once, (0, 0) -> (1, 1/2). 0.5: two false marks and a hit, -> (3, 3/4).
    # The fourth nodule is missed. At 1/8, 1/4, 1/2, 1: 1/16, 1/8, 1/4, 1/2; at 2: 5/8; at 4 and 8: 3/4.
    findings = [nodule("1", 100.0 * k) for k in range(4)]
    marks = [hit("1", 0.9, 0), hit("1", 0.9, 100), false("1", 0.9)]
    marks += [hit("1", 0.5, 200), false("1", 0.5), false("1", 0.5)]
    assert sensitivities(marks, findings, ["1"]) == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 5 / 8, 3 / 4, 3 / 4]


def test_all_tied_is_one_straight_line() -> None:
    # A hit and two false marks of one score in one scan: (0, 0) -> (2, 1).
    marks = [hit("1", 0.5), false("1", 0.5), false("1", 0.5)]
    assert sensitivities(marks, [nodule("1")], ["1"]) == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1, 1]


def test_a_second_mark_on_a_nodule_is_neither_hit_nor_false() -> None:
    once = sensitivities([hit("1", 0.9), false("1", 0.8)], [nodule("1"), nodule("1", 50)], ["1"])
    twice = sensitivities([hit("1", 0.9), hit("1", 0.85), false("1", 0.8)], [nodule("1"), nodule("1", 50)], ["1"])
    assert once == twice == [0.5] * 7


def drawn_cases(seed: int) -> tuple[list[Mark], list[Finding], list[str]]:
    """Findings that overlap, of known and unknown size; marks on them, near them and anywhere; ties; a crowded scan."""
    rng = np.random.default_rng(seed)
    scans = [f"1.2.{k}" for k in range(12)]
    findings: list[Finding] = []
    marks: list[Mark] = []
    for scan in scans:
        for _ in range(rng.integers(1, 5)):
            size_mm = None if rng.random() < 0.2 else float(rng.uniform(4, 30))
            centre = point(rng)
            findings.append(Finding(scan, centre, size_mm, excluded=bool(rng.random() < 0.4)))
            if rng.random() < 0.7:
                marks.append(Mark(scan, centre, float(np.round(rng.uniform(0.5, 1.2), 2))))
        n_marks = 130 if scan == scans[3] else int(rng.integers(0, 20))
        marks += [Mark(scan, point(rng), float(np.round(rng.random(), 2))) for _ in range(n_marks)]
    return marks, findings, scans


def point(rng: np.random.Generator) -> tuple[float, float, float]:
    x, y, z = rng.uniform(-25, 25, 3).tolist()
    return x, y, z


def judged(
    marks: list[Mark], findings: list[Finding], scans: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False positives per scan and sensitivity the script's way: lists of samples, then scikit-learn's ROC curve."""
    truth, score, n_missed = [], [], 0
    for scan in scans:
        here = [mark for mark in marks if mark.series_uid == scan]
        if len(here) > 100:
            limit = sorted((mark.score for mark in here), reverse=True)[100]
            here = [mark for mark in here if mark.score > limit]
        free = list(range(len(here)))
        for finding in (finding for finding in findings if finding.series_uid == scan):
            radius_squared = ((10.0 if finding.diameter_mm is None else finding.diameter_mm) / 2) ** 2
            on_it = [
                k
                for k, mark in enumerate(here)
                if math.dist(mark.centre_lps_mm, finding.centre_lps_mm) ** 2 < radius_squared
            ]
            free = [k for k in free if k not in on_it]
            if not finding.excluded and on_it:
                truth.append(1)
                score.append(max(here[k].score for k in on_it))
            n_missed += not finding.excluded and not on_it
        truth += [0] * len(free)
        score += [here[k].score for k in free]
    false_rate, hit_rate, _ = roc_curve(truth, score)
    n_hit = sum(truth)
    per_scan: NDArray[np.float64] = false_rate * (len(truth) - n_hit) / len(scans)
    sensitivity: NDArray[np.float64] = hit_rate * n_hit / (n_hit + n_missed)
    return per_scan, sensitivity


def judged_sensitivities(marks: list[Mark], findings: list[Finding], scans: list[str]) -> NDArray[np.float64]:
    fp_per_scan, sensitivity = judged(marks, findings, scans)
    return np.interp(FP_RATES, fp_per_scan, sensitivity)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_drawn_cases_get_the_judges_numbers(seed: int) -> None:
    marks, findings, scans = drawn_cases(seed)
    expected = judged_sensitivities(marks, findings, scans)
    assert 0.1 < expected[0] < expected[-1] < 1  # it is a case that can tell
    result = froc(match_marks(marks, findings, scans), FEW)
    assert [estimate.value for estimate in result.sensitivity_at] == pytest.approx(expected.tolist(), abs=1e-12)
    assert result.cpm.value == pytest.approx(expected.mean(), abs=1e-12)


def test_the_intervals_are_those_of_scans_drawn_again() -> None:
    marks, findings, scans = drawn_cases(1)
    bootstrap = Bootstrap(draws=40, seed=9)
    result = froc(match_marks(marks, findings, scans), bootstrap)
    # The judge draws the same scans and gets copies of them under new names.
    rng = np.random.default_rng(bootstrap.seed)
    cpms = []
    for _ in range(bootstrap.draws):
        chosen = [scans[k] for k in rng.integers(len(scans), size=len(scans))]
        names = [str(k) for k in range(len(scans))]
        copied_marks = [
            Mark(name, mark.centre_lps_mm, mark.score)
            for name, scan in zip(names, chosen, strict=True)
            for mark in marks
            if mark.series_uid == scan
        ]
        copied = [
            Finding(name, finding.centre_lps_mm, finding.diameter_mm, finding.excluded)
            for name, scan in zip(names, chosen, strict=True)
            for finding in findings
            if finding.series_uid == scan
        ]
        cpms.append(float(judged_sensitivities(copied_marks, copied, names).mean()))
    # floor(0.025 * 40) = 1, floor(0.975 * 40) = 39
    assert (result.cpm.low, result.cpm.high) == pytest.approx((sorted(cpms)[1], sorted(cpms)[39]), abs=1e-12)


def test_the_band_holds_the_curve_at_the_rates() -> None:
    marks, findings, scans = drawn_cases(2)
    result = froc(match_marks(marks, findings, scans), FEW)
    assert (result.band[0], result.band[-1]) == (result.sensitivity_at[0], result.sensitivity_at[-1])
    assert (result.band_fp_per_scan[0], result.band_fp_per_scan[-1]) == pytest.approx((1 / 8, 8))


def test_draws_without_a_nodule_are_left_out() -> None:
    # Two scans, the nodule in one: a draw of the other alone has no sensitivity.
    result = froc(match_marks([hit("1", 0.9)], [nodule("1")], ["1", "2"]), FEW)
    assert result.cpm == Estimate(1.0, 1.0, 1.0)
