"""Training patches: labels against loops, sampling against scipy, augmentation that moves all alike."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lungsight.train.cases import (
    AugmentConfig,
    Motion,
    Tiles,
    cut_patches,
    make_tile,
    move_planes,
    rating_to_malignancy,
)

STILL = AugmentConfig(shift_px=0, angles_deg=(0.0,), zoom=1, flip=0, blur=0, noise_hu=0, shift_hu=0)
"""Augmentation that changes nothing; tests switch on what they look at."""
Plane = NDArray[np.float64]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    """In pixels of a tile, whose middle is (63.5, 63.5); the patch at 0.7 mm begins at its pixel 20."""
    rows, columns = np.ogrid[:128, :128]
    inside: NDArray[np.bool_] = np.hypot(rows - y, columns - x) <= radius
    return inside


def tiles_of(
    nodules: list[NDArray[np.bool_]],
    unknown: list[NDArray[np.bool_]] | None = None,
    spacing_mm: float = 0.7,
    target: tuple[float, float] = (1.0, 1.0),
) -> Tiles:
    """Tiles whose HU show the nodule itself: -1000 outside and 500 inside, which is 0 and 1 in the field."""
    n = len(nodules)
    nodule = np.stack(nodules)
    return Tiles(
        hu=np.where(nodule, 500, -1000).astype(np.float32),
        nodule=nodule,
        unknown=np.zeros_like(nodule) if unknown is None else np.stack(unknown),
        spacing_mm=np.full(n, spacing_mm, np.float32),
        target=np.tile(np.array(target, np.float32), (n, 1)),
    )


def noise_tiles(n: int, spacing_mm: float) -> Tiles:
    tiles = tiles_of([disc(60, 70, 9)] * n, spacing_mm=spacing_mm)
    return dataclasses.replace(
        tiles, hu=np.random.default_rng(1).uniform(-1100, 600, tiles.hu.shape).astype(np.float32)
    )


def labels_by_loops(nodule: NDArray[Any], unknown: NDArray[Any], area_px: float) -> tuple[Plane, Plane]:
    """Whether each of a patch's 3 x 3 windows is a ROI, and whether it is learned from."""
    roi, learned = np.zeros((3, 3)), np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        # The window lies behind 9 px of margin, its core of 30 px behind 10 more.
        core = nodule[10 * i + 19 : 10 * i + 49, 10 * j + 19 : 10 * j + 49].sum()
        other = unknown[10 * i + 9 : 10 * i + 59, 10 * j + 9 : 10 * j + 59].sum()
        roi[i, j] = core >= 0.5 * max(area_px, 1) or core >= 300
        learned[i, j] = roi[i, j] or (core <= 0.1 * area_px and other < 1)
    return roi, learned


HAND_MADE = {
    "no nodule": disc(0, 0, -1),
    "small and central": disc(63.5, 63.5, 5),
    "in the patch's corner": disc(27, 27, 4),  # under the first window's core, which begins at 39
    "at the core's edge": disc(39, 63.5, 6),
    "a quarter in a core": disc(36.5, 63.5, 6),
    "at two cores' edges": disc(49, 78, 7),
    "a large mass": disc(63.5, 63.5, 50),
    "a large mass to the side": disc(100, 40, 40),
    "outside the patch": disc(6, 120, 5),
}


@pytest.mark.parametrize("name", HAND_MADE)
@pytest.mark.parametrize("finding", ["none", "left", "right"])
def test_labels_are_those_of_the_rule(name: str, finding: str) -> None:
    nodule = HAND_MADE[name]
    unknown = {"none": disc(0, 0, -1), "left": disc(50, 31, 3), "right": disc(90, 97, 3)}[finding]
    field, target, weight = cut_patches(tiles_of([nodule], [unknown]), None, generator())
    cut = slice(20, 108)
    np.testing.assert_allclose(field[0, 0].numpy(), nodule[cut, cut], atol=1e-4)
    roi, learned = labels_by_loops(nodule[cut, cut], unknown[cut, cut], float(nodule.sum()))
    assert np.array_equal(weight[0].numpy(), learned)
    assert np.array_equal(target[0, 0].numpy(), 1 - roi)
    assert np.array_equal(target[0, 2].numpy(), roi)


@pytest.mark.parametrize(
    ("name", "roi", "learned"),
    [
        ("no nodule", "000 000 000", "111 111 111"),
        ("small and central", "111 111 111", "111 111 111"),  # all nine cores hold it
        ("in the patch's corner", "000 000 000", "111 111 111"),
        ("a large mass", "111 111 111", "111 111 111"),  # it fills the cores, though they hold a ninth of it
        ("at the core's edge", "111 000 000", "111 111 111"),  # half of it and its middle row
        ("a quarter in a core", "000 000 000", "000 111 111"),
    ],
)
def test_labels_worked_out_by_hand(name: str, roi: str, learned: str) -> None:
    _, target, weight = cut_patches(tiles_of([HAND_MADE[name]]), None, generator())
    assert [[int(w) for w in row] for row in target[0, 2].tolist()] == [[int(c) for c in row] for row in roi.split()]
    assert [[int(w) for w in row] for row in weight[0].tolist()] == [[int(c) for c in row] for row in learned.split()]


def test_another_finding_is_not_learned_from_unless_the_window_is_a_roi() -> None:
    # The nodule lies in the cores of the first column, the finding touches the windows of the last.
    nodule, unknown = disc(63.5, 43, 3), disc(63.5, 95, 2)
    _, target, weight = cut_patches(tiles_of([nodule], [unknown]), None, generator())
    assert target[0, 2].tolist() == [[1, 0, 0]] * 3
    assert weight[0].tolist() == [[1, 1, 0]] * 3
    _, target, weight = cut_patches(tiles_of([disc(63.5, 63.5, 3)], [unknown]), None, generator())
    assert target[0, 2].tolist() == weight[0].tolist() == [[1, 1, 1]] * 3


def test_targets_are_as_sure_as_the_readers() -> None:
    _, target, weight = cut_patches(tiles_of([disc(63.5, 63.5, 5)], target=(0.75, 0.25)), None, generator())
    assert target[0, :, 1, 1].tolist() == pytest.approx([0.25, 0.5625, 0.1875])
    assert torch.allclose(target.sum(1), torch.ones(1, 3, 3))
    assert weight.min() == 1


@pytest.mark.parametrize("spacing_mm", [0.45, 0.6, 0.7, 0.9, 1.1])
def test_without_augmentation_a_patch_is_scipys_linear_interpolation(spacing_mm: float) -> None:
    tiles = noise_tiles(2, spacing_mm)
    field, _, _ = cut_patches(tiles, None, generator())
    at = 63.5 + (np.arange(88) - 43.5) * 0.7 / spacing_mm
    for hu, found in zip(tiles.hu, field, strict=True):
        expected = map_coordinates(hu.astype(np.float64), np.meshgrid(at, at, indexing="ij"), order=1, mode="mirror")
        np.testing.assert_allclose(found[0].numpy(), np.clip((expected + 1000) / 1500, 0, 1), atol=1e-4)


def test_labels_are_of_the_resampled_nodule() -> None:
    spacing_mm = 0.9
    for nodule in (disc(60, 71, 6), disc(50, 75, 9), disc(63.5, 63.5, 40)):
        field, target, weight = cut_patches(tiles_of([nodule], spacing_mm=spacing_mm), None, generator())
        area_px = float(nodule.sum()) * (spacing_mm / 0.7) ** 2
        roi, learned = labels_by_loops(field[0, 0].double().numpy(), np.zeros((88, 88)), area_px)
        assert np.array_equal(target[0, 2].numpy(), roi)
        assert np.array_equal(weight[0].numpy(), learned)


def test_a_flip_moves_pixels_and_outlines_alike() -> None:
    nodule = disc(63.5, 40, 6) | disc(40, 70, 3)
    plain, flipped = (
        cut_patches(tiles_of([nodule]), dataclasses.replace(STILL, flip=chance), generator()) for chance in (0.0, 1.0)
    )
    for axis, (before, after) in zip((3, 3, 2), zip(plain, flipped, strict=True), strict=True):
        torch.testing.assert_close(after, before.flip(axis), atol=1e-4, rtol=0)
    assert not torch.equal(plain[1], flipped[1])


def test_a_rotation_moves_pixels_and_outlines_alike() -> None:
    nodule = disc(63.5, 40, 6) | disc(40, 70, 3)
    plain = cut_patches(tiles_of([nodule]), STILL, generator())
    turns = set()
    for seed in range(8):
        turned = cut_patches(tiles_of([nodule]), dataclasses.replace(STILL, angles_deg=(90.0,)), generator(seed))
        turn = 1 if torch.allclose(turned[0], plain[0].rot90(1, (2, 3)), atol=1e-3) else -1
        for axes, before, after in zip(((2, 3), (2, 3), (1, 2)), plain, turned, strict=True):
            torch.testing.assert_close(after, before.rot90(turn, axes), atol=1e-3, rtol=0)
        turns.add(turn)
    assert turns == {1, -1}


def test_a_shift_is_at_most_what_was_asked() -> None:
    tiles = tiles_of([disc(63.5, 63.5, 6)] * 64)
    field, _, _ = cut_patches(tiles, dataclasses.replace(STILL, shift_px=16.0), generator())
    line = torch.arange(88.0) - 43.5
    mass = field[:, 0].sum((1, 2))
    y = (field[:, 0].sum(2) * line).sum(1) / mass
    x = (field[:, 0].sum(1) * line).sum(1) / mass
    for offset in (y, x):
        assert offset.abs().max() <= 16.01
        assert offset.max() > 12
        assert offset.min() < -12
    assert abs(float(np.corrcoef(y, x)[0, 1])) < 0.5


def test_zoom_is_drawn_evenly_between_the_smallest_and_the_largest() -> None:
    drawn = Motion.draw(2000, dataclasses.replace(STILL, zoom=1.5, zoom_out=2.0), generator()).zoom
    assert 0.5 <= drawn.min() < 0.51
    assert 1.49 < drawn.max() <= 1.5
    assert abs(float(drawn.mean()) - 1) < 0.02


def test_zoom_enlarges_and_the_rule_knows_it() -> None:
    tiles = tiles_of([disc(63.5, 76, 7)] * 64)
    field, target, _ = cut_patches(tiles, dataclasses.replace(STILL, zoom=1.5), generator())
    grown = field.sum((1, 2, 3)) / float(tiles.nodule[0].sum())
    assert 0.98 < grown.min() < 1.2
    assert 1.9 < grown.max() < 2.27
    wrong = 0
    for seen, found in zip(field[:, 0].double().numpy(), target[:, 2].numpy(), strict=True):
        roi, _ = labels_by_loops(seen, np.zeros((88, 88)), float(seen.sum()))
        wrong += int((roi != found).sum())
    assert 0.1 < float(target[:, 2, :, 1].mean()) < 0.9  # the middle column's core lets go of it as it grows
    assert wrong <= 6  # of 576: the nodule's edge is soft


def test_augmented_labels_are_those_of_the_pixels_that_are_seen() -> None:
    nodules = [disc(y, x, r) for y in (45, 63, 80) for x in (50, 75) for r in (4, 9, 20)]
    augment = AugmentConfig(zoom=1, blur=0, noise_hu=0, shift_hu=0)
    field, target, weight = cut_patches(tiles_of(nodules), augment, generator(3))
    agree, learned_from = 0, 0
    for nodule, seen, found, used in zip(nodules, field, target, weight, strict=True):
        roi, learned = labels_by_loops(seen[0].double().numpy(), np.zeros((88, 88)), float(nodule.sum()))
        agree += int((np.array_equal(found[2].numpy(), roi)) and np.array_equal(used.numpy(), learned))
        learned_from += int(used.sum())
    assert agree == len(nodules)
    assert 0.5 * weight.numel() < learned_from < weight.numel()
    assert 0.2 < float(target[:, 2].mean()) < 0.9


@pytest.mark.parametrize(
    ("augment", "least", "most"),
    [
        (dataclasses.replace(STILL, noise_hu=40.0), 5, 30),
        (dataclasses.replace(STILL, shift_hu=12.0), 8, 16),
        (dataclasses.replace(STILL, blur=1.0), 20, 200),
    ],
    ids=["noise", "shift", "blur"],
)
def test_what_scanners_add(augment: AugmentConfig, least: float, most: float) -> None:
    tiles = noise_tiles(32, 0.7)
    tiles = dataclasses.replace(tiles, hu=(tiles.hu / 4 - 200).astype(np.float32))  # far from what is clipped
    plain, changed = (cut_patches(tiles, each, generator())[0] for each in (STILL, augment))
    off_hu = 1500 * (changed - plain)
    assert least < float(off_hu.square().mean().sqrt()) < most
    if augment.shift_hu:
        assert float(off_hu.std((1, 2, 3)).max()) < 0.1
        assert float(off_hu.mean((1, 2, 3)).abs().max()) < 50
    else:
        assert abs(float(off_hu.mean())) < 2


@pytest.mark.parametrize("spacing_mm", [0.7, 0.9])
def test_a_bend_displaces_its_points_by_what_was_drawn(spacing_mm: float) -> None:
    # Tiles that rise by 1 a row and by 1 a column tell where each pixel was taken from.
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    planes = torch.stack([rows, columns])[None]
    bend = 6 * torch.rand(1, 2, 5, 5, generator=generator(4)) - 3
    still = Motion.none(1)
    plain, bent = (move_planes(planes, torch.tensor([spacing_mm]), m, 97)[0] for m in (still, bent_by(still, bend)))
    moved = (bent - plain) * spacing_mm / 0.7
    torch.testing.assert_close(moved[:, ::24, ::24], bend[0], atol=1e-3, rtol=0)
    # In between it is smooth: no pixel overtakes its neighbour.
    assert float(bent[0].diff(dim=0).min()) > 0
    assert float(bent[1].diff(dim=1).min()) > 0


def bent_by(motion: Motion, bend: torch.Tensor) -> Motion:
    return dataclasses.replace(motion, bend=bend)


def test_a_bend_of_all_points_alike_is_a_shift() -> None:
    planes = torch.from_numpy(noise_tiles(1, 0.7).hu)[None]
    bend = torch.tensor([2.0, -3.0]).view(1, 2, 1, 1).expand(1, 2, 5, 5)
    bent = move_planes(planes, torch.tensor([0.7]), bent_by(Motion.none(1), bend), 64)
    torch.testing.assert_close(bent[0, 0], planes[0, 0, 34:98, 29:93], atol=0.1, rtol=0)


def test_a_bend_is_at_most_what_was_asked_and_leaves_the_other_draws_alone() -> None:
    plain, bent = (Motion.draw(64, AugmentConfig(bend_px=bend_px), generator(7)) for bend_px in (0.0, 4.0))
    for name in ("zoom", "angle", "mirror", "shift"):
        assert torch.equal(getattr(plain, name), getattr(bent, name))
    assert plain.bend.shape == (64, 2, 1, 1)
    assert not plain.bend.any()
    assert bent.bend.shape == (64, 2, 5, 5)
    assert 3.9 < float(bent.bend.max()) <= 4
    assert -4 <= float(bent.bend.min()) < -3.9


def test_a_bend_moves_pixels_and_outlines_alike() -> None:
    tiles = tiles_of([disc(60, 70, 12) | disc(45, 50, 5)])
    field, target, weight = cut_patches(tiles, dataclasses.replace(STILL, bend_px=5.0), generator(2))
    still = cut_patches(tiles, STILL, generator(2))
    assert float((field - still[0]).abs().max()) > 0.5
    roi, learned = labels_by_loops(field[0, 0].double().numpy(), np.zeros((88, 88)), float(tiles.nodule.sum()))
    assert np.array_equal(target[0, 2].numpy(), roi)
    assert np.array_equal(weight[0].numpy(), learned)


def test_the_same_seed_draws_the_same() -> None:
    tiles = noise_tiles(4, 0.8)
    first, again, other = (cut_patches(tiles, AugmentConfig(), generator(seed)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], other[0])
    assert 0 <= float(first[0].min()) <= float(first[0].max()) <= 1
    assert first[0].shape == (4, 1, 88, 88)


@pytest.mark.parametrize("centre_yx", [(64, 64), (0, 0), (3.2, 150.7), (79, 20), (40, 199)])
def test_a_tile_is_cut_round_its_centre_and_mirrored_at_the_borders(centre_yx: tuple[float, float]) -> None:
    plane = np.arange(80 * 200).reshape(80, 200)
    padded = np.pad(plane, 128, mode="reflect")
    y, x = (round(centre) + 64 for centre in centre_yx)
    tile = make_tile(plane, centre_yx)
    assert np.array_equal(tile, padded[y : y + 128, x : x + 128])
    assert tile[64, 64] == plane[round(centre_yx[0]), round(centre_yx[1])]


@pytest.mark.parametrize(
    ("ratings", "malignancy"),
    [([], 0.5), ([3], 0.5), ([1], 0.03), ([5], 0.97), ([2, 4], 0.5), ([1, 2, 3, 4], (0.03 + 0.2 + 0.5 + 0.8) / 4)],
)
def test_ratings_become_a_soft_malignancy(ratings: list[float], malignancy: float) -> None:
    assert rating_to_malignancy(np.array(ratings)) == pytest.approx(malignancy)
