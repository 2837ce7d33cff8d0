"""Windows without nodule: where they lie, which of them are false alarms, and how many hard ones are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lungsight.train.mining import LungCase, LungTiles, find_false_alarms, lung_windows, window_alarms, window_centres
from lungsight.train.networks import WindowModule
from lungsight.train.recipe import MiningConfig

Places = NDArray[np.float64]


class Bright(WindowModule):
    """Takes a window for a ROI if the 30 px in its middle are bright."""

    def forward(self, field: Tensor) -> Tensor:
        return self.dense(field)

    def dense(self, field: Tensor) -> Tensor:
        edge = functional.avg_pool2d(field[..., 19:-19, 19:-19], 30, 10)
        return torch.cat([torch.zeros_like(edge), (edge - 0.3) * 1000, torch.full_like(edge, -1000.0)], 1)


def case(spacing_mm: float = 0.7) -> LungCase:
    """Three slices of 200 x 240 px; two show lung, of -800 and -700 HU; a finding in the second one's corner."""
    hu = np.stack([np.full((200, 240), value, np.int16) for value in (-800, -700, -600)])
    lungs, lesions = np.zeros(hu.shape, np.bool_), np.zeros(hu.shape, np.bool_)
    lungs[:2, 50:150, 50:190] = True
    lesions[1, 130:160, 170:200] = True
    return LungCase("ann", hu, lungs, lesions, (spacing_mm, spacing_mm), lung_windows(lungs, (spacing_mm, spacing_mm)))


@pytest.mark.parametrize("spacing_mm", [0.7, 0.9])
def test_alarms_are_the_centres_of_lung_windows_that_score(spacing_mm: float) -> None:
    known = case(spacing_mm)
    step = 0.7 / spacing_mm
    y, x = (int(20 * step * 5), int(20 * step * 4))
    known.hu[0, y - 18 : y + 18, x - 18 : x + 18] = 500
    search = window_alarms(Bright(), 0.5)
    found = search(known, 0)
    assert len(found)
    # The window's core of 30 px, in source pixels, must be bright by a third: it reaches into the square.
    assert np.all(np.abs(found - (y - 0.5, x - 0.5)) < 18 + 15 * step)
    assert np.abs(found - (y - 0.5, x - 0.5)).sum(1).min() <= 10 * step + 0.01
    grid = (found / step - 24.5) / 10
    np.testing.assert_allclose(grid, np.rint(grid), atol=1e-9)
    assert search(known, 1).shape == search(known, 2).shape == (0, 2)
    assert window_alarms(Bright(), 1.0)(known, 1).shape == (0, 2)


def test_lung_windows_are_those_that_hold_a_lung_pixel() -> None:
    known = case()
    expected = [
        [z, i, j]
        for z in range(3)
        for i in range(16)
        for j in range(20)
        if known.lungs[z, 10 * i : 10 * i + 50, 10 * j : 10 * j + 50].any()
    ]
    assert known.windows.tolist() == expected
    assert lung_windows(known.lungs[2:], (0.7, 0.7)).shape == (0, 3)
    assert window_centres(np.array([[2, 5]]), (0.7, 1.4)).tolist() == [[44.5, pytest.approx(74.5 / 2)]]


def test_alarms_near_a_finding_are_none() -> None:
    asked = []

    def search(_case: LungCase, z: int) -> Places:
        asked.append(z)
        return np.array([(60.0, 70.0), (145.0, 185.0), (105.0, 145.0), (104.0, 150.0)])

    found = find_false_alarms(search, [case(), case()], 1.0, np.random.default_rng(1))
    assert asked == [0, 1, 2] * 2
    # The finding's first pixel is (130, 170): a window of 50 px round (105, 145) ends before it, one round 106 not.
    places: list[Any] = [(60, 70), (105, 145), (104, 150)]
    everywhere = [(n, z, y, x) for n in (0, 1) for z in (0, 1, 2) for y, x in [*places, (145, 185)]]
    assert sorted(map(tuple, found.tolist())) == sorted(p for p in everywhere if p[1] != 1 or p[2:] != (145, 185))
    assert find_false_alarms(search, [], 1.0, np.random.default_rng(1)).shape == (0, 4)
    asked.clear()
    find_false_alarms(search, [case()] * 40, 0.25, np.random.default_rng(1))
    assert 15 <= len(asked) <= 45  # of 120


def alarm_at(*places: tuple[float, float]) -> Any:
    return lambda _case, z: np.array(places, float).reshape(-1, 2) if z == 0 else np.zeros((0, 2))


def tiles(share: float = 0.5, **mining: int) -> LungTiles:
    return LungTiles([case()], MiningConfig(share=share, share_of_slices=1.0, **mining), (3,))


def test_tiles_are_drawn_of_lung_windows_and_hard_ones_first() -> None:
    drawn = tiles(first=0)
    drawn.cases[0].hu[0, 60, 70] = 77
    rng = np.random.default_rng
    plain = drawn.draw(rng(1), 6)
    assert plain.hu.shape == plain.unknown.shape == plain.nodule.shape == (6, 128, 128)
    assert set(plain.hu[:, 0, 0].tolist()) == {-800.0, -700.0}
    assert not plain.nodule.any()
    assert not plain.target.any()
    assert plain.spacing_mm.tolist() == [pytest.approx(0.7)] * 6
    assert np.array_equal(plain.hu, drawn.draw(rng(1), 6).hu)
    drawn.search(0, alarm_at(*[(60.2, 70.3)] * 3))
    hard = drawn.draw(rng(1), 6).hu[:, 64, 64].tolist()
    assert hard[:3] == [77.0] * 3
    assert 77.0 not in hard[3:]
    assert drawn.draw(rng(1), 8).hu[:, 64, 64].tolist().count(77.0) == 3  # of the four that are wanted
    assert drawn.draw(rng(1), 0).hu.shape == (0, 128, 128)


def test_findings_in_a_tile_are_unknown() -> None:
    drawn = tiles(first=0)
    drawn.search(0, alarm_at((120.0, 140.0)))
    assert not drawn.draw(np.random.default_rng(1), 2).unknown[0].any()  # slice 0 has none
    drawn.cases[0].lesions[0, 150:] = True
    unknown = drawn.draw(np.random.default_rng(1), 2).unknown[0]
    assert np.array_equal(unknown, np.broadcast_to(np.arange(128)[:, None] >= 94, (128, 128)))


def test_it_searches_when_it_is_time_and_keeps_the_last_rounds() -> None:
    drawn, times = tiles(first=4, every=3, rounds=2), []
    for step in range(12):
        before = drawn.found
        drawn.search(step, alarm_at((50.0 + step, 70.0)))
        times += [step] if drawn.found is not before else []
    assert times == [4, 7, 10]
    assert [places[:, 2].tolist() for places in drawn.found] == [[60.0], [57.0]]
    never = tiles(share=0.0, first=0)
    never.search(0, alarm_at((60.0, 70.0)))
    assert never.found == []
    # A run that begins late, without alarms, searches at once, and not again if there were none.
    late = tiles(first=4, every=3)
    late.search(5, alarm_at())
    late.search(6, alarm_at((60.0, 70.0)))
    assert [len(places) for places in late.found] == [0]


def test_what_was_found_goes_into_a_checkpoint_and_out() -> None:
    drawn, again = tiles(first=0), tiles(first=0)
    drawn.search(0, alarm_at((60.0, 70.0), (90.0, 100.0)))
    again.load_state_dict(drawn.state_dict())
    one, other = (each.draw(np.random.default_rng(5), 4) for each in (drawn, again))
    assert np.array_equal(one.hu, other.hu)
    assert np.array_equal(np.concatenate(again.found), np.concatenate(drawn.found))
