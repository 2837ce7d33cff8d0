"""Brier score and log-loss against scikit-learn; the bins by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as judge_log_loss

from lungsight.evaluate.calibration import N_BINS, calibrate, log_loss


def test_brier_and_log_loss_are_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    score = rng.random(200)
    label = rng.random(200) < score**2
    ours = calibrate(label, score)
    assert ours.brier_score == pytest.approx(brier_score_loss(label, score), abs=1e-12)
    assert ours.log_loss == pytest.approx(judge_log_loss(label, score), abs=1e-12)


def test_one_sure_mistake_costs_what_kaggle_takes() -> None:
    assert log_loss([True, False], [0.0, 1.0]) == pytest.approx(-math.log(1e-15), rel=1e-2)
    assert log_loss([True, False], [1.0, 0.0]) == pytest.approx(0.0, abs=1e-14)


def test_each_bin_holds_its_lower_end_and_the_last_one_both() -> None:
    label = [False, True, True, False, True]
    bins = calibrate(label, [0.0, 0.5, 0.75, 0.75, 1.0], n_bins=4).bins
    assert [(b.low, b.high, b.n) for b in bins] == [(0, 0.25, 1), (0.25, 0.5, 0), (0.5, 0.75, 1), (0.75, 1, 3)]
    assert [b.mean_score for b in bins] == [0.0, None, 0.5, pytest.approx(2.5 / 3)]
    assert [b.malignant_share for b in bins] == [0.0, None, 1.0, pytest.approx(2 / 3)]


def test_the_error_is_the_mean_distance_weighted_by_cases() -> None:
    # Bin [0, 0.5): one case, score 0.25, none malignant: off by 1/4. Bin [0.5, 1]: three cases, mean score 3/4, two
    # malignant: off by 3/4 - 2/3 = 1/12. Together (1 * 1/4 + 3 * 1/12) / 4 = 1/8.
    calibration = calibrate([False, True, True, False], [0.25, 0.5, 0.75, 1.0], n_bins=2)
    assert calibration.expected_calibration_error == pytest.approx(1 / 8)


def test_a_calibrated_score_has_no_error() -> None:
    label = [True] * 3 + [False] * 1 + [True] * 1 + [False] * 3
    assert calibrate(label, [0.75] * 4 + [0.25] * 4).expected_calibration_error == 0.0


def test_one_class_is_enough_and_no_case_is_none() -> None:
    assert calibrate([True], [1.0]).brier_score == 0.0
    nobody = calibrate([], [])
    assert (nobody.expected_calibration_error, nobody.brier_score, nobody.log_loss) == (None, None, None)
    assert [b.n for b in nobody.bins] == [0] * N_BINS
    assert log_loss([], []) is None


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_score_that_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="not all in 0 to 1"):
        calibrate([True], [score])
    with pytest.raises(ValueError, match="not all in 0 to 1"):
        log_loss([True], [score])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(1,\) and \(2,\)"):
        calibrate([True], [0.1, 0.2])
    with pytest.raises(ValueError, match="n_bins is 0"):
        calibrate([True], [0.1], n_bins=0)
