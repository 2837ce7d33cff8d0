"""Blocks: places without nodule lie where none is known, those with show their nodule, at each thickness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contest_phantom import BENIGN_HU, MALIGNANT_HU, write_contest
from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError
from lungsight.train.blocks import BLOCK_GROUPS, Blocks, block_reader, build_blocks, places_without
from lungsight.train.build import build_cases
from lungsight.train.segments_recipe import BlockDraw, SegmentsRecipe
from lungsight.train.store import Cases
from lungsight.train.truth import read_truth
from refusals import refused

DRAW = BlockDraw(alarm_score=0.5, most_alarms=9, bright_places=4, bright_hu=-880.0, thick_mm=20.0)
NODULE, ALARM, BRIGHT = range(len(BLOCK_GROUPS))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    root = write_contest(tmp_path_factory.mktemp("contest"), 2)
    return build_cases(read_truth(root), SegmentsRecipe(), tmp_path_factory.mktemp("run") / "cases")


def everything_dense(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sees a nodule where a pixel is above -550 HU: in nodules, and outside of the lungs."""
    return (field > 0.3).astype(np.float32)


@pytest.fixture(scope="module")
def blocks(cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> Blocks:
    return build_blocks(cases, everything_dense, DRAW, (1,), tmp_path_factory.mktemp("run") / "blocks")


def test_each_nodule_is_in_the_middle_of_its_blocks(blocks: Blocks) -> None:
    mine = np.flatnonzero(blocks.group == NODULE)
    assert [blocks.patient_id[k] for k in mine] == ["patient0"] * 2 + ["patient1"] * 2  # at two thicknesses
    for k, hu in zip(mine, (MALIGNANT_HU, MALIGNANT_HU, BENIGN_HU, BENIGN_HU), strict=True):
        middle = blocks.hu[k, 5, 43:49, 43:49]  # 4 mm of a nodule of 24 or more
        thick = (mine == k).argmax() % 2  # a slice of 20 mm shows lung too, but never mostly
        assert np.median(middle) == pytest.approx(hu, abs=250 if thick else 60)
        assert blocks.sure[k] == 1
    assert (blocks.sure[blocks.group != NODULE] == 0).all()


def test_alarms_and_bright_places_are_away_from_lesions(cases: Cases) -> None:
    ct, (lungs, lesions) = cases.ct(0), cases.masks(0)
    planted = np.array(ct.hu, np.int16)
    inside = np.argwhere(lungs & ~lesions)
    z, y, x = inside[len(inside) // 3]
    planted[z - 1 : z + 2, y - 2 : y + 3, x - 2 : x + 3] = 0
    seen = CTVolume(planted, ct.affine)
    # Without the mediastinum, which touches the lungs everywhere and is no candidate of its own.
    box = np.zeros_like(lungs)
    box[:, y - 6 : y + 7, x - 6 : x + 7] = True
    box |= lesions
    dense = replace(DRAW, bright_hu=-300.0)  # what was planted, and the nodule
    places = list(places_without(seen, lungs & box, lesions, everything_dense, dense, np.random.default_rng(1)))
    alarms = np.array([at for group, at in places if group == "alarm"])
    assert np.abs(alarms - (z, y, x)).max(1).min() < 1
    bright = np.array([at for group, at in places if group == "bright"]).astype(int)
    assert len(bright) == 4
    assert (lungs & ~lesions)[tuple(bright.T)].all()
    assert (planted[tuple(bright.T)] == 0).all()
    for at in alarms.round().astype(int):
        assert not lesions[tuple(at)]


def test_other_patients_are_never_drawn(blocks: Blocks) -> None:
    mine = blocks.cases_of(frozenset({"patient1"}))
    drawn = mine.chance > 0
    assert {blocks.patient_id[k] for k in np.flatnonzero(drawn)} == {"patient1"}
    assert not blocks.cases_of(frozenset()).chance.any()
    assert mine.target[:, 0].tolist() == (blocks.group == NODULE).tolist()


def test_blocks_are_read_up_and_down_from_any_of_three_slices() -> None:
    hu = np.arange(11, dtype=np.int16)[None, :, None, None] * np.ones((1, 1, 2, 2), np.int16)
    read = block_reader(hu)
    seen = {tuple(read(np.array([0]), np.random.default_rng(seed))[0, :, 0, 0].tolist()) for seed in range(60)}
    up = [tuple(float(z) for z in range(first, first + 9)) for first in range(3)]
    assert seen == {*up, *(each[::-1] for each in up)}


def test_they_are_made_once_and_thick_slices_can_be_left_out(cases: Cases, tmp_path: Path) -> None:
    draw = BlockDraw(alarm_score=1.0, bright_places=1, bright_hu=-880.0, thick_mm=0.0)
    told: list[float] = []
    made = build_blocks(cases, np.zeros_like, draw, (1,), tmp_path / "blocks", told.append)
    assert sorted(made.group.tolist()) == [NODULE, NODULE, BRIGHT, BRIGHT]
    assert told == [0.5, 1.0]
    again = build_blocks(cases, lambda _field: pytest.fail("asked again"), draw, (1,), tmp_path / "blocks")
    assert np.array_equal(again.hu, made.hu)
    assert [path.name for path in tmp_path.iterdir()] == ["blocks"]
    (tmp_path / "blocks" / "blocks.json").write_text("[[", "utf-8")
    with refused(CorruptFileError, "blocks: ", "blocks of a training run", "Delete"):
        build_blocks(cases, np.zeros_like, draw, (1,), tmp_path / "blocks")
