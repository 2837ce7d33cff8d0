"""A CT slice as a picture, and the ROI in red over it: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lungsight.findings import Region

__all__ = [
    "LUNG",
    "MASK_BLUE",
    "NODULE_YELLOW",
    "ROI_RED",
    "SOFT_TISSUE",
    "DisplayWindow",
    "display_shape",
    "draw_roi",
    "outline_path",
    "roi_picture",
    "slice_mask",
    "window_slice",
]

ROI_RED = (230, 25, 25)
"""The colour of a ROI's outline, RGB; its inside is tinted with it."""
MASK_BLUE = (0, 150, 255)
"""The same for what an expert marked."""
NODULE_YELLOW = (255, 214, 10)
"""The colour of the outline of the nodule itself."""
_TINT = 0.32
"""Share of the red in the inside of a ROI: enough to be seen, little enough to see the nodule through it."""


@dataclass(frozen=True, slots=True)
class DisplayWindow:
    """The HU that are shown between black and white.

    Attributes
    ----------
    centre_hu
        Shown as middle grey (DICOM PS3.3 C.11.2.1.2 calls it Window Center).
    width_hu
        From black to white; more than 0.
    """

    centre_hu: float
    width_hu: float

    @property
    def low_hu(self) -> float:
        """Black."""
        return self.centre_hu - self.width_hu / 2

    @property
    def high_hu(self) -> float:
        """White."""
        return self.centre_hu + self.width_hu / 2


LUNG = DisplayWindow(centre_hu=-600, width_hu=1500)
"""The usual lung window."""
SOFT_TISSUE = DisplayWindow(centre_hu=40, width_hu=400)
"""The usual mediastinal window."""


def window_slice(hu: NDArray[np.int16] | NDArray[np.float32], window: DisplayWindow = LUNG) -> NDArray[np.uint8]:
    """HU as grey levels.

    Parameters
    ----------
    hu
        Any shape.
    window
        Its low end and what is under it become 0, its high end and what is over it 255.

    Returns
    -------
    ndarray
        The same shape, uint8. Empty in, empty out.

    Examples
    --------
    >>> window_slice(np.array([-3000, -1350, -600, 150, 900], np.int16)).tolist()
    [0, 0, 128, 255, 255]
    """
    share = (hu.astype(np.float32) - np.float32(window.low_hu)) / np.float32(window.width_hu)
    return np.asarray(np.clip(share, 0, 1) * 255 + 0.5, np.float32).astype(np.uint8)


def slice_mask(regions: Sequence[Region], slice_index: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the regions lie in one slice.

    Parameters
    ----------
    regions
        On the slice's grid; none gives an empty mask.
    slice_index
        Which slice.
    shape
        Rows and columns of the slice.

    Returns
    -------
    ndarray
        Of that shape, True where a region is.
    """
    mask = np.zeros(shape, np.bool_)
    for region in regions:
        offset = slice_index - region.start_zyx[0]
        if 0 <= offset < len(region.mask):
            mask[region.box[1:]] |= region.mask[offset]
    return mask


def draw_roi(
    grey: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int] = ROI_RED
) -> NDArray[np.uint8]:
    """The ROI in red over a grey picture: a translucent inside and a full outline.

    Parameters
    ----------
    grey
        Shape ``(rows, columns)``.
    mask
        The same shape. The outline is the mask's own outermost pixels, so nothing outside the mask is touched.
    colour
        RGB.

    Returns
    -------
    ndarray
        Shape ``(rows, columns, 3)``, RGB; grey wherever the mask is False.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    "ROI in red over the CT" as in the figures of the paper the `windows` system follows.

    Examples
    --------
    >>> grey = np.full((3, 4), 100, np.uint8)
    >>> mask = np.zeros((3, 4), bool); mask[1, 2] = True
    >>> picture = draw_roi(grey, mask)
    >>> picture[1].tolist()
    [[100, 100, 100], [100, 100, 100], [230, 25, 25], [100, 100, 100]]
    """
    if grey.shape != mask.shape:
        raise ValueError(f"the picture has shape {grey.shape}, the mask {mask.shape}")
    picture = np.repeat(grey[..., None], 3, axis=2)
    tint = np.array(colour, np.float32)
    picture[mask] = (picture[mask] * (1 - _TINT) + tint * _TINT + 0.5).astype(np.uint8)
    picture[_outermost(mask)] = colour
    return picture


def _outermost(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's own pixels at its border; one that is cut by the picture's border is closed there too."""
    border: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=0)
    return border


def roi_picture(
    hu: NDArray[np.int16] | NDArray[np.float32],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float],
    longest: int | None = None,
    colour: tuple[int, int, int] = ROI_RED,
    nodule: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """A slice, or a part of it, in the lung window with the ROI in red and with square pixels.

    Parameters
    ----------
    hu
        Shape ``(rows, columns)``, Hounsfield units.
    mask
        The same shape. Without a True pixel the picture stays grey.
    spacing_mm, longest
        As in :func:`display_shape`.
    colour
        As in :func:`draw_roi`.
    nodule
        The same shape as `hu`, the nodule itself; its outermost pixels are yellow. None draws nothing.

    Returns
    -------
    ndarray
        Shape ``(height, width, 3)``, RGB. Rows and columns run as stored: nothing is turned or mirrored.
    """
    grey = window_slice(hu)
    height, width = display_shape(grey.shape, spacing_mm, longest)
    if (height, width) != grey.shape:
        grey = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR))
        mask = _resized(mask, (width, height))
        nodule = None if nodule is None else _resized(nodule, (width, height))
    picture = draw_roi(grey, mask, colour)
    if nodule is not None:
        picture[_outermost(nodule)] = NODULE_YELLOW
    return picture


def _resized(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def display_shape(
    shape: tuple[int, int], spacing_mm: tuple[float, float], longest: int | None = None
) -> tuple[int, int]:
    """Rows and columns of a picture with square pixels.

    Parameters
    ----------
    shape
        Rows and columns of the slice.
    spacing_mm
        Distance between rows, between columns; more than 0.
    longest
        Pixels of the picture's longer side; None keeps every pixel of the slice (the finer spacing counts).

    Returns
    -------
    tuple
        Rows and columns, at least 1 each.

    Examples
    --------
    >>> display_shape((133, 512), (2.5, 0.7))
    (475, 512)
    >>> display_shape((133, 512), (2.5, 0.7), longest=256)
    (238, 256)
    """
    height_mm, width_mm = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = 1 / min(spacing_mm) if longest is None else longest / max(height_mm, width_mm)
    return max(1, round(height_mm * scale)), max(1, round(width_mm * scale))


def outline_path(mask: NDArray[np.bool_]) -> str:
    """The border of a mask along the pixels' edges, as the ``d`` of an SVG path in pixel units.

    Parameters
    ----------
    mask
        Shape ``(rows, columns)``. The corner of the first pixel is (0, 0), x runs along the columns.

    Returns
    -------
    str
        Closed rings, those of holes turning the other way round; fill them with either fill rule. Empty without a
        True pixel.

    Examples
    --------
    >>> outline_path(np.array([[False, False], [False, True]]))
    'M1 1H2V2H1Z'
    """
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    padded = np.pad(mask, 1)
    rows, columns = np.nonzero(mask)
    # Each pixel is walked round clockwise (as seen on the screen); only edges towards False pixels count.
    for step, start, stop in (
        ((-1, 0), (0, 0), (0, 1)),
        ((0, 1), (0, 1), (1, 1)),
        ((1, 0), (1, 1), (1, 0)),
        ((0, -1), (1, 0), (0, 0)),
    ):
        bare = ~padded[rows + 1 + step[0], columns + 1 + step[1]]
        for row, column in zip(rows[bare].tolist(), columns[bare].tolist(), strict=True):
            following.setdefault((row + start[0], column + start[1]), []).append((row + stop[0], column + stop[1]))
    rings = []
    while following:
        rings.append(_ring(following))
    return "".join(rings)


def _ring(following: dict[tuple[int, int], list[tuple[int, int]]]) -> str:
    first = point = min(following)
    words = [f"M{point[1]} {point[0]}"]
    heading = ""
    while point in following:
        successors = following[point]
        target = successors.pop()
        if not successors:
            del following[point]
        word = "V" if target[1] == point[1] else "H"
        place = f"{word}{target[0] if word == 'V' else target[1]}"
        if word == heading:
            words[-1] = place
        else:
            words.append(place)
        heading, point = word, target
        if point == first:
            break
    # The way back to the first point is what Z draws.
    return "".join(words[:-1]) + "Z"
