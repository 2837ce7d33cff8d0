"""Brock (PanCan) model 2b: the probability that a nodule of a first screening CT is cancer.

McWilliams A, Tammemagi MC, Mayo JR, et al. Probability of cancer in pulmonary nodules detected on first screening CT.
*New England Journal of Medicine* 369(10):910-919, 2013. doi:10.1056/NEJMoa1214726. Full model with spiculation (2b),
coefficients to four decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Literal

from lungsight.findings import Density

__all__ = ["BrockInput", "brock_probability"]

Sex = Literal["female", "male"]

_INTERCEPT = -6.7892
_AGE_YEAR = 0.0287
_AGE_CENTRE_YEARS = 62
_FEMALE = 0.6011
_FAMILY_HISTORY = 0.2961
_EMPHYSEMA = 0.2953
_SIZE = -5.3854
_SIZE_CENTRE = 1.58113883
"""The size enters as (size / 10 mm) ** -0.5, less its value at 4 mm."""
_TYPE = {Density.SOLID: 0.0, Density.PART_SOLID: 0.377, Density.GROUND_GLASS: -0.1276}
_UPPER_LOBE = 0.6581
_NODULE = -0.0824
_NODULES_CENTRE = 4
_SPICULATION = 0.7729
_LARGEST_MM = 30.0
"""A nodule is at most this large; the model is not for masses."""


@dataclass(frozen=True, slots=True)
class BrockInput:
    """What the model asks.

    Attributes
    ----------
    age_years
        Of the patient.
    sex
        Of the patient.
    family_history
        Of lung cancer.
    emphysema
        Seen on the CT.
    size_mm
        Longest diameter of the nodule, above 0 and at most 30.
    density
        The nodule's type.
    upper_lobe
        Whether the nodule lies in an upper lobe.
    nodules
        How many nodules the CT shows, 1 or more.
    spiculation
        Whether the nodule is spiculated.
    """

    age_years: float
    sex: Sex
    family_history: bool
    emphysema: bool
    size_mm: float
    density: Density
    upper_lobe: bool
    nodules: int
    spiculation: bool

    def __post_init__(self) -> None:
        if not 0 < self.size_mm <= _LARGEST_MM:
            raise ValueError(f"size_mm is {self.size_mm}, expected above 0 and at most {_LARGEST_MM:g}")
        if self.nodules < 1:
            raise ValueError(f"nodules is {self.nodules}, expected 1 or more")


def brock_probability(given: BrockInput) -> float:
    """The model's probability, 0 to 1.

    Parameters
    ----------
    given
        All of it; the model has no answer for less.

    Returns
    -------
    float
        Of cancer, as fitted on Canadian smokers at their first screening CT.

    Examples
    --------
    >>> nodule = BrockInput(62, "male", False, False, 10.0, Density.SOLID, False, 4, False)
    >>> round(brock_probability(nodule), 4)
    0.0251
    """
    log_odds = (
        _INTERCEPT
        + _AGE_YEAR * (given.age_years - _AGE_CENTRE_YEARS)
        + _FEMALE * (given.sex == "female")
        + _FAMILY_HISTORY * given.family_history
        + _EMPHYSEMA * given.emphysema
        + _SIZE * ((given.size_mm / 10) ** -0.5 - _SIZE_CENTRE)
        + _TYPE[given.density]
        + _UPPER_LOBE * given.upper_lobe
        + _NODULE * (given.nodules - _NODULES_CENTRE)
        + _SPICULATION * given.spiculation
    )
    return 1 / (1 + exp(-log_odds))
