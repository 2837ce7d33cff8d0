"""The `windows` system end to end: a drawn thorax written as DICOM in several orientations, and a real tumour."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lungsight import __version__
from lungsight.config import Config, WindowsConfig
from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError, WeightsError
from lungsight.findings import Density, Diagnosis, Nodule, Region, Verdict
from lungsight.pipeline import WindowsPipeline, load_pipeline
from lungsight.prior import compare_with_prior
from lungsight.runtime import Network, shipped_weights
from phantom import Body, Sphere, instance_uid, series_uid, thorax, write_series
from refusals import refused
from stub_network import CoreNetwork, UnaskedNetwork

REAL = Path(__file__).parents[2] / "shared" / "data" / "chest_ct"
MALIGNANT = Sphere((-80.0, 12.0, -40.0), 22, 200)
BENIGN = Sphere((72.0, -10.0, 25.0), 22, -300)
SHAPE, SPACING_MM = (40, 128, 128), (5.0, 2.8, 2.8)
# Source axes that become slices, rows and columns, and which of them run the other way.
ORIENTATIONS = {
    "head first": ((0, 1, 2), (False, False, False)),
    "feet first": ((0, 1, 2), (True, False, True)),
    "prone": ((0, 1, 2), (False, True, True)),
    "coronal": ((1, 0, 2), (False, True, False)),
    "sagittal": ((2, 0, 1), (True, True, False)),
}
STUB = CoreNetwork(benign_hu=BENIGN.hu, malignant_hu=MALIGNANT.hu)


@cache
def drawn(*nodules: Sphere) -> Body:
    return thorax(nodules, SHAPE, SPACING_MM)


def reordered(body: Body, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Body:
    """The same body scanned in another orientation: every voxel keeps its place in the patient."""
    hu, affine = body.hu.transpose(axes), np.eye(4)
    affine[:3, :3] = body.affine[:3, list(axes)]
    affine[:3, 3] = body.affine[:3, 3]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (hu.shape[axis] - 1)
            affine[:3, axis] *= -1
            hu = np.flip(hu, axis)
    return Body(hu, affine)


def volume(body: Body) -> CTVolume:
    return CTVolume(body.hu, body.affine)


def diagnose(ct: CTVolume, vote_threshold: float = 0.5) -> Diagnosis:
    windows = WindowsConfig(slice_reach_mm=0, roi_score=0.5, min_overlap=8, vote_threshold=vote_threshold)
    return WindowsPipeline(STUB, Config(windows=windows))(ct)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_nodule_is_found_where_it_lies_in_the_patient(orientation: str, tmp_path: Path) -> None:
    body = reordered(drawn(MALIGNANT), *ORIENTATIONS[orientation])
    write_series(tmp_path, body)
    ct = read_ct(tmp_path)
    diagnosis = diagnose(ct)
    (nodule,) = diagnosis.nodules
    assert diagnosis.verdict is Verdict.MALIGNANT
    assert nodule.malignancy_score == diagnosis.malignancy_score == 1
    location = nodule.candidate.location
    # A slice, and half a cell of 7 mm along rows and columns.
    off_lps_mm = np.abs(np.subtract(location.lps_mm, MALIGNANT.centre_lps_mm))
    assert (off_lps_mm <= (3.5, 3.5, 5.0)).all(), off_lps_mm
    point_zyx = ct.to_zyx(location.lps_mm)
    assert (location.row, location.column) == pytest.approx(tuple(point_zyx[1:]), abs=1e-6)
    assert location.slice_index == round(float(point_zyx[0]))
    assert location.sop_instance_uid == instance_uid("1", location.slice_index)
    assert location.instance_number == ct.instances[location.slice_index].instance_number
    region = nodule.candidate.region
    middle_lps = ct.to_lps(np.argwhere(region.mask).mean(0) + region.start_zyx)
    assert (np.abs(middle_lps - MALIGNANT.centre_lps_mm) <= (3.5, 3.5, 5.0)).all(), middle_lps
    nodule_zyx = np.rint(ct.to_zyx(MALIGNANT.centre_lps_mm)).astype(int)
    assert region.mask[tuple(nodule_zyx - region.start_zyx)]
    assert ct.hu[region.box][region.mask].max() > 150
    assert_measured_as_drawn(nodule, ct)


def assert_measured_as_drawn(nodule: Nodule, ct: CTVolume) -> None:
    """A sphere of 22 mm at the foot of the right lung, in voxels of 5 x 2.8 x 2.8 mm."""
    mask, measured = nodule.mask, nodule.measurements
    assert mask is not None
    assert measured is not None
    middle_lps = ct.to_lps(np.argwhere(mask.mask).mean(0) + mask.start_zyx)
    assert middle_lps == pytest.approx(MALIGNANT.centre_lps_mm, abs=1.4)
    # Half a voxel.
    assert measured.mean_diameter_mm == pytest.approx(22, abs=1.4)
    assert measured.volume_mm3 == pytest.approx(np.pi / 6 * 22**3, rel=0.12)
    assert measured.volume_mm3 == pytest.approx(mask.mask.sum() * 5 * 2.8 * 2.8)
    assert (measured.density, measured.side, measured.zone) == (Density.SOLID, "right", "lower")


def test_every_orientation_says_the_same() -> None:
    found = [diagnose(volume(reordered(drawn(MALIGNANT, BENIGN), *how))) for how in ORIENTATIONS.values()]
    expected = found[0]
    assert len(expected.nodules) == 2
    for diagnosis in found[1:]:
        assert diagnosis.malignancy_score == expected.malignancy_score
        for nodule, like in zip(diagnosis.nodules, expected.nodules, strict=True):
            assert nodule.candidate.location.lps_mm == pytest.approx(like.candidate.location.lps_mm, abs=1e-6)
            assert nodule.candidate.region.mask.sum() == like.candidate.region.mask.sum()
            assert nodule.malignancy_score == like.malignancy_score
            assert nodule.measurements == like.measurements


def test_the_threshold_decides_between_benign_and_malignant() -> None:
    ct = volume(drawn(MALIGNANT, BENIGN))
    score = diagnose(ct).malignancy_score
    assert score is not None
    assert 0.3 < score < 0.7
    at, above = (diagnose(ct, vote_threshold=float(share)) for share in (score, np.nextafter(score, 1)))
    assert (at.verdict, above.verdict) == (Verdict.MALIGNANT, Verdict.BENIGN)
    assert at.malignancy_score == above.malignancy_score == score
    by_place = {nodule.candidate.location.lps_mm[0] > 0: nodule.malignancy_score for nodule in at.nodules}
    assert by_place == {True: 0.0, False: 1.0}  # the benign one lies to the left


def test_what_is_long_is_told_as_nodule_only_if_all_rois_may_vote() -> None:
    along = [Sphere((72.0, -10.0, float(z)), 16, MALIGNANT.hu) for z in range(-35, 36, 4)]
    ct = volume(drawn(MALIGNANT, *along))
    card = {"roi_weighing": {"highest": 0.0, "shortest": 10.0, "intercept": 5.0}}
    network = CoreNetwork(benign_hu=BENIGN.hu, malignant_hu=MALIGNANT.hu, card=card)
    kept, every = (
        WindowsPipeline(network, Config(windows=WindowsConfig(roi_score=0.4, nodule_score=least)))(ct).nodules
        for least in (0.5, 0.0)
    )
    (nodule,) = kept
    assert np.linalg.norm(np.subtract(nodule.candidate.location.lps_mm, MALIGNANT.centre_lps_mm)) < 4
    assert {each.candidate.location.lps_mm[0] > 0 for each in every} == {True, False}


def test_a_ct_without_nodules_is_a_result() -> None:
    diagnosis = diagnose(volume(drawn()))
    assert diagnosis.verdict is Verdict.NO_NODULE
    assert diagnosis.malignancy_score is None
    assert diagnosis.nodules == ()
    assert diagnosis.warnings == ()


def test_a_ct_without_lungs_is_indeterminate_and_says_so() -> None:
    water = np.random.default_rng(0).normal(20, 10, (12, 64, 64)).astype(np.int16)
    ct = CTVolume(water, np.diag([5.0, 2.8, 2.8, 1.0])[[2, 1, 0, 3]], warnings=("Slices were sorted.",))
    diagnosis = WindowsPipeline(UnaskedNetwork())(ct)
    assert diagnosis.verdict is Verdict.INDETERMINATE
    assert diagnosis.malignancy_score is None
    assert diagnosis.nodules == ()
    assert diagnosis.warnings == ("Slices were sorted.", "No lung was found in the CT, so nothing was searched.")


def test_provenance_is_complete(tmp_path: Path) -> None:
    write_series(tmp_path, drawn(MALIGNANT))
    config = Config(windows=WindowsConfig(min_overlap=6, vote_threshold=0.25))
    told: list[tuple[str, float]] = []
    diagnosis = WindowsPipeline(STUB, config)(
        read_ct(tmp_path), progress=lambda step, share: told.append((step, share))
    )
    provenance = diagnosis.provenance
    assert diagnosis.system == "windows"
    assert provenance.series_uid == series_uid()
    assert provenance.version == __version__
    assert provenance.weights_sha256 == "5" * 64
    assert provenance.config == dataclasses.asdict(config)
    assert list(provenance.seconds) == ["lungs", "detect", "weigh", "vote", "measure"]
    assert min(provenance.seconds.values()) >= 0
    assert [(step, share) for step, share in told if share in (0, 1) and step != "detect"] == [
        ("lungs", 0.0),
        ("lungs", 1.0),
        ("weigh", 0.0),
        ("weigh", 1.0),
        ("vote", 0.0),
        ("vote", 1.0),
        ("measure", 0.0),
        ("measure", 1.0),
    ]
    shares = [share for step, share in told if step == "detect"]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], len(shares)) == (0.0, 1.0, 42)


def test_growth_since_an_earlier_ct() -> None:
    now, then = drawn(MALIGNANT, BENIGN), drawn(dataclasses.replace(MALIGNANT, diameter_mm=16))
    affine = then.affine.copy()
    affine[:3, 3] += (11, -7, 13)  # the patient lay elsewhere
    diagnosis = compare_with_prior(diagnose(volume(now)), volume(now), CTVolume(then.hu, affine), 200)
    grown, new = sorted(diagnosis.nodules, key=lambda nodule: nodule.candidate.location.lps_mm[0])
    assert grown.growth is not None
    assert new.growth is not None
    assert grown.growth.mean_diameter_change_mm == pytest.approx(6, abs=2.8)
    # (22 / 16)^3 is 1.38 doublings.
    assert grown.growth.volume_doubling_days == pytest.approx(200 / 1.38, rel=0.2)
    assert new.growth.earlier is None
    assert diagnosis.warnings == ()


def test_growth_of_masks_that_were_outlined_otherwise_is_measured_alike() -> None:
    now, then = volume(drawn(MALIGNANT)), volume(drawn(dataclasses.replace(MALIGNANT, diameter_mm=16)))
    (nodule,) = diagnose(now).nodules
    assert nodule.mask is not None
    assert nodule.measurements is not None
    thinner = Region(nodule.mask.start_zyx, ndimage.binary_erosion(nodule.mask.mask))
    smaller = dataclasses.replace(nodule.measurements, long_axis_mm=14.0, short_axis_mm=14.0, volume_mm3=1400.0)
    other = dataclasses.replace(nodule, mask=thinner, measurements=smaller)
    diagnosis = dataclasses.replace(diagnose(now), system="segments", nodules=(other,))
    compared = compare_with_prior(diagnosis, now, then, 200)
    assert compared.nodules[0].growth is not None
    # 22 mm against 16 mm, not the 14 mm of the other outline.
    assert compared.nodules[0].growth.mean_diameter_change_mm == pytest.approx(6, abs=2.8)
    assert compared.nodules[0].measurements == smaller
    assert "outlined again in both CTs" in compared.warnings[0]


def test_an_earlier_ct_without_lungs_is_told() -> None:
    ct = volume(drawn(MALIGNANT))
    water = CTVolume(np.full((12, 64, 64), 20, np.int16), np.diag([5.0, 2.8, 2.8, 1.0])[[2, 1, 0, 3]])
    diagnosis = compare_with_prior(diagnose(ct), ct, water)
    assert diagnosis.nodules[0].growth is None
    assert diagnosis.warnings == ("No lung was found in the earlier CT, so nothing was compared with it.",)


def test_an_unknown_system_is_refused() -> None:
    with refused(InputError, "system 'magic'", "one of windows", "Name one of these"):
        load_pipeline("magic")


def test_weights_of_ones_own_are_loaded(tmp_path: Path, shipped_network: Network) -> None:
    with refused(WeightsError, "weights in .*mine", "model.onnx and card.json", "name another folder"):
        load_pipeline("windows", weights=tmp_path / "mine")
    folder = tmp_path / "own"
    folder.symlink_to(shipped_weights("windows"))
    config = Config(windows=WindowsConfig(min_overlap=5))
    pipeline = load_pipeline("windows", weights=folder, config=config)
    assert pipeline.weights_sha256 == shipped_network.sha256
    assert pipeline.config is config
    assert load_pipeline(weights=folder).config == Config()


@pytest.mark.skipif(not REAL.exists(), reason="the real CTs are not beside this repository (../shared/data)")
def test_a_real_tumour_is_covered_by_a_roi(shipped_network: Network) -> None:
    whole, tumour = (read_ct(REAL / f"QIN-LSC-0028_{what}.nii.gz") for what in ("ct", "tumour"))
    slab = slice(58, 74)
    mask = tumour.hu[slab] > 0
    affine = whole.affine.copy()
    affine[:3, 3] = whole.to_lps((slab.start, 0, 0))
    diagnosis = WindowsPipeline(shipped_network)(CTVolume(whole.hu[slab], affine))
    covered = np.zeros(mask.shape, np.bool_)
    for nodule in diagnosis.nodules:
        region = nodule.candidate.region
        covered[region.box] |= region.mask
    assert (covered & mask).sum() >= 0.5 * mask.sum()
    assert covered.sum() < 0.2 * covered.size
