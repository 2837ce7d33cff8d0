"""What two systems say of a nodule becomes one: logistic regression on the logits of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.special import expit

from lungsight.diagnose.scaling import logit_of

__all__ = ["LogitSum", "both_nodules_of"]


@dataclass(frozen=True, slots=True)
class LogitSum:
    """``1 / (1 + exp(-(windows * logit(w) + segments * logit(s) + intercept)))``.

    Examples
    --------
    >>> round(LogitSum(windows=0.5, segments=0.5, intercept=0.0).apply(0.2, 0.8), 6)
    0.5
    """

    windows: float
    segments: float
    intercept: float

    def apply(self, windows: float, segments: float) -> float:
        """The score of both, 0 to 1."""
        return float(
            expit(self.windows * float(logit_of(windows)) + self.segments * float(logit_of(segments)) + self.intercept)
        )


def both_nodules_of(card: Mapping[str, Any]) -> LogitSum:
    """How the malignancy scores of both become one, as the card of `segments` tells it; else the mean of the logits."""
    return LogitSum(**card.get("both", {}).get("nodules", {"windows": 0.5, "segments": 0.5, "intercept": 0.0}))
