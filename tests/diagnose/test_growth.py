"""Nodules grown by a known factor between two drawn CTs, the earlier one moved by a known motion."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lungsight.config import MeasureConfig, OutlineConfig
from lungsight.ct.register import Rigid
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.diagnose.growth import EarlierCT, growth_of, growth_since
from lungsight.diagnose.measure import find_landmarks, measure_nodule
from lungsight.diagnose.outline import outline_nodule
from lungsight.findings import Candidate, Density, Measurements, Nodule, Region
from phantom import Sphere, thorax, turned

SHAPE, SPACING_MM = (70, 200, 200), (3.0, 1.7, 1.7)
MOTION = Rigid(turned(2, 4), np.array([8.0, -5.0, 11.0]))
GROWING, SHRINKING, NEW = (-75.0, 12.0, -40.0), (72.0, -10.0, 25.0), (-70.0, -25.0, 30.0)
NOW = (Sphere(GROWING, 20), Sphere(SHRINKING, 12), Sphere(NEW, 14))
THEN = (Sphere(GROWING, 14), Sphere(SHRINKING, 16))
CONFIGS = (OutlineConfig(), MeasureConfig())
MEASURED = Measurements(8, 8, 250.0, 0, Density.SOLID, None, "left", "upper", 3)


@cache
def present() -> tuple[CTVolume, tuple[Nodule, ...]]:
    body = thorax(NOW, SHAPE, SPACING_MM)
    ct = CTVolume(body.hu, body.affine)
    lungs = segment_lungs(ct)
    landmarks = find_landmarks(ct, lungs)
    assert landmarks is not None
    nodules = []
    for sphere in NOW:
        centre = np.rint(ct.to_zyx(sphere.centre_lps_mm)).astype(int)
        z, y, x = (centre - (6, 12, 12)).tolist()
        candidate = Candidate(ct.locate(centre), 30.0, 1.0, Region((z, y, x), np.ones((13, 25, 25), np.bool_)))
        mask = outline_nodule(ct, lungs, candidate)
        assert mask is not None
        nodules.append(Nodule(candidate, 0.5, mask, measure_nodule(ct, mask, landmarks)))
    return ct, tuple(nodules)


@cache
def earlier() -> EarlierCT:
    body = thorax(THEN, SHAPE, SPACING_MM, seed=8)
    back = np.linalg.inv(MOTION.rotation)
    # What lies at a point now lay elsewhere before: pull each voxel of the grid back through the motion.
    matrix, origin = body.affine[:3, :3], body.affine[:3, 3]
    linear = np.linalg.inv(matrix) @ back @ matrix
    offset = np.linalg.inv(matrix) @ (back @ (origin - MOTION.shift_mm) - origin)
    ct = CTVolume(ndimage.affine_transform(body.hu, linear, offset, order=1, cval=-1000), body.affine)
    lungs = segment_lungs(ct)
    landmarks = find_landmarks(ct, lungs)
    assert landmarks is not None
    return EarlierCT(ct, lungs, landmarks, MOTION)


def test_growth_and_doubling_time_are_those_drawn() -> None:
    ct, nodules = present()
    growing, shrinking, _ = (n.growth for n in growth_since(nodules, ct, earlier(), 120, CONFIGS))
    assert growing is not None
    assert shrinking is not None
    # Half a pixel on either CT.
    assert growing.mean_diameter_change_mm == pytest.approx(6, abs=1.7)
    assert shrinking.mean_diameter_change_mm == pytest.approx(-4, abs=1.7)
    # (20 / 14)^3 is 1.54 doublings, (12 / 16)^3 is -1.25.
    assert growing.volume_doubling_days == pytest.approx(120 / 1.54, rel=0.15)
    assert shrinking.volume_doubling_days == pytest.approx(120 / -1.245, rel=0.2)
    assert growing.earlier is not None
    assert growing.earlier.mean_diameter_mm == pytest.approx(14, abs=1.7)
    assert growing.days == 120


def test_a_new_nodule_is_new() -> None:
    ct, nodules = present()
    new = growth_since(nodules, ct, earlier(), 120, CONFIGS)[2].growth
    assert new is not None
    assert (new.earlier, new.mean_diameter_change_mm, new.volume_doubling_days) == (None, None, None)
    assert new.days == 120


def test_the_motion_matters() -> None:
    ct, nodules = present()
    astray = dataclasses.replace(earlier(), to_earlier=Rigid(np.eye(3), np.array([0.0, -35.0, 0.0])))
    growth = growth_since(nodules, ct, astray, 120, CONFIGS)[0].growth
    assert growth is not None
    assert growth.earlier is None


def test_outside_the_earlier_ct_a_nodule_is_new() -> None:
    ct, nodules = present()
    astray = dataclasses.replace(earlier(), to_earlier=Rigid(np.eye(3), np.array([0.0, 0.0, 500.0])))
    growth = growth_since(nodules, ct, astray, None, CONFIGS)[0].growth
    assert growth is not None
    assert growth.earlier is None


def test_what_was_not_measured_has_no_growth() -> None:
    ct, nodules = present()
    bare = dataclasses.replace(nodules[0], mask=None, measurements=None)
    assert growth_since((bare,), ct, earlier(), 120, CONFIGS) == (bare,)
    assert growth_since((), ct, earlier(), 120, CONFIGS) == ()


@pytest.mark.parametrize(("days", "volume_mm3"), [(None, 500.0), (100, 250.0), (0, 500.0)])
def test_without_days_or_change_there_is_no_doubling_time(days: int | None, volume_mm3: float) -> None:
    growth = growth_of(dataclasses.replace(MEASURED, volume_mm3=volume_mm3), MEASURED, days)
    assert growth.volume_doubling_days is None
    assert growth.mean_diameter_change_mm == 0
