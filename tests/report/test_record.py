import dataclasses
import json
from typing import Any

import jsonschema
import pytest

from lungsight.findings import Growth, GuidelineResult, Verdict
from lungsight.report.record import diagnosis_record, diagnosis_schema, diagnosis_to_json
from samples import MEASURED, SERIES_UID, malignant, sample_ct, without_nodule

VALIDATOR = jsonschema.Draft202012Validator(diagnosis_schema())


def test_the_record_is_the_documented_one() -> None:
    """Written out by hand from the documented example: names, order of meaning, units."""
    ct = sample_ct()
    assert diagnosis_record(malignant(ct, ("One slice was read twice.",))) == {
        "verdict": "MALIGNANT",
        "malignancy_score": 0.96875,
        "system": "windows",
        "nodules": [
            {
                # x = -100.5 + 31.5 * 0.7, y = 20.25 + 13.25 * 0.7, z = 300 + 2 * 2.5
                "centre_lps_mm": [-78.45, 29.525, 305.0],
                "slice_index": 2,
                "instance_number": 5,
                "sop_instance_uid": f"{SERIES_UID}.5",
                "row": 13.25,
                "column": 31.5,
                "roi_diameter_mm": 4.1,
                "detection_score": 0.875,
                "malignancy_score": 0.9375,
                "measurements": {
                    "long_axis_mm": 4.243,
                    "short_axis_mm": 3.5,
                    "mean_diameter_mm": 3.871,
                    "volume_mm3": 45.325,
                    "mean_hu": -612.25,
                    "density": "PART_SOLID",
                    "solid_diameter_mm": 2.1,
                    "side": "right",
                    "zone": "upper",
                    "pleura_distance_mm": 7.0,
                },
                "growth": None,
            }
        ],
        "provenance": {
            "series_uid": SERIES_UID,
            "version": "0.1.0",
            "weights_sha256": "0123456789abcdef" * 4,
            "engine": "Abacus 1.0, float32",
            "config": malignant(ct).provenance.config,
            "seconds": {"lungs": 0.61, "detect": 3.1, "vote": 0.02},
        },
        "warnings": ["One slice was read twice."],
        "guidelines": [],
    }


@pytest.mark.parametrize("from_dicom", [True, False])
def test_every_verdict_fits_the_schema(from_dicom: bool) -> None:
    ct = sample_ct(from_dicom)
    found = malignant(ct)
    benign = dataclasses.replace(found, verdict=Verdict.BENIGN, malignancy_score=0.1)
    for diagnosis in (found, benign, without_nodule(ct), without_nodule(ct, Verdict.INDETERMINATE)):
        VALIDATOR.validate(json.loads(diagnosis_to_json(diagnosis)))


def test_from_nifti_the_dicom_fields_are_null() -> None:
    record = diagnosis_record(malignant(sample_ct(from_dicom=False)))
    assert record["provenance"]["series_uid"] is None
    assert record["nodules"][0]["instance_number"] is None
    assert record["nodules"][0]["sop_instance_uid"] is None


def test_growth_and_guidelines_are_told() -> None:
    found = malignant(sample_ct())
    grown = Growth(MEASURED, days=91, mean_diameter_change_mm=1.23456, volume_doubling_days=123.4567)
    nodules = tuple(dataclasses.replace(found.nodules[0], growth=each) for each in (grown, Growth(None, days=91)))
    said = GuidelineResult("Lung-RADS v2022", 1, "4A", "solid, mean diameter 7.0 mm, new", ("the weather",))
    of_patient = GuidelineResult("Lung-RADS v2022", None, "4A", "nodule 1")
    record = diagnosis_record(dataclasses.replace(found, nodules=nodules, guidelines=(of_patient, said)))
    VALIDATOR.validate(record)
    first, second = (nodule["growth"] for nodule in record["nodules"])
    assert first["earlier"] == record["nodules"][0]["measurements"]
    assert {key: value for key, value in first.items() if key != "earlier"} == {
        "is_new": False,
        "days": 91,
        "mean_diameter_change_mm": 1.235,
        "volume_doubling_days": 123.457,
    }
    assert (second["is_new"], second["earlier"], second["volume_doubling_days"]) == (True, None, None)
    assert record["guidelines"][0]["nodule"] is None
    assert record["guidelines"][1] == {
        "guideline": "Lung-RADS v2022",
        "nodule": 1,
        "result": "4A",
        "because": "solid, mean diameter 7.0 mm, new",
        "unknown": ["the weather"],
    }


def test_what_was_not_measured_is_null() -> None:
    found = malignant(sample_ct())
    bare = dataclasses.replace(found.nodules[0], mask=None, measurements=None)
    solid = dataclasses.replace(found.nodules[0], measurements=dataclasses.replace(MEASURED, solid_diameter_mm=None))
    record = diagnosis_record(dataclasses.replace(found, nodules=(bare, solid)))
    VALIDATOR.validate(record)
    assert record["nodules"][0]["measurements"] is None
    assert record["nodules"][1]["measurements"]["solid_diameter_mm"] is None


def test_the_schema_is_itself_valid_and_of_2020_12() -> None:
    assert diagnosis_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(diagnosis_schema())


def _without(record: dict[str, Any], *path: str) -> None:
    for step in path[:-1]:
        record = record[step][0] if isinstance(record[step], list) else record[step]
    del record[path[-1]]


@pytest.mark.parametrize(
    "path",
    [("verdict",), ("malignancy_score",), ("nodules", "row"), ("nodules", "measurements"), ("provenance", "seconds")],
)
def test_the_schema_misses_what_is_missing(path: tuple[str, ...]) -> None:
    record = diagnosis_record(malignant(sample_ct()))
    _without(record, *path)
    assert [error.validator for error in VALIDATOR.iter_errors(record)] == ["required"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"patient_name": "x"}, "additionalProperties"),
        ({"malignancy_score": 1.2}, "oneOf"),
        ({"verdict": "MAYBE"}, "enum"),
        ({"nodules": []}, "minItems"),
        ({"malignancy_score": None}, "type"),
        ({"verdict": "NO_NODULE"}, "type"),
    ],
)
def test_the_schema_refuses_what_contradicts_itself(change: dict[str, Any], what: str) -> None:
    record = diagnosis_record(malignant(sample_ct())) | change
    assert what in {error.validator for error in VALIDATOR.iter_errors(record)}


def test_a_score_is_not_rounded_over_its_threshold() -> None:
    diagnosis = dataclasses.replace(malignant(sample_ct()), verdict=Verdict.BENIGN, malignancy_score=0.4999999)
    assert json.loads(diagnosis_to_json(diagnosis))["malignancy_score"] == 0.4999999


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        diagnosis_to_json(dataclasses.replace(malignant(sample_ct()), malignancy_score=float("nan")))
