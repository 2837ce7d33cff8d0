"""All guidelines over one diagnosis: each result with the measurements that made it, and with what is unknown."""

from __future__ import annotations

from dataclasses import replace

from lungsight.findings import Density, Diagnosis, Growth, GuidelineResult, Measurements, Nodule, Verdict
from lungsight.guidelines.brock import BrockInput, brock_probability
from lungsight.guidelines.fleischner import YOUNGEST_YEARS, Risk, follow_up
from lungsight.guidelines.lung_rads import GROWTH_MM, Category, History, category_of, management_of, stepped_down
from lungsight.guidelines.patient import Patient, SeenNodule

__all__ = ["BROCK", "FLEISCHNER", "LUNG_RADS", "apply_guidelines"]

LUNG_RADS = "Lung-RADS v2022"
FLEISCHNER = "Fleischner 2017"
BROCK = "Brock 2b (PanCan)"

_YEAR_DAYS = 365.25
_MONTH_DAYS = _YEAR_DAYS / 12
_WORDS = {Density.SOLID: "solid", Density.PART_SOLID: "part-solid", Density.GROUND_GLASS: "ground glass"}
_NOT_MEASURED = "benign calcification or fat, juxtapleural shape, airways, cysts and the signs of 4X are not measured"
_ORDER = list(Category)


def apply_guidelines(diagnosis: Diagnosis, patient: Patient = Patient()) -> Diagnosis:  # noqa: B008 (frozen)
    """The diagnosis with what the guidelines say of its measurements.

    Parameters
    ----------
    diagnosis
        Nodules that were not measured are passed over.
    patient
        What is known besides the CT.

    Returns
    -------
    Diagnosis
        With `guidelines`: Lung-RADS of the patient first, then Lung-RADS, Fleischner and Brock of each nodule. They
        are rules over measurements of what was detected, false detections too; nobody has confirmed a nodule.
    """
    measured = [
        (number, nodule, nodule.measurements)
        for number, nodule in enumerate(diagnosis.nodules, start=1)
        if nodule.measurements is not None
    ]
    results: list[GuidelineResult] = []
    categories: dict[int, Category] = {}
    densities = [found.density for _, _, found in measured]
    for number, nodule, found in measured:
        categories[number], result = _lung_rads(number, nodule, found)
        results.append(result)
        results.append(_fleischner(number, found, densities, patient))
        results.append(_brock(number, found, len(measured), patient))
    return replace(diagnosis, guidelines=(_lung_rads_of_patient(diagnosis.verdict, categories), *results))


def _lung_rads_of_patient(verdict: Verdict, categories: dict[int, Category]) -> GuidelineResult:
    if verdict is Verdict.INDETERMINATE:
        because = "the lungs cannot be evaluated: none was found in the CT"
        return GuidelineResult(LUNG_RADS, None, "0: incomplete", because)
    if not categories:
        result = f"{Category.NEGATIVE.value}: {management_of(Category.NEGATIVE)}"
        return GuidelineResult(LUNG_RADS, None, result, "no nodule was measured", (_NOT_MEASURED,))
    number, worst = max(categories.items(), key=lambda item: _ORDER.index(item[1]))
    because = f"the highest category of its {len(categories)} measured regions, that of nodule {number}"
    return GuidelineResult(LUNG_RADS, None, f"{worst.value}: {management_of(worst)}", because, (_NOT_MEASURED,))


def _lung_rads(number: int, nodule: Nodule, found: Measurements) -> tuple[Category, GuidelineResult]:
    history = _history(found, nodule.growth)
    category = category_of(found.density, found.mean_diameter_mm, found.solid_diameter_mm, history)
    unknown: list[str] = []
    growth = nodule.growth
    if growth is None:
        unknown.append("an earlier CT: taken as baseline")
    elif growth.days is None:
        unknown.append("the days between the CTs: taken as within 12 months, and nothing steps down")
    elif history == "stable" and growth.earlier is not None:
        then = growth.earlier
        before = category_of(then.density, then.mean_diameter_mm, then.solid_diameter_mm)
        if _ORDER.index(category) <= _ORDER.index(before):
            category = stepped_down(category, round(growth.days / _MONTH_DAYS, 1))
    because = f"{_size(found)}, {history}"
    return category, GuidelineResult(LUNG_RADS, number, category.value, because, tuple(unknown))


def _history(found: Measurements, growth: Growth | None) -> History:
    """What the nodule is against the earlier CT; of a part-solid one its solid component counts."""
    if growth is None:
        return "baseline"
    if growth.earlier is None:
        return "new"
    change_mm = growth.mean_diameter_change_mm or 0.0
    if found.density is Density.PART_SOLID:
        if growth.earlier.density is Density.GROUND_GLASS:
            return "new"
        change_mm = (found.solid_diameter_mm or 0.0) - (growth.earlier.solid_diameter_mm or 0.0)
        if growth.earlier.density is Density.SOLID:
            return "stable"
    # Over more than a year, what is left of it for each year.
    years = max(1.0, (growth.days or 0) / _YEAR_DAYS)
    return "growing" if round(change_mm / years, 1) > GROWTH_MM else "stable"


def _fleischner(number: int, found: Measurements, densities: list[Density], patient: Patient) -> GuidelineResult:
    if patient.age_years is not None and patient.age_years < YOUNGEST_YEARS:
        because = f"the patient is {patient.age_years:g}, the guideline holds from {YOUNGEST_YEARS} years on"
        return GuidelineResult(FLEISCHNER, number, "does not apply", because)
    solid = found.density is Density.SOLID
    multiple = (len(densities) if solid else sum(d is not Density.SOLID for d in densities)) > 1

    def of(risk: Risk) -> str:
        return follow_up(found.density, found.mean_diameter_mm, multiple=multiple, risk=risk)

    unknown = ["known cancer, immunosuppression: the guideline holds without"]
    if patient.age_years is None:
        unknown.append(f"age: the guideline holds from {YOUNGEST_YEARS} years on")
    if patient.risk is not None:
        result = of(patient.risk)
    else:
        low, high = of("low"), of("high")
        result = low if low == high else f"low risk: {low}; high risk: {high}"
        if low != high:
            unknown.append("risk group")
    because = f"{_size(found)}, {'multiple' if multiple else 'single'}"
    if patient.risk is not None and solid:
        because += f", {patient.risk} risk"
    return GuidelineResult(FLEISCHNER, number, result, because, tuple(unknown))


def _brock(number: int, found: Measurements, measured: int, patient: Patient) -> GuidelineResult:
    seen = patient.nodules.get(number, SeenNodule())
    asked = {
        "age": patient.age_years,
        "sex": patient.sex,
        "family history": patient.family_history,
        "emphysema": patient.emphysema,
        "spiculation": seen.spiculation,
    }
    unknown = tuple(name for name, value in asked.items() if value is None)
    if unknown:
        return GuidelineResult(BROCK, number, "not computed", "the model needs all of its inputs", unknown)
    assert patient.age_years is not None  # noqa: S101 (for mypy)
    assert patient.sex is not None  # noqa: S101
    count = measured if patient.nodule_count is None else patient.nodule_count
    upper = found.zone == "upper" if seen.upper_lobe is None else seen.upper_lobe
    assumed = []
    if seen.upper_lobe is None:
        assumed.append(f"the lobe: the {found.zone} third of the lung stands in for it")
    if patient.nodule_count is None:
        assumed.append("the number of nodules: all measured regions are counted")
    try:
        given = BrockInput(
            patient.age_years,
            patient.sex,
            bool(patient.family_history),
            bool(patient.emphysema),
            found.long_axis_mm,
            found.density,
            upper,
            count,
            bool(seen.spiculation),
        )
    except ValueError as error:
        return GuidelineResult(BROCK, number, "not computed", str(error))
    because = (
        f"long axis {found.long_axis_mm:.1f} mm, {_WORDS[found.density]}, "
        f"{'upper lobe' if upper else 'not upper lobe'}, {count} nodules, "
        f"{'spiculated' if seen.spiculation else 'not spiculated'}, {patient.sex}, {patient.age_years:g} years"
    )
    return GuidelineResult(BROCK, number, f"{100 * brock_probability(given):.1f} %", because, tuple(assumed))


def _size(found: Measurements) -> str:
    part = "" if found.solid_diameter_mm is None else f" with a solid component of {found.solid_diameter_mm:.1f} mm"
    return f"{_WORDS[found.density]}{part}, mean diameter {found.mean_diameter_mm:.1f} mm"
