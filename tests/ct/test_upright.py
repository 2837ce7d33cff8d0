"""Turning a CT upright: all 48 ways to lay out the axes of an oblique body without symmetry, SimpleITK as judge."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own name for itself
from numpy.typing import NDArray

from lungsight.ct.upright import Turn, turn_upright
from lungsight.ct.volume import CTVolume, SourceInstance
from lungsight.findings import Region
from phantom import affine_of, lopsided_body, turned

BODY = lopsided_body((4, 5, 7))
LAYOUTS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
STRAIGHT = affine_of((2.5, 0.9, 0.6), (-183.4, 71.6, -1204.9))
OBLIQUE = affine_of((2.5, 0.9, 0.6), (-183.4, 71.6, -1204.9), turned(30, -25))


def laid_out(axes: tuple[int, ...], flips: tuple[bool, ...], affine: NDArray[np.float64] = OBLIQUE) -> CTVolume:
    """The body, upright under `affine`, with its axes in another order and direction; no voxel moves in the patient."""
    hu = BODY.hu.transpose(axes)
    to_upright = np.zeros((4, 4))
    to_upright[3, 3] = 1
    for axis, (of, flip) in enumerate(zip(axes, flips, strict=True)):
        to_upright[of, axis] = -1 if flip else 1
        to_upright[of, 3] = BODY.hu.shape[of] - 1 if flip else 0
        hu = np.flip(hu, axis) if flip else hu
    return CTVolume(hu.copy(), affine @ to_upright)


def by_simpleitk(ct: CTVolume) -> tuple[NDArray[Any], tuple[float, ...], tuple[float, ...]]:
    """HU, origin and spacing (x, y, z) of the CT as SimpleITK turns it to L, P, S."""
    image: Any = sitk.GetImageFromArray(ct.hu)
    lengths = np.linalg.norm(ct.affine[:3, :3], axis=0)
    image.SetSpacing(lengths[::-1].tolist())
    image.SetOrigin(ct.affine[:3, 3].tolist())
    image.SetDirection((ct.affine[:3, :3] / lengths)[:, ::-1].ravel().tolist())
    orient: Any = sitk.DICOMOrient
    turned_image: Any = orient(image, "LPS")
    return sitk.GetArrayFromImage(turned_image), turned_image.GetOrigin(), turned_image.GetSpacing()


@pytest.mark.parametrize(("axes", "flips"), LAYOUTS)
def test_every_layout_comes_upright_with_each_voxel_in_its_place(
    axes: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    source = laid_out(axes, flips)
    turn = turn_upright(source)
    upright = turn.volume(source)
    assert np.array_equal(upright.hu, BODY.hu)
    np.testing.assert_allclose(upright.affine, OBLIQUE, atol=1e-9)
    voxels = np.argwhere(np.ones(upright.shape, np.bool_))
    in_source = turn.to_source(voxels)
    np.testing.assert_allclose(source.to_lps(in_source), upright.to_lps(voxels), atol=1e-9)
    assert np.array_equal(source.hu[tuple(in_source.astype(int).T)], upright.hu.ravel())


@pytest.mark.parametrize(("axes", "flips"), LAYOUTS)
def test_simpleitk_turns_it_the_same_way(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    source = laid_out(axes, flips)
    upright = turn_upright(source).volume(source)
    hu, origin_lps, spacing_xyz = by_simpleitk(source)
    assert np.array_equal(upright.hu, hu)
    assert upright.to_lps((0, 0, 0)) == pytest.approx(origin_lps, abs=1e-6)
    assert upright.spacing_zyx_mm == pytest.approx(spacing_xyz[::-1], abs=1e-9)


def test_slices_rise_to_the_head_rows_to_the_back_columns_to_the_left() -> None:
    for axes, flips in LAYOUTS:
        source = laid_out(axes, flips, STRAIGHT)
        upright = turn_upright(source).volume(source)
        steps_lps = upright.to_lps(np.eye(3)) - upright.to_lps(np.zeros(3))
        np.testing.assert_allclose(steps_lps, [(0, 0, 2.5), (0, 0.9, 0), (0.6, 0, 0)], atol=1e-9)


@pytest.mark.parametrize(("axes", "flips"), LAYOUTS)
def test_a_region_comes_back_to_exactly_its_voxels(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    turn = turn_upright(laid_out(axes, flips))
    mask = np.random.default_rng(4).random((2, 3, 4)) < 0.4
    region = Region((1, 2, 1), mask)
    expected = np.zeros(BODY.hu.shape, np.bool_)
    expected[region.box] = mask
    back = turn.region_to_source(region)
    found = np.zeros(turn.shape, np.bool_)
    found[back.box] = back.mask
    assert found.sum() == mask.sum()
    assert np.array_equal(turn.array(found), expected)


@pytest.mark.parametrize(("axes", "flips"), LAYOUTS)
def test_to_write_in_the_turned_view_is_to_write_in_the_source(
    axes: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    source = laid_out(axes, flips)
    turn = turn_upright(source)
    marks = np.zeros(source.shape, np.int16)
    turn.array(marks)[3, 1, 6] = 9
    (marked,) = np.argwhere(marks)
    np.testing.assert_allclose(source.to_lps(marked), turn.volume(source).to_lps((3, 1, 6)), atol=1e-9)


def test_what_is_upright_is_left_as_it_is() -> None:
    ct = CTVolume(BODY.hu, OBLIQUE, "1.2.3", tuple(SourceInstance(f"1.2.{z}") for z in range(4)))
    turn = turn_upright(ct)
    assert turn == Turn((0, 1, 2), (False, False, False), (4, 5, 7))
    assert turn.volume(ct) is ct


def test_a_turned_ct_shares_its_voxels_and_keeps_its_series() -> None:
    straight = laid_out((2, 0, 1), (True, False, True))
    source = CTVolume(straight.hu, straight.affine, "1.2.3")
    upright = turn_upright(source).volume(source)
    assert upright.series_uid == "1.2.3"
    assert np.shares_memory(upright.hu, source.hu)
