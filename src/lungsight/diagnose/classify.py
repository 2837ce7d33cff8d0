"""The `segments` system's judgement: each candidate by two networks, the patient by the strongest nodules.

The first network sees a block round the candidate and tells nodules from what looks like them; its score is weighed
with the U-Net's and with the size, since it saw few large nodules that touch the chest wall. The second sees slices
of the nodule and says how malignant readers would rate it; that is weighed with the diameter of the outline, which a
network whose cuts are enlarged and shrunk while it learns knows less well. The patient's score is a noisy-or over the
strongest nodules, as in the Data Science Bowl's winning entry: one nodule is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lungsight.ct.volume import CTVolume
from lungsight.diagnose.cuts import cut_block, cut_sheaf
from lungsight.diagnose.scaling import PlattScaling, logit_of
from lungsight.findings import Candidate, Nodule

__all__ = [
    "LEAST_MM",
    "CutNetwork",
    "Judges",
    "MalignancyWeighing",
    "NoduleWeighing",
    "judge_candidate",
    "malignancy_weighing_of",
    "nodule_weighing_of",
    "noisy_or",
    "patient_score",
]

LEAST_MM = 2.0
"""Smaller diameters count as this."""

CutNetwork = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes cuts ``(n, slices, 64, 64)``, gives scores ``(n, 1)``, 0 to 1."""


@dataclass(frozen=True, slots=True)
class NoduleWeighing:
    """What the detection network, the U-Net and the size say becomes one score: logistic regression.

    The score is ``1 / (1 + exp(-(network * logit(n) + unet * logit(u) + size * ln(d / 1 mm) + intercept)))``. As it
    stands by default it is the network's score alone.

    Attributes
    ----------
    network, unet, size, intercept
        As fitted.
    """

    network: float = 1.0
    unet: float = 0.0
    size: float = 0.0
    intercept: float = 0.0

    def apply(self, network_score: float, unet_score: float, diameter_mm: float) -> float:
        """The nodule score, 0 to 1.

        Examples
        --------
        >>> round(NoduleWeighing().apply(0.3, 0.9, 10.0), 6)
        0.3
        """
        size = self.size * float(np.log(max(diameter_mm, LEAST_MM)))
        sums = self.network * float(logit_of(network_score)) + self.unet * float(logit_of(unet_score))
        return float(expit(sums + size + self.intercept))


def nodule_weighing_of(card: Mapping[str, Any]) -> NoduleWeighing:
    """As a card tells it; where it tells none, the network's score alone."""
    return NoduleWeighing(**card.get("nodule_weighing", {}))


@dataclass(frozen=True, slots=True)
class MalignancyWeighing:
    """What the malignancy network and the size say becomes one score: logistic regression.

    The score is ``1 / (1 + exp(-(network * logit(m) + size * ln(d / 1 mm) + intercept)))``. As it stands by default it
    is the network's score alone.

    Attributes
    ----------
    network, size, intercept
        As fitted to nodules the network never saw.
    """

    network: float = 1.0
    size: float = 0.0
    intercept: float = 0.0

    def apply(self, network_score: float, diameter_mm: float) -> float:
        """The malignancy score, 0 to 1.

        Examples
        --------
        >>> round(MalignancyWeighing().apply(0.3, 10.0), 6), round(MalignancyWeighing(1.0, 2.0).apply(0.5, 3.0), 6)
        (0.3, 0.9)
        """
        size = self.size * float(np.log(max(diameter_mm, LEAST_MM)))
        return float(expit(self.network * float(logit_of(network_score)) + size + self.intercept))


def malignancy_weighing_of(card: Mapping[str, Any]) -> MalignancyWeighing:
    """As a card tells it; where it tells none, the network's score alone."""
    return MalignancyWeighing(**card.get("malignancy_weighing", {}))


@dataclass(frozen=True, slots=True)
class Judges:
    """The two nodule networks.

    Attributes
    ----------
    detection
        Blocks in; nodule or not.
    malignancy
        Sheaves in; how malignant.
    weighing
        How the detection network's score and what the U-Net said become the nodule score.
    """

    detection: CutNetwork
    malignancy: CutNetwork
    weighing: NoduleWeighing = field(default_factory=NoduleWeighing)

    def network_score(self, ct: CTVolume, centre_zyx: NDArray[np.float64]) -> float:
        """What the detection network says of a place of an upright CT, 0 to 1."""
        return _mean_score(self.detection, cut_block(ct, centre_zyx))

    def nodule_score(
        self, ct: CTVolume, centre_zyx: NDArray[np.float64], unet_score: float, diameter_mm: float
    ) -> float:
        """Whether a nodule is there, with what the U-Net said of it, and its diameter in the U-Net's mask; 0 to 1."""
        return self.weighing.apply(self.network_score(ct, centre_zyx), unet_score, diameter_mm)

    def malignancy_score(self, ct: CTVolume, centre_zyx: NDArray[np.float64], first: int, last: int) -> float:
        """What the malignancy network says of a nodule, which the slices from `first` to `last` show; 0 to 1."""
        return _mean_score(self.malignancy, cut_sheaf(ct, centre_zyx[1:], first, last))


def _mean_score(network: CutNetwork, cut: NDArray[np.float32]) -> float:
    """The mean over a cut and its mirror images: a nodule has no left and right."""
    mirrored = np.stack([cut, cut[:, ::-1], cut[:, :, ::-1], cut[:, ::-1, ::-1]])
    return min(1.0, float(network(np.ascontiguousarray(mirrored)).mean()))


def judge_candidate(ct: CTVolume, candidate: Candidate, judges: Judges, least_score: float) -> Nodule | None:
    """A candidate as a nodule, or None if it is none.

    Parameters
    ----------
    ct
        The upright CT it was found in.
    candidate
        Its region is taken for the nodule's mask.
    judges
        The networks.
    least_score
        Nodule score from which it is one.

    Returns
    -------
    Nodule or None
        Its candidate's detection score is the nodule score; its malignancy score is the network's, not weighed yet.
    """
    centre = ct.to_zyx(np.array(candidate.location.lps_mm))
    score = judges.nodule_score(ct, centre, candidate.detection_score, candidate.roi_diameter_mm)
    if score < least_score:
        return None
    region = candidate.region
    malignancy = judges.malignancy_score(ct, centre, region.start_zyx[0], region.stop_zyx[0] - 1)
    return Nodule(replace(candidate, detection_score=score), malignancy, mask=region)


def noisy_or(scores: Sequence[float]) -> float:
    """The chance that at least one of several independent things is so; 0 if there is none.

    Examples
    --------
    >>> noisy_or([0.5, 0.5]), noisy_or([])
    (0.75, 0.0)
    """
    return float(1 - np.prod([1 - score for score in scores]))


def patient_score(nodules: Sequence[Nodule], strongest: int, scaling: PlattScaling | None = None) -> float | None:
    """How malignant a patient is.

    Parameters
    ----------
    nodules
        All of the patient's; each counts by its nodule score times its malignancy score.
    strongest
        So many of them, the highest, are looked at.
    scaling
        Of the noisy-or, fitted to patients the networks never saw; None leaves it as it is.

    Returns
    -------
    float or None
        0 to 1; None without nodule.
    """
    if not nodules:
        return None
    each = sorted((n.candidate.detection_score * n.malignancy_score for n in nodules), reverse=True)
    score = noisy_or(each[:strongest])
    return float(scaling.apply(score)) if scaling else score
