"""Tables 1 and 2 of MacMahon et al., Radiology 284(1):228-243, 2017."""

from __future__ import annotations

import pytest

from lungsight.findings import Density
from lungsight.guidelines.fleischner import Risk, follow_up

NONE, OPTIONAL = "no routine follow-up", "optional CT at 12 months"
WORK_UP = "consider CT at 3 months, PET/CT or tissue sampling"


@pytest.mark.parametrize(
    ("multiple", "risk", "small", "medium", "large"),
    [
        (False, "low", NONE, "CT at 6-12 months, then consider CT at 18-24 months", WORK_UP),
        (False, "high", OPTIONAL, "CT at 6-12 months, then CT at 18-24 months", WORK_UP),
        (True, "low", NONE, *["CT at 3-6 months, then consider CT at 18-24 months"] * 2),
        (True, "high", OPTIONAL, *["CT at 3-6 months, then CT at 18-24 months"] * 2),
    ],
)
def test_solid(multiple: bool, risk: Risk, small: str, medium: str, large: str) -> None:
    # Rounded to whole mm: under 6 mm ends at 5.49, 6 to 8 mm at 8.49.
    for mean_diameter_mm, expected in [(3, small), (5.49, small), (5.5, medium), (8.49, medium), (8.5, large)]:
        assert follow_up(Density.SOLID, mean_diameter_mm, multiple=multiple, risk=risk) == expected


@pytest.mark.parametrize("risk", ["low", "high"])
@pytest.mark.parametrize(
    ("density", "multiple", "small", "large"),
    [
        (Density.GROUND_GLASS, False, NONE, "CT at 6-12 months to confirm persistence, then CT every 2 years until 5"),
        (Density.PART_SOLID, False, NONE, "CT at 3-6 months to confirm persistence; if unchanged and the solid"),
        (Density.GROUND_GLASS, True, "CT at 3-6 months; if stable, consider CT at 2 and 4 years", "CT at 3-6 months;"),
        (Density.PART_SOLID, True, "CT at 3-6 months; if stable, consider CT at 2 and 4 years", "CT at 3-6 months;"),
    ],
)
def test_subsolid(density: Density, multiple: bool, small: str, large: str, risk: Risk) -> None:
    assert follow_up(density, 5.49, multiple=multiple, risk=risk) == small
    advice = follow_up(density, 5.5, multiple=multiple, risk=risk)
    assert advice.startswith(large)
    assert advice != small
