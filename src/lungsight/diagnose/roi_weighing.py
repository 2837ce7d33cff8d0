"""The `windows` system's second look at its ROIs: what the windows said, and the shape of what lies there.

A window is one slice, in which a vessel cut across looks like a nodule. What tells them apart is in the slices beside:
a vessel goes on, and its outline is long. So each ROI is outlined near its place, and a logistic regression weighs the
windows' scores with the outline's shape. Whether a nodule touches vessels or pleura is not asked: real ones do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lungsight.config import OutlineConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import diameter_of
from lungsight.detect.rois import Roi
from lungsight.diagnose.outline import outline_nodule
from lungsight.diagnose.scaling import logit_of
from lungsight.findings import Region

__all__ = ["RoiWeighing", "SeenRoi", "Shape", "roi_weighing_of", "see_rois", "shape_of", "weigh_rois"]

NEAR_MM = 6.0
"""The shape is that of what lies this near to the ROI's place, and the outline's own margin around."""
EVEN_CHANCE = 0.9
"""Score of a ROI's best window that is an even chance where no weights were fitted."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of an outline, by its principal axes; each 0 to 1, all 1 for a ball.

    Attributes
    ----------
    shortest, middle
        Length of the axis over that of the longest.
    fullness
        The outline's volume over that of the ellipsoid with its axes; what is branched or hollow is less full.
    """

    shortest: float
    middle: float
    fullness: float


@dataclass(frozen=True, slots=True)
class RoiWeighing:
    """What the windows say of a ROI and its shape become one score: logistic regression.

    The score is ``1 / (1 + exp(-(highest * logit(h) + place * logit(p) + beside * logit(b) + shortest * ln(s) + middle
    * ln(m) + fullness * ln(f) + intercept)))``. As it stands by default it is that of the best window alone, and 0.9 is
    an even chance.

    Attributes
    ----------
    highest, place, beside
        Weights of :class:`~lungsight.detect.rois.Peak`'s scores.
    shortest, middle, fullness
        Weights of :class:`Shape`'s logarithms.
    intercept
        As fitted.
    """

    highest: float = 1.0
    place: float = 0.0
    beside: float = 0.0
    shortest: float = 0.0
    middle: float = 0.0
    fullness: float = 0.0
    intercept: float = -float(logit_of(EVEN_CHANCE))

    def apply(self, seen: SeenRoi) -> float:
        """The detection score, 0 to 1."""
        weights = (self.highest, self.place, self.beside, self.shortest, self.middle, self.fullness)
        return float(expit(seen.terms @ np.array(weights) + self.intercept))


@dataclass(frozen=True, slots=True, eq=False)
class SeenRoi:
    """A ROI with the outline of what lies at its place.

    Attributes
    ----------
    roi
        As it was found.
    outline
        On the CT's grid.
    shape
        Of the outline.
    """

    roi: Roi
    outline: Region
    shape: Shape

    @property
    def terms(self) -> NDArray[np.float64]:
        """What the weighing weighs, in its order: shape ``(6,)``."""
        peak, shape = self.roi.peak, self.shape
        scores = logit_of([peak.highest, peak.place, peak.beside])
        return np.concatenate([scores, np.log([shape.shortest, shape.middle, shape.fullness])])


def roi_weighing_of(card: Mapping[str, Any]) -> RoiWeighing:
    """As a card tells it; where it tells none, the best window's score alone."""
    return RoiWeighing(**card.get("roi_weighing", {}))


def shape_of(region: Region, spacing_zyx_mm: tuple[float, float, float]) -> Shape:
    """The form of a set of voxels, each counted as a box.

    Examples
    --------
    >>> shape = shape_of(Region((0, 0, 0), np.ones((2, 4, 8), bool)), (1.0, 1.0, 1.0))
    >>> round(shape.shortest, 6), round(shape.middle, 6)
    (0.25, 0.5)
    """
    points_mm = np.argwhere(region.mask) * np.array(spacing_zyx_mm)
    of_a_voxel = np.diag(np.square(spacing_zyx_mm) / 12)
    spread = np.cov(points_mm.T, bias=True) + of_a_voxel
    # The standard deviation along an axis of an ellipsoid is its length over the root of 20.
    axes_mm = np.sqrt(20 * np.linalg.eigvalsh(spread))
    volume_mm3 = len(points_mm) * float(np.prod(spacing_zyx_mm))
    fullness = volume_mm3 / (np.pi / 6 * float(np.prod(axes_mm)))
    shortest, middle, longest = (float(axis) for axis in axes_mm)
    return Shape(shortest / longest, middle / longest, min(1.0, fullness))


def see_rois(ct: CTVolume, lungs: NDArray[np.bool_], rois: Sequence[Roi], config: OutlineConfig) -> Iterator[SeenRoi]:
    """The ROIs at whose place something can be outlined, in their order.

    Parameters
    ----------
    ct
        The upright CT.
    lungs
        Its lung mask.
    rois
        As :func:`~lungsight.detect.rois.find_rois` gives them.
    config
        How nodules are outlined.
    """
    for roi in rois:
        location = roi.candidate.location
        middle = np.rint([location.slice_index, location.row, location.column]).astype(np.intp)
        reach = np.ceil(np.divide(NEAR_MM, ct.spacing_zyx_mm)).astype(np.intp)
        low, high = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, ct.shape)
        z, y, x = (int(each) for each in low)
        near = replace(roi.candidate, region=Region((z, y, x), np.ones(high - low, np.bool_)))
        outline = outline_nodule(ct, lungs, near, config)
        if outline is not None:
            yield SeenRoi(roi, outline, shape_of(outline, ct.spacing_zyx_mm))


def weigh_rois(ct: CTVolume, seen: Sequence[SeenRoi], weighing: RoiWeighing, least_score: float) -> tuple[Roi, ...]:
    """The ROIs that are kept; peaks of the same nodule are one.

    Parameters
    ----------
    ct
        The upright CT.
    seen
        As :func:`see_rois` gives them.
    weighing
        What makes the detection score.
    least_score
        Score from which a ROI is kept, 0 to 1.

    Returns
    -------
    tuple of Roi
        Best detection score first. Where outlines meet, the best is kept, with the regions and votes of all, whatever
        their scores: a large nodule has peaks at its rim. Its location is the middle of its outline.
    """
    scored = sorted(((weighing.apply(each), each) for each in seen), key=lambda pair: -pair[0])
    kept: list[tuple[Region, Roi]] = []
    for score, each in scored:
        met = next((k for k, (outline, _) in enumerate(kept) if outline.shared_voxels(each.outline)), None)
        if met is None:
            middle = np.argwhere(each.outline.mask).mean(0) + each.outline.start_zyx
            candidate = replace(each.roi.candidate, location=ct.locate(middle), detection_score=score)
            kept.append((each.outline, replace(each.roi, candidate=candidate)))
        else:
            outline, roi = kept[met]
            kept[met] = outline, _joined(ct, roi, each.roi)
    return tuple(roi for _, roi in kept if roi.candidate.detection_score >= least_score)


def _joined(ct: CTVolume, best: Roi, other: Roi) -> Roi:
    """A ROI with the region and the votes of another; a window votes once."""
    region = _union(best.candidate.region, other.candidate.region)
    voters, first = np.unique(np.concatenate([best.voters, other.voters]), return_index=True)
    candidate = replace(best.candidate, region=region, roi_diameter_mm=diameter_of(region, ct))
    return replace(best, candidate=candidate, voters=voters, labels=np.concatenate([best.labels, other.labels])[first])


def _union(one: Region, two: Region) -> Region:
    """The voxels of both."""
    start = np.minimum(one.start_zyx, two.start_zyx)
    mask = np.zeros(np.maximum(one.stop_zyx, two.stop_zyx) - start, np.bool_)
    for each in (one, two):
        mask[tuple(map(slice, each.start_zyx - start, each.stop_zyx - start))] |= each.mask
    z, y, x = (int(k) for k in start)
    return Region((z, y, x), mask)
