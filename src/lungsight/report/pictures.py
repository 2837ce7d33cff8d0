"""The pictures inside the HTML: small, and with enough grey levels for two display windows."""

from __future__ import annotations

import base64
import io
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungsight.ct.volume import CTVolume
from lungsight.findings import Location
from lungsight.report.overlay import DisplayWindow, display_shape

__all__ = ["crop_box", "grey_to_hu", "hu_to_grey", "jpeg_uri", "series_uris", "window_table"]

# Half of the grey levels go to lung (7.7 HU each), half to soft tissue (3.2 HU each), so that one picture serves the
# lung window and the soft-tissue window; the browser maps its levels back through `window_table`.
_HU_KNOTS = (-1150.0, -160.0, 250.0)
_GREY_KNOTS = (0.0, 127.5, 255.0)
_TABLE_STEPS = 64

_QUALITY = 80
_LONGEST = 512
_PIXEL_BUDGET = 200 * _LONGEST**2
"""Pixels of all slices together: 200 of 512 x 512, about 8 MB. Beyond, slices without ROI are shown smaller."""

_CROP_MM = 60.0
_CROP_DIAMETERS = 2.0


def hu_to_grey(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """HU as the grey levels of the series' pictures, piecewise linear.

    Examples
    --------
    >>> hu_to_grey(np.array([-2048, -1150, -160, 45, 250, 3000], np.int16)).tolist()
    [0, 0, 128, 191, 255, 255]
    """
    levels = np.arange(math.floor(_HU_KNOTS[0]), math.ceil(_HU_KNOTS[-1]) + 1)
    table: NDArray[np.uint8] = np.rint(np.interp(levels, _HU_KNOTS, _GREY_KNOTS)).astype(np.uint8)
    index = (np.clip(hu, levels[0], levels[-1]) - levels[0]).astype(np.intp)
    grey: NDArray[np.uint8] = table[index]
    return grey


def grey_to_hu(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """The HU that a grey level of 0 to 255 stands for, the inverse of :func:`hu_to_grey` between its ends."""
    return np.interp(grey, _GREY_KNOTS, _HU_KNOTS)


def window_table(window: DisplayWindow) -> str:
    """What an SVG ``feFuncR type="table"`` needs to show the series' pictures in a display window.

    Returns
    -------
    str
        Numbers from 0 to 1 for evenly spaced grey levels, with spaces between.
    """
    hu = grey_to_hu(np.linspace(0, 255, _TABLE_STEPS + 1))
    return " ".join(f"{share:.3g}" for share in np.clip((hu - window.low_hu) / window.width_hu, 0, 1))


def jpeg_uri(picture: NDArray[np.uint8]) -> str:
    """A picture, grey ``(rows, columns)`` or RGB ``(rows, columns, 3)``, as a ``data:`` address."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def series_uris(ct: CTVolume, sharp: frozenset[int]) -> list[str]:
    """Each slice of a CT as a ``data:`` address, in the grey levels of :func:`hu_to_grey`.

    Parameters
    ----------
    ct
        Any size.
    sharp
        Slices that keep their full size (up to 512 pixels) however many slices there are.

    Returns
    -------
    list
        One address for each slice, rows and columns as stored.
    """
    smaller = min(_LONGEST, math.isqrt(_PIXEL_BUDGET // len(ct.hu)))

    def encode(slice_index: int) -> str:
        grey = hu_to_grey(ct.hu[slice_index])
        longest = _LONGEST if slice_index in sharp else smaller
        if max(grey.shape) > longest:
            height, width = display_shape(grey.shape, (1, 1), longest)
            grey = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BOX))
        return jpeg_uri(grey)

    # Pillow lets go of the interpreter while it encodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(encode, range(len(ct.hu))))


def crop_box(ct: CTVolume, centre: Location, roi_diameter_mm: float) -> tuple[slice, slice]:
    """Rows and columns around a point: twice the ROI or 60 mm, whichever is more, moved to lie inside the slice.

    Parameters
    ----------
    ct
        If it is smaller than that, all of it is taken.
    centre
        Its row and column count.
    roi_diameter_mm
        Of the ROI.

    Returns
    -------
    tuple
        Two half-open ranges.
    """
    side_mm = max(_CROP_MM, _CROP_DIAMETERS * roi_diameter_mm)
    ranges = []
    for middle, size, mm in zip((centre.row, centre.column), ct.shape[1:], ct.spacing_zyx_mm[1:], strict=True):
        length = min(size, max(1, round(side_mm / mm)))
        start = min(max(round(middle - (length - 1) / 2), 0), size - length)
        ranges.append(slice(start, start + length))
    return ranges[0], ranges[1]
