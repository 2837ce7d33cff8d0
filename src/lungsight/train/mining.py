"""Windows without nodule from whole lungs, and the hard ones among them: those that the network takes for nodules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.detect.windows import STEP_PX, WINDOW_PX, field_of_windows, windows_touching
from lungsight.detect.working import working_pixel_mm, working_slice
from lungsight.train.cases import TILE_PX, Tiles, make_tile
from lungsight.train.networks import WindowModule
from lungsight.train.precision import computing
from lungsight.train.recipe import MiningConfig

__all__ = [
    "LungCase",
    "LungTiles",
    "Search",
    "find_false_alarms",
    "lung_windows",
    "score_slice",
    "window_alarms",
    "window_centres",
]


@dataclass(frozen=True, slots=True, eq=False)
class LungCase:
    """A whole upright CT, from which windows without nodule are drawn. Its arrays may be memory-mapped.

    Attributes
    ----------
    patient_id
        Whose.
    hu
        Shape ``(slices, rows, columns)``, int16 or float32.
    lungs, lesions
        Shape of `hu`: the lungs, and every known or suspected lesion with a margin.
    spacing_mm
        Of rows and columns; 0.7 mm where the CT's own pixels are taken as working pixels.
    windows
        Shape ``(n, 3)``: slice, row and column of windows that touch the lungs or are ROIs; those that are not ROI
        come first, then benign and malignant ROIs, then those that are neither.
    counts
        How many windows are not ROI, benign and malignant ROIs; None where it was not asked.
    """

    patient_id: str
    hu: NDArray[np.int16] | NDArray[np.float32]
    lungs: NDArray[np.bool_]
    lesions: NDArray[np.bool_]
    spacing_mm: tuple[float, float]
    windows: NDArray[np.int16]
    counts: tuple[int, int, int] | None = None


Search = Callable[[LungCase, int], NDArray[np.float64]]
"""Rows and columns ``(n, 2)``, in source pixels, of what a network takes for nodules in a slice of a CT."""


def lung_windows(lungs: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.int16]:
    """Slice, row and column ``(n, 3)`` of all windows that touch the lungs; empty in, empty out."""
    found = [np.argwhere(windows_touching(mask, spacing_mm)) for mask in lungs]
    places = [np.column_stack([np.full(len(each), z), each]) for z, each in enumerate(found) if len(each)]
    return np.concatenate([np.zeros((0, 3), np.intp), *places]).astype(np.int16)


def window_centres(windows: NDArray[np.integer], spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Centres ``(n, 2)`` in source pixels of windows given by row and column."""
    working = windows.astype(np.float64) * STEP_PX + (WINDOW_PX - 1) / 2
    return working * [working_pixel_mm(mm) / mm for mm in spacing_mm]


def score_slice(network: WindowModule, case: LungCase, z: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """ROI scores ``(n,)`` of a slice's lung windows, and their rows and columns ``(n, 2)``."""
    touching = windows_touching(case.lungs[z], case.spacing_mm)
    windows = np.argwhere(touching)
    if not len(windows):
        return np.zeros(0, np.float32), windows
    (i0, j0), (i1, j1) = windows.min(0), windows.max(0) + 1
    field = field_of_windows(working_slice(case.hu[z], case.spacing_mm), slice(i0, i1), slice(j0, j1))
    tensor = torch.from_numpy(field)[None, None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), computing():
        scores = network.eval().dense(tensor).float().softmax(1)[0].numpy()
    return (1 - scores[0])[touching[i0:i1, j0:j1]], windows


def window_alarms(network: WindowModule, score: float) -> Search:
    """A search for lung windows that a window network takes for ROIs."""

    def search(case: LungCase, z: int) -> NDArray[np.float64]:
        found, windows = score_slice(network, case, z)
        return window_centres(windows[found >= score], case.spacing_mm)

    return search


def find_false_alarms(
    search: Search, cases: Sequence[LungCase], share_of_slices: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Search some slices of every CT for what a network takes for nodules, away from lesions.

    Parameters
    ----------
    search
        Gives the alarms ``(n, 2)`` of a slice, row and column.
    cases
        Whole CTs.
    share_of_slices
        Searched of each, 0 to 1.
    rng
        Chooses them.

    Returns
    -------
    ndarray
        Shape ``(n, 4)``: number of the case, slice, row and column; n may be 0.
    """
    middle = slice((TILE_PX - WINDOW_PX) // 2, (TILE_PX + WINDOW_PX) // 2)
    found = []
    for number, case in enumerate(cases):
        for z in np.flatnonzero(rng.random(len(case.lungs)) < share_of_slices):
            found += [
                (number, float(z), y, x)
                for y, x in search(case, int(z))
                if not make_tile(case.lesions[z], (y, x))[middle, middle].any()
            ]
    return np.array(found, np.float64).reshape(-1, 4)


class LungTiles:
    """Draws tiles without nodule from whole lungs, some of them from what a network takes for nodules by now.

    Parameters
    ----------
    cases
        Whole CTs.
    mining
        How, and how often, hard ones are searched for.
    seed
        Numbers that tell this one from others.
    """

    def __init__(self, cases: Sequence[LungCase], mining: MiningConfig, seed: tuple[int, ...]) -> None:
        self.cases, self.mining, self.seed = cases, mining, seed
        self.found: list[NDArray[np.float64]] = []

    def search(self, step: int, search: Search) -> None:
        """Look for hard ones, if it is time for it."""
        mining = self.mining
        due = step >= mining.first and ((step - mining.first) % mining.every == 0 or not self.found)
        if due and mining.share:
            rng = np.random.default_rng((*self.seed, step, 1))
            found = find_false_alarms(search, self.cases, mining.share_of_slices, rng)
            self.found = [found, *self.found[: mining.rounds - 1]]

    def draw(self, rng: np.random.Generator, n: int) -> Tiles:
        """So many tiles; what is known in them is `unknown`."""
        alarms = np.concatenate([np.zeros((0, 4)), *self.found])
        hard = min(round(self.mining.share * n), len(alarms))
        places = [(int(h), int(z), y, x) for h, z, y, x in alarms[rng.choice(len(alarms), hard)]] if hard else []
        for _ in range(n - hard):
            number = int(rng.integers(len(self.cases)))
            case = self.cases[number]
            z, *window = case.windows[rng.integers(len(case.windows))].tolist()
            y, x = window_centres(np.array(window), case.spacing_mm)
            places.append((number, z, y, x))
        tiles = [(self.cases[h], z, (y, x)) for h, z, y, x in places]
        hu = np.array([make_tile(case.hu[z], at) for case, z, at in tiles], np.float32).reshape(n, TILE_PX, TILE_PX)
        unknown = np.array([make_tile(case.lesions[z], at) for case, z, at in tiles], bool).reshape(hu.shape)
        spacing = np.array([case.spacing_mm[0] for case, _, _ in tiles], np.float32)
        return Tiles(hu, np.zeros_like(unknown), unknown, spacing, np.zeros((n, 2), np.float32))

    def state_dict(self) -> dict[str, Any]:
        """The false alarms."""
        return {"found": [torch.from_numpy(found) for found in self.found]}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Draw from these false alarms."""
        self.found = [found.numpy() for found in state_dict["found"]]
