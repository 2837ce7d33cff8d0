"""The `windows` system's judgement: the majority of a ROI's windows, and of all windows of a patient's ROIs.

The paper votes with an adjustable threshold, so that sensitivity can be bought with specificity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lungsight.findings import Verdict

__all__ = ["malignant_share", "verdict_of"]


def malignant_share(labels: Sequence[NDArray[np.uint8]]) -> float | None:
    """Windows labelled 2 over those labelled 1 or 2.

    Parameters
    ----------
    labels
        The window labels of each ROI: one ROI for its own score, all of them for the patient's.

    Returns
    -------
    float or None
        0 to 1; None if there is no window labelled 1 or 2.

    Examples
    --------
    >>> malignant_share([np.array([1, 2, 2, 2], np.uint8), np.array([1, 1, 0], np.uint8)])
    0.5
    >>> malignant_share([]) is None
    True
    """
    benign, malignant = (sum(int((each == label).sum()) for each in labels) for label in (1, 2))
    return malignant / (benign + malignant) if benign + malignant else None


def verdict_of(score: float | None, vote_threshold: float, *, searched: bool) -> Verdict:
    """What a patient's score means.

    Parameters
    ----------
    score
        The patient's malignant share; None without ROI.
    vote_threshold
        Share from which the majority is malignant.
    searched
        Whether there was any lung to search.

    Returns
    -------
    Verdict
        INDETERMINATE only if nothing could be searched.

    Examples
    --------
    >>> verdict_of(0.5, 0.5, searched=True).value, verdict_of(None, 0.5, searched=True).value
    ('MALIGNANT', 'NO_NODULE')
    """
    if not searched:
        return Verdict.INDETERMINATE
    if score is None:
        return Verdict.NO_NODULE
    return Verdict.MALIGNANT if score >= vote_threshold else Verdict.BENIGN
