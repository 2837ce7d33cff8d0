"""Windows that are ROIs, or nearly, scored again in float32: their labels shall not hang on how a network is computed.

A network in bfloat16 or int8 scores a window some hundredths off. That matters only where a score is near the one that
makes a ROI, or benign and malignant are near each other: some windows in a thousand, which cost little to see again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.config import WindowsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.overlap import agree_across_slices, slices_that_agree
from lungsight.detect.windows import WindowMap, WindowNetwork, field_of_windows
from lungsight.detect.working import PIXEL_MM, working_slice

__all__ = ["MARGIN", "likely_rois", "score_again"]

MARGIN = 0.05
"""Windows whose ROI score is so little below that of a ROI are scored again. On five whole CTs
int8 was up to 0.050 off anywhere, and 0.022 where the score was over 0.8."""


def likely_rois(windows: WindowMap, slice_spacing_mm: float, config: WindowsConfig) -> NDArray[np.bool_]:
    """Which windows a ROI may hang on: those that are ROIs, or nearly, and those of the slices they are averaged with.

    Parameters
    ----------
    windows
        The scores, not averaged yet.
    slice_spacing_mm
        Distance between slices.
    config
        From which score a window is a ROI, and how far slices are averaged.

    Returns
    -------
    ndarray
        Shape of `windows.evaluated`.
    """
    averaged = agree_across_slices(windows, slice_spacing_mm, config.slice_reach_mm)
    near = averaged.roi_score >= config.roi_score - MARGIN
    either_way = slices_that_agree(len(near), slice_spacing_mm, config.slice_reach_mm)
    around: NDArray[np.bool_] = ndimage.maximum_filter1d(near, 2 * either_way + 1, axis=0, mode="constant")
    return around & windows.evaluated


def score_again(
    ct: CTVolume, windows: WindowMap, again: NDArray[np.bool_], network: WindowNetwork, *, own_pixels: bool = False
) -> WindowMap:
    """Score some windows again, those that touch each other in one pass.

    Parameters
    ----------
    ct
        The CT the windows were cut from.
    windows
        Their scores.
    again
        Which to score again; shape of `windows.evaluated`.
    network
        The dense network in float32.
    own_pixels
        As :func:`~lungsight.detect.windows.score_windows`.

    Returns
    -------
    WindowMap
        The others keep their scores.
    """
    spacing_mm = (PIXEL_MM, PIXEL_MM) if own_pixels else ct.spacing_zyx_mm[1:]
    scores = windows.scores.copy()
    for z in np.flatnonzero(again.any((1, 2))):
        image = working_slice(ct.hu[z], spacing_mm)
        groups, _ = ndimage.label(again[z], np.ones((3, 3)))
        for box in ndimage.find_objects(groups):
            found = network(field_of_windows(image, *box))
            scores[(z, slice(None), *box)] = np.where(again[(z, *box)], found, scores[(z, slice(None), *box)])
    return replace(windows, scores=scores)
