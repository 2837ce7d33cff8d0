"""ROIs by their windows and their shape: a ball and a vessel in even lung, and scores worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.config import OutlineConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.rois import Peak, Roi
from lungsight.diagnose.roi_weighing import RoiWeighing, SeenRoi, Shape, roi_weighing_of, see_rois, shape_of, weigh_rois
from lungsight.findings import Candidate, Region
from phantom import affine_of, turned

SPACING_MM = (2.0, 0.8, 0.8)
SHAPE = (40, 120, 120)
BALL_ZYX, VESSEL_YX = (20.0, 40.0, 40.0), (40.0, 90.0)
BALL_MM, VESSEL_MM = 16.0, 5.0
ROUND = RoiWeighing(highest=0.0, shortest=10.0, intercept=5.0)
"""A long axis of 1.65 times the shortest is an even chance."""


def distance_mm(point_zyx: tuple[float, ...]) -> NDArray[np.float64]:
    off = (np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(point_zyx)) * SPACING_MM
    away: NDArray[np.float64] = np.linalg.norm(off, axis=-1)
    return away


def chest() -> CTVolume:
    hu = np.full(SHAPE, -850, np.int16)
    hu[distance_mm(BALL_ZYX) < BALL_MM / 2] = 40
    across = (np.moveaxis(np.indices(SHAPE[1:]), 0, -1) - np.array(VESSEL_YX)) * SPACING_MM[1:]
    hu[:, np.linalg.norm(across, axis=-1) < VESSEL_MM / 2] = 40
    return CTVolume(hu, affine_of(SPACING_MM, (-80.0, 30.0, -400.0), turned(20, 7)))


CT = chest()
LUNGS = np.ones(SHAPE, np.bool_)


def roi_at(point_zyx: tuple[float, ...], voters: str = "1:1", peak: Peak = Peak(0.9, 0.8, 0.5)) -> Roi:  # noqa: B008
    """A ROI whose region is 5 voxels wide; `voters` are windows and their labels."""
    z, y, x = (round(k) - 2 for k in point_zyx)
    candidate = Candidate(CT.locate(point_zyx), 4.0, peak.highest, Region((z, y, x), np.ones((5, 5, 5), np.bool_)))
    pairs = [each.split(":") for each in voters.split()]
    return Roi(candidate, peak, np.array([int(p[0]) for p in pairs]), np.array([int(p[1]) for p in pairs], np.uint8))


def seen(*rois: Roi) -> list[SeenRoi]:
    return list(see_rois(CT, LUNGS, rois, OutlineConfig()))


def test_a_ball_is_round_and_a_vessel_is_long() -> None:
    ball, vessel = seen(roi_at(BALL_ZYX), roi_at((20.0, *VESSEL_YX)))
    assert min(ball.shape.shortest, ball.shape.middle, ball.shape.fullness) > 0.9
    assert vessel.shape.shortest < 0.4
    assert vessel.shape.middle < 0.4


def test_where_nothing_is_nothing_is_seen() -> None:
    assert seen(roi_at((20.0, 80.0, 20.0))) == []
    assert seen() == []


def test_the_shape_is_measured_in_mm() -> None:
    # 10 x 8 x 8 mm, whatever the voxels.
    box = Region((3, 4, 5), np.ones((5, 10, 10), np.bool_))
    shape = shape_of(box, SPACING_MM)
    assert (shape.shortest, shape.middle) == pytest.approx((0.8, 0.8))
    # A box fills more than the ellipsoid with its spread: 1 / (pi / 6 * (20 / 12) ** 1.5).
    assert shape.fullness == pytest.approx(1 / (np.pi / 6 * (20 / 12) ** 1.5))
    cross = np.zeros((1, 21, 21), np.bool_)
    cross[:, 10] = cross[:, :, 10] = True
    assert shape_of(Region((0, 0, 0), cross), SPACING_MM).fullness < 0.3
    one = shape_of(Region((0, 0, 0), np.ones((1, 1, 1), np.bool_)), (2.0, 1.0, 1.0))
    assert (one.shortest, one.middle) == pytest.approx((0.5, 0.5))


def test_scores_and_shape_are_weighed() -> None:
    each = SeenRoi(roi_at(BALL_ZYX), Region((0, 0, 0), np.ones((1, 1, 1), np.bool_)), Shape(0.5, 0.8, 0.9))
    weighing = RoiWeighing(1.5, 0.5, -1.0, 2.0, 1.0, 3.0, 0.25)
    odds = 9**1.5 * 4**0.5 * 1**-1.0 * 0.5**2 * 0.8 * 0.9**3 * np.exp(0.25)
    assert weighing.apply(each) == pytest.approx(odds / (1 + odds))
    card = {"roi_weighing": {"highest": 1.5, "place": 0.5, "beside": -1.0, "shortest": 2.0, "intercept": 0.25}}
    assert roi_weighing_of(card) == replace(weighing, middle=0.0, fullness=0.0)


@pytest.mark.parametrize(("highest", "score"), [(0.9, 0.5), (0.5, 0.1), (0.99, 0.917)])
def test_without_weights_the_best_window_counts_and_nine_tenths_is_an_even_chance(highest: float, score: float) -> None:
    (each,) = seen(roi_at(BALL_ZYX, peak=Peak(highest, 0.1, 0.1)))
    assert roi_weighing_of({}).apply(each) == pytest.approx(score, abs=1e-3)


def test_what_is_long_is_no_nodule() -> None:
    rois = seen(roi_at((20.0, *VESSEL_YX)), roi_at(BALL_ZYX))
    (kept,) = weigh_rois(CT, rois, ROUND, 0.5)
    assert kept.candidate.region.start_zyx == (18, 38, 38)
    assert kept.candidate.detection_score > 0.9
    both = weigh_rois(CT, rois, ROUND, 0.0)
    assert [roi.candidate.region.start_zyx[2] for roi in both] == [38, 88]
    assert weigh_rois(CT, rois, ROUND, 1.0) == weigh_rois(CT, [], ROUND, 0.0) == ()


@pytest.mark.parametrize("highest", [0.9, 0.3])
def test_peaks_of_one_nodule_are_one_roi_and_a_window_votes_once(highest: float) -> None:
    surest, other = Peak(0.95, 0.9, 0.5), Peak(highest, 0.2, 0.1)
    near, far = (18.0, 37.0, 40.0), (22.0, 43.0, 41.0)
    rois = seen(roi_at(far, "7:2 8:1", other), roi_at(near, "5:2 7:2", surest))
    (nodule,) = weigh_rois(CT, rois, RoiWeighing(), 0.5)
    assert nodule.peak == surest
    assert nodule.voters.tolist() == [5, 7, 8]
    assert nodule.labels.tolist() == [2, 2, 1]
    region = nodule.candidate.region
    assert (region.start_zyx, region.stop_zyx) == ((16, 35, 38), (25, 46, 44))
    assert region.mask.sum() == 2 * 125
    # Its place is the middle of the ball, not that of the window.
    assert np.linalg.norm(np.subtract(nodule.candidate.location.lps_mm, CT.to_lps(BALL_ZYX))) < 0.5
    # In one slice 5 rows by 5 columns twice: they meet in slice 20 alone, without touching there.
    assert nodule.candidate.roi_diameter_mm == pytest.approx(2 * np.sqrt(50 * 0.64 / np.pi))
