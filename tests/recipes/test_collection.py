"""The crops as the recipes see them: what readers enclosed, and where a nodule lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from recipes.windows.collection import Crops, load_crops

from drawn_crops import AT_THE_BORDER, BRIGHT, DARK, HU_AT_0, HU_PER_LEVEL, IN_THE_MIDDLE, OTHER_BOX


def test_a_slice_counts_if_half_of_the_readers_outlined_it_or_with_the_ends(
    folder: tuple[Path, Path], crops: Crops
) -> None:
    assert crops.nodule.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    whole = load_crops(*folder, ends=True)
    assert whole.nodule.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert whole.outline.any((1, 2)).tolist() == [True, True, False] * 4
    assert whole.z_mm.tolist() == [0, 2.5, 5] * 4


def test_what_readers_enclosed(folder: tuple[Path, Path]) -> None:
    whole = load_crops(*folder, ends=True)
    disc = IN_THE_MIDDLE.disc()
    assert [float(share[64, 64]) for share in whole.share[:3]] == [1, 0.5, 0.25]
    assert np.array_equal(whole.outline[:2], np.stack([disc, disc]))
    # One reader of four makes a pixel neither nodule nor lung.
    assert np.array_equal(whole.unknown[2], disc)
    assert whole.nodules[0].clear
    assert whole.nodules[0].exact_hu
    # (4, 5, 4, 3) and (1, 2, 2, 1)
    assert [nodule.malignancy_median for nodule in whole.nodules] == [4, 1.5, 4, 4]
    assert whole.nodules[0].malignancy > 0.5 > whole.nodules[1].malignancy


def test_other_nodules_are_known(crops: Crops) -> None:
    other = np.zeros((128, 128), bool)
    other[OTHER_BOX[0] : OTHER_BOX[1], OTHER_BOX[0] : OTHER_BOX[1]] = True
    assert np.array_equal(crops.other[0], other)
    assert np.array_equal(crops.unknown[0], other)
    assert not crops.other[1:].any()


def test_a_nodule_lies_in_the_middle_also_where_its_crops_end_with_the_slice(crops: Crops) -> None:
    for nodule, drawn in enumerate((IN_THE_MIDDLE, AT_THE_BORDER)):
        for k in np.flatnonzero(crops.nodule == nodule):
            middle = np.argwhere(crops.outline[k]).mean(0)
            assert np.abs(middle - 63.5).max() <= 0.5, drawn
            bright = crops.hu(np.array([k]))[0] == HU_AT_0 + HU_PER_LEVEL * BRIGHT
            assert np.array_equal(bright, crops.outline[k])
            assert bright.sum() == drawn.disc().sum()
    # Moved by 44 rows up and 21 columns to the right: beyond the crop its border is repeated, and nothing is outlined.
    beyond = crops.hu(np.flatnonzero(crops.nodule == 1))[:, :43]
    assert (beyond == HU_AT_0 + HU_PER_LEVEL * DARK).all()
    assert not crops.share[crops.nodule == 1][:, :43].any()
