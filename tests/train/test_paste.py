from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.volume import CTVolume
from lungsight.train.paste import ALIKE, Host, find_place, hu_step, kept_slices, paste, thicken
from lungsight.train.simulate import cut_control
from lungsight.train.stamp import Piece, Stamp, beside_of, cut_stamp, fine_structure, tissue_share
from phantom import affine_of, turned
from virtual import SPACING_ZYX_MM, lopsided_piece, phantom_host

Box = tuple[slice, slice, slice]


def pasted(host: Host, piece: Piece, seed: int = 0, step_hu: int = 1) -> tuple[NDArray[np.int16], Box, Stamp]:
    stamp = cut_stamp(piece, SPACING_ZYX_MM)
    hu = np.array(host.ct.hu, np.int16)
    box = find_place(np.random.default_rng(seed), host, hu, host.closed, stamp)
    assert box is not None
    paste(hu, host.lungs, stamp, box, step_hu)
    return hu, box, stamp


def whole_mask(host: Host, box: Box, stamp: Stamp) -> NDArray[np.bool_]:
    mask = np.zeros(host.ct.shape, np.bool_)
    mask[box] = stamp.mask
    return mask


def fine_noise(hu: NDArray[np.int16], where: NDArray[np.bool_]) -> float:
    return float(np.std(fine_structure(hu.astype(np.float64))[where]))


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_where_the_ct_changed(seed: int) -> None:
    host = phantom_host()
    hu, box, stamp = pasted(host, lopsided_piece(), seed)
    mask = whole_mask(host, box, stamp)
    brighter = (hu.astype(int) - host.ct.hu) > 450  # half way from the phantom's lung to its nodule
    rim = ndimage.binary_dilation(mask, iterations=1)
    assert not brighter[~rim].any()
    assert brighter[mask].mean() > 0.98
    changed = hu != host.ct.hu
    inside = np.zeros_like(mask)
    inside[box] = True
    assert not changed[~inside].any()
    assert not changed[~host.lungs].any()
    assert np.median(hu[mask]) == pytest.approx(40, abs=5)


def test_places_are_inside_the_lungs_beside_no_lesion_and_everywhere() -> None:
    host = phantom_host()
    rng = np.random.default_rng(1)
    stamp = cut_stamp(lopsided_piece(), SPACING_ZYX_MM)
    hu = np.asarray(host.ct.hu, np.int16)
    middles = []
    for _ in range(40):
        box = find_place(rng, host, hu, host.closed, stamp)
        assert box is not None
        mask = whole_mask(host, box, stamp)
        assert host.lungs[mask].all()
        assert not (host.closed[box] & (stamp.alpha > 0)).any()
        middles.append([s.start for s in box])
    assert (np.ptp(middles, axis=0) > (20, 25, 60)).all()  # both lungs, from base to top


def walled_piece() -> Piece:
    """The lopsided nodule at a wall, which makes up a share of what lies beside it."""
    piece = lopsided_piece()
    hu = piece.hu.copy()
    hu[:, :, : int(np.argwhere(piece.mask)[:, 2].min()) + 2] = 60
    return Piece(hu, piece.mask, piece.spacing_zyx_mm)


def tissue_beside_places(piece: Piece) -> list[float]:
    host = phantom_host()
    hu, stamp = np.asarray(host.ct.hu, np.int16), cut_stamp(piece, SPACING_ZYX_MM)
    assert stamp.tissue_beside == tissue_share(piece.hu, beside_of(piece.mask, SPACING_ZYX_MM))
    boxes = [find_place(np.random.default_rng(seed), host, hu, host.closed, stamp) for seed in range(8)]
    masks = [whole_mask(host, box, stamp) for box in boxes if box is not None]
    return [tissue_share(hu, beside_of(mask, SPACING_ZYX_MM)) for mask in masks]


def test_a_nodule_touches_about_as_much_as_in_its_own_lung() -> None:
    free, at_wall = tissue_beside_places(lopsided_piece()), tissue_beside_places(walled_piece())
    assert max(free) <= ALIKE  # nothing lay beside it
    assert np.median(at_wall) > 0.05  # 0.28 of it was wall; the phantom has few such places, any has 0.01


def test_what_was_drawn_has_touched_nothing() -> None:
    piece = lopsided_piece()
    drawn = Piece(piece.hu, piece.mask, piece.spacing_zyx_mm, noiseless=True)
    assert cut_stamp(drawn, SPACING_ZYX_MM).tissue_beside is None


def test_where_all_is_lesion_there_is_no_place() -> None:
    host = phantom_host()
    stamp = cut_stamp(lopsided_piece(), SPACING_ZYX_MM)
    hu = np.asarray(host.ct.hu, np.int16)
    assert find_place(np.random.default_rng(1), host, hu, np.ones_like(host.closed), stamp) is None


def test_a_large_vessel_is_no_place() -> None:
    host = phantom_host()
    hu = np.full(host.ct.shape, -200, np.int16)
    stamp = cut_stamp(lopsided_piece(), SPACING_ZYX_MM)
    assert find_place(np.random.default_rng(1), host, hu, host.closed, stamp) is None


@pytest.mark.parametrize(("nodule_noise_hu", "host_noise_hu"), [(5.0, 40.0), (20.0, 20.0), (30.0, 20.0)])
def test_a_nodule_takes_on_the_noise_of_its_place(nodule_noise_hu: float, host_noise_hu: float) -> None:
    host = phantom_host(noise_hu=host_noise_hu)
    seen = []
    for seed in range(3):
        hu, box, stamp = pasted(host, lopsided_piece(noise_hu=nodule_noise_hu), seed)
        seen.append(hu[box][ndimage.binary_erosion(stamp.mask, np.ones((1, 3, 3)))])
    assert np.std(seen) == pytest.approx(host_noise_hu, rel=0.4)  # undone it would be 0.13, 1 and 1.5 of it


def test_a_block_of_another_lung_leaves_no_trace_in_mean_and_noise() -> None:
    host, other = phantom_host(noise_hu=30.0), phantom_host("other", 15.0, 8)
    brighter = dataclasses.replace(other, ct=CTVolume(other.ct.hu + np.int16(60), other.ct.affine))
    rng = np.random.default_rng(5)
    means, noises = [], []
    for seed in range(8):
        control = cut_control(rng, brighter, lopsided_piece())
        assert control is not None
        hu, box, stamp = pasted(host, control, seed)
        mask = whole_mask(host, box, stamp)
        assert (hu[mask] != host.ct.hu[mask]).mean() > 0.9  # it is another lung
        means.append(hu[mask].mean() - host.ct.hu[mask].mean())
        z = box[0]
        noises.append(fine_noise(hu[z], mask[z]) / fine_noise(np.asarray(host.ct.hu[z], np.int16), mask[z]))
    assert np.mean(means) == pytest.approx(0, abs=6)
    assert np.mean(noises) == pytest.approx(1, abs=0.12)


def test_hu_stay_as_coarse_as_the_hosts() -> None:
    host = phantom_host()
    coarse = dataclasses.replace(host, ct=CTVolume((host.ct.hu // 8 * 8).astype(np.int16), host.ct.affine))
    step_hu = hu_step(np.asarray(coarse.ct.hu, np.int16))
    hu, _, _ = pasted(coarse, lopsided_piece(), step_hu=step_hu)
    assert (step_hu, hu_step(hu)) == (8, 8)


def test_slices_of_twice_the_spacing_are_means_of_pairs() -> None:
    ct = phantom_host().ct
    thick = thicken(ct, 5.0)
    pairs = ct.hu.reshape(-1, 2, *ct.shape[1:]).mean(1)
    assert np.abs(thick.hu - pairs).max() <= 0.5
    assert thick.spacing_zyx_mm == pytest.approx((5.0, *ct.spacing_zyx_mm[1:]))


@pytest.mark.parametrize("thickness_mm", [2.5, 3.7, 5.0, 9.0])
def test_thick_slices_keep_their_place_in_the_patient(thickness_mm: float) -> None:
    affine = affine_of((2.5, 0.9, 0.6), (-183.4, 71.6, -904.9), turned(20, 7))
    along = affine[:3, 0] / 2.5
    thin = CTVolume(np.zeros((31, 3, 4), np.float32), affine)
    points = thin.to_lps(np.moveaxis(np.indices(thin.shape), 0, -1))
    ct = CTVolume((10 * (points @ along)).astype(np.float32), affine)  # each voxel tells where it lies
    thick = thicken(ct, thickness_mm)
    told = 10 * (thick.to_lps(np.moveaxis(np.indices(thick.shape), 0, -1)) @ along)
    # A slab that does not begin between two slices takes shares of them, which is a little less exact.
    assert np.abs(thick.hu - told).max() <= (0.51 if thickness_mm in (2.5, 5.0) else 10 * 2.5 / 4)
    assert len(thick.hu) == int(31 * 2.5 / thickness_mm)


def test_what_does_not_fill_a_slab_is_left_out() -> None:
    assert kept_slices(79, 3.0, 5.0) == 78  # 47 slabs of 5 mm are 235 mm, the 79th slice ends at 237
    assert len(thicken(CTVolume(np.zeros((79, 2, 2), np.int16), np.diag([3.0, 1, 1, 1])), 5.0).hu) == 47


def test_slices_cannot_be_made_thinner() -> None:
    with pytest.raises(ValueError, match=r"40 slices 2\.5 mm apart cannot be made 2 mm thick"):
        thicken(CTVolume(np.zeros((40, 2, 2), np.int16), np.diag([2.5, 1, 1, 1])), 2.0)
