"""The masks of `segments`: each nodule outlined again by the U-Net's second stage, which learned how far nodules reach.

The first stage, which finds them, marks more than is nodule, and is not asked for the edge. The second is shown one
place: it has learned that the nodule lies in the middle of what it sees, so that place and size of its field are the
same in training and in use. A few slices round each nodule cost little beside the whole CT.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import diameter_of
from lungsight.detect.segment import SliceNetwork
from lungsight.detect.working import PIXEL_MM, normalise_hu, sample_slice
from lungsight.findings import Nodule, Region

__all__ = ["FIELD_PX", "OUTLINE_SCORE", "outline_scores", "piece_at", "redraw", "slices_beyond"]

FIELD_PX = 64
"""Side of the field: working pixels, 45 mm."""
OUTLINE_SCORE = 0.45
"""A pixel is nodule from this score, which is the share of readers who would enclose it. Where half of them do, it is
counted as nodule too, so this is a little under one half."""
BEYOND_MM = 5.0
"""So far above and below the given mask is looked for more of the nodule."""
BEYOND_SCORE = 0.75
"""What is marked in a slice there has at least this score on the average, or the nodule ends before it: next to
its ends the network is unsure, and often marks a vessel that goes on."""
MARGIN_MM = 6.0
"""What is seen at least round the given mask: a wider one is shown in larger pixels."""
_ROUNDING = 1e-6


def redraw(nodule: Nodule, ct: CTVolume, network: SliceNetwork) -> Nodule:
    """A nodule with its mask outlined again.

    Parameters
    ----------
    nodule
        Its mask says where to look; without one it is left as it is.
    ct
        The upright CT it was found in.
    network
        The U-Net's second stage.

    Returns
    -------
    Nodule
        Mask, region and ROI diameter are of the piece that shares most voxels with the mask that was given; where no
        piece of it does, all is as it was.
    """
    if nodule.mask is None:
        return nodule
    mask = _outlined(nodule.mask, ct, network)
    if mask is None:
        return nodule
    candidate = replace(nodule.candidate, region=mask, roi_diameter_mm=diameter_of(mask, ct))
    return replace(nodule, candidate=candidate, mask=mask)


def slices_beyond(slice_mm: float) -> int:
    """How many slices next to each end of a nodule are looked at; one at least.

    Examples
    --------
    >>> slices_beyond(1.25), slices_beyond(3.0), slices_beyond(8.0)
    (4, 2, 1)
    """
    return int(np.ceil(BEYOND_MM / slice_mm))


def _outlined(given: Region, ct: CTVolume, network: SliceNetwork) -> Region | None:
    """The piece that shares most voxels with a given mask."""
    slice_mm, *spacing_mm = ct.spacing_zyx_mm
    beyond = slices_beyond(slice_mm)
    first, end = max(0, given.start_zyx[0] - beyond), min(len(ct.hu), given.stop_zyx[0] + beyond)
    centre_yx = np.argwhere(given.mask)[:, 1:].mean(0) + given.start_zyx[1:]
    widest_mm = max(size * mm for size, mm in zip(given.mask.shape[1:], spacing_mm, strict=True))
    pixel_mm = max(PIXEL_MM, (widest_mm + 2 * MARGIN_MM) / FIELD_PX)
    scores = outline_scores(ct.hu[first:end], centre_yx, (spacing_mm[0], spacing_mm[1]), network, pixel_mm)
    marked = scores >= OUTLINE_SCORE
    low = given.start_zyx[0] - first
    for z in (*range(low), *range(low + len(given.mask), len(marked))):
        if marked[z].any() and scores[z][marked[z]].mean() < BEYOND_SCORE:
            marked[z] = False  # and what lies beyond hangs together with the nodule no more
    place = np.zeros_like(marked)
    place[low : low + len(given.mask), *given.box[1:]] = given.mask
    piece = piece_at(marked, place)
    if not piece.any():
        return None
    box = ndimage.find_objects(piece.astype(np.uint8))[0]
    z, y, x = (part.start for part in box)
    return Region((z + first, y, x), piece[box])


def piece_at(marked: NDArray[np.bool_], place: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The piece of what is marked that has most voxels at a place; all masks are of one shape, 3D.

    Nothing is True if nothing at the place is marked.

    Examples
    --------
    >>> marked = np.array([[[True, True, False, True]]])
    >>> piece_at(marked, np.array([[[False, True, True, False]]])).tolist()
    [[[True, True, False, False]]]
    >>> bool(piece_at(marked, np.array([[[False, False, True, False]]])).any())
    False
    """
    labelled, _ = ndimage.label(marked, np.ones((3, 3, 3)))
    shared = np.bincount(labelled[place], minlength=2)[1:]
    piece: NDArray[np.bool_] = labelled == (int(np.argmax(shared)) + 1 if shared.any() else -1)
    return piece


def outline_scores(
    hu: NDArray[np.int16] | NDArray[np.float32],
    centre_yx: NDArray[np.float64],
    spacing_mm: tuple[float, float],
    network: SliceNetwork,
    pixel_mm: float = PIXEL_MM,
) -> NDArray[np.float32]:
    """How surely each pixel is of the nodule that lies round a centre.

    Parameters
    ----------
    hu
        Shape ``(n, rows, columns)``: axial slices.
    centre_yx
        Shape ``(2,)``: the nodule's row and column, fractional.
    spacing_mm
        Of rows and columns.
    network
        The U-Net's second stage.
    pixel_mm
        Of the field that it sees.

    Returns
    -------
    ndarray
        Shape ``(n, rows, columns)``, 0 to 1, on the slices' own pixels: the mean over mirror images. 0 beyond the
        field.
    """
    line = (np.arange(FIELD_PX) - (FIELD_PX - 1) / 2) * pixel_mm
    rows, columns = (at + line / mm for at, mm in zip(centre_yx, spacing_mm, strict=True))
    field = np.stack([sample_slice(normalise_hu(plane), rows, columns) for plane in hu])[:, None]
    flips: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
    seen = np.mean([np.flip(network(np.ascontiguousarray(np.flip(field, axes))), axes) for axes in flips], 0)
    scores = np.zeros(hu.shape, np.float32)
    inside, places = zip(*(_inside(at, hu.shape[axis]) for axis, at in ((1, rows), (2, columns))), strict=True)
    scores[:, *inside] = [sample_slice(np.asarray(each[0], np.float32), *places) for each in seen]
    return scores


def _inside(places: NDArray[np.float64], size: int) -> tuple[slice, NDArray[np.float64]]:
    """Which pixels of a line of `size` lie between evenly spaced places, and where, in numbers of these."""
    first, last = places[0] - _ROUNDING, places[-1] + _ROUNDING
    part = slice(max(0, int(np.ceil(first))), min(size, int(np.floor(last)) + 1))
    return part, (np.arange(part.start, part.stop) - places[0]) / (places[1] - places[0])
