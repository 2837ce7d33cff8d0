"""Patients: what is told, and that a missing prediction is a miss whatever the threshold."""

from __future__ import annotations

import pytest

from lungsight.evaluate.intervals import Bootstrap
from lungsight.evaluate.patients import THRESHOLDS, evaluate_patients
from lungsight.evaluate.roc import Table

FEW = Bootstrap(draws=20)
TRUTH = {"m1": True, "b1": False, "m2": True, "b2": False}


def test_patients_are_taken_in_the_order_of_the_truth() -> None:
    evaluation = evaluate_patients(TRUTH, {"b2": 0.1, "m2": 0.6, "b1": 0.5, "m1": 0.9}, 0.5, FEW)
    assert evaluation.patient_ids == ("m1", "b1", "m2", "b2")
    assert evaluation.label.tolist() == [True, False, True, False]
    assert evaluation.score.tolist() == [0.9, 0.5, 0.6, 0.1]
    assert evaluation.table == Table(2, 1, 0, 1)  # 0.5 is called malignant at a threshold of 0.5
    assert evaluation.auc.value == 1.0
    assert evaluation.missing == ()


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_a_patient_without_prediction_is_wrong_at_every_threshold(threshold: float) -> None:
    evaluation = evaluate_patients(TRUTH, {}, threshold, FEW)
    assert evaluation.table == Table(true_positives=0, false_positives=2, false_negatives=2, true_negatives=0)
    assert evaluation.missing == ("m1", "b1", "m2", "b2")
    assert evaluation.auc.value == 0.0
    assert (evaluation.calibration.brier_score, evaluation.calibration.expected_calibration_error) == (1.0, 1.0)


def test_a_missing_prediction_ranks_below_the_lowest_score() -> None:
    # m1 is missing: it loses against b1 and b2, though b1 scores 0. m2 wins against b1 and b2. 2 of 4 pairs.
    evaluation = evaluate_patients(TRUTH, {"b1": 0.0, "b2": 0.2, "m2": 1.0}, 0.5, FEW)
    assert evaluation.auc.value == 0.5
    # b1 is missing: it wins against m1 and m2, though m1 scores 1. b2 loses against both.
    evaluation = evaluate_patients(TRUTH, {"m1": 1.0, "b2": 0.2, "m2": 1.0}, 0.5, FEW)
    assert evaluation.auc.value == 0.5


def test_operating_points_are_told_at_each_threshold() -> None:
    evaluation = evaluate_patients(TRUTH, {"b2": 0.1, "m2": 0.6, "b1": 0.5, "m1": 0.9}, 0.5, FEW)
    assert [point.threshold for point in evaluation.operating_points] == list(THRESHOLDS)
    at_half = next(point for point in evaluation.operating_points if point.threshold == 0.5)
    assert at_half.table == evaluation.table


def test_no_patients_is_a_result() -> None:
    evaluation = evaluate_patients({}, {}, 0.5, FEW)
    assert evaluation.table == Table(0, 0, 0, 0)
    assert evaluation.auc.value is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1 patients have a score and no label: stranger"):
        evaluate_patients(TRUTH, {"stranger": 0.5}, 0.5, FEW)
    with pytest.raises(ValueError, match="not all in 0 to 1"):
        evaluate_patients(TRUTH, {"m1": 1.5}, 0.5, FEW)
