"""The types between the steps: frozen, never half-made, boxes half open."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lungsight import findings
from lungsight.findings import (
    Candidate,
    Density,
    Diagnosis,
    Growth,
    GuidelineResult,
    Location,
    Measurements,
    Nodule,
    Provenance,
    Region,
    Verdict,
)

LOCATION = Location(lps_mm=(-41.5, 12.25, -803.0), slice_index=47, row=366.1, column=315.4)
REGION = Region((47, 360, 310), np.ones((1, 12, 11), np.bool_))
CANDIDATE = Candidate(LOCATION, roi_diameter_mm=9.0, detection_score=0.75, region=REGION)
NODULE = Nodule(CANDIDATE, malignancy_score=0.5)
MEASURED = Measurements(12.0, 9.0, 500.0, -40.0, Density.SOLID, None, "left", "lower", 0.0)
GROWTH = Growth(MEASURED, days=90, mean_diameter_change_mm=1.0, volume_doubling_days=200.0)
GUIDELINE = GuidelineResult("Lung-RADS v2022", 1, "4A", "by hand")
PROVENANCE = Provenance(None, "0.1.0", "0" * 64, "by hand", {}, {})
DIAGNOSIS = Diagnosis(Verdict.BENIGN, 0.25, "windows", (NODULE,), PROVENANCE)


def test_a_box_is_half_open_and_cuts_what_the_mask_covers() -> None:
    # A lopsided mask in a lopsided volume: were two axes exchanged, the cut would have another shape or other values.
    hu = np.arange(5 * 7 * 11).reshape(5, 7, 11)
    mask = np.zeros((2, 3, 4), np.bool_)
    mask[1, 0, 3] = True
    region = Region((3, 2, 6), mask)
    assert region.stop_zyx == (5, 5, 10)
    assert hu[region.box].shape == mask.shape
    assert hu[region.box][mask].tolist() == [hu[3 + 1, 2 + 0, 6 + 3]]


def test_a_region_of_one_voxel() -> None:
    region = Region((4, 6, 10), np.ones((1, 1, 1), np.bool_))
    assert region.stop_zyx == (5, 7, 11)
    assert region.box == (slice(4, 5), slice(6, 7), slice(10, 11))


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4), (0, 3, 4), (1, 1, 1, 1)])
def test_a_region_without_a_voxel_or_of_other_dimension_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"a region is a 3D mask with a voxel in it, not shape \("):
        Region((0, 0, 0), np.zeros(shape, np.bool_))


def test_a_flat_mask_with_a_voxel_is_refused_too() -> None:
    with pytest.raises(ValueError, match=r"not shape \(3, 3\)"):
        Region((0, 0, 0), np.ones((3, 3), np.bool_))


@pytest.mark.parametrize(
    "made",
    [LOCATION, REGION, CANDIDATE, MEASURED, GROWTH, GUIDELINE, NODULE, PROVENANCE, DIAGNOSIS],
    ids=lambda m: type(m).__name__,
)
def test_everything_is_frozen_and_has_no_room_for_more(made: object) -> None:
    assert dataclasses.is_dataclass(made)
    first = dataclasses.fields(made)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, first, None)
    assert not hasattr(made, "__dict__")


def test_every_finding_can_be_named_from_its_module() -> None:
    assert sorted(findings.__all__) == sorted(
        type(made).__name__
        for made in (
            LOCATION,
            REGION,
            CANDIDATE,
            MEASURED,
            NODULE,
            PROVENANCE,
            DIAGNOSIS,
            Verdict.BENIGN,
            Density.SOLID,
            GROWTH,
            GUIDELINE,
        )
    )


def test_the_verdicts_are_their_own_words() -> None:
    # They go into JSON as they are; a reader compares with these very strings.
    assert [str(verdict) for verdict in Verdict] == ["NO_NODULE", "BENIGN", "MALIGNANT", "INDETERMINATE"]
    assert Verdict("MALIGNANT") is Verdict.MALIGNANT
    with pytest.raises(ValueError, match="PERHAPS"):
        Verdict("PERHAPS")


def test_the_mean_diameter_is_that_of_the_axes() -> None:
    assert MEASURED.mean_diameter_mm == 10.5


def test_what_is_not_known_is_none_and_not_a_number() -> None:
    assert NODULE.mask is None
    assert NODULE.measurements is None
    assert LOCATION.sop_instance_uid is None
    assert LOCATION.instance_number is None
    assert DIAGNOSIS.warnings == ()
