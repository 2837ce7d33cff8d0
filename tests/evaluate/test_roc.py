"""ROC and AUC against scikit-learn; the edges by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.metrics import roc_curve as judge_curve

from lungsight.evaluate.intervals import Bootstrap, Estimate, Proportion
from lungsight.evaluate.roc import Table, auc, auc_difference, operating_points, roc_curve, table_at

FEW = Bootstrap(draws=200)
INF = float("inf")


def cases(n: int = 300, levels: int = 20) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    rng = np.random.default_rng(11)
    label = rng.random(n) < 0.3
    score = np.round((rng.normal(size=n) + 1.2 * label) * levels / 6) / levels
    assert len(np.unique(score)) < n / 3  # ties
    return label, score


def test_auc_and_curve_are_scikit_learns() -> None:
    label, score = cases()
    assert auc(label, score, bootstrap=FEW).value == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    ours = roc_curve(label, score)
    false_rate, true_rate, thresholds = judge_curve(label, score, drop_intermediate=False)
    np.testing.assert_allclose(ours.false_positive_rate, false_rate)
    np.testing.assert_allclose(ours.sensitivity, true_rate)
    np.testing.assert_array_equal(ours.thresholds, thresholds)


def test_the_interval_holds_what_scikit_learn_gets_on_drawn_patients() -> None:
    label, score = cases(120)
    patient = np.arange(120) // 4
    ours = auc(label, score, patient, Bootstrap(draws=400, seed=1))
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(400):
        k = np.concatenate([np.flatnonzero(patient == p) for p in rng.integers(30, size=30)])
        drawn.append(roc_auc_score(label[k], score[k]))
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.02)


def test_whole_patients_are_drawn() -> None:
    # Patient A's pair is right, patient B's is wrong (all four pairs: 3 of 4 right, as 0.7 > 0.2, 0.9 > 0.8).
    label = [True, False, True, False]
    score = [0.9, 0.2, 0.7, 0.8]
    by_patient = auc(label, score, ["A", "A", "B", "B"], Bootstrap(draws=300))
    # Draws: AA -> 1, BB -> 0, AB -> 3 / 4; every draw has both classes.
    assert by_patient == Estimate(0.75, 0.0, 1.0)
    one_patient = auc(label, score, ["A"] * 4, Bootstrap(draws=300))
    assert one_patient == Estimate(0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("label", "score", "expected"),
    [
        ([True, False], [0.9, 0.1], 1.0),  # all right
        ([True, False], [0.1, 0.9], 0.0),  # all wrong
        ([True, False, False], [0.5, 0.5, 0.5], 0.5),  # all tied
        ([True, True, False, False], [INF, 0.5, 0.5, -INF], 0.875),  # 3 pairs and one tie of 4
        ([True, False], [-INF, -INF], 0.5),  # a tie at infinity
    ],
)
def test_auc_at_the_edges(label: list[bool], score: list[float], expected: float) -> None:
    assert auc(label, score, bootstrap=FEW).value == expected


@pytest.mark.parametrize(("label", "score"), [([True, True], [0.1, 0.2]), ([False], [0.1]), ([], [])])
def test_one_class_or_no_case_has_no_auc(label: list[bool], score: list[float]) -> None:
    assert auc(label, score, bootstrap=FEW) == Estimate(None, None, None)
    assert auc_difference(label, score, score, bootstrap=FEW) == Estimate(None, None, None)


def test_the_curve_without_a_class_or_a_case_is_nan_there() -> None:
    malignant_only = roc_curve([True, True], [0.1, 0.2])
    np.testing.assert_array_equal(malignant_only.sensitivity, [0, 0.5, 1])
    assert np.isnan(malignant_only.false_positive_rate).all()
    nobody = roc_curve([], [])
    assert nobody.thresholds.tolist() == [INF]
    assert np.isnan(nobody.sensitivity).all()


def test_the_difference_is_paired() -> None:
    label, score = cases()
    worse = score + 0.25 * np.random.default_rng(3).normal(size=len(score))
    same = auc_difference(label, score, score, bootstrap=FEW)
    assert same == Estimate(0.0, 0.0, 0.0)  # unpaired draws would give it a width
    differs = auc_difference(label, score, worse, bootstrap=FEW)
    assert differs.value == pytest.approx(roc_auc_score(label, score) - roc_auc_score(label, worse))
    assert differs == auc_difference(label, score, worse, np.arange(len(label)), FEW)
    swapped = auc_difference(label, worse, score, bootstrap=FEW)
    assert swapped.value == pytest.approx(-(differs.value or 0))


def test_the_table_is_scikit_learns_and_the_threshold_is_called() -> None:
    label, score = cases()
    threshold = float(np.median(score))
    assert (score == threshold).any()
    (tn, fp), (fn, tp) = confusion_matrix(label, score >= threshold).tolist()
    assert table_at(label, score, threshold) == Table(tp, fp, fn, tn)


def test_the_shares_of_a_table() -> None:
    # 20 of 21 malignant and 37 of 41 benign cases right: 57 of 62.
    table = Table(true_positives=20, false_positives=4, false_negatives=1, true_negatives=37)
    assert (table.accuracy, table.sensitivity) == (Proportion(57, 62), Proportion(20, 21))
    assert table.specificity == Proportion(37, 41)
    nobody = table_at([], [], 0.5)
    assert nobody.accuracy.value is nobody.sensitivity.value is nobody.specificity.value is None


def test_operating_points_move_with_the_threshold() -> None:
    points = operating_points([True, True, False], [0.9, 0.4, 0.4], [0.3, 0.4, 0.5, 1.0])
    sensitivity = [point.table.sensitivity.value for point in points]
    specificity = [point.table.specificity.value for point in points]
    assert [point.threshold for point in points] == [0.3, 0.4, 0.5, 1.0]
    assert sensitivity == [1.0, 1.0, 0.5, 0.0]
    assert specificity == [0.0, 0.0, 1.0, 1.0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(1,\) and \(2,\)"):
        roc_curve([True], [0.1, 0.2])
    with pytest.raises(ValueError, match="1 scores are NaN"):
        auc([True, False], [float("nan"), 0.1])
    with pytest.raises(ValueError, match=r"patient has shape \(1,\), expected \(2,\)"):
        auc([True, False], [0.2, 0.1], ["a"])
