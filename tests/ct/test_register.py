"""Rigid registration of a drawn thorax and the same thorax moved by a known motion, resampled by SciPy."""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.register import Rigid, register_rigid
from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError
from phantom import Sphere, affine_of, thorax, turned
from refusals import refused

MOTION = Rigid(turned(3, -5), np.array([14.0, -9.0, 21.0]))
MARKS = np.array([(-75.0, 12.0, -40.0), (70.0, -20.0, 30.0), (-60.0, 30.0, 50.0), (0.0, 85.0, 0.0)])


@cache
def still() -> CTVolume:
    body = thorax((Sphere(),), (56, 120, 120), (4.0, 3.0, 3.0))
    return CTVolume(body.hu, body.affine)


def moved(ct: CTVolume, motion: Rigid, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> CTVolume:
    """The body of a CT moved in the patient, on another grid: a voxel there shows what lay at its place before."""
    grid = np.linalg.inv(ct.affine) @ np.linalg.inv(matrix_of(motion)) @ affine
    hu = ndimage.affine_transform(ct.hu, grid[:3, :3], grid[:3, 3], shape, order=1, cval=-1000)
    return CTVolume(hu, affine)


def matrix_of(motion: Rigid) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = motion.rotation, motion.shift_mm
    return matrix


def test_a_known_motion_is_found() -> None:
    # Another grid: thicker slices, other pixels, another origin, oblique.
    affine = affine_of((5.0, 2.6, 2.8), (-160, -165, -105), turned(4, 2))
    other = moved(still(), MOTION, affine, (46, 130, 126))
    found = register_rigid(still(), other)
    off_mm = np.linalg.norm(found(MARKS) - MOTION(MARKS), axis=1)
    assert off_mm.max() < 1.5, off_mm
    # And the way back.
    back = register_rigid(other, still())
    assert np.linalg.norm(back(MOTION(MARKS)) - MARKS, axis=1).max() < 1.5


def test_points_keep_their_shape() -> None:
    assert MOTION(np.zeros((0, 3))).shape == (0, 3)
    assert MOTION((1.0, 2.0, 3.0)) == pytest.approx(MOTION.rotation @ (1, 2, 3) + MOTION.shift_mm)


def test_another_body_is_refused() -> None:
    noise = np.random.default_rng(0).normal(0, 300, still().shape)
    other = CTVolume(noise.astype(np.int16), still().affine)
    with refused(InputError, "not alike", "one patient's chest", "--prior names an earlier chest CT"):
        register_rigid(still(), other)


def test_without_simpleitk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with refused(InputError, "needs SimpleITK", "SimpleITK", r"lungsight\[registration\]"):
        register_rigid(still(), still())
