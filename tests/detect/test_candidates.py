"""Candidates of drawn spheres and of score maps written by hand, against scipy's components and the spheres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import SegmentsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import find_candidates
from lungsight.detect.segment import ScoreMap, score_slices
from lungsight.findings import Candidate, Region
from phantom import Sphere, affine_of

CONFIG = SegmentsConfig()
ORIGIN_LPS_MM = (-96.4, 31.7, -412.3)
FIELD_MM = (50.0, 76.0, 94.0)
"""Slices, rows and columns of the drawn CTs; no two alike."""
SPACINGS = [(2.5, 0.7, 0.7), (1.25, 0.9, 0.6), (2.0, 0.5, 1.3), (5.0, 0.98, 0.98), (3.0, 1.5, 1.4)]
Scores = NDArray[np.float16]
Box = tuple[int, int | slice, int | slice]


def lps_of(z_mm: float, y_mm: float, x_mm: float) -> tuple[float, float, float]:
    """A place counted from the first voxel."""
    x, y, z = ORIGIN_LPS_MM
    return x + x_mm, y + y_mm, z + z_mm


def distance_mm(ct: CTVolume, centre_lps_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Of every voxel from a place."""
    z, y, x = (
        np.arange(n) * mm + start - at
        for n, mm, start, at in zip(ct.shape, ct.spacing_zyx_mm, ORIGIN_LPS_MM[::-1], centre_lps_mm[::-1], strict=True)
    )
    distance: NDArray[np.float64] = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    return distance


def drawn(spheres: list[Sphere], spacing_zyx_mm: tuple[float, float, float] = (2.5, 0.7, 0.7)) -> CTVolume:
    """Spheres in lung of -850 HU, their edges a millimetre soft."""
    shape = tuple(int(size / mm) + 1 for size, mm in zip(FIELD_MM, spacing_zyx_mm, strict=True))
    ct = CTVolume(np.full(shape, -850, np.float32), affine_of(spacing_zyx_mm, ORIGIN_LPS_MM))
    hu = ct.hu.copy()
    for sphere in spheres:
        share = np.clip(sphere.diameter_mm / 2 - distance_mm(ct, sphere.centre_lps_mm) + 0.5, 0, 1)
        hu = np.maximum(hu, (-850 + (sphere.hu + 850) * share).astype(np.float32))
    return replace(ct, hu=hu)


def brightness(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """A U-Net's stand-in: 0 for lung of -850 HU, 1 for 30 HU and more, so that 0.5 lies in the middle of the edge."""
    scores: NDArray[np.float32] = np.clip((field - 0.1) / (880 / 1500), 0, 1).astype(np.float32)
    return scores


def found_in(
    ct: CTVolume, lungs: NDArray[np.bool_] | None = None, config: SegmentsConfig = CONFIG
) -> tuple[Candidate, ...]:
    everywhere = np.ones(ct.shape, np.bool_)
    return find_candidates(ct, everywhere if lungs is None else lungs, score_slices(ct, everywhere, brightness), config)


def voxels(ct: CTVolume, region: Region) -> NDArray[np.bool_]:
    mask = np.zeros(ct.shape, np.bool_)
    mask[region.box] = region.mask
    return mask


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def assert_is(ct: CTVolume, found: Candidate, sphere: Sphere, least_dice: float = 0.9) -> None:
    off_mm = np.abs(np.subtract(found.location.lps_mm, sphere.centre_lps_mm))
    assert np.all(off_mm <= ct.spacing_zyx_mm[::-1])
    at_zyx = (found.location.slice_index, found.location.row, found.location.column)
    assert np.all(np.abs(np.subtract(at_zyx, ct.to_zyx(sphere.centre_lps_mm))) <= 1)
    assert dice(voxels(ct, found.region), distance_mm(ct, sphere.centre_lps_mm) <= sphere.diameter_mm / 2) > least_dice


@pytest.mark.parametrize("spacing_zyx_mm", SPACINGS)
def test_nodules_are_where_they_were_drawn_the_surest_first(spacing_zyx_mm: tuple[float, float, float]) -> None:
    hazy, solid = Sphere(lps_of(12.3, 20.9, 70.4), 13, -300), Sphere(lps_of(31.1, 48.2, 27.6), 19, 30)
    ct = drawn([hazy, solid], spacing_zyx_mm)
    first, second = found_in(ct)
    assert_is(ct, first, solid)
    assert first.roi_diameter_mm == pytest.approx(19, abs=1.2)
    assert 0.8 < first.detection_score <= 1
    assert_is(ct, second, hazy, least_dice=0.8)  # its score is 0.63, so that 0.5 lies inside
    assert 0.5 < second.detection_score < 0.65


@pytest.mark.parametrize("spacing_zyx_mm", [(2.5, 0.7, 0.7), (1.25, 0.9, 0.6)])
def test_two_side_by_side_stay_two(spacing_zyx_mm: tuple[float, float, float]) -> None:
    pair = [Sphere(lps_of(25, 40, 40), 10), Sphere(lps_of(26, 40, 52), 9, -20)]
    ct = drawn(pair, spacing_zyx_mm)
    found = found_in(ct)
    assert len(found) == 2
    for candidate, sphere in zip(found, pair, strict=True):
        assert_is(ct, candidate, sphere)


def test_a_vessel_that_wanders_through_the_slices_is_one_until_its_steps_are_too_wide() -> None:
    for step_mm, count in ((0.0, 1), (3.0, 1), (5.5, 1), (6.5, 10)):
        scores = np.zeros((12, 100, 120), np.float16)
        for k in range(10):
            start = 10 + round(k * step_mm / 0.7)
            scores[k + 1, 40:44, start : start + 4] = 0.8
        ct = CTVolume(np.zeros(scores.shape, np.int16), affine_of((1.0, 0.7, 0.7), ORIGIN_LPS_MM))
        found = find_candidates(ct, np.ones(ct.shape, np.bool_), ScoreMap(scores, (0.7, 0.7)), CONFIG)
        assert len(found) == count
        union = np.any([voxels(ct, candidate.region) for candidate in found], axis=0)
        assert np.array_equal(union, scores > 0)
        if count == 1:
            assert found[0].location.lps_mm[2] == pytest.approx(ORIGIN_LPS_MM[2] + 5.5)


def test_what_lies_outside_the_lungs_is_none_and_takes_no_place() -> None:
    inside, outside, faint = (
        Sphere(lps_of(20, 38, 20), 10, -200), Sphere(lps_of(20, 38, 70), 10), Sphere(lps_of(38, 38, 20), 10, -450)
    )  # fmt: skip
    ct = drawn([inside, outside, faint])
    lungs = np.zeros(ct.shape, np.bool_)
    lungs[:, :, :60] = True
    found = found_in(ct, lungs)
    assert len(found) == 2
    for candidate, sphere in zip(found, (inside, faint), strict=True):
        assert_is(ct, candidate, sphere, least_dice=0.75)
    (best,) = found_in(ct, lungs, replace(CONFIG, most_candidates=1))
    assert best.location == found[0].location
    lungs[:, :, 93:] = True  # the other one's voxel nearest to the edge
    assert len(found_in(ct, lungs)) == 3


@pytest.mark.parametrize("spacing_zyx_mm", SPACINGS)
@pytest.mark.parametrize("corner", [(0, 0, 0), (1, 1, 1), (0, 1, 0)])
def test_a_nodule_at_the_cts_border_stays_inside_it(
    spacing_zyx_mm: tuple[float, float, float], corner: tuple[int, int, int]
) -> None:
    ct = drawn([], spacing_zyx_mm)
    sphere = Sphere(tuple(ct.to_lps(np.multiply(corner, np.subtract(ct.shape, 1))).tolist()), 24)
    ct = drawn([sphere], spacing_zyx_mm)
    (found,) = found_in(ct)
    assert np.all(np.array(found.region.start_zyx) >= 0)
    assert np.all(np.array(found.region.stop_zyx) <= ct.shape)
    # The CT's last pixel may lie behind the last working pixel.
    truth = distance_mm(ct, sphere.centre_lps_mm) <= 12
    assert dice(voxels(ct, found.region), truth) > 0.88


@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize("pixel_score", [0.3, 1e-9])
def test_nothing_scored_is_nothing_found(slices: int, pixel_score: float) -> None:
    ct = CTVolume(np.zeros((slices, 20, 30), np.int16), np.eye(4))
    nothing = ScoreMap(np.zeros((slices, 28, 42), np.float16), (0.7, 0.7))
    config = replace(CONFIG, pixel_score=pixel_score)
    assert find_candidates(ct, np.ones(ct.shape, np.bool_), nothing, config) == ()


def map_of(*patches: tuple[Box, float], slices: int = 1) -> Scores:
    scores = np.zeros((slices, 40, 50), np.float16)
    for box, score in patches:
        scores[box] = score
    return scores


def candidates_of(scores: Scores, config: SegmentsConfig = CONFIG) -> tuple[CTVolume, tuple[Candidate, ...]]:
    """Of a CT whose pixels are the working pixels."""
    ct = CTVolume(np.zeros(scores.shape, np.int16), affine_of((2.5, 0.7, 0.7), ORIGIN_LPS_MM))
    return ct, find_candidates(ct, np.ones(ct.shape, np.bool_), ScoreMap(scores, (0.7, 0.7)), config)


def test_centre_and_score_worked_out_by_hand() -> None:
    # Slice 0: two pixels of 0.5 and 0.75 side by side, mean 0.625. Slice 1: one of 0.5 under the first.
    scores = map_of((np.s_[0, 20, 30], 0.5), (np.s_[0, 20, 31], 0.75), (np.s_[1, 20, 30], 0.5), slices=2)
    ct, (found,) = candidates_of(scores)
    assert found.detection_score == 0.625
    at = found.location
    assert (at.slice_index, at.row) == (0, 20)
    assert at.column == pytest.approx(30 + 0.75 / 1.75)
    assert ct.to_zyx(at.lps_mm)[0] == pytest.approx(0.5 / 1.75)
    assert found.roi_diameter_mm == pytest.approx(2 * np.sqrt(2 * 0.49 / np.pi))
    assert np.array_equal(voxels(ct, found.region), scores > 0)


def test_parts_of_one_slice_are_one_if_they_are_near() -> None:
    scores = map_of((np.s_[0, 10:13, 10:13], 0.9), (np.s_[0, 10:13, 15:18], 0.7), (np.s_[0, 30, 45], 0.6))  # 3.5 mm
    ct, (first, second) = candidates_of(scores)
    assert np.array_equal(voxels(ct, first.region), (scores > 0.65))
    assert first.location.row == 11
    assert first.location.column == pytest.approx((0.9 * 11 + 0.7 * 16) / 1.6, abs=1e-3)
    assert first.detection_score == pytest.approx(0.9, abs=1e-3)
    assert second.region.mask.shape == (1, 1, 1)
    assert len(candidates_of(scores, replace(CONFIG, merge_mm=3.0))[1]) == 3


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    scores = map_of((np.s_[0, 10, 10], 0.9), (np.s_[0, 11, 11], 0.9))
    assert len(candidates_of(scores, replace(CONFIG, merge_mm=0.0))[1]) == 1


@pytest.mark.parametrize("spacing_mm", [0.7, 0.5, 0.9, 1.3])
def test_a_faint_nodule_has_the_size_of_what_was_seen(spacing_mm: float) -> None:
    # A disc of 11 px (7.7 mm) nowhere scored 0.5, with a peak: not the peak alone.
    rows, columns = np.ogrid[:60, :60]
    disc = np.hypot(rows - 30, columns - 28) <= 5.5
    scores = np.where(disc, 0.4, 0)[None].astype(np.float16)
    scores[0, 29, 27] = 0.45
    size = int(59 * 0.7 / spacing_mm) + 1
    ct = CTVolume(np.zeros((1, size, size), np.int16), affine_of((2.5, spacing_mm, spacing_mm), ORIGIN_LPS_MM))
    (found,) = find_candidates(ct, np.ones(ct.shape, np.bool_), ScoreMap(scores, (0.7, 0.7)), CONFIG)
    y, x = (np.arange(size) * spacing_mm / 0.7 - at for at in (30, 28))
    assert dice(voxels(ct, found.region)[0], np.hypot(y[:, None], x) <= 5.7) > 0.9
    assert found.roi_diameter_mm == pytest.approx(2 * np.sqrt(disc.sum() * 0.49 / np.pi), abs=0.7)


def test_a_pixel_between_those_of_a_coarse_ct_is_not_lost() -> None:
    scores = map_of((np.s_[0, 21, 33], 0.9))
    ct = CTVolume(np.zeros((1, 20, 25), np.int16), affine_of((2.5, 1.4, 1.4), ORIGIN_LPS_MM))
    (found,) = find_candidates(ct, np.ones(ct.shape, np.bool_), ScoreMap(scores, (0.7, 0.7)), CONFIG)
    assert (found.location.row, found.location.column) == (10.5, 16.5)
    assert found.region.box == np.s_[0:1, 10:12, 16:18]


LEVELS = st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.375, 0.4375, 0.75, 1.0])
SPARSE = arrays(np.float16, (2, 6, 7), elements=LEVELS, fill=st.just(np.float16(0)))
MAPS = SPARSE | arrays(np.float16, (2, 6, 7), elements=LEVELS, fill=st.nothing())


@settings(max_examples=40)
@given(MAPS)
def test_unmerged_each_component_of_a_slice_is_a_candidate(scores: Scores) -> None:
    ct, found = candidates_of(scores, replace(CONFIG, merge_mm=0.0, z_merge_mm=0.0))
    labelled, count = ndimage.label(scores >= 0.3, np.pad(np.ones((1, 3, 3)), ((1, 1), (0, 0), (0, 0))))
    assert len(found) == min(count, CONFIG.most_candidates)
    for candidate in found:
        mask = voxels(ct, candidate.region)
        component = labelled == labelled[mask][0]
        sure = component & (scores >= 0.5)
        assert np.array_equal(mask, sure if sure.any() else component)
        assert candidate.detection_score == pytest.approx(float(scores[component].astype(float).mean()), abs=1e-6)


@settings(max_examples=40)
@given(MAPS, st.sampled_from(SPACINGS), st.integers(1, 4), arrays(np.bool_, (2, 1, 1)))
def test_candidates_of_any_map_lie_in_the_ct_and_the_lungs_and_descend(
    scores: Scores, spacing_zyx_mm: tuple[float, float, float], most: int, lung_slices: NDArray[np.bool_]
) -> None:
    rows, columns = (int((n - 1) * 0.7 / mm + 1.5) for n, mm in zip(scores.shape[1:], spacing_zyx_mm[1:], strict=True))
    ct = CTVolume(np.zeros((2, rows, columns), np.int16), affine_of(spacing_zyx_mm, ORIGIN_LPS_MM))
    lungs = np.broadcast_to(lung_slices, ct.shape)
    found = find_candidates(ct, lungs, ScoreMap(scores, (0.7, 0.7)), replace(CONFIG, most_candidates=most))
    assert len(found) <= most
    assert [c.detection_score for c in found] == sorted((c.detection_score for c in found), reverse=True)
    for candidate in found:
        assert 0.3 <= candidate.detection_score <= 1
        assert (voxels(ct, candidate.region) & lungs).any()
        mask = candidate.region.mask
        assert all(np.any(mask, axes)[[0, -1]].all() for axes in ((1, 2), (0, 2), (0, 1)))  # the box is tight
        at = (candidate.location.slice_index, candidate.location.row, candidate.location.column)
        assert np.all(np.array(at) >= 0)
        assert np.all(np.array(at) <= np.subtract(ct.shape, 1))
