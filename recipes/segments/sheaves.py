"""Sheaves of LIDC's nodules, with what readers said of each: cases for the malignancy network.

From the crops, and from VOIs that were set into other lungs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recipes.segments.virtual_nodules import VirtualNodules
from recipes.windows.collection import Crops, table

from lungsight.diagnose.cuts import sheaf_slices
from lungsight.train.cut_draw import CutCases
from lungsight.train.draw import how_often
from lungsight.train.segments_recipe import SheafDraw
from lungsight.train.sheaves import OUTPUTS, draw_heights, group_of, sheaf_target

__all__ = ["OUTPUTS", "sheaf_cases", "sheaf_hu", "tiles_of", "with_virtual"]

VIRTUAL_SHARE = 0.5
"""Of the sheaves drawn from each group: those of nodules that were set into other lungs."""

_DRAW = SheafDraw()
_RATED = OUTPUTS[1:5]


def tiles_of(crops: Crops) -> list[NDArray[np.intp]]:
    """The slices of each nodule in ascending order."""
    order = np.lexsort((crops.z_mm, crops.nodule))
    return [order[a:b] for a, b in _runs(crops.nodule[order], len(crops.nodules))]


def _runs(sorted_numbers: NDArray[np.intp], count: int) -> list[tuple[int, int]]:
    ends = np.searchsorted(sorted_numbers, np.arange(count + 1))
    return [(int(a), int(b)) for a, b in pairwise(ends)]


def sheaf_hu(crops: Crops, tiles: NDArray[np.intp]) -> NDArray[np.float32]:
    """The sheaf of a nodule with these slices, ``(5, 128, 128)``, as it is cut in use."""
    return crops.hu(tiles[sheaf_slices(0, len(tiles) - 1)])


def sheaf_cases(data: Path, crops: Crops, patients: set[str]) -> CutCases:
    """The nodules of these patients; others are never drawn."""
    tiles = tiles_of(crops)
    shown = np.array([len(each) > 0 for each in tiles])

    def read(numbers: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float32]:
        cuts = []
        for number in numbers:
            mine = tiles[number]
            places = (draw_heights(rng, _DRAW.slices) * (len(mine) - 1) + 0.5).astype(np.intp)
            if rng.random() < _DRAW.thick:
                cuts.append(np.stack([crops.hu(mine[max(0, p - 1) : p + 2]).mean(0) for p in places]))
            else:
                cuts.append(crops.hu(mine[places]))
        return np.stack(cuts)

    malignancy = np.array([n.malignancy for n in crops.nodules])
    group = group_of(malignancy)
    target = _targets(data, crops)
    weight = np.where(np.arange(len(OUTPUTS)) == 0, 1.0, _DRAW.beside) * np.ones((len(target), 1))
    spacing = np.ones(len(crops.nodules), np.float32)
    spacing[crops.nodule] = crops.spacing_mm
    chance = [how_often(n.readers) * (n.patient_id in patients) for n in crops.nodules]
    return CutCases(read, spacing, target, weight.astype(np.float32), group, np.array(chance) * shown)


def with_virtual(cases: CutCases, virtual: VirtualNodules, rows: Mapping[tuple[str, str], int]) -> CutCases:
    """Cases of the crops and, after them, of nodules set into other lungs.

    Parameters
    ----------
    cases
        Of :func:`sheaf_cases`.
    virtual
        Of the same patients.
    rows
        Which case of `cases` is the nodule of a VOI, see :func:`recipes.vois.crop_rows`.

    Returns
    -------
    CutCases
        A virtual one has the target and the group of its nodule in the crops; each nodule is as likely as any other.
    """
    first, row = len(cases.group), np.array([rows[patient, nodule] for patient, nodule in virtual.nodule.tolist()])
    inside = np.flatnonzero(virtual.shown)
    start, stop = (np.searchsorted(virtual.of[inside], np.arange(len(row)), side) for side in ("left", "right"))

    def read(numbers: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float32]:
        of_crops = numbers < first
        cuts = np.empty((len(numbers), _DRAW.slices, *virtual.hu.shape[1:]), np.float32)
        cuts[of_crops] = cases.read(numbers[of_crops], rng) if of_crops.any() else 0
        for at in np.flatnonzero(~of_crops):
            k = numbers[at] - first
            places = (draw_heights(rng, _DRAW.slices) * (stop[k] - start[k] - 1) + 0.5).astype(np.intp)
            cuts[at] = virtual.hu[inside[start[k] + places]]
        return cuts

    chance = np.concatenate([cases.chance, 1 / np.bincount(row)[row]])
    group = np.concatenate([cases.group, cases.group[row]])
    for one in np.unique(group):
        for mine, share in ((slice(None, first), 1 - VIRTUAL_SHARE), (slice(first, None), VIRTUAL_SHARE)):
            drawn = group[mine] == one
            chance[mine][drawn] *= share / chance[mine][drawn].sum()
    return dataclasses.replace(
        cases,
        read=read,
        spacing_mm=np.concatenate([cases.spacing_mm, virtual.spacing_mm]),
        target=np.concatenate([cases.target, cases.target[row]]),
        weight=np.concatenate([cases.weight, cases.weight[row]]),
        group=group,
        chance=chance,
    )


def _targets(data: Path, crops: Crops) -> NDArray[np.float32]:
    """Each output's target, see :func:`lungsight.train.sheaves.sheaf_target`; every reader rated everything."""
    rows = []
    for row, nodule in zip(table(data / "lidc_crops" / "nodules.csv"), crops.nodules, strict=True):
        of_readers = zip(*([float(v) for v in row[name].split("|")] for name in _RATED), strict=True)
        ratings = [dict(zip(_RATED, each, strict=True)) for each in of_readers]
        rows.append(sheaf_target(nodule.malignancy, nodule.diameter_mm, ratings))
    return np.stack(rows)
