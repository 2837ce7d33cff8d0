"""Cuts: against scipy's interpolation in voxels and SimpleITK's in mm; which slices a sheaf takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lungsight.ct.volume import CTVolume
from lungsight.diagnose.cuts import cut_block, cut_sheaf, sample_block, sheaf_slices
from phantom import affine_of

LINE_MM = (np.arange(64) - 31.5) * 0.7
SLICES_MM = np.arange(-4, 5) * 2.5
PLACE = st.floats(-0.2, 1.2)


def noise_ct(shape: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> CTVolume:
    hu = np.random.default_rng(3).integers(-1100, 700, shape).astype(np.int16)
    return CTVolume(hu, affine_of(spacing_zyx_mm, (-120.0, 33.0, -700.0)))


def scaled(hu: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.clip((hu + 1000) / 1500, 0, 1)


def by_scipy(ct: CTVolume, slices: NDArray[np.floating], centre_yx: NDArray[np.float64]) -> NDArray[np.float64]:
    """HU on 64 x 64 working pixels, linear between slices too; the border repeated."""
    rows, columns = (at + LINE_MM / mm for at, mm in zip(centre_yx, ct.spacing_zyx_mm[1:], strict=True))
    grid = np.meshgrid(slices, rows, columns, indexing="ij")
    hu: NDArray[np.float64] = map_coordinates(ct.hu.astype(np.float64), grid, order=1, mode="nearest")
    return hu


def by_simpleitk(ct: CTVolume, corner_mm: list[float]) -> NDArray[np.float64]:
    """HU of 9 x 64 x 64 voxels of 2.5 x 0.7 x 0.7 mm; -5000 outside."""
    itk: Any = SimpleITK
    image, grid = itk.GetImageFromArray(ct.hu.astype(np.float64)), itk.Image(64, 64, 9, itk.sitkFloat64)
    image.SetSpacing(ct.spacing_zyx_mm[::-1])
    grid.SetSpacing((0.7, 0.7, 2.5))
    grid.SetOrigin(corner_mm)
    resampled = itk.Resample(image, grid, itk.Transform(), itk.sitkLinear, -5000.0)
    hu: NDArray[np.float64] = itk.GetArrayFromImage(resampled)
    return hu


@settings(max_examples=25)
@given(
    st.sampled_from([((7, 40, 60), (2.5, 0.7, 0.7)), ((23, 70, 50), (0.8, 0.9, 0.6)), ((1, 30, 30), (5.0, 1.2, 0.4))]),
    st.tuples(PLACE, PLACE, PLACE),
)
def test_a_block_is_scipys_linear_interpolation(
    grid: tuple[tuple[int, int, int], tuple[float, float, float]], share: tuple[float, float, float]
) -> None:
    ct = noise_ct(*grid)
    centre = np.array(share) * ct.shape
    expected = by_scipy(ct, centre[0] + SLICES_MM / ct.spacing_zyx_mm[0], centre[1:])
    np.testing.assert_allclose(sample_block(ct, centre, 9, 64), expected, atol=0.02)
    found = cut_block(ct, centre)
    assert found.shape == (9, 64, 64)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scaled(expected), atol=2e-5)


def test_a_block_has_the_size_in_mm_that_simpleitk_says() -> None:
    spacing_zyx_mm = (1.9, 0.8, 0.55)
    ct = noise_ct((24, 90, 120), spacing_zyx_mm)
    centre = np.array([11.3, 44.6, 58.2])
    corner_mm = centre * spacing_zyx_mm - [10.0, 22.05, 22.05]
    expected = by_simpleitk(ct, corner_mm[::-1].tolist())
    assert expected.min() > -1101  # all of it lies inside
    np.testing.assert_allclose(sample_block(ct, centre, 9, 64), expected, atol=0.02)


def test_a_wider_or_thinner_block_has_the_same_middle() -> None:
    ct, centre = noise_ct((12, 60, 60), (2.0, 0.7, 0.9)), np.array([5.5, 31.2, 28.9])
    wide = sample_block(ct, centre, 11, 80)
    np.testing.assert_allclose(wide[1:-1, 8:-8, 8:-8], sample_block(ct, centre, 9, 64), atol=0.02)


@pytest.mark.parametrize(
    ("shape", "first", "last", "centre_yx"),
    [((30, 60, 70), 4, 24, (31.0, 40.3)), ((9, 20, 20), 0, 8, (0.0, 19.0)), ((1, 25, 9), 0, 0, (30.0, -4.0))],
)
def test_a_sheaf_is_whole_slices_of_the_cts_own(
    shape: tuple[int, int, int], first: int, last: int, centre_yx: tuple[float, float]
) -> None:
    ct = noise_ct(shape, (1.25, 0.9, 0.65))
    found = cut_sheaf(ct, np.array(centre_yx), first, last)
    expected = by_scipy(ct, np.array(sheaf_slices(first, last)), np.array(centre_yx))
    assert found.shape == (5, 64, 64)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scaled(expected), atol=2e-5)


@given(st.integers(0, 500), st.integers(0, 120))
def test_the_slices_of_a_sheaf_lie_in_the_middle_of_the_nodule(first: int, height: int) -> None:
    found = sheaf_slices(first, first + height)
    for place, z in zip((0.3, 0.4, 0.5, 0.6, 0.7), found, strict=True):
        assert abs(z - first - place * height) <= 0.5 + 1e-6
    assert first <= found[0]
    assert found[-1] <= first + height
    assert found == sorted(found)
    if height >= 10:
        assert len(set(found)) == 5
