"""Sheaves from cases on disk: slices of the nodule round its centre; targets of what readers said, and of no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungsight.train.segments_recipe import SheafDraw
from lungsight.train.sheaves import OUTPUTS, SHEAF_GROUPS, diameter_target, group_of, sheaf_cases, sheaf_target
from lungsight.train.store import Cases

# Voxel (z, y, x) has 1000 z + 10 y HU; two nodules, one of which nobody rated.
HU = np.broadcast_to((1000 * np.arange(20)[:, None, None] + 10 * np.arange(40)[:, None]), (20, 40, 40)).astype(np.int16)


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    (tmp_path / "ct").mkdir()
    np.save(tmp_path / "ct" / "0000_hu.npy", HU)
    nodule: dict[str, Any] = {
        "ct": 0,
        "patient_id": "ann",
        "spacing_mm": 0.7,
        "chance": 0.5,
        "malignancy": 0.03,
        "slices": list(range(2, 17)),
        "shown": [4 <= z < 15 for z in range(2, 17)],
        "centre_zyx": [9.0, 20.0, 12.0],
        "diameter_mm": 3.0,
        "ratings": [{"malignancy": 1, "texture": 5, "calcification": 6}, {"texture": 4, "calcification": 3}],
    }
    other = {**nodule, "patient_id": "ben", "malignancy": 0.97, "ratings": []}
    patient = {"patient_id": "ann", "spacing_mm": [0.7, 0.7], "slice_mm": 1.0}
    return Cases(tmp_path, (patient,), (nodule, other), ())


def test_slices_lie_in_the_middle_of_the_nodule(cases: Cases) -> None:
    read = sheaf_cases(cases, SheafDraw(slices=40, thick=0.0), frozenset({"ann"})).read
    (sheaf,) = read(np.array([0]), np.random.default_rng(1))
    assert sheaf.shape == (40, 128, 128)
    # The tile's middle shows the centre, row 20; a quarter to three quarters of slices 4 to 14.
    shown = (sheaf[:, 64, 64] - 200) / 1000
    assert sorted(set(shown.tolist())) == [7, 8, 9, 10, 11]
    thick = sheaf_cases(cases, SheafDraw(slices=2, thick=1.0), frozenset({"ann"})).read
    one = replace_slices(cases, [6, 7])
    (means,) = sheaf_cases(one, SheafDraw(slices=3, thick=1.0), frozenset({"ann"})).read(
        np.array([0]), np.random.default_rng(1)
    )
    assert ((means[:, 64, 64] - 200) / 1000).tolist() == [6.5] * 3
    assert thick(np.array([0, 1]), np.random.default_rng(1)).shape == (2, 2, 128, 128)


def replace_slices(cases: Cases, slices: list[int]) -> Cases:
    return replace(
        cases, nodules=tuple({**nodule, "slices": slices, "shown": [True] * len(slices)} for nodule in cases.nodules)
    )


def test_targets_are_what_readers_said(cases: Cases) -> None:
    made = sheaf_cases(cases, SheafDraw(beside=0.25), frozenset({"ann"}))
    # texture (4.5 - 1) / 4; one of two saw a calcification; 3 mm is the least of the scale
    assert dict(zip(OUTPUTS, made.target[0].tolist(), strict=True)) == pytest.approx(
        {"malignancy": 0.03, "texture": 0.875, "spiculation": 0, "subtlety": 0, "calcification": 0.5, "diameter": 0}
    )
    assert made.weight.tolist() == [[1, 0.25, 0, 0, 0.25, 0.25], [1, 0, 0, 0, 0, 0.25]]
    assert made.chance.tolist() == [0.5, 0]
    assert np.isnan(sheaf_target(0.5, 40.0, [])).tolist() == [False, True, True, True, True, False]
    assert diameter_target(40.0) == 1


def test_groups() -> None:
    found = group_of(np.array([0.03, 0.39, 0.41, 0.5, 0.59, 0.61, 1.0]))
    assert [SHEAF_GROUPS[g] for g in found] == ["benign"] * 2 + ["between"] * 3 + ["malignant"] * 2
