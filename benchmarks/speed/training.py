"""Windows learned from per second: the package's loop on patches, and a plain PyTorch loop over single windows.

Both draw nodules from tiles of the CT with the same augmentation, learn from the same labels and are timed from batch
to batch, drawing included. Ours shares a trunk between the nine windows of a patch and computes in bfloat16 if the
processor has it (the first stage of the recipe `default`); the plain loop sees each window by itself in float32.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from benchmarks.speed.samples import Measure, Sample
from numpy.typing import NDArray
from torch.nn import functional

from lungsight.ct.volume import CTVolume
from lungsight.detect.windows import FIELD_PX
from lungsight.train.cases import TILE_PX, make_tile
from lungsight.train.draw import NoduleCases, PatchDrawer, Planes
from lungsight.train.fit import Batch, fit
from lungsight.train.networks import PatchCNN
from lungsight.train.recipe import PatchDraw
from lungsight.train.recipes import RECIPES

_TILES = 64
_DISC_PX = 8


def cases_of(ct: CTVolume) -> NoduleCases:
    """Tiles of the CT with a disc marked in the middle as a nodule, benign and malignant in turn."""
    rng = np.random.default_rng(0)
    places = np.column_stack([rng.integers(0, side, _TILES) for side in ct.shape])
    hu = np.array([make_tile(ct.hu[z], (y, x)) for z, y, x in places], np.float32)
    away = np.arange(TILE_PX) - TILE_PX // 2
    disc = np.hypot(away[:, None], away) <= _DISC_PX

    def read(k: NDArray[np.intp]) -> Planes:
        return hu[k], np.repeat(disc[None], len(k), 0), np.zeros((len(k), TILE_PX, TILE_PX), bool)

    malignancy = np.arange(_TILES) % 2
    return NoduleCases(
        read=read,
        spacing_mm=np.full(_TILES, ct.spacing_zyx_mm[1], np.float32),
        nodule=np.arange(_TILES),
        target=np.column_stack([np.ones(_TILES), malignancy]).astype(np.float32),
        chance=np.ones(_TILES),
    )


def _drawer(cases: NoduleCases, side_px: int, patches: int) -> PatchDrawer:
    half = patches // 2
    draw = PatchDraw(side_px=side_px, benign=half, malignant=patches - half, lungs=0)
    return PatchDrawer(cases, [], draw, RECIPES["default"].stages[0].augment, (0, 0))


def ours(cases: NoduleCases, batches: int) -> Measure:
    """Windows per second of `fit` in the recipe's first stage."""
    stage = RECIPES["default"].stages[0]
    assert isinstance(stage.draw, PatchDraw)
    draw = stage.draw
    drawer = _drawer(cases, draw.side_px, draw.benign + draw.malignant + draw.lungs)
    config = dataclasses.replace(stage.fit, batches=batches + 1, checkpoint_every=batches + 1)

    def measure() -> Sample:
        clock = _BatchClock(drawer.draw)
        with tempfile.TemporaryDirectory() as folder:
            fit(PatchCNN(), clock, config, Path(folder), lambda _: None)
        return clock.sample()

    return measure


def plain(cases: NoduleCases, windows: int, batches: int) -> Measure:
    """Windows per second of a loop as one writes it first: a patch a window, float32."""
    drawer = _drawer(cases, FIELD_PX, windows)
    network = PatchCNN().train()
    optimizer = torch.optim.AdamW(network.parameters(), RECIPES["default"].stages[0].fit.learning_rate)

    def measure() -> Sample:
        clock = _BatchClock(drawer.draw)
        for step in range(batches):
            field, target, weight = clock(step, network)
            loss = functional.cross_entropy(network(field), target[:, :, 0, 0], reduction="none")
            optimizer.zero_grad()
            ((loss * weight[:, 0, 0]).sum() / weight.sum().clamp(min=1)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        clock.times.append(time.perf_counter())
        return clock.sample()

    return measure


class _BatchClock:
    """Draws batches and remembers when each was asked for."""

    def __init__(self, draw: Callable[[int], Batch]) -> None:
        self.draw = draw
        self.times: list[float] = []
        self.windows = 0

    def __call__(self, step: int, _: PatchCNN) -> Batch:
        self.times.append(time.perf_counter())
        batch = self.draw(step)
        self.windows = batch[2].numel()
        return batch

    def sample(self) -> Sample:
        """From the first batch to the last time that was remembered."""
        seconds = self.times[-1] - self.times[0]
        return {"seconds": seconds, "windows_per_s": self.windows * (len(self.times) - 1) / seconds}
