"""Batches for the U-Net: which slices are drawn, what is learned from them, and where false alarms are seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from lungsight.train.draw import NoduleCases
from lungsight.train.mining import LungCase
from lungsight.train.recipe import AugmentConfig, MiningConfig
from lungsight.train.slice_draw import SliceDraw, SliceDrawer, slice_alarms, thick_run
from lungsight.train.unet import UNet

# Tile k has -900 + 100 k HU all over; nodule 0 has the tiles 0 to 3, nodule 1 the tiles 4 to 6, nodule 2 tile 7.
NODULE = np.array([0, 0, 0, 0, 1, 1, 1, 2])
SURE = np.array([1.0, 0.75, 0.4, 1.0], np.float32)
CHANCE = np.array([2.0, 0.0, 1.0, 5.0])  # the last one has no tile
Z_MM = np.array([0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, np.nan])
LUNG_HU = 450
PLAIN = SliceDraw(side_px=32, nodules=6, lungs=2, thick=0.0)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Bright(UNet):
    """Sees a nodule where a pixel is above -250 HU."""

    def __init__(self) -> None:
        super().__init__((2, 2))

    def forward(self, field: Tensor) -> Tensor:
        return (field - 0.5) * 100


def read(k: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """All readers enclosed the left of a nodule, half of them its right if the tile is odd; a finding touches it."""
    hu = np.broadcast_to(-900 + 100 * k[:, None, None], (len(k), 128, 128)).astype(np.float32)
    share, other = np.zeros((len(k), 128, 128), np.float32), np.zeros((len(k), 128, 128), np.bool_)
    share[:, 60:68, 56:64] = 1
    share[:, 60:68, 64:72] = (k[:, None, None] % 2) / 2
    other[:, 60:68, 50:60] = True
    return hu, share, other


def nodules(**changed: NDArray[np.float64] | None) -> NoduleCases:
    target = np.column_stack([SURE, np.full(4, 0.5, np.float32)])
    known = NoduleCases(read, np.full(8, 0.7, np.float32), NODULE, target, CHANCE, Z_MM)
    return replace(known, **changed)  # type: ignore[arg-type]


def lung_case(spacing_mm: float = 0.7) -> LungCase:
    """Two slices of even HU; the second shows lung on its left, and findings from row 70 on."""
    hu = np.full((2, 140, 160), LUNG_HU, np.int16)
    lungs, lesions = np.zeros(hu.shape, np.bool_), np.zeros(hu.shape, np.bool_)
    lungs[1, 20:120, 20:80] = True
    lesions[1, 70:] = True
    return LungCase("ann", hu, lungs, lesions, (spacing_mm, spacing_mm), np.array([(1, 4, 3)], np.int16))


def drawer(config: SliceDraw = PLAIN, augment: AugmentConfig | None = None, seed: int = 1) -> SliceDrawer:
    return SliceDrawer(nodules(), [lung_case()], config, augment, (seed,))


def hu_of(field: Tensor) -> list[float]:
    """Of the middle of each patch."""
    middle = field.shape[-1] // 2
    return [float(level) * 1500 - 1000 for level in field[:, 0, middle, middle]]


def test_the_same_number_draws_the_same() -> None:
    config = replace(PLAIN, thick=0.5)
    first, again, later = (drawer(config, AugmentConfig(bend_px=3.0)).draw(step) for step in (4, 4, 5))
    other = drawer(config, AugmentConfig(bend_px=3.0), seed=2).draw(4)
    assert [tuple(part.shape) for part in first] == [(8, 1, 32, 32)] * 3
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], later[0])
    assert not torch.equal(first[0], other[0])


def test_nodules_are_drawn_as_often_as_they_shall_and_tiles_alike() -> None:
    tiles: Counter[int] = Counter()
    many = drawer(replace(PLAIN, side_px=16, nodules=60, lungs=0))
    for step in range(10):
        tiles.update(round((hu + 900) / 100) for hu in hu_of(many.draw(step)[0]))
    assert sorted(tiles) == [0, 1, 2, 3, 7]
    assert 160 < tiles[7] < 240  # a third of 600
    assert all(65 < tiles[k] < 135 for k in range(4))


def test_nodules_that_are_not_sure_are_left_out_unless_all_are_such() -> None:
    config = replace(PLAIN, side_px=16, nodules=40, lungs=0)
    sure = {round((hu + 900) / 100) for hu in hu_of(drawer(replace(config, least_sure=1.0)).draw(0)[0])}
    every = {round((hu + 900) / 100) for hu in hu_of(drawer(config).draw(0)[0])}
    assert sure < every
    assert {float(SURE[NODULE[k]]) for k in sure} == {1.0}
    unsure = nodules(target=np.column_stack([np.full(4, 0.6, np.float32), np.full(4, 0.5, np.float32)]))
    none_is_sure = SliceDrawer(unsure, (), replace(config, least_sure=1.0), None, (1,))
    assert {round((hu + 900) / 100) for hu in hu_of(none_is_sure.draw(0)[0])} == every


def test_a_patch_is_learned_from_as_its_readers_and_findings_say() -> None:
    field, target, weight = drawer().draw(0)
    for hu, shown, known in zip(hu_of(field)[:6], target[:6, 0], weight[:6, 0], strict=True):
        tile = round((hu + 900) / 100)
        sure = SURE[NODULE[tile]]
        _, share, _ = read(np.array([tile]))
        assert np.allclose(shown, share[0, 48:80, 48:80] * sure, atol=1e-4)
        # The finding lies at 50 to 59; where the nodule is as likely as not, it is learned from nevertheless.
        expected = np.ones((32, 32))
        expected[12:20, 2:12] = 0
        expected[12:20, 8:12] = sure >= 0.5
        assert np.array_equal(known, expected)
    lungs = slice(6, None)
    assert hu_of(field)[lungs] == [pytest.approx(LUNG_HU, abs=0.1)] * 2
    assert not target[lungs].any()
    # The window's middle is row 64.5 and column 54.5; the patch's first row is row 48, findings begin at row 70.
    assert weight[lungs, 0, :, 16].sum(1).tolist() == [22, 22]


def test_thick_slices_are_means_over_the_neighbours() -> None:
    config = replace(PLAIN, nodules=40, lungs=0, thick=1.0, thick_mm=3.0)
    runs = {tuple(thick_run(Z_MM, np.arange(4), tile, mm).tolist()) for tile in range(4) for mm in (0, 2, 3)} | {(7,)}
    expected = {round(-900 + 100 * float(np.mean(run))): run for run in runs}
    field, target, _ = drawer(config).draw(0)
    seen = Counter(round(hu) for hu in hu_of(field))
    assert set(seen) <= set(expected)
    assert {-850, -650} < set(seen)  # tiles 0 and 1, 2 and 3
    of_pairs = [k for k, hu in enumerate(hu_of(field)) if round(hu) == -850]
    assert torch.allclose(
        target[of_pairs, 0, 16, 20], torch.tensor(0.25), atol=1e-4
    )  # half of the readers, in one of two
    for without in (replace(config, thick=0.0), replace(config, thick_mm=0.0)):
        assert {round(hu) for hu in hu_of(drawer(without).draw(0)[0])} == {-900, -800, -700, -600, -200}
    blind = SliceDrawer(nodules(z_mm=None), [], config, None, (1,))
    assert {round(hu) for hu in hu_of(blind.draw(0)[0])} == {-900, -800, -700, -600, -200}


@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=8, unique=True),
    st.integers(0, 7),
    st.integers(0, 12),
)
def test_a_thick_slice_shows_what_lies_within_half_its_thickness(z: list[int], tile: int, thick_mm: int) -> None:
    tile %= len(z)
    found = thick_run(np.array([*z, 0.0]), np.arange(len(z)), tile, float(thick_mm))
    assert found.tolist() == [k for k in range(len(z)) if 2 * abs(z[k] - z[tile]) <= thick_mm]
    unknown = thick_run(np.full(len(z), np.nan), np.arange(len(z)), tile, float(thick_mm))
    assert unknown.tolist() == [tile]


def test_what_is_wanted_and_not_there_is_refused() -> None:
    none = nodules(chance=np.array([0.0, 0, 0, 5]))
    with pytest.raises(ValueError, match="6 patches a batch of a nodule are wanted"):
        SliceDrawer(none, [lung_case()], PLAIN, None, (1,))
    with pytest.raises(ValueError, match="2 patches a batch of a lung are wanted"):
        SliceDrawer(nodules(), [], PLAIN, None, (1,))
    field, target, _ = SliceDrawer(none, [lung_case()], replace(PLAIN, nodules=0), None, (1,)).draw(0)
    assert field.shape == (2, 1, 32, 32)
    assert not target.any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("side_px", 100), ("side_px", 0), ("nodules", -1), ("thick", 1.5), ("thick_mm", -1.0), ("least_sure", 1.1)],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}.* {value}"):
        replace(PLAIN, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a patch in a batch"):
        SliceDraw(nodules=0, lungs=0)


@pytest.mark.parametrize("spacing_mm", [0.7, 0.9, 0.5])
def test_alarms_lie_where_the_network_sees_something_near_the_lungs(spacing_mm: float) -> None:
    case = lung_case(spacing_mm)
    case.hu[:] = -800
    case.hu[1, 40:47, 30:39] = 100
    case.hu[1, 100:103, 70:73] = 100
    case.hu[1, 60:70, 140:150] = 100  # far from the lungs
    search = slice_alarms(Bright(), 0.5)
    assert search(case, 0).shape == (0, 2)
    np.testing.assert_allclose(search(case, 1), [(43, 34), (101, 71)], atol=0.6)
    case.hu[:] = -800
    assert search(case, 1).shape == (0, 2)


def test_false_alarms_are_drawn_and_go_into_the_checkpoint() -> None:
    case = lung_case()
    case.hu[1] = -800
    case.hu[1, 28:36, 30:38] = case.hu[1, 40:48, 60:68] = 100
    case.hu[1, 100:108, 30:38] = 100  # a known finding
    mining = MiningConfig(first=3, every=5, share_of_slices=1.0, score=0.5, share=0.5)
    config = replace(PLAIN, nodules=0, lungs=4, mining=mining)

    def new() -> SliceDrawer:
        return SliceDrawer(nodules(), [case], config, None, (1,))

    mined = new()
    assert [round(hu) for hu in hu_of(mined(2, Bright())[0])] == [-800] * 4  # not yet time
    assert mined.lungs.state_dict() == {"found": []}
    batch = mined(3, Bright())
    assert [round(hu) for hu in hu_of(batch[0])] == [100, 100, -800, -800]
    again = new()
    again.lungs.load_state_dict(mined.lungs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.draw(3), batch, strict=True))
    assert not torch.equal(new().draw(3)[0], batch[0])


def test_tiles_of_a_thick_slice_are_laid_on_each_other() -> None:
    """Tile k of a nodule is cut round (60 + 2 k, 50 - k) and shows a bright spot at (64, 48) of the slice."""
    at_px = np.array([(60 + 2 * k, 50 - k) for k in range(4)])

    def spots(k: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        hu = np.zeros((len(k), 128, 128), np.float32)
        for plane, (row, column) in zip(hu, at_px[k], strict=True):
            plane[64 + 64 - row, 64 + 48 - column] = 1000
        return hu, (hu > 0).astype(np.float32), hu > 0

    known = NoduleCases(
        read=spots,
        spacing_mm=np.full(4, 0.7, np.float32),
        nodule=np.zeros(4, np.intp),
        target=np.ones((1, 2), np.float32),
        chance=np.ones(1),
        z_mm=np.arange(4.0),
        at_px=at_px,
    )
    thick = SliceDraw(side_px=32, nodules=8, lungs=0, thick=1.0, thick_mm=99.0)
    _, target, _ = SliceDrawer(known, (), thick, None, (1,)).draw(0)
    # Whatever the thickness, each pixel shows one place: the spot stays one and whole.
    assert torch.allclose(target.sum((1, 2, 3)), torch.ones(8))
    assert torch.allclose(target.amax((1, 2, 3)), torch.ones(8))
