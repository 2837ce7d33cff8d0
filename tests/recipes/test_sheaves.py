"""What the malignancy network learns from: sheaves of crops, and of nodules set into other lungs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recipes.segments.sheaves import VIRTUAL_SHARE, sheaf_cases, sheaf_hu, tiles_of, with_virtual
from recipes.segments.virtual_nodules import VirtualNodules
from recipes.windows.collection import Crops

from drawn_crops import AT_THE_BORDER, BRIGHT, DARK, HU_AT_0, HU_PER_LEVEL, IN_THE_MIDDLE, LARGE, NODULES

LEARNED = {IN_THE_MIDDLE.name, AT_THE_BORDER.name}


def virtual_nodules() -> VirtualNodules:
    """Two of the first nodule and one of the second, of three slices each: the last one shows it."""
    hu = np.repeat(np.array([0, 20, 10, 0, 20, 11, 0, 20, 12], np.int16), 128 * 128).reshape(9, 128, 128)
    return VirtualNodules(
        hu=hu,
        outline=np.zeros((9, 128, 16), np.uint8),
        other=np.zeros((9, 128, 16), np.uint8),
        of=np.repeat(np.arange(3), 3),
        z_mm=np.tile(np.arange(3.0), 3),
        shown=np.tile([False, False, True], 3),
        nodule=np.array([(IN_THE_MIDDLE.name, "a"), (IN_THE_MIDDLE.name, "a"), (AT_THE_BORDER.name, "b")]),
        spacing_mm=np.full(3, 0.6, np.float32),
    )


def test_a_sheaf_shows_the_slices_of_its_nodule_in_use_five_while_training_three(
    folder: tuple[Path, Path], crops: Crops
) -> None:
    sheaf = sheaf_hu(crops, tiles_of(crops)[1])
    assert sheaf.shape == (5, 128, 128)
    assert (sheaf[:, 64, 64] == HU_AT_0 + HU_PER_LEVEL * BRIGHT).all()
    assert (sheaf[:, 0, 0] == HU_AT_0 + HU_PER_LEVEL * DARK).all()
    cases = sheaf_cases(folder[0], crops, LEARNED)
    drawn = cases.read(np.array([0, 1]), np.random.default_rng(0))
    assert drawn.shape == (2, 3, 128, 128)
    assert (drawn[:, :, 64, 64] == HU_AT_0 + HU_PER_LEVEL * BRIGHT).all()


def test_patients_held_out_are_never_drawn(folder: tuple[Path, Path], crops: Crops) -> None:
    cases = sheaf_cases(folder[0], crops, LEARNED)
    assert [chance > 0 for chance in cases.chance] == [nodule.name in LEARNED for nodule in NODULES]
    assert LARGE.name not in LEARNED


def test_half_of_each_group_is_virtual_and_rated_as_its_nodule(folder: tuple[Path, Path], crops: Crops) -> None:
    rows = {(IN_THE_MIDDLE.name, "a"): 0, (AT_THE_BORDER.name, "b"): 1}
    plain = sheaf_cases(folder[0], crops, LEARNED)
    cases = with_virtual(plain, virtual_nodules(), rows)
    of_crops, n = len(NODULES), len(NODULES) + 3
    assert len(cases.group) == len(cases.chance) == len(cases.target) == n
    assert cases.group[of_crops:].tolist() == [cases.group[0], cases.group[0], cases.group[1]]
    assert cases.group[0] != cases.group[1]
    np.testing.assert_array_equal(cases.target[of_crops:], cases.target[[0, 0, 1]])
    for group in (cases.group[0], cases.group[1]):
        drawn = cases.chance * (cases.group == group)
        assert drawn[of_crops:].sum() / drawn.sum() == pytest.approx(VIRTUAL_SHARE)
    # The two of one nodule share its chance; only slices that show a nodule are read.
    assert cases.chance[of_crops] == cases.chance[of_crops + 1]
    read = cases.read(np.array([of_crops, of_crops + 1, of_crops + 2, 0]), np.random.default_rng(1))
    assert [np.unique(sheaf).tolist() for sheaf in read[:3]] == [[10], [11], [12]]
    assert read[3].max() == HU_AT_0 + HU_PER_LEVEL * BRIGHT
