"""Batches of patches: round nodules of either kind, and in whole lungs, the hard ones mined again and again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.train.cases import Tiles, check_wanted, cut_patches, join_tiles
from lungsight.train.fit import Batch
from lungsight.train.mining import LungCase, LungTiles, window_alarms
from lungsight.train.networks import WindowModule
from lungsight.train.recipe import AugmentConfig, PatchDraw

__all__ = ["NoduleCases", "PatchDrawer", "how_often", "how_sure"]

_SHARE_OF_READERS = {1: 0.6, 2: 0.8}
"""How sure a finding is a nodule that one or two readers outlined; three or more: 1."""
_CHANCE_OF_READERS = {1: 0.4, 2: 0.7}
"""How often such a nodule is drawn beside one that three or more readers outlined."""
_IN_BETWEEN = 0.1
"""A nodule whose malignancy lies nearer to one half is drawn for either class, a third as often."""

Outline = NDArray[np.bool_] | NDArray[np.float32]
Planes = tuple[NDArray[np.float32], Outline, NDArray[np.bool_]]


def how_sure(readers: int | None) -> float:
    """How sure a finding is a nodule that so many readers outlined; None where that is not known, which is 1."""
    return _SHARE_OF_READERS.get(readers or 0, 1.0)


def how_often(readers: int | None) -> float:
    """How often such a nodule is drawn, beside one of which all is sure."""
    return _CHANCE_OF_READERS.get(readers or 0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class NoduleCases:
    """Tiles of n slices of k nodules.

    Attributes
    ----------
    read
        Takes numbers of tiles ``(m,)``; gives HU, the nodule's outline (or the share of its readers who enclosed a
        pixel) and other findings, ``(m, 128, 128)`` each.
    spacing_mm
        Shape ``(n,)``: pixel spacing.
    nodule
        Shape ``(n,)``: which nodule a tile shows.
    target
        Shape ``(k, 2)``: how sure it is a nodule, and how malignant, 0 to 1.
    chance
        Shape ``(k,)``: how often it is drawn, 0 for never.
    z_mm
        Shape ``(n,)``: where along the slice normal; nan where that is not known.
    at_px
        Shape ``(n, 2)``: row and column of its slice that a tile's middle shows; None where that is the same for all
        tiles of a nodule.
    """

    read: Callable[[NDArray[np.intp]], Planes]
    spacing_mm: NDArray[np.float32]
    nodule: NDArray[np.intp]
    target: NDArray[np.float32]
    chance: NDArray[np.float64]
    z_mm: NDArray[np.float64] | None = None
    at_px: NDArray[np.intp] | None = None

    def class_chances(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How often each nodule is drawn as a benign and as a malignant one, summing to 1; all 0 if there is none."""
        shown = self.chance * np.isin(np.arange(len(self.chance)), self.nodule)
        malignancy = self.target[:, 1].astype(np.float64)
        between = np.abs(malignancy - 0.5) < _IN_BETWEEN
        benign, malignant = (shown * np.where(between, 1 / 3, side) for side in (malignancy < 0.5, malignancy > 0.5))
        return benign / (benign.sum() or 1), malignant / (malignant.sum() or 1)


class PatchDrawer:
    """Draws batches by number; its `lungs`, which hard patches are drawn from, go into the checkpoint.

    Parameters
    ----------
    nodules, lungs
        What is drawn from.
    config
        How many of each.
    augment
        None: patches as they are.
    seed
        Numbers that tell this drawer from others.

    Raises
    ------
    ValueError
        If patches of a kind are wanted and there are none.
    """

    def __init__(
        self,
        nodules: NoduleCases,
        lungs: Sequence[LungCase],
        config: PatchDraw,
        augment: AugmentConfig | None,
        seed: tuple[int, ...],
    ) -> None:
        self.nodules, self.config, self.augment, self.seed = nodules, config, augment, seed
        self.lungs = LungTiles(lungs, config.mining, seed)
        self.benign, self.malignant = nodules.class_chances()
        check_wanted(config.benign, bool(self.benign.any()), "a benign nodule")
        check_wanted(config.malignant, bool(self.malignant.any()), "a malignant nodule")
        check_wanted(config.lungs, bool(lungs), "a lung")
        self.tiles_of = [np.flatnonzero(nodules.nodule == k) for k in range(len(nodules.chance))]

    def __call__(self, step: int, network: WindowModule) -> Batch:
        """The batch of this number, drawn also from what the network takes for nodules by now."""
        if self.config.lungs:
            self.lungs.search(step, window_alarms(network, self.config.mining.score))
        return self.draw(step)

    def draw(self, step: int) -> Batch:
        """The batch of this number, without a search for false alarms."""
        rng = np.random.default_rng((*self.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        c = self.config
        of_nodules = [self._nodules(rng, c.benign, self.benign), self._nodules(rng, c.malignant, self.malignant)]
        far = (min(c.far // 2, c.benign), c.far - min(c.far // 2, c.benign))
        rest = [_rows(part, slice(k, None)) for part, k in zip(of_nodules, far, strict=True)]
        near_parts = [*rest, self.lungs.draw(rng, c.lungs)]
        batches = [cut_patches(join_tiles(near_parts), self.augment, generator, c.side_px)]
        if c.far and self.augment is not None:
            augment = dataclasses.replace(self.augment, shift_px=c.far_shift_px)
            far_parts = [_rows(part, slice(0, k)) for part, k in zip(of_nodules, far, strict=True)]
            batches.append(cut_patches(join_tiles(far_parts), augment, generator, c.side_px))
        field, target, weight = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return field, target, weight

    def _nodules(self, rng: np.random.Generator, count: int, chance: NDArray[np.float64]) -> Tiles:
        drawn = rng.choice(len(chance), count, p=chance) if count else np.zeros(0, np.intp)
        k = np.array([rng.choice(self.tiles_of[nodule]) for nodule in drawn], np.intp)
        return Tiles(*self.nodules.read(k), self.nodules.spacing_mm[k], self.nodules.target[drawn])


def _rows(tiles: Tiles, rows: slice) -> Tiles:
    return Tiles(*(getattr(tiles, field.name)[rows] for field in dataclasses.fields(Tiles)))
