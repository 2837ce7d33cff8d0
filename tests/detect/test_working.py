"""Working pixels: their spacing and number by arithmetic, their values by scipy's interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lungsight.detect.working import normalise_hu, sample_slice, working_pixel_mm, working_size, working_slice

SPACINGS = [(0.5, 0.5), (0.7, 0.7), (0.703, 0.703), (0.9, 0.9), (0.9, 0.6), (0.55, 1.3)]
SIZES = st.integers(1, 9)
PLACES = st.lists(st.floats(-3, 12) | st.integers(-3, 12).map(float), max_size=12)


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1100, 600, shape).astype(np.int16)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_a_working_slice_is_scipys_linear_interpolation(spacing_mm: tuple[float, float]) -> None:
    hu = noise((61, 83))
    pixel_mm = [mm if abs(mm - 0.7) <= 0.014 else 0.7 for mm in spacing_mm]
    y, x = (
        np.arange(int((size - 1) * mm / pixel + 1e-6) + 1) * pixel / mm
        for size, mm, pixel in zip(hu.shape, spacing_mm, pixel_mm, strict=True)
    )
    seen = np.clip((hu + 1000.0) / 1500, 0, 1)
    expected = map_coordinates(seen, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")
    found = working_slice(hu, spacing_mm)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("spacing_mm", "pixel_mm"),
    [(0.6865, 0.6865), (0.703, 0.703), (0.7135, 0.7135), (0.685, 0.7), (0.715, 0.7), (1.4, 0.7)],
)
def test_spacings_within_2_percent_are_taken_as_they_are(spacing_mm: float, pixel_mm: float) -> None:
    assert working_pixel_mm(spacing_mm) == pixel_mm
    hu = noise((60, 60))
    taken = working_slice(hu, (spacing_mm, spacing_mm))
    assert (taken.shape == hu.shape and np.array_equal(taken, normalise_hu(hu))) == (spacing_mm == pixel_mm)


@given(SIZES, SIZES, PLACES, PLACES, st.integers(0, 99))
def test_a_slice_at_any_rows_and_columns_is_scipys(
    rows: int, columns: int, y: list[float], x: list[float], seed: int
) -> None:
    image = np.random.default_rng(seed).random((rows, columns), np.float32)
    found = sample_slice(image, np.array(y, float), np.array(x, float))
    assert found.shape == (len(y), len(x))
    places = np.meshgrid(np.array(y, float), np.array(x, float), indexing="ij")
    expected = map_coordinates(image.astype(np.float64), places, order=1, mode="nearest")
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(st.integers(1, 1024), st.floats(0.2, 3))
def test_working_pixels_fill_the_line_and_do_not_leave_it(size: int, spacing_mm: float) -> None:
    count = working_size(size, spacing_mm)
    pixel_mm = spacing_mm if abs(spacing_mm / 0.7 - 1) <= 0.02 else 0.7
    length_mm = (size - 1) * spacing_mm
    assert (count - 1) * pixel_mm <= length_mm + 1e-5
    assert count * pixel_mm > length_mm - 1e-5
    assert working_slice(np.zeros((size, 1), np.int16), (spacing_mm, spacing_mm)).shape == (count, 1)


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
def test_hu_are_scaled_clipped_and_left_as_they_were(kind: type[Any]) -> None:
    hu = np.array([-1024, -1000, -850, 0, 500, 3071], kind)
    before = hu.copy()
    found = normalise_hu(hu)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx([0, 0, 0.1, 2 / 3, 1, 1])
    assert np.array_equal(hu, before)
