"""What the U-Net is shown and where its answer is put, with networks that say what they see.

The numbers of the geometry (boxes of multiples of 32 px, 16 px around the lungs) are written here once more on purpose.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lungsight.ct.volume import CTVolume
from lungsight.detect.segment import field_of_slice, lung_box, score_slices
from phantom import affine_of

Field = NDArray[np.float32]
SPACINGS = st.sampled_from([0.35, 0.5, 0.69, 0.7, 0.71, 0.9, 1.4])


def pixel_of(spacing_mm: float) -> float:
    return spacing_mm if abs(spacing_mm / 0.7 - 1) <= 0.02 else 0.7


def as_it_is(field: Field) -> Field:
    return field


@given(
    st.lists(st.tuples(st.integers(0, 79), st.integers(0, 59)), min_size=1, max_size=4), st.tuples(SPACINGS, SPACINGS)
)
def test_a_box_holds_the_lungs_with_16_px_around(
    pixels: list[tuple[int, int]], spacing_mm: tuple[float, float]
) -> None:
    lungs = np.zeros((80, 60), np.bool_)
    lungs[tuple(np.transpose(pixels))] = True
    box = lung_box(lungs, spacing_mm)
    assert box is not None
    for part, places, mm in zip(box, np.transpose(pixels), spacing_mm, strict=True):
        side = part.stop - part.start
        lowest, highest = (int(place * mm / pixel_of(mm) + 1e-9) for place in (places.min(), places.max()))
        assert side % 32 == 0
        assert part.start <= lowest - 16
        assert part.stop > highest + 16
        assert side < highest - lowest + 33 + 32
        # What is more than needed lies on both sides.
        assert abs((lowest - 16 - part.start) - (part.stop - highest - 17)) <= 1


def test_a_slice_without_lung_has_no_box() -> None:
    assert lung_box(np.zeros((80, 60), np.bool_), (0.7, 0.9)) is None


@given(st.integers(-40, 20), st.integers(-40, 20), st.integers(21, 60), st.integers(21, 60))
def test_beyond_the_slice_its_border_is_repeated(top: int, left: int, bottom: int, right: int) -> None:
    image = np.random.default_rng(5).random((23, 31), np.float32)
    padded = np.pad(image, 64, mode="edge")
    found = field_of_slice(image, (slice(top, bottom), slice(left, right)))
    assert np.array_equal(found, padded[top + 64 : bottom + 64, left + 64 : right + 64])


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7), (0.9, 0.6), (0.5, 1.3), (0.703, 0.703)])
@pytest.mark.parametrize("lung", [np.s_[40:60, 50:70], np.s_[:9, :5], np.s_[-4:, -7:], np.s_[:, :]])
def test_an_answer_stands_where_it_was_seen(spacing_mm: tuple[float, float], lung: tuple[slice, slice]) -> None:
    hu = np.random.default_rng(2).integers(-1000, 500, (2, 100, 120)).astype(np.int16)
    lungs = np.zeros(hu.shape, np.bool_)
    lungs[1][lung] = True
    asked = []

    def network(field: Field) -> Field:
        asked.append((field.shape, field.dtype))
        return field

    found = score_slices(CTVolume(hu, affine_of((2.5, *spacing_mm), (0.0, 0.0, 0.0))), lungs, network)
    assert found.pixel_mm == pytest.approx(tuple(map(pixel_of, spacing_mm)))
    assert found.scores.dtype == np.float16
    assert not found.scores[0].any()
    ((shape, kind),) = asked
    assert shape[:2] == (1, 1)
    assert [side % 32 for side in shape[2:]] == [0, 0]
    assert kind == np.float32
    # Every pixel of the lungs, and 15 around it, is seen as scipy sees it; elsewhere nothing is said, or the same.
    y, x = (
        np.arange(n) * pixel / mm
        for n, pixel, mm in zip(found.scores.shape[1:], found.pixel_mm, spacing_mm, strict=True)
    )
    seen = map_coordinates((hu[1] + 1000.0) / 1500, np.meshgrid(y, x, indexing="ij"), order=1)
    right = np.abs(found.scores[1] - seen) < 1e-3
    assert np.all(right | (found.scores[1] == 0))
    rows, columns = (np.flatnonzero(lungs[1].any(1 - axis))[[0, -1]] for axis in (0, 1))
    near = [
        (line >= lung_line[0] - 15 * pixel / mm) & (line <= lung_line[1] + 15 * pixel / mm)
        for line, lung_line, pixel, mm in zip((y, x), (rows, columns), found.pixel_mm, spacing_mm, strict=True)
    ]
    assert right[np.ix_(*near)].all()


def test_without_lungs_no_network_is_asked_and_every_slice_is_told() -> None:
    def unasked(_field: Field) -> Field:
        raise AssertionError

    ct = CTVolume(np.zeros((4, 50, 61), np.int16), affine_of((2.5, 1.4, 0.7), (0.0, 0.0, 0.0)))
    told: list[float] = []
    found = score_slices(ct, np.zeros(ct.shape, np.bool_), unasked, told.append)
    assert found.scores.shape == (4, 99, 61)
    assert not found.scores.any()
    assert told == [0.25, 0.5, 0.75, 1]


def test_one_slice_of_one_pixel_is_enough() -> None:
    ct = CTVolume(np.full((1, 1, 1), 500, np.int16), affine_of((5.0, 0.9, 0.9), (0.0, 0.0, 0.0)))
    assert score_slices(ct, np.ones((1, 1, 1), np.bool_), as_it_is).scores.tolist() == [[[1.0]]]
