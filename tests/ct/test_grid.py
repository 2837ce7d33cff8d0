"""Axes that run anywhere, turned."""

from __future__ import annotations

import itertools

import nibabel.orientations
import numpy as np
import pytest

from lungsight.ct.grid import as_hu, check_right_angles, plausible_hu, turn_to_slices
from lungsight.errors import CorruptFileError, InputError
from phantom import lopsided_body
from refusals import refused

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
EVERY_WAY = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("order", "signs"), EVERY_WAY)
def test_all_48_ways_to_store_a_volume_end_in_one(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """The stored axes are a permutation and flip of (slice, row, column): turned, they are those again."""
    body = lopsided_body()
    stored, affine = body.hu, body.affine
    for axis, sign in enumerate(signs):
        if sign < 0:
            stored = np.flip(stored, axis)
            affine = affine.copy()
            affine[:3, 3] += affine[:3, axis] * (body.hu.shape[axis] - 1)
            affine[:3, axis] *= -1
    stored = stored.transpose(order)
    affine = affine[:, [*order, 3]]
    turned, turned_affine = turn_to_slices(stored, LPS_TO_RAS @ affine)
    np.testing.assert_array_equal(turned, body.hu)
    np.testing.assert_allclose(turned_affine, body.affine, atol=1e-9)
    assert turned.flags.c_contiguous
    assert "".join(nibabel.orientations.aff2axcodes(LPS_TO_RAS @ turned_affine)) == "SPL"  # type: ignore[no-untyped-call]


def test_right_angles_pass() -> None:
    assert check_right_angles(lopsided_body().affine, "x") == ()


def test_sheared_grid_is_told() -> None:
    affine = lopsided_body().affine.copy()
    affine[:3, 0] += lopsided_body().column_direction * 2.5 * np.tan(np.radians(10))
    assert check_right_angles(affine, "x") == (
        "The axes lean by 10.0 degrees: the volume's grid is sheared by as much.",
    )


def test_too_much_shear() -> None:
    affine = lopsided_body().affine.copy()
    affine[:3, 0] += lopsided_body().column_direction * 2.5
    with refused(InputError, "axes of x.nii lean by 45.0 degrees", "at most 35 degrees", "Resample"):
        check_right_angles(affine, "x.nii")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_matrix_without_inverse(value: float) -> None:
    affine = lopsided_body().affine.copy()
    affine[:3, 1] = value
    with refused(CorruptFileError, "x.nii has a matrix without inverse", "a matrix from voxels", "Convert"):
        check_right_angles(affine, "x.nii")


@pytest.mark.parametrize(
    ("values", "hu", "dtype"),
    [
        (np.array([-1000, 40], np.int16), [-1000, 40], np.int16),
        (np.array([-3024.0, -1025, -1024, 3]), [-1000, -1000, -1024, 3], np.int16),
        (np.array([0, 70000], np.uint32), [0, 70000], np.float32),
        (np.array([0.5, -2000]), [0.5, -1000], np.float32),
        (np.array([200], np.uint8), [200], np.int16),
        (np.array([], np.float32), [], np.int16),
    ],
)
def test_as_hu(values: np.ndarray[tuple[int], np.dtype[np.float64]], hu: list[float], dtype: type) -> None:
    found, warnings = as_hu(values)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, hu)
    assert warnings == ()


def test_values_that_are_not_finite_become_air() -> None:
    hu, warnings = as_hu(np.array([np.nan, np.inf, 5.0], np.float32))
    np.testing.assert_array_equal(hu, [-1000, -1000, 5])
    assert warnings == ("2 voxels have no finite value and were taken as air.",)


@pytest.mark.parametrize(("lowest", "told"), [(-1, False), (0, True), (20, True)])
def test_plausible_hu(lowest: int, told: bool) -> None:
    assert bool(plausible_hu(np.array([lowest, 255]))) is told
