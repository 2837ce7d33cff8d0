"""The table of Lung-RADS v2022 (ACR, November 2022), row by row, at both sides of each threshold."""

from __future__ import annotations

import pytest

from lungsight.findings import Density
from lungsight.guidelines.lung_rads import Category, History, category_of, management_of, stepped_down


@pytest.mark.parametrize(
    ("history", "mean_diameter_mm", "category"),
    [
        ("baseline", 5.9, "2"),
        ("baseline", 6.0, "3"),
        ("baseline", 7.9, "3"),
        ("baseline", 8.0, "4A"),
        ("baseline", 14.9, "4A"),
        ("baseline", 15.0, "4B"),
        ("new", 3.9, "2"),
        ("new", 4.0, "3"),
        ("new", 5.9, "3"),
        ("new", 6.0, "4A"),
        ("new", 7.9, "4A"),
        ("new", 8.0, "4B"),
        ("growing", 4.0, "4A"),
        ("growing", 7.9, "4A"),
        ("growing", 8.0, "4B"),
        ("stable", 7.9, "3"),
        ("baseline", 5.94, "2"),  # to one decimal
        ("baseline", 5.96, "3"),
    ],
)
def test_solid(history: History, mean_diameter_mm: float, category: str) -> None:
    assert category_of(Density.SOLID, mean_diameter_mm, history=history).value == category


@pytest.mark.parametrize(
    ("history", "mean_diameter_mm", "solid_mm", "category"),
    [
        ("baseline", 5.9, 3.0, "2"),
        ("baseline", 6.0, 5.9, "3"),
        ("baseline", 20.0, 5.9, "3"),
        ("baseline", 20.0, 6.0, "4A"),
        ("baseline", 20.0, 7.9, "4A"),
        ("baseline", 20.0, 8.0, "4B"),
        ("new", 5.9, 3.0, "3"),
        ("new", 6.0, 3.9, "4A"),
        ("new", 6.0, 4.0, "4B"),
        ("growing", 5.9, 3.9, "4A"),
        ("growing", 9.0, 4.0, "4B"),
        ("stable", 9.0, 5.9, "3"),
    ],
)
def test_part_solid(history: History, mean_diameter_mm: float, solid_mm: float, category: str) -> None:
    assert category_of(Density.PART_SOLID, mean_diameter_mm, solid_mm, history).value == category


@pytest.mark.parametrize(
    ("history", "mean_diameter_mm", "category"),
    [
        ("baseline", 29.9, "2"),
        ("new", 29.9, "2"),
        ("growing", 29.9, "2"),
        ("baseline", 30.0, "3"),
        ("new", 30.0, "3"),
        ("growing", 30.0, "3"),
        ("stable", 30.0, "2"),
    ],
)
def test_ground_glass(history: History, mean_diameter_mm: float, category: str) -> None:
    assert category_of(Density.GROUND_GLASS, mean_diameter_mm, history=history).value == category


@pytest.mark.parametrize(
    ("category", "months", "then"),
    [("3", 5.9, "3"), ("3", 6, "2"), ("4A", 2.9, "4A"), ("4A", 3, "3"), ("4B", 24, "4B"), ("2", 12, "2")],
)
def test_what_stays_stable_steps_down(category: str, months: float, then: str) -> None:
    assert stepped_down(Category(category), months).value == then


def test_a_part_solid_nodule_needs_its_solid_component() -> None:
    with pytest.raises(ValueError, match="solid_diameter_mm"):
        category_of(Density.PART_SOLID, 9.0)


def test_management_has_the_guideline_s_intervals() -> None:
    months = {"1": "12-month", "2": "12-month", "3": "6-month", "4A": "3-month", "4B": "referral"}
    assert {each.value: management_of(each).split()[0] for each in Category} == months
