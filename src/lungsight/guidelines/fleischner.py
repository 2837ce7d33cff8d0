"""Fleischner Society 2017: follow-up of nodules found by chance, by type, size, number and the patient's risk.

MacMahon H, Naidich DP, Goo JM, et al. Guidelines for management of incidental pulmonary nodules detected on CT images:
from the Fleischner Society 2017. *Radiology* 284(1):228-243, 2017. doi:10.1148/radiol.2017161659. Tables 1 (solid) and
2 (subsolid). Not for screening, patients under 35, with known cancer, or with a weak immune system.
"""

from __future__ import annotations

from typing import Literal

from lungsight.findings import Density

__all__ = ["YOUNGEST_YEARS", "Risk", "follow_up"]

Risk = Literal["low", "high"]

YOUNGEST_YEARS = 35
"""Under this age the guideline does not hold."""
_SMALL_MM = 6
_LARGE_MM = 8

_NONE = "no routine follow-up"
_OPTIONAL = "optional CT at 12 months"
# Solid: under 6 mm, 6 to 8 mm, over 8 mm.
_SOLID: dict[tuple[bool, Risk], tuple[str, str, str]] = {
    (False, "low"): (
        _NONE,
        "CT at 6-12 months, then consider CT at 18-24 months",
        "consider CT at 3 months, PET/CT or tissue sampling",
    ),
    (False, "high"): (
        _OPTIONAL,
        "CT at 6-12 months, then CT at 18-24 months",
        "consider CT at 3 months, PET/CT or tissue sampling",
    ),
    (True, "low"): (
        _NONE,
        "CT at 3-6 months, then consider CT at 18-24 months",
        "CT at 3-6 months, then consider CT at 18-24 months",
    ),
    (True, "high"): (
        _OPTIONAL,
        "CT at 3-6 months, then CT at 18-24 months",
        "CT at 3-6 months, then CT at 18-24 months",
    ),
}
# Subsolid, for both risks: under 6 mm, from 6 mm on.
_GROUND_GLASS = (_NONE, "CT at 6-12 months to confirm persistence, then CT every 2 years until 5 years")
_PART_SOLID = (
    _NONE,
    "CT at 3-6 months to confirm persistence; if unchanged and the solid component stays under 6 mm, CT every year "
    "for 5 years",
)
_MULTIPLE_SUBSOLID = (
    "CT at 3-6 months; if stable, consider CT at 2 and 4 years",
    "CT at 3-6 months; then by the most suspicious nodule",
)


def follow_up(density: Density, mean_diameter_mm: float, *, multiple: bool, risk: Risk) -> str:
    """What the guideline recommends for the nodule that counts: the only one, or the most suspicious of several.

    Parameters
    ----------
    density
        Its type.
    mean_diameter_mm
        Mean of long and short axis; rounded to a whole mm here, as the guideline wants it.
    multiple
        Whether there are more nodules (of subsolid ones: more subsolid ones).
    risk
        The patient's risk group; it matters for solid nodules only.

    Returns
    -------
    str
        A few words.

    Examples
    --------
    >>> follow_up(Density.SOLID, 7.2, multiple=False, risk="low")
    'CT at 6-12 months, then consider CT at 18-24 months'
    """
    # Halves go up: 5.5 mm are 6 mm.
    size_mm = int(mean_diameter_mm + 0.5)
    if density is Density.SOLID:
        return _SOLID[multiple, risk][0 if size_mm < _SMALL_MM else 1 if size_mm <= _LARGE_MM else 2]
    rows = _MULTIPLE_SUBSOLID if multiple else _PART_SOLID if density is Density.PART_SOLID else _GROUND_GLASS
    return rows[0 if size_mm < _SMALL_MM else 1]
