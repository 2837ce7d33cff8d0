"""Windows without nodule from whole lungs, and the hard ones among them: those that the network takes for nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.detect.windows import (
    STEP_PX,
    WINDOW_PX,
    field_of_windows,
    windows_touching,
    working_pixel_mm,
    working_slice,
)
from lungsight.train.cases import TILE_PX, make_tile
from lungsight.train.networks import WindowModule
from lungsight.train.recipe import MiningConfig

__all__ = ["LungCase", "find_false_alarms", "lung_windows", "score_slice", "window_centres"]


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
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        scores = network.eval().dense(tensor).float().softmax(1)[0].numpy()
    return (1 - scores[0])[touching[i0:i1, j0:j1]], windows


def find_false_alarms(
    network: WindowModule, cases: Sequence[LungCase], config: MiningConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Search some slices of every CT for windows that the network takes for nodules, away from lesions.

    Returns
    -------
    ndarray
        Shape ``(n, 4)``: number of the case, slice, row and column of the window's centre; n may be 0.
    """
    middle = slice((TILE_PX - WINDOW_PX) // 2, (TILE_PX + WINDOW_PX) // 2)
    found = []
    for number, case in enumerate(cases):
        for z in np.flatnonzero(rng.random(len(case.lungs)) < config.share_of_slices):
            score, windows = score_slice(network, case, int(z))
            found += [
                (number, float(z), y, x)
                for y, x in window_centres(windows[score >= config.score], case.spacing_mm)
                if not make_tile(case.lesions[z], (y, x))[middle, middle].any()
            ]
    return np.array(found, np.float64).reshape(-1, 4)
