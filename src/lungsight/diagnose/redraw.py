"""The masks of `segments`: each nodule outlined again by the U-Net's second stage, which learned how far nodules reach.

The first stage, which finds them, marks more than is nodule, and is not asked for the edge. A few slices round each
nodule cost little beside the whole CT.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lungsight.config import SegmentsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import MASK_SCORE, diameter_of, find_candidates_near
from lungsight.detect.segment import SliceNetwork
from lungsight.findings import Nodule

__all__ = ["redraw"]

AROUND_MM = (5.0, 24.0, 24.0)
"""Slices, rows and columns round a nodule that the network sees: about as much as it was trained on."""


def redraw(nodule: Nodule, ct: CTVolume, network: SliceNetwork, config: SegmentsConfig) -> Nodule:
    """A nodule with its mask outlined again.

    Parameters
    ----------
    nodule
        Its mask says where to look; without one it is left as it is.
    ct
        The upright CT it was found in.
    network
        The U-Net's second stage.
    config
        The distances of the two mergings.

    Returns
    -------
    Nodule
        Mask, region and ROI diameter are of the piece that shares most voxels with the mask that was given; where no
        piece of it does, all is as it was.
    """
    if nodule.mask is None:
        return nodule
    around = np.divide(AROUND_MM, ct.spacing_zyx_mm)
    low, high = np.subtract(nodule.mask.start_zyx, around), np.subtract(nodule.mask.stop_zyx, 1) + around
    sure = replace(config, pixel_score=MASK_SCORE)
    pieces = [candidate.region for candidate in find_candidates_near(ct, low, high, network, sure)]
    shared = [piece.shared_voxels(nodule.mask) for piece in pieces]
    if not any(shared):
        return nodule
    mask = pieces[int(np.argmax(shared))]
    candidate = replace(nodule.candidate, region=mask, roi_diameter_mm=diameter_of(mask, ct))
    return replace(nodule, candidate=candidate, mask=mask)
