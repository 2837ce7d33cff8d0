"""A score becomes a probability: Platt scaling, two numbers that the network's card tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

__all__ = ["SCORE_CLIP", "PlattScaling", "logit_of", "scaling_of"]

SCORE_CLIP = 1e-4
"""Scores are kept this far from 0 and 1, where the logit is infinite: no score lies further out than 9.2."""


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """The probability ``1 / (1 + exp(-(slope * logit(score) + intercept)))``.

    Attributes
    ----------
    slope
        Over 0 where a higher score is more often malignant; 1 with an intercept of 0 leaves scores as they are.
    intercept
        Of the logit.

    Examples
    --------
    >>> PlattScaling(slope=1.0, intercept=0.0).apply([0.2, 0.9]).round(6).tolist()
    [0.2, 0.9]
    """

    slope: float
    intercept: float

    def apply(self, score: ArrayLike) -> NDArray[np.float64]:
        """The probability of each score.

        Parameters
        ----------
        score
            Any shape, 0 to 1.

        Returns
        -------
        ndarray
            The same shape, above 0 and below 1. Empty in, empty out.

        Raises
        ------
        ValueError
            If a score is not in 0 to 1.
        """
        probability: NDArray[np.float64] = expit(self.slope * logit_of(score) + self.intercept)
        return probability


def scaling_of(card: Mapping[str, Any], name: str = "malignancy_scaling") -> PlattScaling | None:
    """A scaling that a network's card tells, if no other is named that of malignancy scores; None if it tells none.

    Examples
    --------
    >>> scaling_of({"malignancy_scaling": {"slope": 2.0, "intercept": 0.5}})
    PlattScaling(slope=2.0, intercept=0.5)
    >>> scaling_of({}) is None
    True
    """
    told = card.get(name)
    return PlattScaling(float(told["slope"]), float(told["intercept"])) if told else None


def logit_of(score: ArrayLike) -> NDArray[np.float64]:
    """The logit of scores in 0 to 1, kept off the ends; other values are refused with a ValueError."""
    scores = np.asarray(score, np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores are not all in 0 to 1")
    logits: NDArray[np.float64] = logit(np.clip(scores, SCORE_CLIP, 1 - SCORE_CLIP))
    return logits
