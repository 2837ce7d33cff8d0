"""The published way to draw cases: windows of 50 x 50 px at steps of 10 px, labelled one by one, balanced by class.

The paper does not tell how much of a ROI makes a window a ROI. The rule here: a window is a ROI if it holds half or
more of a nodule's area in the slice, or a nodule fills a quarter or more of the window; it is not ROI if it holds no
pixel of any finding; in between it is not drawn. Of several nodules the one of which it holds most pixels says whether
it is benign or malignant. Windows that are not ROI are those that touch the lungs: others are never asked about in use.

An epoch has as many windows of each class. Where a class has fewer, its windows are drawn again, and each time but the
first one of the paper's changes is made to them: horizontal flip, zoom-in, a rotation (30 or 45 degrees, either way) or
blur. Where it has more, an epoch has some of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lungsight.detect.windows import FIELD_PX, WINDOW_PX, pixels_in_windows
from lungsight.detect.working import PIXEL_MM, working_pixel_mm
from lungsight.train.cases import Motion, blur_some, make_tile, move_planes, to_field
from lungsight.train.fit import Batch
from lungsight.train.mining import LungCase, window_centres
from lungsight.train.networks import WindowModule
from lungsight.train.recipe import AugmentConfig, WindowDraw

__all__ = ["NEITHER", "WINDOW_SHARE_OF_NODULE", "WINDOW_SHARE_OF_WINDOW", "WindowDrawer", "label_windows_of_slice"]

WINDOW_SHARE_OF_NODULE = 0.5
"""Share of a nodule's area in a slice from which on a window that holds it is a ROI."""
WINDOW_SHARE_OF_WINDOW = 0.25
"""Share of a window from which on a nodule that fills it makes it a ROI."""
NEITHER = 3
"""Label of a window that is not drawn; 0 not ROI, 1 benign ROI, 2 malignant ROI."""


def label_windows_of_slice(
    nodules: Sequence[tuple[NDArray[np.bool_], int]], others: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> NDArray[np.int16]:
    """Label every window of a slice by the rule above.

    Parameters
    ----------
    nodules
        The mask of each nodule in the slice, shape ``(rows, columns)``, and its class, 1 benign or 2 malignant.
    others
        Findings of unknown kind, same shape.
    spacing_mm
        Row and column spacing.

    Returns
    -------
    ndarray
        Labels, shape of :func:`~lungsight.detect.windows.window_counts`. Without findings all are 0.
    """
    held = pixels_in_windows(others, spacing_mm)
    label = np.where(held > 0, NEITHER, 0).astype(np.int16)
    window_area = math.prod(WINDOW_PX * working_pixel_mm(mm) / mm for mm in spacing_mm)
    most = np.zeros(label.shape, np.int32)
    for mask, kind in nodules:
        inside = pixels_in_windows(mask, spacing_mm)
        is_roi = (inside >= WINDOW_SHARE_OF_NODULE * max(1, int(mask.sum()))) | (
            inside >= WINDOW_SHARE_OF_WINDOW * window_area
        )
        label[(inside > 0) & (label == 0)] = NEITHER
        chosen = is_roi & (inside > most)
        label[chosen] = kind
        most[chosen] = inside[chosen]
    return label


class WindowDrawer:
    """Draws batches by number: the same number always gives the same batch, epoch after epoch.

    Parameters
    ----------
    cases
        Whole CTs with labelled windows.
    config
        How many windows an epoch and a batch.
    augment
        Its zoom and angles are used; None: windows as they are.
    seed
        Numbers that tell this drawer from others.

    Raises
    ------
    ValueError
        If a class has no window.
    """

    def __init__(
        self, cases: Sequence[LungCase], config: WindowDraw, augment: AugmentConfig | None, seed: tuple[int, ...]
    ) -> None:
        self.cases, self.config, self.augment, self.seed = cases, config, augment, seed
        self.counts = np.array([case.counts or (0, 0, 0) for case in cases], np.int64).reshape(-1, 3)
        self.ends = self.counts.cumsum(0)
        absent = [name for name, n in zip(("not ROI", "benign", "malignant"), self.counts.sum(0), strict=True) if not n]
        if absent:
            raise ValueError(f"no window is {' or '.join(absent)}")
        self._order = lru_cache(2)(self._order_of_epoch)

    def __call__(self, step: int, network: WindowModule | None = None) -> Batch:  # noqa: ARG002 (drawers are alike)
        """The batch of this number."""
        epoch, part = divmod(step, self.config.epoch_batches)
        size = self.config.batch_windows
        kinds, ranks, copies = (column[part * size : (part + 1) * size] for column in self._order(epoch))
        generator = torch.Generator().manual_seed(
            int(np.random.default_rng((*self.seed, step, 2)).integers(2**62, dtype=np.int64))
        )
        pieces = [self._piece(int(kind), int(rank)) for kind, rank in zip(kinds, ranks, strict=True)]
        hu = torch.from_numpy(np.stack([piece for piece, _, _ in pieces]))[:, None]
        spacing = torch.tensor([mm for _, mm, _ in pieces])
        offset = torch.tensor([shift for _, _, shift in pieces]).float()
        motion, blurred = self._change(torch.from_numpy(copies > 0), offset, generator)
        field = to_field(blur_some(move_planes(hu, spacing, motion, FIELD_PX), blurred))
        target = functional.one_hot(torch.from_numpy(kinds), 3).float()[:, :, None, None]
        return field, target, torch.ones(len(kinds), 1, 1)

    def _order_of_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Class, rank in the class and copy of every window of an epoch, in its order."""
        rng = np.random.default_rng((*self.seed, epoch, 1))
        kinds, ranks, copies = [], [], []
        for kind, there in enumerate(self.counts.sum(0).tolist()):
            wanted = (self.config.epoch_windows + kind) // 3
            whole, rest = divmod(wanted, there)
            some = rng.choice(there, rest, replace=False, shuffle=False)
            ranks.append(np.concatenate([np.tile(np.arange(there), whole), some]).astype(np.int64))
            copies.append(np.concatenate([np.repeat(np.arange(whole), there), np.full(rest, whole)]).astype(np.int64))
            kinds.append(np.full(wanted, kind, np.int64))
        order = rng.permutation(self.config.epoch_windows)
        by_class, by_rank, by_copy = (np.concatenate(column)[order] for column in (kinds, ranks, copies))
        return by_class, by_rank, by_copy

    def _piece(self, kind: int, rank: int) -> tuple[NDArray[np.float32], float, tuple[float, float]]:
        """Tile round a window, its pixel spacing, and how far the window's middle lies off the tile's."""
        number = int(np.searchsorted(self.ends[:, kind], rank, side="right"))
        case = self.cases[number]
        before = int(self.ends[number - 1, kind]) if number else 0
        row = int(self.counts[number, :kind].sum()) + rank - before
        z, *window = case.windows[row].tolist()
        y, x = window_centres(np.array(window), case.spacing_mm).tolist()
        # A tile begins 64 px before a whole pixel, so its middle lies half a pixel before that.
        tile = make_tile(case.hu[z], (y + 0.5, x + 0.5)).astype(np.float32)
        off_y, off_x = (round(v + 0.5) - 0.5 - v for v in (y, x))
        scale = case.spacing_mm[0] / PIXEL_MM
        return tile, case.spacing_mm[0], (off_y * scale, off_x * scale)

    def _change(self, again: Tensor, offset: Tensor, generator: torch.Generator) -> tuple[Motion, Tensor]:
        """One of the paper's changes for each window that is drawn again."""
        n = len(again)
        still = Motion.none(n)
        if self.augment is None:
            return replace(still, shift=offset), torch.zeros(n, dtype=torch.bool)
        angles = self.augment.angles_deg
        which = torch.where(again, torch.randint(3 + len(angles), (n,), generator=generator), -1)
        zoom = 1 + (self.augment.zoom - 1) * torch.rand(n, generator=generator)
        sign = 2 * torch.randint(2, (n,), generator=generator) - 1
        angle = still.angle
        for number, degrees in enumerate(angles, 3):
            angle = torch.where(which == number, sign * math.radians(degrees), angle)
        motion = Motion(
            torch.where(which == 0, zoom, still.zoom),
            angle,
            torch.where(which == 1, -still.mirror, still.mirror),
            offset,
            still.bend,
        )
        return motion, which == 2
