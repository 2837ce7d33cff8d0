"""Patients by one score each: everything that is said of them, and what a missing prediction costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.evaluate.calibration import Calibration, calibrate
from lungsight.evaluate.intervals import Bootstrap, Estimate, ignore_progress
from lungsight.evaluate.roc import OperatingPoint, RocCurve, Table, auc, operating_points, roc_curve, table_at

__all__ = ["THRESHOLDS", "PatientEvaluation", "evaluate_patients"]

THRESHOLDS = tuple(k / 20 for k in range(1, 20))
"""At which the operating points are told."""


@dataclass(frozen=True, slots=True, eq=False)
class PatientEvaluation:
    """How well patients are told apart.

    Attributes
    ----------
    patient_ids
        In the order of the truth.
    label
        Shape ``(n,)``, True for malignant.
    score
        Shape ``(n,)``, 0 to 1; of a patient without a prediction minus infinity if malignant, infinity if benign.
    missing
        The patients without a prediction.
    threshold
        Of the table.
    table
        The 2 x 2 table at `threshold`.
    auc
        With its bootstrap by patient.
    curve
        The ROC curve.
    operating_points
        The table at each of `THRESHOLDS`.
    calibration
        Where a missing prediction counts as 0 for a malignant and 1 for a benign patient.
    bootstrap
        What the interval of `auc` was made with.
    """

    patient_ids: tuple[str, ...]
    label: NDArray[np.bool_]
    score: NDArray[np.float64]
    missing: tuple[str, ...]
    threshold: float
    table: Table
    auc: Estimate
    curve: RocCurve
    operating_points: tuple[OperatingPoint, ...]
    calibration: Calibration
    bootstrap: Bootstrap


def evaluate_patients(
    label: Mapping[str, bool],
    score: Mapping[str, float],
    threshold: float,
    bootstrap: Bootstrap | None = None,
    progress: Callable[[str, float], None] = ignore_progress,
) -> PatientEvaluation:
    """Compare each patient's score with the truth.

    Parameters
    ----------
    label
        Patient -> whether malignant. Without patients every figure is None.
    score
        Patient -> 0 to 1. A patient left out is wrong at every threshold, and ranks below every benign patient if
        malignant, above every malignant one if benign.
    threshold
        Malignant is called from this score on.
    bootstrap
        None takes its defaults.
    progress
        Told ``("bootstrap", done)``.

    Raises
    ------
    ValueError
        If a score is of a patient without label, or not in 0 to 1.

    Examples
    --------
    >>> evaluation = evaluate_patients({"a": True, "b": False, "c": True}, {"a": 0.9, "b": 0.2}, threshold=0.5)
    >>> evaluation.table.accuracy, evaluation.missing, evaluation.auc.value
    (Proportion(hits=2, of=3), ('c',), 0.5)
    """
    unknown = [patient for patient in score if patient not in label]
    if unknown:
        raise ValueError(f"{len(unknown)} patients have a score and no label: {', '.join(unknown[:3])}")
    if not all(0 <= value <= 1 for value in score.values()):
        raise ValueError("scores are not all in 0 to 1")
    patients = tuple(label)
    labels = np.array([label[patient] for patient in patients], np.bool_)
    worst = np.where(labels, -np.inf, np.inf)
    scores = np.array([score.get(p, w) for p, w in zip(patients, worst.tolist(), strict=True)], np.float64)
    bootstrap = bootstrap or Bootstrap()
    return PatientEvaluation(
        patient_ids=patients,
        label=labels,
        score=scores,
        missing=tuple(patient for patient in patients if patient not in score),
        threshold=threshold,
        table=table_at(labels, scores, threshold),
        auc=auc(labels, scores, bootstrap=bootstrap, progress=progress),
        curve=roc_curve(labels, scores),
        operating_points=operating_points(labels, scores, THRESHOLDS),
        calibration=calibrate(labels, np.clip(scores, 0, 1)),
        bootstrap=bootstrap,
    )
