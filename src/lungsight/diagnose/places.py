"""Scores at given points by `segments`: what the networks say of a place, without lungs or detection.

The U-Net looks at the slices round the point; what it marks nearest to the point tells which slices show the nodule.
Where it marks nothing, the slices within 2 mm are taken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.config import SegmentsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import diameter_of, find_candidates_near
from lungsight.detect.segment import SliceNetwork
from lungsight.diagnose.classify import Judges
from lungsight.findings import Candidate, Nodule, Region

__all__ = ["judge_place"]

REACH_MM = 20.0
"""Slices farther from the point are not looked at."""
AROUND_MM = 40.0
"""Rows and columns farther from the point are not either."""
NEAR_MM = 5.0
"""What the U-Net marks farther from the point is another thing."""
UNMARKED_SCORE = 0.1
"""What counts as the U-Net's score where it marks nothing."""
ALONE_MM = 2.0
"""Half the height that is looked at where nothing is marked."""


def judge_place(
    ct: CTVolume, point_zyx: NDArray[np.float64], network: SliceNetwork, judges: Judges, config: SegmentsConfig
) -> Nodule:
    """The nodule at one point of an upright CT.

    Parameters
    ----------
    ct
        Slices axial; one is enough.
    point_zyx
        Shape ``(3,)``, voxel index, fractional; inside the CT.
    network
        The U-Net.
    judges
        The nodule networks.
    config
        How marks become candidates.

    Returns
    -------
    Nodule
        `detection_score` is the nodule score, the malignancy score the network's, not weighed yet. Its region and mask
        are what the U-Net marks there; where it marks nothing, the region is the point's voxel, there is no mask, and
        the diameter is 0.

    Raises
    ------
    ValueError
        If the point is outside the CT.
    """
    if not all(-0.5 <= p <= n - 0.5 for p, n in zip(point_zyx, ct.shape, strict=True)):
        raise ValueError(f"voxel {point_zyx.round(1).tolist()} is outside the CT of {ct.shape} voxels")
    marked = _marked(ct, point_zyx, network, config)
    mask, unet_score = marked or (None, UNMARKED_SCORE)
    middle = np.clip(np.rint(point_zyx), 0, np.subtract(ct.shape, 1)).astype(int)
    if mask is None:
        half = int(ALONE_MM / ct.spacing_zyx_mm[0])
        first, last = max(0, middle[0] - half), min(len(ct.hu) - 1, middle[0] + half)
        z, y, x = middle.tolist()
        region, diameter_mm = Region((z, y, x), np.ones((1, 1, 1), bool)), 0.0
    else:
        first, last, region = mask.start_zyx[0], mask.stop_zyx[0] - 1, mask
        diameter_mm = diameter_of(mask, ct)
    candidate = Candidate(
        location=ct.locate(np.clip(point_zyx, 0, np.subtract(ct.shape, 1))),
        roi_diameter_mm=diameter_mm,
        detection_score=judges.nodule_score(ct, point_zyx, unet_score, diameter_mm),
        region=region,
    )
    return Nodule(candidate, judges.malignancy_score(ct, point_zyx, first, last), mask=mask)


def _marked(
    ct: CTVolume, point_zyx: NDArray[np.float64], network: SliceNetwork, config: SegmentsConfig
) -> tuple[Region, float] | None:
    """What the U-Net marks nearest to the point, if it is near, and its score."""
    reach = np.divide((REACH_MM, AROUND_MM, AROUND_MM), ct.spacing_zyx_mm)
    best: tuple[Region, float] | None = None
    nearest_mm = NEAR_MM
    for candidate in find_candidates_near(ct, point_zyx - reach, point_zyx + reach, network, config):
        region = candidate.region
        voxels = np.argwhere(region.mask) + region.start_zyx
        apart_mm = float(np.sqrt((((voxels - point_zyx) * ct.spacing_zyx_mm) ** 2).sum(1)).min())
        if apart_mm < nearest_mm:
            best, nearest_mm = (region, candidate.detection_score), apart_mm
    return best
