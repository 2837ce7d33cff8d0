"""The lung mask on a drawn thorax, whose every part is known, and on real patients."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from lungsight.config import LungsConfig
from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs

Mask = NDArray[np.bool_]
Parts = dict[str, Mask]

REAL = Path(__file__).parents[3] / "shared" / "data" / "chest_ct"
HEIGHT_MM, DEPTH_MM, WIDTH_MM = 330.0, 290.0, 400.0


@cache
def thorax(
    spacing_mm: tuple[float, float, float] = (5.0, 2.0, 2.0),
    nodule: tuple[tuple[float, float, float], float] | None = None,
    lungs: tuple[str, ...] = ("right", "left"),
) -> tuple[CTVolume, Parts]:
    """A drawn thorax in a wide field of view; the origin of the patient's LPS mm lies between the lungs.

    The right lung is larger and has a hollow for the liver; trachea and bronchi reach the lungs; stomach gas, arms in
    a blanket's air, and a table of foam in a thin shell are what a threshold would also find. `nodule` is its centre
    (LPS mm) and diameter in mm.
    """
    extent = (HEIGHT_MM, DEPTH_MM, WIDTH_MM)
    shape = [round(mm / step) for mm, step in zip(extent, spacing_mm, strict=True)]
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
    affine[:, 3] = (-WIDTH_MM / 2 + 7, -DEPTH_MM / 2 + 5, -HEIGHT_MM / 2, 1)
    z, y, x = (
        affine[2 - i, 3] + step * np.arange(n) for i, (n, step) in enumerate(zip(shape, spacing_mm, strict=True))
    )
    s, p, l = np.meshgrid(z, y, x, indexing="ij")  # noqa: E741 (to the head, to the back, to the left)

    def ball(centre: tuple[float, float, float], *radii: float) -> Mask:
        inside: Mask = sum(((a - c) / r) ** 2 for a, c, r in zip((l, p, s), centre, radii, strict=True)) <= 1
        return inside

    def tube(start: tuple[float, float, float], stop: tuple[float, float, float], radius: float) -> Mask:
        axis = np.subtract(stop, start)
        along = np.clip(sum((a - c) * d for a, c, d in zip((l, p, s), start, axis, strict=True)) / (axis @ axis), 0, 1)
        inside: Mask = (
            sum((a - c - along * d) ** 2 for a, c, d in zip((l, p, s), start, axis, strict=True)) <= radius**2
        )
        return inside

    parts = {
        "body": (l / 170) ** 2 + (p / 110) ** 2 <= 1,
        "right": ball((-75, 0, 0), 60, 85, 110) & ~ball((-75, -20, -110), 55, 70, 75),
        "left": ball((78, 5, 10), 52, 80, 100),
        "stomach": ball((60, -40, -125), 35, 30, 25),
        "table": (p > 113) & (p < 128) & (np.abs(l) < 150),
        "shell": (p > 110) & (p < 131) & (np.abs(l) < 153),
    }
    airways = (
        tube((0, 5, 20), (0, 5, 170), 9) | tube((0, 5, 20), (-55, 10, -5), 6.5) | tube((0, 5, 20), (55, 10, -5), 6.5)
    )
    walls = tube((0, 5, 20), (0, 5, 170), 11) | tube((0, 5, 20), (-35, 8, 4), 8.5) | tube((0, 5, 20), (35, 8, 4), 8.5)
    hu = np.full(shape, -1000.0)
    hu[parts["shell"]] = 50
    hu[parts["table"]] = -920
    hu[parts["body"]] = 40
    parts["lungs"] = np.zeros(shape, np.bool_)
    for lung in lungs:
        hu[parts[lung]] = -850
        parts["lungs"] |= parts[lung]
    if "right" in lungs and "left" in lungs:
        hu[walls] = 40
        hu[airways] = -1000
        parts["airways"] = airways & walls
        parts["lungs"] &= ~walls
    hu[parts["stomach"]] = -1000
    if nodule:
        parts["nodule"] = ball(nodule[0], *[nodule[1] / 2] * 3)
        hu[parts["nodule"]] = 30
    hu += np.random.default_rng(3).normal(0, 20, shape)
    return CTVolume(np.round(hu).astype(np.int16), affine), parts


def cut_out(ct: CTVolume, box: tuple[slice, ...]) -> CTVolume:
    hu: NDArray[np.int16] = np.ascontiguousarray(ct.hu[box], np.int16)
    return CTVolume(hu, ct.affine)


def dice(mask: Mask, truth: Mask) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def covered(mask: Mask, part: Mask) -> float:
    assert part.any()
    return float(mask[part].mean())


def test_both_lungs_are_found_and_nothing_else() -> None:
    ct, parts = thorax()
    mask = segment_lungs(ct)
    assert mask.shape == ct.shape
    assert mask.dtype == np.bool_
    assert dice(mask, parts["lungs"]) > 0.985
    assert covered(mask, parts["right"]) > 0.97
    assert covered(mask, parts["left"]) > 0.97
    assert covered(mask, parts["airways"]) < 0.02
    for name in ("stomach", "shell"):
        assert not mask[parts[name]].any(), name
    assert not mask[~parts["body"]].any()


@pytest.mark.parametrize(
    ("where", "centre_lps_mm", "diameter_mm"),
    [
        ("inside", (-75, 20, 30), 30),
        ("at the ribs, right", (-122, 0, 5), 28),
        ("at the ribs, left", (112, -10, 20), 32),
        ("at the back", (-75, 72, 20), 26),
        ("beside the mediastinum", (-30, -30, 30), 14),
    ],
)
def test_a_nodule_stays_inside(where: str, centre_lps_mm: tuple[float, float, float], diameter_mm: float) -> None:
    ct, parts = thorax(nodule=(centre_lps_mm, diameter_mm))
    without, _ = thorax()
    in_lung = parts["nodule"] & parts["lungs"]
    assert covered(without.hu < -500, in_lung) > 0.95, "the phantom itself"
    assert covered(segment_lungs(ct), in_lung) > 0.9, where


def test_the_hollow_of_the_liver_stays_out() -> None:
    ct, parts = thorax()
    _, y, _ = (round(float(i)) for i in ct.to_zyx((-75, -20, 0)))
    liver = parts["body"] & ~parts["lungs"]
    liver[:, : y - 20] = liver[:, y + 20 :] = False
    columns = ct.to_lps(np.stack(np.nonzero(liver), -1))
    deep = (np.abs(columns[:, 0] + 75) < 40) & (columns[:, 2] < -50)
    assert deep.sum() > 1000
    assert segment_lungs(ct)[liver][deep].mean() < 0.01


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_orientation_does_not_matter(order: tuple[int, int, int], flips: tuple[int, int, int]) -> None:
    ct, _ = thorax((10.0, 3.1, 2.9))
    expected = segment_lungs(ct)
    affine = ct.affine[:, [*order, 3]].copy()
    step = tuple(slice(None, None, flip) for flip in flips)
    hu = ct.hu.transpose(order)[step]
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (hu.shape[axis] - 1)
            affine[:3, axis] *= -1
    turned = segment_lungs(CTVolume(np.ascontiguousarray(hu, np.int16), affine))
    assert expected.any()
    np.testing.assert_array_equal(turned, expected.transpose(order)[step])


def test_an_oblique_series_is_turned_by_its_nearest_axes() -> None:
    ct, parts = thorax()
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = (np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))
    assert dice(segment_lungs(CTVolume(ct.hu, turn @ ct.affine)), parts["lungs"]) > 0.985


def test_a_cut_to_the_lungs_without_the_air_around_the_body() -> None:
    ct, parts = thorax()
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(parts["lungs"]))
    cut = cut_out(ct, box)
    assert dice(segment_lungs(cut), parts["lungs"][box]) > 0.98


def test_a_cut_with_corners_of_air_and_a_strip_of_table() -> None:
    ct, parts = thorax()
    box = np.s_[:, 10:-13, 12:-12]
    cut = cut_out(ct, box)
    mask = segment_lungs(cut)
    assert parts["table"][box].any()
    assert not mask[~parts["body"][box]].any()
    assert dice(mask, parts["lungs"][box]) > 0.985


def test_a_cut_through_the_lungs() -> None:
    ct, parts = thorax()
    box = np.s_[:, :, 45:-45]
    cut = cut_out(ct, box)
    assert parts["lungs"][box][:, :, 0].any()
    assert dice(segment_lungs(cut), parts["lungs"][box]) > 0.97


@pytest.mark.parametrize("lung", ["right", "left"])
def test_one_lung_only(lung: str) -> None:
    ct, parts = thorax(lungs=(lung,))
    assert dice(segment_lungs(ct), parts["lungs"]) > 0.98


def test_no_lung_is_an_empty_mask() -> None:
    ct, parts = thorax(lungs=())
    mask = segment_lungs(ct)
    assert parts["stomach"].any()
    assert mask.shape == ct.shape
    assert not mask.any()


@pytest.mark.parametrize("hu", [-1000, -850, 0])
def test_a_ct_of_one_value_has_no_lung(hu: int) -> None:
    assert not segment_lungs(CTVolume(np.full((4, 20, 24), hu, np.int16), np.eye(4))).any()


def test_one_voxel_is_no_crash() -> None:
    assert not segment_lungs(CTVolume(np.full((1, 1, 1), -850, np.int16), np.eye(4))).any()


@pytest.mark.parametrize("slices", [1, 3])
def test_few_slices(slices: int) -> None:
    ct, parts = thorax(nodule=((-75, 20, 30), 30))
    start = round(float(ct.to_zyx((0, 0, 30))[0]))
    few = np.s_[start : start + slices]
    mask = segment_lungs(CTVolume(ct.hu[few], ct.affine))
    assert dice(mask, parts["lungs"][few]) > 0.97
    assert covered(mask, parts["nodule"][few]) > 0.95


@pytest.mark.parametrize("spacing_mm", [(10.0, 2.0, 2.0), (5.0, 4.5, 6.2), (1.6, 3.0, 3.0), (6.0, 0.9, 1.1)])
def test_spacing(spacing_mm: tuple[float, float, float]) -> None:
    ct, parts = thorax(spacing_mm)
    assert dice(segment_lungs(ct), parts["lungs"]) > 0.965


def test_float_and_padding_change_nothing() -> None:
    ct, _ = thorax()
    expected = segment_lungs(ct)
    np.testing.assert_array_equal(segment_lungs(CTVolume(ct.hu.astype(np.float32), ct.affine)), expected)
    padded = ct.hu.copy()
    padded[:, :6] = padded[:, :, :6] = -2048
    np.testing.assert_array_equal(segment_lungs(CTVolume(padded, ct.affine)), expected)


def test_the_settings_are_used() -> None:
    ct, parts = thorax(nodule=((112, -10, 20), 32))
    open_to_the_ribs = segment_lungs(ct, LungsConfig(costal_closing_mm=0.0, closing_mm=0.0))
    assert covered(open_to_the_ribs, parts["nodule"] & parts["left"]) < 0.2
    assert not segment_lungs(ct, LungsConfig(min_area_mm2=1e6)).any()


def real(name: str) -> Path:
    path = REAL / f"{name}.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in ../shared/data/chest_ct")
    return path


@pytest.mark.parametrize(("patient", "least"), [("LCTSC-002", 0.975), ("LCTSC-005", 0.96)])
def test_real_lungs_agree_with_a_person(patient: str, least: float) -> None:
    mask = segment_lungs(read_ct(real(f"{patient}_ct")))
    assert dice(mask, label(real(f"{patient}_lungs"))) > least


def test_a_real_tumour_is_inside() -> None:
    mask = segment_lungs(read_ct(real("QIN-LSC-0028_ct")))
    assert covered(mask, label(real("QIN-LSC-0028_tumour"))) > 0.95


def label(path: Path) -> Mask:
    marked: Mask = np.asarray(Nifti1Image.from_filename(path).dataobj).transpose(2, 1, 0) > 0
    return marked
