"""Sheaves of outlined nodules, with what is known of each: cases for the malignancy network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.diagnose.cuts import SHEAF_PLACES
from lungsight.train.cases import TILE_PX, make_tile
from lungsight.train.cut_draw import CutCases
from lungsight.train.segments_recipe import SheafDraw
from lungsight.train.store import Cases

__all__ = ["OUTPUTS", "SHEAF_GROUPS", "diameter_target", "draw_heights", "group_of", "sheaf_cases", "sheaf_target"]

OUTPUTS = ("malignancy", "texture", "spiculation", "subtlety", "calcification", "diameter")
"""What the network says, the first for use, the others to learn by."""
SHEAF_GROUPS = ("benign", "malignant", "between")
BETWEEN = 0.1
"""Nodules whose malignancy lies nearer to one half are a group of their own."""
_DIAMETERS_MM = (3.0, 40.0)
_AROUND = 0.05
"""While training, slices are drawn from this much more of the nodule's height than in use."""
_NOT_CALCIFIED = 6
"""Rating of calcification that says there is none."""


def diameter_target(diameter_mm: float) -> float:
    """A diameter as the network says it, 0 to 1, on a scale of logarithms from 3 to 40 mm.

    Examples
    --------
    >>> diameter_target(3.0), diameter_target(100.0), round(diameter_target(11.0), 3)
    (0.0, 1.0, 0.502)
    """
    low, high = np.log(_DIAMETERS_MM)
    return float(np.clip((np.log(diameter_mm) - low) / (high - low), 0, 1))


def sheaf_target(malignancy: float, diameter_mm: float, ratings: Sequence[Mapping[str, float]]) -> NDArray[np.float32]:
    """Each output's target ``(6,)``, 0 to 1; nan where no reader said anything.

    Ratings 1 to 5 count by their mean, calcification by the share of readers who saw any.
    """
    given = {name: np.array([each[name] for each in ratings if name in each], np.float64) for name in OUTPUTS}
    rated = [(given[name].mean() - 1) / 4 if len(given[name]) else np.nan for name in OUTPUTS[1:4]]
    calcified = (given["calcification"] < _NOT_CALCIFIED).mean() if len(given["calcification"]) else np.nan
    return np.array([malignancy, *rated, calcified, diameter_target(diameter_mm)], np.float32)


def group_of(malignancy: NDArray[np.float64]) -> NDArray[np.intp]:
    """The group of each nodule, see SHEAF_GROUPS."""
    return np.where(np.abs(malignancy - 0.5) < BETWEEN, 2, np.where(malignancy < 0.5, 0, 1)).astype(np.intp)


def draw_heights(rng: np.random.Generator, slices: int) -> NDArray[np.float64]:
    """Where so many slices of a sheaf to learn from lie in a nodule, from 0, its first slice, to 1, its last."""
    return rng.uniform(SHEAF_PLACES[0] - _AROUND, SHEAF_PLACES[-1] + _AROUND, slices)


def sheaf_cases(cases: Cases, draw: SheafDraw, patient_ids: frozenset[str]) -> CutCases:
    """The nodules of these patients; others keep their numbers and are never drawn.

    Parameters
    ----------
    cases
        On disk; the slices of a nodule are read when it is drawn.
    draw
        How many slices, how many of them thick, and the weight of what is learned beside malignancy.
    patient_ids
        Whose.

    Returns
    -------
    CutCases
        What no reader rated has weight 0.
    """

    def read(numbers: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float32]:
        cuts = []
        for number in numbers:
            nodule = cases.nodules[number]
            shown = [z for z, there in zip(nodule["slices"], nodule["shown"], strict=True) if there]
            first, last = shown[0], shown[-1]
            places = (first + draw_heights(rng, draw.slices) * (last - first) + 0.5).astype(np.intp)
            reach = int(rng.random() < draw.thick)
            slices = [range(max(first, z - reach), min(last, z + reach) + 1) for z in places.tolist()]
            cuts.append(np.stack([_mean_tile(cases, nodule, each) for each in slices]))
        return np.stack(cuts)

    nodules = cases.nodules
    target = np.array([sheaf_target(n["malignancy"], n["diameter_mm"], n["ratings"]) for n in nodules], np.float32)
    target = target.reshape(-1, len(OUTPUTS))
    weight = np.where(np.arange(len(OUTPUTS)) == 0, 1.0, draw.beside) * np.isfinite(target)
    return CutCases(
        read=read,
        spacing_mm=np.array([n["spacing_mm"] for n in nodules], np.float32),
        target=np.nan_to_num(target),
        weight=weight.astype(np.float32),
        group=group_of(np.array([n["malignancy"] for n in nodules], np.float64)),
        chance=np.array([n["chance"] * (n["patient_id"] in patient_ids) for n in nodules], np.float64),
    )


def _mean_tile(cases: Cases, nodule: Mapping[str, Any], slices: range) -> NDArray[np.float32]:
    """The mean of slices round a nodule's centre, cut as in use: the centre is the same in all of them."""
    hu = cases.ct(nodule["ct"]).hu
    _, y, x = nodule["centre_zyx"]
    total = np.zeros((TILE_PX, TILE_PX), np.float32)
    for z in slices:
        total += make_tile(hu[z], (y, x)).astype(np.float32)
    return total / np.float32(len(slices))
