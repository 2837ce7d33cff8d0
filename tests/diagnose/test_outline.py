"""The nodule inside a ROI, on bodies whose border is known: blurred spheres alone, on a vessel, on the chest wall."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import OutlineConfig
from lungsight.ct.volume import CTVolume
from lungsight.diagnose.outline import outline_nodule
from lungsight.findings import Candidate, Region
from phantom import affine_of, turned

LUNG_HU, SOLID_HU, GLASS_HU = -850, 30, -600
SIDE_MM = 48.0
CENTRE_MM = np.array([1.3, -2.1, 0.8])
GRIDS = {"thin": (1.0, 0.7, 0.7), "thick": (2.5, 0.9, 0.6), "fine": (0.8, 0.5, 0.5)}


class Scene:
    """A piece of lung round (0, 0, 0), drawn on a grid three times finer along each axis, then blurred and binned."""

    def __init__(self, spacing_zyx_mm: tuple[float, float, float], noise_hu: float = 15.0) -> None:
        self.spacing_mm = spacing_zyx_mm
        self.noise_hu = noise_hu
        counts = [int(SIDE_MM / mm) for mm in spacing_zyx_mm]
        fine = [(np.arange(3 * n) - (3 * n - 1) / 2) * mm / 3 for n, mm in zip(counts, spacing_zyx_mm, strict=True)]
        self.z, self.y, self.x = np.meshgrid(*fine, indexing="ij", sparse=True)
        self.fine_hu = np.full([3 * n for n in counts], float(LUNG_HU), np.float32)
        self.affine = affine_of(spacing_zyx_mm, (-40, 20, 300), turned(6, 4))

    def away_mm(self, centre_mm: NDArray[np.float64] = CENTRE_MM) -> NDArray[np.float64]:
        z, y, x = centre_mm
        away: NDArray[np.float64] = np.sqrt((self.z - z) ** 2 + (self.y - y) ** 2 + (self.x - x) ** 2)
        return away

    def ct(self) -> CTVolume:
        # A scanner blurs by about 0.6 mm in the plane, and over a slice's thickness along z (the bins do that).
        hu = ndimage.gaussian_filter(self.fine_hu, [0, *(3 * 0.6 / mm for mm in self.spacing_mm[1:])], truncate=2.5)
        nz, ny, nx = (n // 3 for n in hu.shape)
        hu = hu.reshape(nz, 3, ny, 3, nx, 3).mean((1, 3, 5))
        noise = np.random.default_rng(2).normal(0, self.noise_hu, hu.shape)
        return CTVolume(np.rint(hu + noise).astype(np.int16), self.affine)

    def outline(
        self, lungs: NDArray[np.bool_] | None = None, off_mm: tuple[float, float, float] = (0, 0, 0)
    ) -> NDArray[np.bool_] | None:
        """The mask, in the whole grid; the ROI is all but a rim, its centre `off_mm` from the nodule's."""
        ct = self.ct()
        centre = (CENTRE_MM + off_mm) / self.spacing_mm + (np.array(ct.shape) - 1) / 2
        rim = [int(6 / mm) for mm in self.spacing_mm]
        z, y, x = rim
        roi = Region((z, y, x), np.ones([n - 2 * r for n, r in zip(ct.shape, rim, strict=True)], np.bool_))
        centre[0] = round(centre[0])
        candidate = Candidate(ct.locate(centre), SIDE_MM - 12, 1.0, roi)
        region = outline_nodule(ct, np.ones(ct.shape, np.bool_) if lungs is None else lungs, candidate)
        if region is None:
            return None
        mask = np.zeros(ct.shape, np.bool_)
        mask[region.box] = region.mask
        return mask

    def inside(self, fine: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of what is drawn, the voxels whose centres lie inside."""
        middle: NDArray[np.bool_] = fine[1::3, 1::3, 1::3]
        return middle


def ball_diameter_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    return float(np.cbrt(6 / np.pi * mask.sum() * np.prod(spacing_mm)))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("hu", "diameter_mm"), [(SOLID_HU, 6.0), (SOLID_HU, 11.0), (GLASS_HU, 11.0)])
def test_half_height_finds_the_border_of_a_blurred_sphere(grid: str, hu: int, diameter_mm: float) -> None:
    scene = Scene(GRIDS[grid])
    scene.fine_hu[scene.away_mm() <= diameter_mm / 2] = hu
    mask = scene.outline(off_mm=(0.0, 1.5, -1.5))
    assert mask is not None
    # Within a pixel, though slices may be more than three pixels apart.
    off_mm = ball_diameter_mm(mask, GRIDS[grid]) - diameter_mm
    assert abs(off_mm) < GRIDS[grid][1], off_mm


def test_a_large_mass_is_filled() -> None:
    scene = Scene(GRIDS["thick"])
    scene.fine_hu[scene.away_mm() <= 15] = SOLID_HU
    mask = scene.outline(off_mm=(5.0, -4.0, 4.0))
    assert mask is not None
    assert dice(mask, scene.inside(scene.away_mm() <= 15)) > 0.95


def test_a_vessel_is_cut_off() -> None:
    scene = Scene(GRIDS["thin"])
    nodule = scene.away_mm() <= 5
    vessel = np.broadcast_to(np.hypot(scene.z - CENTRE_MM[0], scene.x - CENTRE_MM[2] - 1) <= 1.5, nodule.shape)
    scene.fine_hu[nodule | vessel] = SOLID_HU
    mask = scene.outline()
    assert mask is not None
    assert dice(mask, scene.inside(nodule)) > 0.85
    beyond = scene.inside(vessel & (np.abs(scene.y - CENTRE_MM[1]) > 8))
    assert beyond.sum() > 50
    assert not (mask & beyond).any()


def test_the_chest_wall_is_cut_off_where_the_lung_ends() -> None:
    scene = Scene(GRIDS["thin"])
    nodule = scene.away_mm() <= 5
    wall = np.broadcast_to(scene.x > CENTRE_MM[2] + 4, nodule.shape)
    scene.fine_hu[nodule | wall] = SOLID_HU
    mask = scene.outline(lungs=~scene.inside(wall))
    assert mask is not None
    assert dice(mask, scene.inside(nodule & ~wall)) > 0.85


def test_ground_glass_round_a_solid_core_belongs_to_the_nodule() -> None:
    scene = Scene(GRIDS["thin"], noise_hu=10)
    scene.fine_hu[scene.away_mm() <= 8] = GLASS_HU
    scene.fine_hu[scene.away_mm() <= 3.5] = SOLID_HU
    mask = scene.outline()
    assert mask is not None
    assert ball_diameter_mm(mask, GRIDS["thin"]) == pytest.approx(16, abs=1)


def test_a_denser_neighbour_is_not_taken_for_the_nodule() -> None:
    scene = Scene(GRIDS["thin"])
    nodule = scene.away_mm() <= 4
    scene.fine_hu[nodule] = -350
    scene.fine_hu[scene.away_mm(np.add(CENTRE_MM, (0, 12, 0))) <= 6] = SOLID_HU
    mask = scene.outline(off_mm=(0, 2, 0))
    assert mask is not None
    assert dice(mask, scene.inside(nodule)) > 0.8


def test_where_nothing_stands_out_there_is_no_nodule() -> None:
    assert Scene(GRIDS["thin"]).outline() is None


def test_a_vessel_s_end_is_no_nodule() -> None:
    scene = Scene(GRIDS["thin"])
    scene.fine_hu[scene.away_mm() <= 0.9] = 400
    assert scene.outline() is None


def test_without_lung_there_is_no_nodule() -> None:
    scene = Scene(GRIDS["thick"])
    scene.fine_hu[scene.away_mm() <= 5] = SOLID_HU
    assert scene.outline(lungs=np.zeros(scene.ct().shape, np.bool_)) is None


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("opening_share", 1.5, "opening_share is 1.5, expected 0 to 1"),
        ("span_share", -1.0, "span_share is -1.0, expected 0 or more"),
        ("halo_outer_mm", 1.0, "halo_inner_mm and halo_outer_mm are 1.5 and 1.0, expected to ascend"),
        ("glass_high_hu", -900.0, "glass_low_hu and glass_high_hu are -780.0 and -900.0, expected to ascend"),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OutlineConfig(), **{setting: value})
