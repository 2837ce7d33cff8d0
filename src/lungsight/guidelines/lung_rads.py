"""Lung-RADS v2022: the category of a nodule in a screening CT, by type, size, and what it was before.

American College of Radiology. Lung-RADS v2022, assessment categories, released November 2022. Christensen J, Prosper
AE, Wu CC, et al. ACR Lung-RADS v2022: assessment categories and management recommendations. *Chest* 165(3):738-753,
2024. doi:10.1016/j.chest.2023.10.028. Solid, part-solid and ground-glass nodules only: juxtapleural, airway and cystic
nodules, benign calcification and fat, and the signs that make a 4X are not measured.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from lungsight.findings import Density

__all__ = ["GROWTH_MM", "Category", "History", "category_of", "management_of", "stepped_down"]

History = Literal["baseline", "new", "growing", "stable"]
"""What a nodule is against the earlier CT; `baseline` if there is none. Shrinking counts as stable."""

GROWTH_MM = 1.5
"""Growth is an increase of the mean diameter by more than this within 12 months."""


class Category(StrEnum):
    """The categories a nodule can have here, in ascending order."""

    NEGATIVE = "1"
    BENIGN = "2"
    PROBABLY_BENIGN = "3"
    SUSPICIOUS = "4A"
    VERY_SUSPICIOUS = "4B"


_MANAGEMENT = {
    Category.NEGATIVE: "12-month screening low-dose CT",
    Category.BENIGN: "12-month screening low-dose CT",
    Category.PROBABLY_BENIGN: "6-month low-dose CT",
    Category.SUSPICIOUS: "3-month low-dose CT; PET/CT may be considered if a nodule or component of 8 mm is solid",
    Category.VERY_SUSPICIOUS: "referral for further clinical evaluation: diagnostic CT, PET/CT, tissue sampling",
}

# Below each size in mm the category before it holds; the last one from there on.
_SOLID = {
    "baseline": (("2", 6.0), ("3", 8.0), ("4A", 15.0), ("4B", None)),
    "new": (("2", 4.0), ("3", 6.0), ("4A", 8.0), ("4B", None)),
    "growing": (("4A", 8.0), ("4B", None)),
}
_PART_SOLID_TOTAL_MM = 6.0
_SOLID_COMPONENT = {
    "baseline": (("3", 6.0), ("4A", 8.0), ("4B", None)),
    "new": (("4A", 4.0), ("4B", None)),
    "growing": (("4A", 4.0), ("4B", None)),
}
_GROUND_GLASS_MM = 30.0
_STEPS_DOWN = {Category.PROBABLY_BENIGN: (6, Category.BENIGN), Category.SUSPICIOUS: (3, Category.PROBABLY_BENIGN)}


def category_of(
    density: Density, mean_diameter_mm: float, solid_diameter_mm: float | None = None, history: History = "baseline"
) -> Category:
    """The category of one nodule.

    Parameters
    ----------
    density
        Its type.
    mean_diameter_mm
        Mean of long and short axis; rounded to one decimal here, as the table wants it.
    solid_diameter_mm
        Mean diameter of the solid component; needed for a part-solid nodule, otherwise ignored.
    history
        A stable nodule has the category of its size, as at baseline; see :func:`stepped_down` for what time does to it.
        Of a part-solid nodule `new` and `growing` are those of its solid component, or the whole nodule is new.

    Returns
    -------
    Category
        2 to 4B.

    Raises
    ------
    ValueError
        If a part-solid nodule comes without its solid component.

    Examples
    --------
    >>> category_of(Density.SOLID, 7.0).value, category_of(Density.SOLID, 7.0, history="new").value
    ('3', '4A')
    """
    size_mm = round(mean_diameter_mm, 1)
    rows = "baseline" if history == "stable" else history
    if density is Density.SOLID:
        return _by_size(_SOLID[rows], size_mm)
    if density is Density.GROUND_GLASS:
        # Under 30 mm at baseline, new or growing; from there on stable or slowly growing.
        small = size_mm < _GROUND_GLASS_MM or history == "stable"
        return Category.BENIGN if small else Category.PROBABLY_BENIGN
    if solid_diameter_mm is None:
        raise ValueError("a part-solid nodule needs solid_diameter_mm")
    if size_mm < _PART_SOLID_TOTAL_MM and history != "growing":
        return Category.PROBABLY_BENIGN if history == "new" else Category.BENIGN
    return _by_size(_SOLID_COMPONENT[rows], round(solid_diameter_mm, 1))


def stepped_down(category: Category, months: float) -> Category:
    """The category of a nodule that stayed stable or shrank since an earlier CT in which it had `category`.

    Category 3 becomes 2 at the 6-month CT, 4A becomes 3 at the 3-month CT; the others stay.

    Examples
    --------
    >>> stepped_down(Category.PROBABLY_BENIGN, months=6).value, stepped_down(Category.SUSPICIOUS, months=2).value
    ('2', '4A')
    """
    least_months, lower = _STEPS_DOWN.get(category, (0, category))
    return lower if months >= least_months else category


def management_of(category: Category) -> str:
    """What the guideline recommends, in short."""
    return _MANAGEMENT[category]


def _by_size(rows: tuple[tuple[str, float | None], ...], size_mm: float) -> Category:
    return Category(next(name for name, below_mm in rows if below_mm is None or size_mm < below_mm))
