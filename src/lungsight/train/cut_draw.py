"""Batches for the nodule networks: cuts round known places, moved and changed as CTs differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungsight.diagnose.cuts import CUT_PX
from lungsight.train.cases import Motion, change_hu, check_wanted, move_planes, to_field
from lungsight.train.fit import Batch
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.recipe import AugmentConfig

__all__ = ["CUT_AUGMENT", "CutCases", "CutDraw", "CutDrawer", "move_cuts"]

CUT_AUGMENT = AugmentConfig(
    shift_px=4.0,
    angles_deg=(0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 135.0, 180.0),
    zoom=1.15,
    blur=0.2,
    noise_hu=30.0,
    shift_hu=12.0,
)
"""A cut is turned any way; its place is that of a centre that was found, not of the nodule itself."""


@dataclass(frozen=True, slots=True, eq=False)
class CutCases:
    """Known places.

    Attributes
    ----------
    read
        Takes numbers of places ``(m,)`` and a generator (which slices are shown may be drawn); gives HU
        ``(m, slices, w, w)``, square and wider than a cut.
    spacing_mm
        Shape ``(k,)``: pixel spacing of each.
    target, weight
        Shape ``(k, outputs)``: what the network shall say, 0 to 1, and how much it is learned from.
    group
        Shape ``(k,)``: groups are drawn as often as the recipe says, from 0.
    chance
        Shape ``(k,)``: how often a place is drawn within its group, 0 for never.
    """

    read: Callable[[NDArray[np.intp], np.random.Generator], NDArray[np.float32]]
    spacing_mm: NDArray[np.float32]
    target: NDArray[np.float32]
    weight: NDArray[np.float32]
    group: NDArray[np.intp]
    chance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CutDraw:
    """How batches of cuts are drawn.

    Attributes
    ----------
    counts
        Cuts a batch of each group.
    """

    counts: tuple[int, ...] = field(default=(16, 16))

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 0 or not sum(self.counts):
            raise ValueError(f"counts are {self.counts}, expected a cut in a batch")


class CutDrawer:
    """Draws batches by number.

    Parameters
    ----------
    cases
        What is drawn from.
    config
        How many of each group.
    augment
        None: cuts as they are.
    seed
        Numbers that tell this drawer from others.

    Raises
    ------
    ValueError
        If cuts of a group are wanted and there are none.
    """

    def __init__(self, cases: CutCases, config: CutDraw, augment: AugmentConfig | None, seed: tuple[int, ...]) -> None:
        self.cases, self.config, self.augment, self.seed = cases, config, augment, seed
        self.chances: list[NDArray[np.float64]] = []
        for group, count in enumerate(config.counts):
            chance = cases.chance * (cases.group == group)
            check_wanted(count, bool(chance.any()), f"group {group}", "cuts")
            self.chances.append(chance / (chance.sum() or 1))

    def __call__(self, step: int, _network: NoduleNetwork) -> Batch:
        """The batch of this number: cuts ``(n, slices, 64, 64)``, target and weight ``(n, outputs)``."""
        rng = np.random.default_rng((*self.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        drawn: Sequence[NDArray[np.intp]] = [
            rng.choice(len(chance), count, p=chance)
            for chance, count in zip(self.chances, self.config.counts, strict=True)
            if count
        ]
        k = np.concatenate(drawn)
        planes = torch.from_numpy(self.cases.read(k, rng))
        field = move_cuts(planes, torch.from_numpy(self.cases.spacing_mm[k]), self.augment, generator)
        return field, torch.from_numpy(self.cases.target[k]), torch.from_numpy(self.cases.weight[k])


def move_cuts(planes: Tensor, spacing_mm: Tensor, augment: AugmentConfig | None, generator: torch.Generator) -> Tensor:
    """Cuts from HU ``(n, slices, w, w)``; all slices of a place are moved and changed alike, noise apart."""
    n, slices = planes.shape[:2]
    motion = Motion.none(n) if augment is None else Motion.draw(n, augment, generator)
    hu = move_planes(planes, spacing_mm, motion, CUT_PX)
    if augment is not None:
        # Blur, noise and calibration are drawn a place, as a CT has them: its slices lie side by side meanwhile.
        side_by_side = hu.transpose(1, 2).reshape(n, 1, CUT_PX, slices * CUT_PX)
        hu = change_hu(side_by_side, augment, generator).view(n, CUT_PX, slices, CUT_PX).transpose(1, 2)
    return to_field(hu.contiguous())
