"""Platt scaling, fitted on scores of cases the network never saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from lungsight.diagnose.scaling import PlattScaling, logit_of

__all__ = ["fit_platt"]

_MOST_STEPS = 100
_SMALL_STEP = 1e-10


def fit_platt(label: ArrayLike, score: ArrayLike) -> PlattScaling:
    """Fit slope and intercept by maximum likelihood.

    Parameters
    ----------
    label
        Shape ``(n,)``, True for malignant; both kinds occur.
    score
        Shape ``(n,)``, 0 to 1, not all the same. Of cases that were in no way used for training (out-of-fold scores),
        or the probabilities will be too sure.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not in 0 to 1, a kind does not occur, or all scores are the same.

    Notes
    -----
    Platt, *Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods*,
    Advances in Large Margin Classifiers, 1999; of the score's logit instead of the margin. As there the targets are not
    1 and 0 but ``(n1 + 1) / (n1 + 2)`` and ``1 / (n0 + 2)`` for ``n1`` malignant and ``n0`` benign cases, so that the
    fit is finite where the scores part the kinds. Newton steps, halved until the likelihood rises, as in Lin, Lin and
    Weng, *A note on Platt's probabilistic outputs for support vector machines*, Machine Learning 68, 2007.

    Examples
    --------
    >>> scaling = fit_platt([True, True, False, True, False, False], [0.9, 0.8, 0.7, 0.6, 0.4, 0.2])
    >>> scaling.apply([0.2, 0.5, 0.9]).round(2).tolist()
    [0.17, 0.39, 0.8]
    """
    is_malignant = np.asarray(label, np.bool_)
    logits = logit_of(score)
    if is_malignant.shape != logits.shape or logits.ndim != 1:
        raise ValueError(f"label and score have shapes {is_malignant.shape} and {logits.shape}, expected (n,) both")
    n_malignant = int(is_malignant.sum())
    n_benign = len(is_malignant) - n_malignant
    if not n_malignant or not n_benign:
        raise ValueError(f"{n_malignant} malignant and {n_benign} benign cases, expected some of both")
    if np.ptp(logits) == 0:
        raise ValueError("all scores are the same")
    target = np.where(is_malignant, (n_malignant + 1) / (n_malignant + 2), 1 / (n_benign + 2))
    design = np.stack([logits, np.ones_like(logits)], 1)
    weights = np.array([0.0, np.log((n_malignant + 1) / (n_benign + 1))])
    for _ in range(_MOST_STEPS):
        probability = expit(design @ weights)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design
        step = np.linalg.solve(curvature, design.T @ (target - probability))
        while (
            _loss(design @ (weights + step), target) > _loss(design @ weights, target) and abs(step).max() > _SMALL_STEP
        ):
            step /= 2
        weights = weights + step
        if abs(step).max() <= _SMALL_STEP:
            break
    slope, intercept = weights.tolist()
    return PlattScaling(slope, intercept)


def _loss(logits: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Negative log-likelihood, without overflow."""
    return float((np.logaddexp(0, logits) - target * logits).sum())
