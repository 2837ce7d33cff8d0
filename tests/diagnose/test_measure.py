"""Measurements of bodies whose size and place are known, on straight, oblique and thick grids."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.config import MeasureConfig
from lungsight.ct.volume import CTVolume
from lungsight.diagnose.measure import Landmarks, find_landmarks, in_plane_axes_mm, measure_nodule
from lungsight.findings import Density, Measurements, Region
from phantom import affine_of, turned

GRIDS = {"thin": (1.0, 0.7, 0.7), "thick": (5.0, 0.9, 0.6)}
ROTATIONS = {"straight": turned(0, 0), "oblique": turned(12, 7)}


class Chest:
    """Two lungs as blocks: 90 mm high, the right one 50 mm wide, the left one 40 mm, 20 mm between them."""

    def __init__(self, grid: str = "thin", rotation: str = "straight") -> None:
        spacing = GRIDS[grid]
        shape = tuple(int(mm / s) for mm, s in zip((100, 60, 130), spacing, strict=True))
        affine = affine_of(spacing, (-65, -30, -50), ROTATIONS[rotation])
        self.ct = CTVolume(np.full(shape, -850, np.int16), affine)
        self.lps = self.ct.to_lps(np.moveaxis(np.indices(shape), 0, -1))
        # The blocks lie along the grid, so the border of their mask is sharp on every grid.
        z, y, x = (i * s for i, s in zip(np.indices(shape), spacing, strict=True))
        right, left = (x > 10) & (x < 60), (x > 80) & (x < 120)
        self.lungs = (right | left) & (z > 5) & (z < 95) & (y > 5) & (y < 55)
        self.landmarks = find_landmarks(self.ct, self.lungs)

    def at(self, zyx_mm: tuple[float, float, float]) -> NDArray[np.float64]:
        """Distance vectors (L, P, S) of all voxels from a point that is given along the grid's axes."""
        centre = self.ct.to_lps(np.divide(zyx_mm, self.ct.spacing_zyx_mm))
        away: NDArray[np.float64] = self.lps - centre
        return away

    def measure(self, mask: NDArray[np.bool_], hu: int | NDArray[np.int16] = 30) -> Measurements:
        values = self.ct.hu.copy()
        values[mask] = hu if isinstance(hu, int) else hu[mask]
        corner = np.argwhere(mask).min(0)
        stop = np.argwhere(mask).max(0) + 1
        z, y, x = corner.tolist()
        tight = mask[tuple(slice(a, b) for a, b in zip(corner, stop, strict=True))]
        assert isinstance(self.landmarks, Landmarks)
        return measure_nodule(CTVolume(values, self.ct.affine), Region((z, y, x), tight), self.landmarks)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("diameter_mm", [8.0, 14.0, 25.0])
def test_a_sphere(grid: str, rotation: str, diameter_mm: float) -> None:
    chest = Chest(grid, rotation)
    mask = np.linalg.norm(chest.at((50.3, 30.2, 35.1)), axis=-1) <= diameter_mm / 2
    measured = chest.measure(mask)
    # The largest slice passes the centre within half a spacing: 2.5 mm off, 8 mm become 6.2.
    slice_mm, row_mm, _ = GRIDS[grid]
    widest = 2 * np.sqrt((diameter_mm / 2) ** 2 - np.array([slice_mm / 2, 0]) ** 2)
    for axis_mm in (measured.long_axis_mm, measured.short_axis_mm):
        assert widest[0] - row_mm < axis_mm < widest[1] + row_mm
    assert measured.short_axis_mm <= measured.long_axis_mm + row_mm / 2
    # Whether a voxel belongs is decided at its centre: a fifth of the volume for 8 mm in slices of 5 mm.
    assert measured.volume_mm3 == pytest.approx(np.pi / 6 * diameter_mm**3, rel=0.2 if grid == "thick" else 0.04)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("degrees", [0, 35, 90])
def test_an_ellipsoid_turned_in_its_plane(grid: str, rotation: str, degrees: int) -> None:
    chest = Chest(grid, rotation)
    away = chest.at((50.0, 30.2, 35.1)) @ chest.ct.affine[:3, [2, 1, 0]] / chest.ct.spacing_zyx_mm[::-1]  # x, y, z
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along, across = away[..., 0] * cosine + away[..., 1] * sine, away[..., 1] * cosine - away[..., 0] * sine
    mask = (along / 11) ** 2 + (across / 6) ** 2 + (away[..., 2] / 15) ** 2 <= 1
    measured = chest.measure(mask)
    pixel_mm = GRIDS[grid][1]
    assert measured.long_axis_mm == pytest.approx(22, abs=pixel_mm)
    assert measured.short_axis_mm == pytest.approx(12, abs=pixel_mm)
    assert measured.mean_diameter_mm == pytest.approx(17, abs=pixel_mm)
    assert measured.volume_mm3 == pytest.approx(np.pi * 4 / 3 * 11 * 6 * 15, rel=0.05)


def test_the_largest_slice_counts_and_not_the_widest_extent_of_all() -> None:
    # Two plates of one slice each, at right angles: no slice is wide along both.
    mask = np.zeros((2, 30, 40), np.bool_)
    mask[0, 5:25, 5:9] = mask[1, 5:8, 5:35] = True
    ct = CTVolume(np.zeros(mask.shape, np.int16), affine_of((1, 1, 1), (0, 0, 0)))
    landmarks = find_landmarks(ct, np.pad(np.ones((2, 28, 38), np.bool_), ((0, 0), (1, 1), (1, 1))))
    assert landmarks is not None
    measured = measure_nodule(ct, Region((0, 0, 0), mask), landmarks)
    assert measured.long_axis_mm == pytest.approx(np.hypot(29, 2) + 0.5)


def test_axes_of_a_bar_with_unequal_pixels() -> None:
    bar = np.zeros((9, 20), np.bool_)
    bar[3:5, 2:18] = True
    # 15 steps of 0.5 mm and 1 step of 2 mm: the diagonal, and half a pixel of the geometric mean, 1 mm.
    assert in_plane_axes_mm(bar, (2.0, 0.5))[0] == pytest.approx(np.hypot(7.5, 2) + 0.5)


@pytest.mark.parametrize(
    ("rim_hu", "core_hu", "core_mm", "density"),
    [
        (30, 30, 8.0, Density.SOLID),
        (-299, -299, 8.0, Density.SOLID),
        (-301, -301, 8.0, Density.GROUND_GLASS),
        (-650, -650, 8.0, Density.GROUND_GLASS),
        (-650, 20, 8.0, Density.PART_SOLID),
        (-650, 20, 1.3, Density.GROUND_GLASS),  # a vessel
        (-650, 20, 15.0, Density.SOLID),  # a solid nodule with a blurred edge
    ],
)
def test_density_classes(rim_hu: int, core_hu: int, core_mm: float, density: Density) -> None:
    chest = Chest()
    away = np.linalg.norm(chest.at((50.3, 30.2, 35.1)), axis=-1)
    hu = np.where(away <= core_mm / 2, core_hu, rim_hu).astype(np.int16)
    measured = chest.measure(away <= 8, hu)
    assert measured.density is density
    assert measured.mean_hu == pytest.approx(hu[away <= 8].mean())
    if density is Density.PART_SOLID:
        assert measured.solid_diameter_mm == pytest.approx(core_mm, abs=0.7)
    else:
        assert measured.solid_diameter_mm is None


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize(
    ("zyx_mm", "place"),
    [
        ((15, 30, 30), ("right", "lower")),
        ((50, 30, 30), ("right", "middle")),
        ((85, 30, 30), ("right", "upper")),
        ((15, 30, 100), ("left", "lower")),
        ((85, 30, 100), ("left", "upper")),
    ],
)
def test_side_and_zone(zyx_mm: tuple[float, float, float], place: tuple[str, str], rotation: str) -> None:
    chest = Chest("thin", rotation)
    measured = chest.measure(np.linalg.norm(chest.at(zyx_mm), axis=-1) <= 4)
    assert (measured.side, measured.zone) == place


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("x_mm", "expected_mm"), [(30.0, 16.0), (20.0, 6.0), (14.0, 0.0), (11.0, 0.0)])
def test_distance_to_the_pleura(x_mm: float, expected_mm: float, grid: str) -> None:
    chest = Chest(grid)
    # The nearest surface lies at x = 10.
    mask = (np.linalg.norm(chest.at((50, 30, x_mm)), axis=-1) <= 4) & chest.lungs
    assert chest.measure(mask).pleura_distance_mm == pytest.approx(expected_mm, abs=1.5)


def test_the_end_of_the_ct_is_no_pleura() -> None:
    chest = Chest()
    slab = slice(40, 60)
    affine = chest.ct.affine.copy()
    affine[:3, 3] = chest.ct.to_lps((40, 0, 0))
    ct = CTVolume(chest.ct.hu[slab], affine)
    landmarks = find_landmarks(ct, chest.lungs[slab])
    assert landmarks is not None
    mask = np.linalg.norm(chest.at((41, 30, 35)), axis=-1) <= 4
    corner = np.argwhere(mask[slab]).min(0)
    region = Region(tuple(corner.tolist()), mask[slab][tuple(slice(k, None) for k in corner)])
    assert measure_nodule(ct, region, landmarks).pleura_distance_mm > 15


def test_with_one_lung_the_middle_of_the_ct_parts_the_sides() -> None:
    chest = Chest()
    x_mm = np.indices(chest.ct.shape)[2] * GRIDS["thin"][2]
    for lung, side in ((x_mm < 70, "right"), (x_mm > 70, "left")):
        landmarks = find_landmarks(chest.ct, chest.lungs & lung)
        assert landmarks is not None
        assert -15 < landmarks.midline_lps_x_mm < 15, side
        assert landmarks.heights_lps_z_mm["left"] == landmarks.heights_lps_z_mm["right"]


def test_without_lung_there_are_no_landmarks() -> None:
    chest = Chest("thick")
    assert find_landmarks(chest.ct, np.zeros_like(chest.lungs)) is None
    assert find_landmarks(chest.ct, np.ones_like(chest.lungs)) is None  # no surface


def test_settings_out_of_range_are_refused() -> None:
    for setting, value in (("solid_share", 1.5), ("least_solid_mm", -1.0)):
        with pytest.raises(ValueError, match=f"{setting} is {value}, expected"):
            dataclasses.replace(MeasureConfig(), **{setting: value})
