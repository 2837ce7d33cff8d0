"""Guidelines over a diagnosis: which measurement made the result, and what nobody knows."""

from __future__ import annotations

import dataclasses

import pytest

from lungsight.findings import Density, Diagnosis, Growth, GuidelineResult, Measurements, Verdict
from lungsight.guidelines.assess import BROCK, FLEISCHNER, LUNG_RADS, apply_guidelines
from lungsight.guidelines.brock import BrockInput, brock_probability
from lungsight.guidelines.patient import Patient, SeenNodule
from samples import malignant, sample_ct, without_nodule

SOLID = Measurements(8.0, 6.0, 180.0, 20.0, Density.SOLID, None, "left", "upper", 3.0)
PART_SOLID = Measurements(13.0, 11.0, 900.0, -300.0, Density.PART_SOLID, 5.0, "right", "lower", 3.0)
GLASS = dataclasses.replace(SOLID, density=Density.GROUND_GLASS)
NOBODY = Patient()
KNOWN = Patient(66, "female", True, False, "high", 3, {1: SeenNodule(spiculation=True, upper_lobe=False)})


def diagnosed(*nodules: Measurements | None, growth: Growth | None = None) -> Diagnosis:
    found = malignant(sample_ct())
    made = tuple(dataclasses.replace(found.nodules[0], measurements=each, growth=growth) for each in nodules)
    return dataclasses.replace(found, nodules=made)


def results(diagnosis: Diagnosis, patient: Patient = NOBODY) -> dict[tuple[str, int | None], GuidelineResult]:
    return {(r.guideline, r.nodule): r for r in apply_guidelines(diagnosis, patient).guidelines}


def test_each_result_names_its_measurement_and_what_is_unknown() -> None:
    told = results(diagnosed(SOLID, PART_SOLID))
    assert list(told) == [(LUNG_RADS, None), *[(name, k) for k in (1, 2) for name in (LUNG_RADS, FLEISCHNER, BROCK)]]
    assert told[LUNG_RADS, 1].result == "3"
    assert told[LUNG_RADS, 1].because == "solid, mean diameter 7.0 mm, baseline"
    assert told[LUNG_RADS, 1].unknown == ("an earlier CT: taken as baseline",)
    assert told[LUNG_RADS, 2].because == (
        "part-solid with a solid component of 5.0 mm, mean diameter 12.0 mm, baseline"
    )
    fleischner = told[FLEISCHNER, 1]
    assert fleischner.result == (
        "low risk: CT at 3-6 months, then consider CT at 18-24 months; "
        "high risk: CT at 3-6 months, then CT at 18-24 months"
    )
    assert "risk group" in fleischner.unknown
    # One subsolid nodule among solid ones is a single one.
    assert told[FLEISCHNER, 2].because.endswith("single")
    assert "risk group" not in told[FLEISCHNER, 2].unknown
    assert told[BROCK, 1].result == "not computed"
    assert told[BROCK, 1].unknown == ("age", "sex", "family history", "emphysema", "spiculation")


def test_the_patient_has_the_highest_category() -> None:
    large = dataclasses.replace(SOLID, long_axis_mm=20.0, short_axis_mm=16.0)
    told = results(diagnosed(SOLID, None, large))[LUNG_RADS, None]
    assert told.result.startswith("4B: ")
    assert told.because == "the highest category of its 2 measured regions, that of nodule 3"


def test_with_everything_known_brock_is_computed() -> None:
    told = results(diagnosed(SOLID, GLASS), KNOWN)
    given = BrockInput(66, "female", True, False, 8.0, Density.SOLID, False, 3, True)
    assert told[BROCK, 1].result == f"{100 * brock_probability(given):.1f} %"
    assert told[BROCK, 1].unknown == ()
    assert "long axis 8.0 mm, solid, not upper lobe, 3 nodules, spiculated" in told[BROCK, 1].because
    assert told[BROCK, 2].unknown == ("spiculation",)
    assert told[FLEISCHNER, 1].result == "CT at 3-6 months, then CT at 18-24 months"


def test_measurements_stand_in_for_lobe_and_count_and_it_says_so() -> None:
    patient = dataclasses.replace(KNOWN, nodule_count=None, nodules={1: SeenNodule(spiculation=False)})
    told = results(diagnosed(SOLID, GLASS), patient)[BROCK, 1]
    given = BrockInput(66, "female", True, False, 8.0, Density.SOLID, True, 2, False)
    assert told.result == f"{100 * brock_probability(given):.1f} %"
    assert [each.split(":")[0] for each in told.unknown] == ["the lobe", "the number of nodules"]


def test_brock_is_not_for_masses() -> None:
    mass = dataclasses.replace(SOLID, long_axis_mm=31.0)
    told = results(diagnosed(mass), KNOWN)[BROCK, 1]
    assert (told.result, told.because) == ("not computed", "size_mm is 31.0, expected above 0 and at most 30")


def test_fleischner_is_not_for_the_young() -> None:
    told = results(diagnosed(SOLID), Patient(age_years=34))[FLEISCHNER, 1]
    assert told.result == "does not apply"
    assert told.because == "the patient is 34, the guideline holds from 35 years on"


@pytest.mark.parametrize(
    ("found", "growth", "category", "history"),
    [
        (SOLID, Growth(None, 90), "4A", "new"),
        (SOLID, Growth(SOLID, 90, 1.6), "4A", "growing"),
        (SOLID, Growth(SOLID, 90, 1.5), "3", "stable"),  # not yet more than 1.5 mm
        (SOLID, Growth(SOLID, 720, 2.0), "2", "stable"),  # 1 mm a year, and category 3 for two years
        (SOLID, Growth(SOLID, None, 1.6), "4A", "growing"),
        (SOLID, Growth(SOLID, 200, -1.0), "2", "stable"),  # category 3, stable at 6 months
        (SOLID, Growth(dataclasses.replace(SOLID, long_axis_mm=6.5, short_axis_mm=4.5), 200, 1.4), "3", "stable"),
        (PART_SOLID, Growth(GLASS, 90, 5.0), "4B", "new"),
        (PART_SOLID, Growth(dataclasses.replace(PART_SOLID, solid_diameter_mm=3.4), 90, 0.0), "4B", "growing"),
        (PART_SOLID, Growth(PART_SOLID, 90, 4.0), "3", "stable"),
        (PART_SOLID, Growth(SOLID, 90, 5.0), "3", "stable"),
        (GLASS, Growth(GLASS, 90, 4.0), "2", "growing"),
    ],
)
def test_lung_rads_after_an_earlier_ct(found: Measurements, growth: Growth, category: str, history: str) -> None:
    told = results(diagnosed(found, growth=growth))[LUNG_RADS, 1]
    assert told.result == category
    assert told.because.endswith(history)
    assert bool(told.unknown) == (growth.days is None)


def test_without_nodules_or_lungs() -> None:
    ct = sample_ct()
    nothing = apply_guidelines(without_nodule(ct)).guidelines
    assert [r.result.split(":")[0] for r in nothing] == ["1"]
    unseen = apply_guidelines(without_nodule(ct, Verdict.INDETERMINATE)).guidelines
    assert [r.result for r in unseen] == ["0: incomplete"]


def test_nothing_else_of_the_diagnosis_changes() -> None:
    diagnosis = diagnosed(SOLID)
    assert dataclasses.replace(apply_guidelines(diagnosis), guidelines=()) == diagnosis
