"""Whether a score is a probability: reliability curve, expected calibration error, Brier score, log-loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LOG_LOSS_CLIP", "N_BINS", "Calibration", "ReliabilityBin", "calibrate", "log_loss"]

N_BINS = 10
"""Bins of the reliability curve, of equal width: [0, 0.1), [0.1, 0.2), ... [0.9, 1]."""

LOG_LOSS_CLIP = 1e-15
"""Scores are kept this far from 0 and 1, as Kaggle does: one sure mistake costs 34.5, not infinity."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The cases whose scores fall into one bin.

    Attributes
    ----------
    low, high
        The bin's ends; `high` belongs to the next bin, in the last one to this.
    n
        Number of cases.
    mean_score, malignant_share
        Equal if the score is calibrated; None if the bin is empty.
    """

    low: float
    high: float
    n: int
    mean_score: float | None
    malignant_share: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far a score is from a probability.

    Attributes
    ----------
    bins
        The reliability curve, by ascending score; empty bins included.
    expected_calibration_error
        Mean distance of mean score and malignant share over the bins, weighted by their cases. 0 to 1, 0 is best.
    brier_score
        Mean square of score minus label (0 or 1). 0 to 1, 0 is best.
    log_loss
        See :func:`log_loss`.

    Notes
    -----
    All but the bins are None if there is no case. One class is enough.
    """

    bins: tuple[ReliabilityBin, ...]
    expected_calibration_error: float | None
    brier_score: float | None
    log_loss: float | None


def calibrate(label: ArrayLike, score: ArrayLike, n_bins: int = N_BINS) -> Calibration:
    """Measure a score as a probability.

    Parameters
    ----------
    label
        Shape ``(n,)``, True for malignant.
    score
        Shape ``(n,)``, 0 to 1.
    n_bins
        Of equal width over 0 to 1; 1 or more.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not in 0 to 1, or `n_bins` is less than 1.

    Notes
    -----
    ECE: Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, here for the score of the malignant class.
    Brier, *Verification of forecasts expressed in terms of probability*, Monthly Weather Review 78, 1950.

    Examples
    --------
    >>> calibration = calibrate([True, False], [0.75, 0.25], n_bins=2)
    >>> calibration.expected_calibration_error, calibration.brier_score
    (0.25, 0.0625)
    """
    is_malignant, scores = _checked(label, score)
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}, expected 1 or more")
    edges = np.linspace(0, 1, n_bins + 1)
    bin_of = np.searchsorted(edges[1:-1], scores, side="right")
    bins = tuple(
        _reliability(float(edges[k]), float(edges[k + 1]), is_malignant[bin_of == k], scores[bin_of == k])
        for k in range(n_bins)
    )
    if not scores.size:
        return Calibration(bins, None, None, None)
    far = sum(
        b.n * abs(b.mean_score - b.malignant_share)
        for b in bins
        if b.mean_score is not None and b.malignant_share is not None
    )
    brier = float(np.mean((scores - is_malignant) ** 2))
    return Calibration(bins, far / len(scores), brier, log_loss(is_malignant, scores))


def log_loss(label: ArrayLike, score: ArrayLike) -> float | None:
    """Mean negative logarithm of the probability given to what is true, scores clipped by `LOG_LOSS_CLIP`.

    Parameters
    ----------
    label, score
        As in :func:`calibrate`.

    Returns
    -------
    float or None
        0 or more, 0 is best, 0.693 is a score of 0.5 for every case; None of no cases.

    Raises
    ------
    ValueError
        If the shapes differ or a score is not in 0 to 1.

    Notes
    -----
    The measure of the Data Science Bowl 2017.

    Examples
    --------
    >>> round(log_loss([True, False], [0.5, 0.5]), 4)
    0.6931
    """
    is_malignant, scores = _checked(label, score)
    if not scores.size:
        return None
    of_truth = np.where(is_malignant, scores, 1 - scores)
    return float(-np.mean(np.log(np.clip(of_truth, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP))))


def _reliability(
    low: float, high: float, is_malignant: NDArray[np.bool_], scores: NDArray[np.float64]
) -> ReliabilityBin:
    if not scores.size:
        return ReliabilityBin(low, high, 0, None, None)
    return ReliabilityBin(low, high, len(scores), float(scores.mean()), float(is_malignant.mean()))


def _checked(label: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    is_malignant, scores = np.asarray(label, np.bool_), np.asarray(score, np.float64)
    if is_malignant.shape != scores.shape or scores.ndim != 1:
        raise ValueError(f"label and score have shapes {is_malignant.shape} and {scores.shape}, expected (n,) both")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores are not all in 0 to 1")
    return is_malignant, scores
