"""The `segments` system's eyes: a U-Net says of every pixel of every slice how surely it belongs to a nodule.

Only the lungs' box of a slice is looked at, with some of what lies around it, on working pixels
(:mod:`lungsight.detect.working`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.detect.working import working_pixel_mm, working_size, working_slice

__all__ = ["MULTIPLE_PX", "ScoreMap", "SliceNetwork", "field_of_slice", "lung_box", "score_slices"]

MULTIPLE_PX = 16
"""Sides of what the network sees are multiples of this: four times it halves rows and columns."""
_AROUND_PX = 16
"""Pixels seen around the lungs, so that what touches their border is seen whole."""
_STEP_PX = 32
"""Boxes grow to multiples of this: fewer sizes, which an engine prepares itself for one by one."""

SliceNetwork = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes fields ``(n, 1, h, w)``, gives scores ``(n, 1, h, w)``, 0 to 1."""
Box = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """How surely each working pixel belongs to a nodule.

    Attributes
    ----------
    scores
        Shape ``(slices, working rows, working columns)``, float16, 0 to 1; 0 where nothing was looked at and where
        there is no lung or nothing near it.
    pixel_mm
        Row and column spacing of the working pixels; pixel 0 lies on the source's pixel 0.
    """

    scores: NDArray[np.float16]
    pixel_mm: tuple[float, float]


def lung_box(lungs: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> Box | None:
    """Rows and columns of working pixels that the network looks at in a slice; None without lung.

    They may reach over the slice. Their counts are multiples of 32.

    Examples
    --------
    >>> lungs = np.zeros((512, 512), bool)
    >>> lung_box(lungs, (0.7, 0.7)) is None
    True
    >>> lungs[100:200, 100:140] = True
    >>> lung_box(lungs, (0.7, 0.7))
    (slice(70, 230, None), slice(72, 168, None))
    """
    if not lungs.any():
        return None
    box = []
    for axis, mm in enumerate(spacing_mm):
        where = np.flatnonzero(lungs.any(1 - axis)) * (mm / working_pixel_mm(mm))
        first, last = int(where[0]) - _AROUND_PX, int(where[-1]) + 1 + _AROUND_PX
        lacking = -(last - first) % _STEP_PX
        box.append(slice(first - lacking // 2, last + lacking - lacking // 2))
    rows, columns = box
    return rows, columns


def field_of_slice(image: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """The box of a working slice; beyond the slice its border is repeated."""
    field = image
    for axis, part in enumerate(box):
        field = field.take(np.arange(part.start, part.stop).clip(0, image.shape[axis] - 1), axis)
    return field


def score_slices(
    ct: CTVolume,
    lungs: NDArray[np.bool_],
    network: SliceNetwork,
    progress: Callable[[float], None] = lambda _: None,
) -> ScoreMap:
    """Look at every slice that shows lung.

    Parameters
    ----------
    ct
        The CT, slices axial.
    lungs
        Lung mask on its grid.
    network
        The U-Net.
    progress
        Called with the share of slices done, 0 to 1.

    Returns
    -------
    ScoreMap
        All 0 without lungs.
    """
    spacing_mm = ct.spacing_zyx_mm[1:]
    rows, columns = (working_size(size, mm) for size, mm in zip(ct.shape[1:], spacing_mm, strict=True))
    scores = np.zeros((len(ct.hu), rows, columns), np.float16)
    for z in range(len(ct.hu)):
        box = lung_box(lungs[z], spacing_mm)
        if box is not None:
            found = network(field_of_slice(working_slice(ct.hu[z], spacing_mm), box)[None, None])[0, 0]
            inside = tuple(slice(max(0, part.start), part.stop) for part in box)
            there = scores[z][inside]
            start = [i.start - part.start for i, part in zip(inside, box, strict=True)]
            there[:] = found[start[0] : start[0] + there.shape[0], start[1] : start[1] + there.shape[1]]
        progress((z + 1) / len(ct.hu))
    row_mm, column_mm = map(working_pixel_mm, spacing_mm)
    return ScoreMap(scores, (row_mm, column_mm))
