"""The Brock model against its calculator's coefficients, which have seven digits where the paper prints four."""

from __future__ import annotations

import dataclasses
import math
from itertools import product
from typing import Any

import pytest

from lungsight.findings import Density
from lungsight.guidelines.brock import BrockInput, brock_probability

NODULE = BrockInput(62, "male", False, False, 10.0, Density.SOLID, False, 4, False)
TYPES = {Density.SOLID: 0.0, Density.PART_SOLID: 0.3769578, Density.GROUND_GLASS: -0.1276173}


def calculator(given: BrockInput) -> float:
    """The spreadsheet that goes with McWilliams et al. 2013, full model with spiculation."""
    terms = [
        -6.78917,
        0.0286687 * (given.age_years - 62),
        0.6010727 * (given.sex == "female"),
        0.296109 * given.family_history,
        0.2953112 * given.emphysema,
        -5.385484 * ((given.size_mm / 10) ** -0.5 - 1.58113883),
        TYPES[given.density],
        0.6581383 * given.upper_lobe,
        -0.0824156 * (given.nodules - 4),
        0.7729335 * given.spiculation,
    ]
    return math.exp(sum(terms)) / (1 + math.exp(sum(terms)))


def test_the_probability_is_the_calculator_s() -> None:
    yes_no = (False, True)
    for age, size, nodules, density in product((50, 62, 77), (4.0, 8.0, 30.0), (1, 7), Density):
        for family, emphysema, upper, spiculation in product(yes_no, repeat=4):
            for sex in ("female", "male"):
                given = BrockInput(age, sex, family, emphysema, size, density, upper, nodules, spiculation)
                assert brock_probability(given) == pytest.approx(calculator(given), rel=2e-3)


def test_worked_by_hand() -> None:
    # 4 mm: the size term is 0, so the odds are exp(-6.7892) = 0.0011259.
    assert brock_probability(dataclasses.replace(NODULE, size_mm=4.0)) == pytest.approx(0.0011246, rel=1e-3)
    # A woman of 72 with everything: -6.7892 + 0.287 + 0.6011 + 0.2961 + 0.2953 + 5.3854 * (1.58114 - 0.70711)
    # + 0.377 + 0.6581 + 0.2472 + 0.7729 = 1.4525.
    worst = BrockInput(72, "female", True, True, 20.0, Density.PART_SOLID, True, 1, True)
    assert brock_probability(worst) == pytest.approx(1 / (1 + math.exp(-1.4525)), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_mm": 30.1}, "size_mm is 30.1, expected above 0 and at most 30"),
        ({"size_mm": 0.0}, "size_mm is 0.0"),
        ({"nodules": 0}, "nodules is 0, expected 1 or more"),
    ],
)
def test_what_the_model_is_not_for_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(NODULE, **change)
