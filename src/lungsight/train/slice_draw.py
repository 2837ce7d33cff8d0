"""Batches for the U-Net: slices of outlined nodules, and of whole lungs where it sees nodules and there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lungsight.detect.segment import MULTIPLE_PX, field_of_slice, lung_box
from lungsight.detect.working import working_pixel_mm, working_slice
from lungsight.train.cases import Motion, Tiles, change_hu, check_wanted, join_tiles, move_planes, to_field
from lungsight.train.draw import NoduleCases
from lungsight.train.fit import Batch
from lungsight.train.mining import LungCase, LungTiles, Search
from lungsight.train.precision import computing
from lungsight.train.recipe import AugmentConfig, MiningConfig
from lungsight.train.unet import UNet

__all__ = ["SliceDraw", "SliceDrawer", "slice_alarms", "thick_run"]


@dataclass(frozen=True, slots=True)
class SliceDraw:
    """How batches for the U-Net are drawn.

    Attributes
    ----------
    side_px
        Side of a patch in working pixels, a multiple of 16.
    nodules, lungs
        Patches round nodules and of whole lungs in a batch.
    least_sure
        Nodules that are less surely one, as few readers marked them, are not drawn, unless all are such; 0 to 1.
    thick, thick_mm
        This share of the nodules' slices are means over neighbouring slices, up to so many mm, as in CTs of thick
        slices.
    mining
        Of the patches of whole lungs; its `score` is that of a pixel.
    """

    side_px: int = 96
    nodules: int = 20
    lungs: int = 12
    least_sure: float = 0.0
    thick: float = 0.3
    thick_mm: float = 5.0
    mining: MiningConfig = field(default_factory=MiningConfig)

    def __post_init__(self) -> None:
        if self.side_px < MULTIPLE_PX or self.side_px % MULTIPLE_PX:
            raise ValueError(f"side_px is {self.side_px}, expected a multiple of {MULTIPLE_PX}")
        if min(self.nodules, self.lungs) < 0 or not self.nodules + self.lungs:
            raise ValueError(f"nodules and lungs are {self.nodules} and {self.lungs}, expected a patch in a batch")
        if not 0 <= self.least_sure <= 1:
            raise ValueError(f"least_sure is {self.least_sure}, expected 0 to 1")
        if not 0 <= self.thick <= 1 or self.thick_mm < 0:
            raise ValueError(f"thick is {self.thick} and thick_mm {self.thick_mm}, expected 0 to 1, and 0 or more")


class SliceDrawer:
    """Draws batches by number; its `lungs`, which hard patches are drawn from, go into the checkpoint.

    Parameters
    ----------
    nodules, lungs
        What is drawn from. What is read of the nodules' outlines may be a share: of readers who enclosed a pixel.
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
        config: SliceDraw,
        augment: AugmentConfig | None,
        seed: tuple[int, ...],
    ) -> None:
        chance = nodules.chance * np.isin(np.arange(len(nodules.chance)), nodules.nodule)
        sure = chance * (nodules.target[:, 0] >= config.least_sure)
        chance = sure if sure.any() else chance
        check_wanted(config.nodules, bool(chance.any()), "a nodule")
        check_wanted(config.lungs, bool(lungs), "a lung")
        self.nodules, self.config, self.augment, self.seed = nodules, config, augment, seed
        self.chance = chance / (chance.sum() or 1)
        self.tiles_of = [np.flatnonzero(nodules.nodule == k) for k in range(len(chance))]
        self.lungs = LungTiles(lungs, config.mining, seed)

    def __call__(self, step: int, network: UNet) -> Batch:
        """The batch of this number, drawn also from what the network takes for nodules by now."""
        if self.config.lungs:
            self.lungs.search(step, slice_alarms(network, self.config.mining.score))
        return self.draw(step)

    def draw(self, step: int) -> Batch:
        """The batch of this number, without a search for false alarms: field, target, weight, ``(n, 1, h, w)`` each."""
        rng = np.random.default_rng((*self.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        tiles = join_tiles([self._nodules(rng), self.lungs.draw(rng, self.config.lungs)])
        return cut_slices(tiles, self.augment, generator, self.config.side_px)

    def _nodules(self, rng: np.random.Generator) -> Tiles:
        c = self.config
        drawn = rng.choice(len(self.chance), c.nodules, p=self.chance) if c.nodules else np.zeros(0, np.intp)
        k = np.array([rng.choice(self.tiles_of[nodule]) for nodule in drawn], np.intp)
        hu, enclosed, other = self.nodules.read(k)
        outline = enclosed.astype(np.float32)
        if self.nodules.z_mm is not None:
            for i in np.flatnonzero(rng.random(len(k)) < c.thick):
                run = thick_run(self.nodules.z_mm, self.tiles_of[drawn[i]], int(k[i]), rng.uniform(0, c.thick_mm))
                many, drawn_there, others = self._aligned(run, int(k[i]))
                hu[i], outline[i], other[i] = many.mean(0), drawn_there.mean(0, np.float32), others.any(0)
        outline *= self.nodules.target[drawn, :1, None]  # how sure it is a nodule
        return Tiles(hu, outline, other, self.nodules.spacing_mm[k], self.nodules.target[drawn])

    def _aligned(self, run: NDArray[np.intp], k: int) -> tuple[NDArray[np.generic], ...]:
        """Tiles moved so that each shows what tile k does; what they do not hold is their border."""
        planes: tuple[NDArray[np.generic], ...] = self.nodules.read(run)
        if self.nodules.at_px is None:
            return planes
        side = np.arange(planes[0].shape[-1])
        moved = self.nodules.at_px[k] - self.nodules.at_px[run]
        rows, columns = ((side + moved[:, axis, None]).clip(0, side[-1]) for axis in (0, 1))
        each = np.arange(len(run))[:, None, None]
        return tuple(plane[each, rows[:, :, None], columns[:, None, :]] for plane in planes)


def thick_run(z_mm: NDArray[np.float64], tiles: NDArray[np.intp], tile: int, thick_mm: float) -> NDArray[np.intp]:
    """Those tiles of a nodule that a slice of a thickness with a tile in its middle shows; the tile at least."""
    near: NDArray[np.intp] = tiles[np.abs(z_mm[tiles] - z_mm[tile]) <= thick_mm / 2]
    return near if len(near) else np.array([tile], np.intp)


def cut_slices(
    tiles: Tiles, augment: AugmentConfig | None, generator: torch.Generator, side_px: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Patches: field, target (share of readers) and weight (0 on other findings), ``(n, 1, side, side)`` each."""
    planes = torch.stack(
        [torch.from_numpy(np.ascontiguousarray(a)).float() for a in (tiles.hu, tiles.nodule, tiles.unknown)], 1
    )
    n = len(planes)
    motion = Motion.none(n) if augment is None else Motion.draw(n, augment, generator)
    planes = move_planes(planes, torch.from_numpy(tiles.spacing_mm).float(), motion, side_px)
    hu, target, other = planes[:, :1], planes[:, 1:2], planes[:, 2:]
    if augment is not None:
        hu = change_hu(hu, augment, generator)
    known = ((other < 0.5) | (target >= 0.5)).float()
    return to_field(hu), target, known


def slice_alarms(network: UNet, score: float) -> Search:
    """A search for places where a U-Net sees a nodule."""

    def search(case: LungCase, z: int) -> NDArray[np.float64]:
        box = lung_box(case.lungs[z], case.spacing_mm)
        if box is None:
            return np.zeros((0, 2))
        image = field_of_slice(working_slice(np.asarray(case.hu[z]), case.spacing_mm), box)
        tensor = torch.from_numpy(image)[None, None].contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), computing():
            scores = network.eval()(tensor).float().sigmoid()[0, 0].numpy()
        spots, count = ndimage.label(scores >= score)
        centres = np.array(ndimage.center_of_mass(spots > 0, spots, range(1, count + 1))).reshape(-1, 2)
        first = [part.start for part in box]
        places: NDArray[np.float64] = (centres + first) * [working_pixel_mm(mm) / mm for mm in case.spacing_mm]
        return places.clip(0, np.subtract(case.lungs[z].shape, 1))

    return search
