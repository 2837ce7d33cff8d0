"""Patients or nodules told apart by a score: 2 x 2 table, ROC curve, AUC and its intervals, operating points.

Arrays of one length throughout: ``label`` is True for malignant, ``score`` is higher for more malignant and may be
infinite (a missing prediction, see :mod:`lungsight.evaluate.patients`) but not NaN. A case is *called* malignant if its
score is the threshold or more, as a diagnosis is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.evaluate.intervals import Bootstrap, Estimate, Proportion, bootstrap_estimates, ignore_progress

__all__ = ["OperatingPoint", "RocCurve", "Table", "auc", "auc_difference", "operating_points", "roc_curve", "table_at"]


@dataclass(frozen=True, slots=True)
class Table:
    """The 2 x 2 table: what was called malignant against what is malignant.

    Attributes
    ----------
    true_positives, false_negatives
        The malignant cases: called malignant, and not.
    false_positives, true_negatives
        The benign cases: called malignant, and not.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def accuracy(self) -> Proportion:
        """Share of all cases that are right."""
        right = self.true_positives + self.true_negatives
        return Proportion(right, right + self.false_positives + self.false_negatives)

    @property
    def sensitivity(self) -> Proportion:
        """Share of the malignant cases that are called so; of no cases if there is none."""
        return Proportion(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> Proportion:
        """Share of the benign cases that are not called malignant; of no cases if there is none."""
        return Proportion(self.true_negatives, self.true_negatives + self.false_positives)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one threshold does.

    Attributes
    ----------
    threshold
        Malignant is called from this score on.
    table
        What comes of it.
    """

    threshold: float
    table: Table


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """The ROC curve, from nothing called malignant to everything.

    Attributes
    ----------
    thresholds
        Shape ``(k,)``: infinity (nothing is called), then every distinct score, descending.
    sensitivity
        Shape ``(k,)``, 0 to 1, ascending; NaN if no case is malignant.
    false_positive_rate
        Shape ``(k,)``, 1 - specificity, ascending; NaN if no case is benign.
    """

    thresholds: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    false_positive_rate: NDArray[np.float64]


def table_at(label: ArrayLike, score: ArrayLike, threshold: float) -> Table:
    """The 2 x 2 table at one threshold.

    Raises
    ------
    ValueError
        As :func:`roc_curve`.

    Examples
    --------
    >>> table_at([True, True, False], [0.9, 0.5, 0.4], threshold=0.5)
    Table(true_positives=2, false_positives=0, false_negatives=0, true_negatives=1)
    """
    is_malignant, scores = _checked(label, score)
    called = scores >= threshold
    return Table(
        true_positives=int(np.count_nonzero(called & is_malignant)),
        false_positives=int(np.count_nonzero(called & ~is_malignant)),
        false_negatives=int(np.count_nonzero(~called & is_malignant)),
        true_negatives=int(np.count_nonzero(~called & ~is_malignant)),
    )


def operating_points(label: ArrayLike, score: ArrayLike, thresholds: Sequence[float]) -> tuple[OperatingPoint, ...]:
    """The table at each of some thresholds, in their order.

    Raises
    ------
    ValueError
        As :func:`roc_curve`.
    """
    return tuple(OperatingPoint(float(t), table_at(label, score, t)) for t in thresholds)


def roc_curve(label: ArrayLike, score: ArrayLike) -> RocCurve:
    """The ROC curve; cases of the same score are one point of it.

    Returns
    -------
    RocCurve
        Of no cases: its first point alone, NaN.

    Raises
    ------
    ValueError
        If label and score differ in shape or are not 1D, or a score is NaN.
    """
    is_malignant, scores = _checked(label, score)
    level, level_of = np.unique(-scores, return_inverse=True)
    rates = []
    for in_class in (is_malignant, ~is_malignant):
        called = np.cumsum(np.bincount(level_of[in_class], minlength=len(level)))
        with np.errstate(invalid="ignore"):
            rates.append(np.concatenate([[0], called]) / np.float64(np.count_nonzero(in_class)))
    return RocCurve(np.concatenate([[np.inf], -level]), rates[0], rates[1])


def auc(
    label: ArrayLike,
    score: ArrayLike,
    patient: ArrayLike | None = None,
    bootstrap: Bootstrap | None = None,
    progress: Callable[[str, float], None] = ignore_progress,
) -> Estimate:
    """Area under the ROC curve: the chance that a malignant case scores above a benign one, ties counted half.

    Parameters
    ----------
    label, score
        Shape ``(n,)``.
    patient
        Shape ``(n,)``, whose case it is: the bootstrap draws whole patients. None if each case is a patient.
    bootstrap
        None takes its defaults.
    progress
        Told ``("bootstrap", done)``.

    Returns
    -------
    Estimate
        None throughout if a class has no case. Draws that lack a class are left out.

    Raises
    ------
    ValueError
        As :func:`roc_curve`, or if `patient` has another shape.

    Examples
    --------
    One of the four pairs is a tie, the others are in order: 3.5 / 4.

    >>> auc([True, True, False, False], [0.9, 0.4, 0.4, 0.1]).value
    0.875
    """
    is_malignant, scores = _checked(label, score)
    cluster, n_clusters = _clusters(patient, len(scores))
    level = np.unique(scores, return_inverse=True)[1]

    def figures(counts: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.array([_area(is_malignant, level, counts[cluster])])

    return bootstrap_estimates(figures, n_clusters, bootstrap or Bootstrap(), progress)[0]


def auc_difference(
    label: ArrayLike,
    score: ArrayLike,
    other_score: ArrayLike,
    patient: ArrayLike | None = None,
    bootstrap: Bootstrap | None = None,
) -> Estimate:
    """How far the AUC of a score lies above that of another on the same cases: a paired bootstrap.

    Parameters
    ----------
    label, score, other_score
        Shape ``(n,)``.
    patient, bootstrap
        As in :func:`auc`; both scores see the same draws.

    Returns
    -------
    Estimate
        -1 to 1; None throughout if a class has no case.

    Raises
    ------
    ValueError
        As :func:`auc`.

    Examples
    --------
    >>> auc_difference([True, False], [0.9, 0.1], [0.5, 0.5]).value
    0.5
    """
    is_malignant, scores = _checked(label, score)
    _, others = _checked(label, other_score)
    cluster, n_clusters = _clusters(patient, len(scores))
    level, other_level = (np.unique(s, return_inverse=True)[1] for s in (scores, others))

    def figures(counts: NDArray[np.intp]) -> NDArray[np.float64]:
        weight = counts[cluster]
        return np.array([_area(is_malignant, level, weight) - _area(is_malignant, other_level, weight)])

    return bootstrap_estimates(figures, n_clusters, bootstrap or Bootstrap())[0]


def _area(is_malignant: NDArray[np.bool_], level: NDArray[np.intp], weight: NDArray[np.intp]) -> float:
    """The AUC of cases that count `weight` times; `level` is the rank of their score. NaN if a class has none."""
    n_levels = int(level.max(initial=-1)) + 1
    malignant, benign = (
        np.bincount(level[in_class], weight[in_class], n_levels) for in_class in (is_malignant, ~is_malignant)
    )
    pairs = malignant.sum() * benign.sum()
    if pairs == 0:
        return float("nan")
    benign_below = np.cumsum(benign) - benign
    return float(malignant @ (benign_below + benign / 2) / pairs)


def _checked(label: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    is_malignant, scores = np.asarray(label, np.bool_), np.asarray(score, np.float64)
    if is_malignant.shape != scores.shape or scores.ndim != 1:
        raise ValueError(f"label and score have shapes {is_malignant.shape} and {scores.shape}, expected (n,) both")
    if np.isnan(scores).any():
        raise ValueError(f"{np.count_nonzero(np.isnan(scores))} scores are NaN")
    return is_malignant, scores


def _clusters(patient: ArrayLike | None, n_cases: int) -> tuple[NDArray[np.intp], int]:
    if patient is None:
        return np.arange(n_cases), n_cases
    names, cluster = np.unique(np.asarray(patient), return_inverse=True)
    if cluster.shape != (n_cases,):
        raise ValueError(f"patient has shape {cluster.shape}, expected ({n_cases},)")
    return cluster, len(names)
