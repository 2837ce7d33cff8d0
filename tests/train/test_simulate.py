from __future__ import annotations

import numpy as np
import pytest

from lungsight.errors import InputError
from lungsight.train.simulate import SimulationConfig, label_of, simulate_patient
from lungsight.train.virtual import Kind, VirtualPatient
from refusals import refused
from virtual import phantom_donors, phantom_host

DONORS = phantom_donors()


def patient(number: int, config: SimulationConfig = SimulationConfig()) -> VirtualPatient:  # noqa: B008 (frozen)
    return simulate_patient(number, phantom_host(), DONORS, config, lambda: phantom_host("other", 15.0, 8))


def test_the_same_seed_and_number_give_the_same_patient() -> None:
    one, again, third = patient(2), patient(2), patient(2, SimulationConfig(seed=2))
    assert np.array_equal(one.ct.hu, again.ct.hu)
    assert np.array_equal(one.mask, again.mask)
    assert one.insertions == again.insertions
    assert one.insertions != third.insertions


@pytest.mark.parametrize(("malignant", "none"), [(0.67, 0.0), (0.5, 0.25), (1.0, 0.0), (0.0, 1.0), (0.0, 0.3)])
def test_the_shares_of_labels_hold_for_any_number_of_patients(malignant: float, none: float) -> None:
    config = SimulationConfig(malignant=malignant, none=none)
    labels = [label_of(number, config) for number in range(1, 301)]
    for count in (10, 99, 300):
        assert sum(label for label, _ in labels[:count]) == pytest.approx(count * malignant, abs=1)
        assert sum(not has for _, has in labels[:count]) == pytest.approx(count * none, abs=2)
    assert all(has for label, has in labels if label)


def test_a_benign_patient_has_benign_nodules_and_a_malignant_one_a_malignant() -> None:
    config = SimulationConfig(malignant=0.5, nodule_counts=(0.0, 0.5, 0.5), slice_thickness_mm=None)
    kinds: dict[int, list[list[bool]]] = {0: [], 1: []}
    for number in range(1, 9):
        one = patient(number, config)
        kinds[one.label].append([each.is_malignant for each in one.insertions])
    assert not np.any([any(each) for each in kinds[0]])
    assert all(any(each) for each in kinds[1])
    assert not all(all(each) for each in kinds[1])
    assert {len(each) for each in kinds[1]} <= {2, 3}


def test_a_patient_without_nodules_is_the_host() -> None:
    one = patient(1, SimulationConfig(malignant=0, none=1, slice_thickness_mm=None))
    assert one.insertions == ()
    assert not one.mask.any()
    assert np.array_equal(one.ct.hu, phantom_host().ct.hu)


def test_thick_slices_have_the_truth_where_the_nodules_were_set() -> None:
    thin, thick = (patient(2, SimulationConfig(slice_thickness_mm=mm)) for mm in (None, 5.0))
    assert thick.ct.spacing_zyx_mm[0] == pytest.approx(5)
    assert [each.nodule_id for each in thin.insertions] == [each.nodule_id for each in thick.insertions]
    volumes = [one.mask.sum() * np.prod(one.ct.spacing_zyx_mm) for one in (thin, thick)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.25)
    for each in thick.insertions:
        z, y, x = np.rint(thick.ct.to_zyx(each.centre_lps_mm)).astype(int).tolist()
        assert thick.mask[z, y, x]
    lesions = phantom_host().closed
    assert np.array_equal(thick.lesions, lesions[::2] | lesions[1::2])
    assert not (thick.mask & thick.lesions).any()


def test_controls_are_no_truth() -> None:
    plain = SimulationConfig(malignant=0, none=1, slice_thickness_mm=None)
    one = patient(1, SimulationConfig(malignant=0, none=1, slice_thickness_mm=None, controls=2))
    assert [each.kind for each in one.insertions] == [Kind.CONTROL] * 2
    assert {(each.patient_id, each.malignancy, each.is_malignant) for each in one.insertions} == {
        ("other", None, False)
    }
    assert not one.mask.any()
    assert 100 < (one.ct.hu != patient(1, plain).ct.hu).sum() < 2000


def test_nothing_lies_on_anything_else() -> None:
    one = patient(3, SimulationConfig(nodule_counts=(0, 0, 0, 1.0), controls=3, slice_thickness_mm=None))
    centres = np.array([each.centre_lps_mm for each in one.insertions])
    apart_mm = np.linalg.norm(centres[:, None] - centres, axis=-1) + 1e3 * np.eye(len(centres))
    assert len(centres) == 7
    assert apart_mm.min() > 18  # the least extent of the lopsided nodule


def test_slices_cannot_be_made_thinner() -> None:
    with refused(InputError, r"slices of host are 2\.5 mm apart", "at most 2 mm", "thicker"):
        patient(1, SimulationConfig(slice_thickness_mm=2.0))


def test_a_malignant_patient_needs_a_malignant_nodule() -> None:
    benign = [donor for donor in DONORS if not donor.is_malignant]
    with refused(InputError, "no place in host for any of 0 malignant nodules", "nodules of that kind", "more nodules"):
        simulate_patient(2, phantom_host(), benign, SimulationConfig())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"malignant": 0.8, "none": 0.3}, "malignant is 0.8 and none 0.3"),
        ({"slice_thickness_mm": 0.0}, "slice_thickness_mm is 0.0"),
        ({"seed": -1}, "seed is -1"),
        ({"nodule_counts": (0.5,)}, "sum to 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulationConfig(**settings)  # type: ignore[arg-type]
