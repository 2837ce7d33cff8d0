"""Batches of patches: round nodules of either kind, and in whole lungs, the hard ones mined again and again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.train.cases import Tiles, cut_patches, make_tile
from lungsight.train.fit import Batch
from lungsight.train.mining import LungCase, find_false_alarms, window_centres
from lungsight.train.networks import WindowModule
from lungsight.train.recipe import AugmentConfig, PatchDraw

__all__ = ["NoduleCases", "PatchDrawer", "how_often", "how_sure"]

_SHARE_OF_READERS = {1: 0.6, 2: 0.8}
"""How sure a finding is a nodule that one or two readers outlined; three or more: 1."""
_CHANCE_OF_READERS = {1: 0.4, 2: 0.7}
"""How often such a nodule is drawn beside one that three or more readers outlined."""
_IN_BETWEEN = 0.1
"""A nodule whose malignancy lies nearer to one half is drawn for either class, a third as often."""

Planes = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


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
        Takes numbers of tiles ``(m,)``; gives HU, the nodule's outline and other findings, ``(m, 128, 128)`` each.
    spacing_mm
        Shape ``(n,)``: pixel spacing.
    nodule
        Shape ``(n,)``: which nodule a tile shows.
    target
        Shape ``(k, 2)``: how sure it is a nodule, and how malignant, 0 to 1.
    chance
        Shape ``(k,)``: how often it is drawn, 0 for never.
    """

    read: Callable[[NDArray[np.intp]], Planes]
    spacing_mm: NDArray[np.float32]
    nodule: NDArray[np.intp]
    target: NDArray[np.float32]
    chance: NDArray[np.float64]

    def class_chances(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How often each nodule is drawn as a benign and as a malignant one, summing to 1; all 0 if there is none."""
        shown = self.chance * np.isin(np.arange(len(self.chance)), self.nodule)
        malignancy = self.target[:, 1].astype(np.float64)
        between = np.abs(malignancy - 0.5) < _IN_BETWEEN
        benign, malignant = (shown * np.where(between, 1 / 3, side) for side in (malignancy < 0.5, malignancy > 0.5))
        return benign / (benign.sum() or 1), malignant / (malignant.sum() or 1)


class PatchDrawer:
    """Draws batches by number; what it draws hard patches from goes into the checkpoint.

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
        self.nodules, self.lungs, self.config, self.augment, self.seed = nodules, lungs, config, augment, seed
        self.benign, self.malignant = nodules.class_chances()
        for count, there, name in (
            (config.benign, self.benign.any(), "benign nodule"),
            (config.malignant, self.malignant.any(), "malignant nodule"),
            (config.lungs, len(lungs), "lung"),
        ):
            if count and not there:
                raise ValueError(f"{count} patches a batch of a {name} are wanted, and there is none")
        self.tiles_of = [np.flatnonzero(nodules.nodule == k) for k in range(len(nodules.chance))]
        self.found: list[NDArray[np.float64]] = []

    def __call__(self, step: int, network: WindowModule) -> Batch:
        """The batch of this number, drawn also from what the network takes for nodules by now."""
        mining = self.config.mining
        due = step >= mining.first and ((step - mining.first) % mining.every == 0 or not self.found)
        if due and self.config.lungs and mining.share:
            found = find_false_alarms(network, self.lungs, mining, np.random.default_rng((*self.seed, step, 1)))
            self.found = [found, *self.found[: mining.rounds - 1]]
        return self.draw(step)

    def draw(self, step: int) -> Batch:
        """The batch of this number, without a search for false alarms."""
        rng = np.random.default_rng((*self.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        c = self.config
        of_nodules = [self._nodules(rng, c.benign, self.benign), self._nodules(rng, c.malignant, self.malignant)]
        far = (min(c.far // 2, c.benign), c.far - min(c.far // 2, c.benign))
        near_parts = [*(_rows(part, slice(k, None)) for part, k in zip(of_nodules, far, strict=True)), self._lungs(rng)]
        batches = [cut_patches(_join(near_parts), self.augment, generator, c.side_px)]
        if c.far and self.augment is not None:
            augment = dataclasses.replace(self.augment, shift_px=c.far_shift_px)
            far_parts = [_rows(part, slice(0, k)) for part, k in zip(of_nodules, far, strict=True)]
            batches.append(cut_patches(_join(far_parts), augment, generator, c.side_px))
        field, target, weight = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return field, target, weight

    def state_dict(self) -> dict[str, Any]:
        """The false alarms."""
        return {"found": [torch.from_numpy(found) for found in self.found]}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Draw from these false alarms."""
        self.found = [found.numpy() for found in state_dict["found"]]

    def _nodules(self, rng: np.random.Generator, count: int, chance: NDArray[np.float64]) -> Tiles:
        drawn = rng.choice(len(chance), count, p=chance) if count else np.zeros(0, np.intp)
        k = np.array([rng.choice(self.tiles_of[nodule]) for nodule in drawn], np.intp)
        return Tiles(*self.nodules.read(k), self.nodules.spacing_mm[k], self.nodules.target[drawn])

    def _lungs(self, rng: np.random.Generator) -> Tiles:
        n = self.config.lungs
        alarms = np.concatenate([np.zeros((0, 4)), *self.found])
        hard = min(round(self.config.mining.share * n), len(alarms))
        places = [(int(h), int(z), y, x) for h, z, y, x in alarms[rng.choice(len(alarms), hard)]] if hard else []
        for _ in range(n - hard):
            number = int(rng.integers(len(self.lungs)))
            case = self.lungs[number]
            z, *window = case.windows[rng.integers(len(case.windows))].tolist()
            y, x = window_centres(np.array(window), case.spacing_mm)
            places.append((number, z, y, x))
        tiles = [(self.lungs[h], z, (y, x)) for h, z, y, x in places]
        hu = np.array([make_tile(case.hu[z], at) for case, z, at in tiles], np.float32).reshape(n, 128, 128)
        unknown = np.array([make_tile(case.lesions[z], at) for case, z, at in tiles], bool).reshape(n, 128, 128)
        spacing = np.array([case.spacing_mm[0] for case, _, _ in tiles], np.float32)
        return Tiles(hu, np.zeros_like(unknown), unknown, spacing, np.zeros((n, 2), np.float32))


def _rows(tiles: Tiles, rows: slice) -> Tiles:
    return Tiles(*(getattr(tiles, field.name)[rows] for field in dataclasses.fields(Tiles)))


def _join(parts: Sequence[Tiles]) -> Tiles:
    return Tiles(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(Tiles)))
