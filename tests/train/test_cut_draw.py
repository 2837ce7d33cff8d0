"""Batches of cuts: which are drawn, that they are the CT's own pixels, and that a place's slices change alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor

from lungsight.train.cut_draw import CUT_AUGMENT, CutCases, CutDraw, CutDrawer, move_cuts
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.recipe import AugmentConfig

STILL = AugmentConfig(shift_px=0, angles_deg=(0.0,), zoom=1, flip=0, blur=0, noise_hu=0, shift_hu=0)
# Place k has -900 + 100 k HU; group 0 has the places 0 to 2, group 1 the places 3 to 5.
CHANCE = np.array([1.0, 0.0, 3.0, 1.0, 1.0, 0.0])
GROUP = np.array([0, 0, 0, 1, 1, 1])
UNUSED = NoduleNetwork("resnet", None)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def read(k: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float32]:
    """Two slices; the second differs by what the generator draws, 0 to 50 HU."""
    hu = np.repeat(-900.0 + 100 * k[:, None], 2, 1)
    hu[:, 1] += rng.uniform(0, 50, len(k))
    return np.broadcast_to(hu[:, :, None, None], (len(k), 2, 92, 92)).astype(np.float32)


def cases() -> CutCases:
    target = np.column_stack([np.linspace(0, 1, 6), GROUP]).astype(np.float32)
    weight = np.column_stack([np.ones(6), np.linspace(0.5, 1, 6)]).astype(np.float32)
    return CutCases(read, np.full(6, 0.7, np.float32), target, weight, GROUP, CHANCE)


def drawn(
    step: int = 0, counts: tuple[int, ...] = (40, 8), augment: AugmentConfig | None = None, seed: int = 1
) -> list[Tensor]:
    return list(CutDrawer(cases(), CutDraw(counts), augment, (seed,))(step, UNUSED))


def places_of(field: Tensor) -> list[int]:
    return [round((float(level) * 1500 - 100) / 100) for level in field[:, 0, 32, 32]]


def test_the_same_number_draws_the_same() -> None:
    first, again, later = (drawn(step, (3, 2), CUT_AUGMENT) for step in (7, 7, 8))
    assert [tuple(part.shape) for part in first] == [(5, 2, 64, 64), (5, 2), (5, 2)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], later[0])
    assert not torch.equal(first[0], drawn(7, (3, 2), CUT_AUGMENT, seed=2)[0])
    assert 0 <= float(first[0].min()) <= float(first[0].max()) <= 1


def test_groups_are_drawn_as_asked_and_places_as_often_as_they_shall() -> None:
    field, target, weight = drawn(counts=(40, 8))
    places = places_of(field)
    seen = Counter(places)
    assert sorted(seen) == [0, 2, 3, 4]  # the other two have no chance
    assert seen[0] + seen[2] == 40
    assert 22 <= seen[2] <= 37  # three of four
    assert torch.equal(target, torch.from_numpy(cases().target[places]))
    assert torch.equal(weight, torch.from_numpy(cases().weight[places]))
    assert sorted(set(places_of(drawn(counts=(0, 12))[0]))) == [3, 4]
    assert sorted(set(places_of(drawn(counts=(12,))[0]))) == [0, 2]
    # What is drawn while reading is drawn anew for each batch.
    second = [drawn(step, (0, 1))[0][0, 1, 0, 0] % (1 / 15) for step in range(4)]
    assert len({round(float(level), 6) for level in second}) == 4


def test_what_is_wanted_and_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="4 cuts a batch of group 2 are wanted"):
        CutDrawer(cases(), CutDraw((1, 1, 4)), None, (1,))
    with pytest.raises(ValueError, match="1 cuts a batch of group 0 are wanted"):
        CutDrawer(replace(cases(), chance=CHANCE * GROUP), CutDraw((1, 1)), None, (1,))
    for counts in ((), (0, 0), (3, -1)):
        with pytest.raises(ValueError, match="expected a cut in a batch"):
            CutDraw(counts)


def noise(slices: int, alike: bool = False) -> Tensor:
    """Two places; far from what is clipped."""
    hu = np.random.default_rng(4).uniform(-700, 200, (2, 1 if alike else slices, 92, 92)).astype(np.float32)
    return torch.from_numpy(np.repeat(hu, slices if alike else 1, 1))


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7), (0.55, 0.95)])
@pytest.mark.parametrize("augment", [None, STILL])
def test_unmoved_a_cut_is_scipys_linear_interpolation(
    spacing_mm: tuple[float, float], augment: AugmentConfig | None
) -> None:
    planes = noise(3)
    found = move_cuts(planes, torch.tensor(spacing_mm), augment, torch.Generator().manual_seed(1))
    assert found.is_contiguous()
    for k, mm in enumerate(spacing_mm):
        at = 45.5 + (np.arange(64) - 31.5) * 0.7 / mm
        for hu, seen in zip(planes[k].double().numpy(), found[k].numpy(), strict=True):
            expected = map_coordinates(hu, np.meshgrid(at, at, indexing="ij"), order=1, mode="mirror")
            np.testing.assert_allclose(seen, (expected + 1000) / 1500, atol=1e-4)


def test_the_slices_of_a_place_are_moved_and_changed_alike_noise_apart() -> None:
    augment = replace(CUT_AUGMENT, noise_hu=0.0, blur=1.0)
    found = move_cuts(noise(4, alike=True), torch.full((2,), 0.7), augment, torch.Generator().manual_seed(3))
    inside = found[..., 1:-1]  # a blur sees the next slice's border, since they lie side by side
    for k in range(1, 4):
        torch.testing.assert_close(inside[:, k], inside[:, 0], atol=1e-6, rtol=0)
    plain = move_cuts(noise(4, alike=True), torch.full((2,), 0.7), None, torch.Generator())
    assert float((found - plain).abs().mean()) > 0.05
    noisy = move_cuts(
        noise(4, alike=True), torch.full((2,), 0.7), replace(augment, noise_hu=30.0), torch.Generator().manual_seed(3)
    )
    off_hu = 1500 * (noisy - found)
    assert float(off_hu.std()) > 1
    assert abs(float(np.corrcoef(off_hu[0, 0].ravel(), off_hu[0, 1].ravel())[0, 1])) < 0.2


def test_another_calibration_is_that_of_all_slices() -> None:
    still, found = (
        move_cuts(noise(3), torch.full((2,), 0.7), each, torch.Generator().manual_seed(5))
        for each in (STILL, replace(STILL, shift_hu=12.0))
    )
    off_hu = 1500 * (found - still)
    assert float(off_hu.std((1, 2, 3)).max()) < 0.01
    assert float(off_hu.mean((1, 2, 3)).abs().min()) > 0.05
