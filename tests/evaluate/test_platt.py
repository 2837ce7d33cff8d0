"""Platt scaling against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from lungsight.diagnose.scaling import SCORE_CLIP, PlattScaling
from lungsight.evaluate.calibration import calibrate
from lungsight.evaluate.platt import fit_platt

linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn comes with the train extra")
RNG = np.random.default_rng(4)
CASES = {
    "too sure": expit(3 * RNG.normal(size=200)),
    "one in ten": expit(RNG.normal(size=500) - 2.5),
    "few": np.array([0.1, 0.3, 0.35, 0.7, 0.9]),
    "at the ends": RNG.choice([0.0, 0.2, 0.7, 1.0], 90),
}


def judged(is_malignant: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Each case twice, as malignant with its target for weight and as benign with the rest of it; no penalty."""
    n1, n0 = is_malignant.sum(), (~is_malignant).sum()
    target = np.where(is_malignant, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    logits = logit(np.clip(score, SCORE_CLIP, 1 - SCORE_CLIP))[:, None]
    judge = linear_model.LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    twice = np.concatenate([logits, logits]), np.repeat([1, 0], len(score))
    judge.fit(*twice, sample_weight=np.concatenate([target, 1 - target]))
    return float(judge.coef_[0, 0]), float(judge.intercept_[0])


@pytest.mark.parametrize("name", CASES)
def test_slope_and_intercept_are_those_of_logistic_regression(name: str) -> None:
    score = CASES[name]
    is_malignant = np.random.default_rng(9).random(len(score)) < 0.15 + 0.6 * score
    assert 0 < is_malignant.mean() < 1
    fitted = fit_platt(is_malignant, score)
    assert (fitted.slope, fitted.intercept) == pytest.approx(judged(is_malignant, score), abs=1e-5)


def test_scores_that_part_the_kinds_have_a_finite_fit() -> None:
    is_malignant, score = np.array([False, False, True, True]), np.array([0.1, 0.2, 0.8, 0.9])
    fitted = fit_platt(is_malignant, score)
    assert (fitted.slope, fitted.intercept) == pytest.approx(judged(is_malignant, score), abs=1e-5)
    # Targets are 3/4 and 1/4: no probability goes far beyond.
    assert 0.15 < fitted.apply(0.1) < 0.25
    assert 0.75 < fitted.apply(0.9) < 0.85


def test_known_numbers_come_back_and_calibrate() -> None:
    rng = np.random.default_rng(1)
    score = expit(2 * rng.normal(size=40_000))
    truth = PlattScaling(slope=0.5, intercept=-1.0)
    is_malignant = rng.random(len(score)) < truth.apply(score)
    fitted = fit_platt(is_malignant, score)
    assert (fitted.slope, fitted.intercept) == pytest.approx((0.5, -1.0), abs=0.03)
    before, after = calibrate(is_malignant, score), calibrate(is_malignant, fitted.apply(score))
    assert before.expected_calibration_error is not None
    assert after.expected_calibration_error is not None
    assert after.expected_calibration_error < 0.01
    assert before.expected_calibration_error > 0.2


def test_the_order_of_scores_stays_and_so_do_shapes_and_ends() -> None:
    scaling = PlattScaling(2.0, 0.5)
    probability = scaling.apply([[0.0, 0.5], [0.7, 1.0]])
    assert probability.shape == (2, 2)
    assert (np.diff(probability.ravel()) > 0).all()
    assert probability[0, 1] == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert 0 < probability.min() < probability.max() < 1
    assert scaling.apply([]).shape == (0,)


@pytest.mark.parametrize(
    ("label", "score", "told"),
    [
        ([True], [0.5, 0.5], "shapes"),
        ([True, True], [0.5, 0.6], "2 malignant and 0 benign"),
        ([], [], "0 malignant and 0 benign"),
        ([True, False], [0.5, 0.5], "all scores are the same"),
        ([True, False], [0.5, 1.5], "not all in 0 to 1"),
        ([True, False], [0.5, float("nan")], "not all in 0 to 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(label: list[bool], score: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fit_platt(label, score)
