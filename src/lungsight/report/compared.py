"""What a system found beside what an expert marked, in one slice: the figure of a paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lungsight.ct.volume import CTVolume
from lungsight.findings import Region
from lungsight.report.overlay import MASK_BLUE, ROI_RED, roi_picture, slice_mask
from lungsight.report.pictures import jpeg_uri

__all__ = ["ComparedSlice", "compare_slice", "most_shared_slice"]

_LONGEST_PX = 448
"""Of each of the two pictures: some 60 kB for a patient."""


@dataclass(frozen=True, slots=True)
class ComparedSlice:
    """Two pictures of one slice.

    Attributes
    ----------
    caption
        Whose slice, and what it shows.
    found_uri
        With the detected ROIs in red, as a ``data:`` address.
    marked_uri
        With the expert's mask in blue, as a ``data:`` address.
    """

    caption: str
    found_uri: str
    marked_uri: str


def compare_slice(
    ct: CTVolume, slice_index: int, found: Sequence[Region], marked: Sequence[Region], caption: str
) -> ComparedSlice:
    """A slice of a CT in the lung window, with what was found and with what was marked.

    Parameters
    ----------
    ct
        Shown as stored: nothing is turned or mirrored.
    slice_index
        Which slice.
    found, marked
        Regions on the grid of the CT; all that cross the slice are shown.
    caption
        Of the figure.
    """
    uris = []
    for regions, colour in ((found, ROI_RED), (marked, MASK_BLUE)):
        mask = slice_mask(regions, slice_index, ct.shape[1:])
        uris.append(jpeg_uri(roi_picture(ct.hu[slice_index], mask, ct.spacing_zyx_mm[1:], _LONGEST_PX, colour)))
    return ComparedSlice(caption, *uris)


def most_shared_slice(lesion: Region, found: Sequence[Region], shape: tuple[int, int]) -> int:
    """The slice of a lesion in which most of its pixels were found; of several, the one with most of the lesion.

    Parameters
    ----------
    lesion
        Its slices are compared; of slices alike the first is taken.
    found
        On the same grid; none takes the lesion's largest slice.
    shape
        Rows and columns of the grid.

    Examples
    --------
    >>> import numpy as np
    >>> lesion = Region((4, 0, 0), np.ones((3, 2, 2), bool))
    >>> most_shared_slice(lesion, [Region((5, 1, 1), np.ones((1, 1, 1), bool))], (2, 2))
    5
    """

    def rank(slice_index: int) -> tuple[int, int]:
        mask = slice_mask([lesion], slice_index, shape)
        return int((mask & slice_mask(found, slice_index, shape)).sum()), int(mask.sum())

    return max(range(lesion.start_zyx[0], lesion.stop_zyx[0]), key=rank)
