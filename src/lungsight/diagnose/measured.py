"""Nodules get their masks and measurements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lungsight.config import Config
from lungsight.ct.volume import CTVolume
from lungsight.diagnose.measure import find_landmarks, measure_nodule
from lungsight.diagnose.outline import outline_nodule
from lungsight.findings import Nodule

__all__ = ["measure_nodules"]


def measure_nodules(
    nodules: tuple[Nodule, ...], upright: CTVolume, lungs: NDArray[np.bool_], config: Config
) -> tuple[Nodule, ...]:
    """Each nodule with its measurements, and its own mask if it has none yet.

    Parameters
    ----------
    nodules
        Of the upright CT; one without a mask is outlined from its candidate.
    upright
        The CT, slices axial, head up.
    lungs
        Lung mask on its grid.
    config
        How nodules are outlined and measured.

    Returns
    -------
    tuple of Nodule
        In the same order. A nodule in whose region there is nothing to outline stays without mask and measurements;
        without lungs all do.
    """
    landmarks = find_landmarks(upright, lungs) if nodules else None
    if landmarks is None:
        return nodules
    with_masks = []
    for nodule in nodules:
        mask = nodule.mask or outline_nodule(upright, lungs, nodule.candidate, config.outline)
        measured = None if mask is None else measure_nodule(upright, mask, landmarks, config.measure)
        with_masks.append(replace(nodule, mask=mask, measurements=measured))
    return tuple(with_masks)
