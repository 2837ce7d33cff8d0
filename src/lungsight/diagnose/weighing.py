"""What two systems say becomes one: logistic regression on the logits of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.special import expit

from lungsight.diagnose.scaling import logit_of

__all__ = ["LogitSum", "Weighing", "weighing_of"]


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


@dataclass(frozen=True, slots=True)
class Weighing:
    """How the scores of `windows` and `segments` become one.

    Attributes
    ----------
    of_nodules
        Malignancy scores of a nodule.
    of_patients
        Scores of a patient; one without ROI counts as 0 for `windows`.
    """

    of_nodules: LogitSum
    of_patients: LogitSum

    def nodule(self, windows: float, segments: float) -> float:
        """The malignancy score of a nodule that both judged."""
        return self.of_nodules.apply(windows, segments)

    def patient(self, windows: float | None, segments: float | None) -> float | None:
        """The patient's score; None if `segments`, whose nodules are reported, found none."""
        return None if segments is None else self.of_patients.apply(windows or 0.0, segments)


def weighing_of(card: Mapping[str, Any]) -> Weighing:
    """As the card of `segments` tells it; where it tells none, the mean of the logits."""
    told = card.get("both", {})
    halves = {"windows": 0.5, "segments": 0.5, "intercept": 0.0}
    return Weighing(LogitSum(**told.get("nodules", halves)), LogitSum(**told.get("patients", halves)))
