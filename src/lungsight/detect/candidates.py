"""From the U-Net's scores to candidates: threshold, components of each slice, distance merging, Z-merging.

A component is a set of touching pixels of one slice. Its centre is the mean of its pixels, weighted by their scores.
Centres are joined by :mod:`lungsight.detect.merge`; the components of the joined centres are one candidate, and its
mask is their pixels on the CT's own grid.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lungsight.config import SegmentsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.merge import merge_in_slice, merge_through_slices
from lungsight.detect.segment import ScoreMap, SliceNetwork, score_slices
from lungsight.findings import Candidate, Region

__all__ = ["MASK_SCORE", "diameter_of", "find_candidates", "find_candidates_near"]

MASK_SCORE = 0.5
"""A pixel is nodule from this score, what the U-Net was trained for; where none has it, the component itself is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Spot:
    """A component of a slice.

    Attributes
    ----------
    z
        Its slice.
    box
        Rows and columns of working pixels that hold it.
    scores
        In that box; 0 where it is not.
    """

    z: int
    box: tuple[slice, slice]
    scores: NDArray[np.float32]

    @property
    def weight(self) -> float:
        """The sum of its scores."""
        return float(self.scores.sum())

    @property
    def centre(self) -> NDArray[np.float64]:
        """Row and column in working pixels, weighted by the scores."""
        corner = np.array([part.start for part in self.box], np.float64)
        return corner + np.array(ndimage.center_of_mass(self.scores), np.float64)


def find_candidates(
    ct: CTVolume, lungs: NDArray[np.bool_], found: ScoreMap, config: SegmentsConfig
) -> tuple[Candidate, ...]:
    """The candidates of a score map.

    Parameters
    ----------
    ct
        The CT that was looked at.
    lungs
        Its lung mask; a candidate's mask touches it.
    found
        The U-Net's scores.
    config
        From which score on, the distances of the two mergings, and how many candidates at most.

    Returns
    -------
    tuple of Candidate
        Highest detection score first, which is the mean score of its best component; empty if no pixel scores enough.
    """
    spots = _spots(found.scores, config.pixel_score)
    slices = np.array([spot.z for spot in spots], np.intp)
    weight = np.array([spot.weight for spot in spots], np.float64)
    centres_mm = np.array([spot.centre * found.pixel_mm for spot in spots], np.float64).reshape(-1, 2)
    merged = np.full(len(spots), -1)
    for z in np.unique(slices):
        here = np.flatnonzero(slices == z)
        # Numbers of one slice begin behind those of the slices before.
        merged[here] = merge_in_slice(centres_mm[here], config.merge_mm) + merged.max() + 1
    groups = merged.max(initial=-1) + 1
    slice_of, total = np.zeros(groups, np.intp), np.bincount(merged, weight, groups)
    slice_of[merged] = slices
    joined = [np.bincount(merged, weight * centres_mm[:, axis], groups) / total for axis in (0, 1)]
    nodule_of = merge_through_slices(slice_of, np.column_stack(joined), config.z_merge_mm)[merged]
    members: dict[int, list[_Spot]] = defaultdict(list)
    for spot, nodule in zip(spots, nodule_of.tolist(), strict=True):
        members[nodule].append(spot)
    best = sorted(members.values(), key=_detection_score, reverse=True)
    candidates: list[Candidate] = []
    for mine in best:
        if len(candidates) == config.most_candidates:
            break
        candidate = _candidate(ct, found, mine)
        if (lungs[candidate.region.box] & candidate.region.mask).any():
            candidates.append(candidate)
    return tuple(candidates)


def find_candidates_near(
    ct: CTVolume, low: ArrayLike, high: ArrayLike, network: SliceNetwork, config: SegmentsConfig
) -> tuple[Candidate, ...]:
    """What the U-Net marks in a part of a CT, whether lungs are there or not.

    Parameters
    ----------
    ct
        Slices axial; one is enough.
    low, high
        Shape ``(3,)``, voxel indices, fractional: opposite corners of the part, which holds both; what is beyond the
        CT is left out.
    network
        The U-Net.
    config
        As for :func:`find_candidates`.

    Returns
    -------
    tuple of Candidate
        As of :func:`find_candidates`; regions are on the CT's grid.
    """
    first = np.maximum(np.floor(np.asarray(low, np.float64)), 0).astype(int)
    last = np.minimum(np.floor(np.asarray(high, np.float64)) + 1, ct.shape).astype(int)
    affine = ct.affine.copy()
    affine[:3, 3] = ct.to_lps(first.astype(np.float64))
    part = CTVolume(ct.hu[tuple(slice(a, b) for a, b in zip(first, last, strict=True))], affine)
    everywhere = np.ones(part.shape, bool)
    found = find_candidates(part, everywhere, score_slices(part, everywhere, network), config)
    return tuple(_shifted(candidate, first) for candidate in found)


def _shifted(candidate: Candidate, by_zyx: NDArray[np.intp]) -> Candidate:
    """A candidate whose region and slice are counted from elsewhere."""
    z, y, x = (np.array(candidate.region.start_zyx) + by_zyx).tolist()
    place = replace(candidate.location, slice_index=candidate.location.slice_index + int(by_zyx[0]))
    return replace(candidate, location=place, region=Region((z, y, x), candidate.region.mask))


def diameter_of(region: Region, ct: CTVolume) -> float:
    """Diameter in mm of a disc as large as the region is in the slice that shows most of it."""
    largest_mm2 = region.mask.sum((1, 2)).max() * ct.spacing_zyx_mm[1] * ct.spacing_zyx_mm[2]
    return float(2 * np.sqrt(largest_mm2 / np.pi))


def _spots(scores: NDArray[np.float16], least: float) -> list[_Spot]:
    shown = scores >= max(np.float16(least), np.finfo(np.float16).smallest_subnormal)
    spots = []
    for z in np.flatnonzero(shown.any((1, 2))).tolist():
        labelled, _ = ndimage.label(shown[z], np.ones((3, 3)))
        for number, (rows, columns) in enumerate(ndimage.find_objects(labelled), 1):
            inside = labelled[rows, columns] == number
            here = np.where(inside, scores[z, rows, columns], np.float16(0)).astype(np.float32)
            spots.append(_Spot(z, (rows, columns), here))
    return spots


def _detection_score(spots: list[_Spot]) -> float:
    """The mean score of the best component: of all its pixels, since one alone says little."""
    return min(1.0, max(float(spot.scores[spot.scores > 0].mean()) for spot in spots))


def _candidate(ct: CTVolume, found: ScoreMap, spots: list[_Spot]) -> Candidate:
    """Components that belong together as one candidate."""
    first, last = min(spot.z for spot in spots), max(spot.z for spot in spots)
    low = [min(spot.box[axis].start for spot in spots) for axis in (0, 1)]
    high = [max(spot.box[axis].stop for spot in spots) for axis in (0, 1)]
    # A pixel more on each side, for what lies between the outermost pixel and its neighbour.
    scores = np.zeros((last - first + 1, *(b - a + 2 for a, b in zip(low, high, strict=True))), np.float32)
    for spot in spots:
        rows, columns = (slice(p.start - a + 1, p.stop - a + 1) for p, a in zip(spot.box, low, strict=True))
        scores[spot.z - first, rows, columns] += spot.scores
    region = _region(ct, scores, found.pixel_mm, (first, low[0] - 1, low[1] - 1))
    weight = np.array([spot.weight for spot in spots])
    row, column = (np.array([spot.centre for spot in spots]) * weight[:, None]).sum(0) / weight.sum()
    z = float(np.array([spot.z for spot in spots]) @ weight / weight.sum())
    to_source = np.divide(found.pixel_mm, ct.spacing_zyx_mm[1:])
    centre = np.minimum([z, row * to_source[0], column * to_source[1]], np.subtract(ct.shape, 1))
    return Candidate(
        location=ct.locate(centre),
        roi_diameter_mm=diameter_of(region, ct),
        detection_score=_detection_score(spots),
        region=region,
    )


def _region(
    ct: CTVolume, scores: NDArray[np.float32], pixel_mm: tuple[float, float], start_zyx: tuple[int, int, int]
) -> Region:
    """Scores of a box of working pixels as voxels of the CT: those whose interpolated score is enough."""
    first, *corner = start_zyx
    starts, on_source = [], scores
    for axis, (low, mm) in enumerate(zip(corner, pixel_mm, strict=True), 1):
        step = mm / ct.spacing_zyx_mm[axis]
        end = min(int(np.ceil((low + scores.shape[axis] - 1) * step)) + 1, ct.shape[axis])
        starts.append(min(max(0, int(np.floor(low * step))), end - 1))
        places = (np.arange(starts[-1], end) / step - low).clip(0, scores.shape[axis] - 1)
        below = np.minimum(places.astype(np.intp), scores.shape[axis] - 2)
        share = (places - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        on_source = on_source.take(below, axis) * (1 - share) + on_source.take(below + 1, axis) * share
    highest = float(on_source.max())
    # Half of the least score of a faint component is where it ends; between two source pixels nothing may be left.
    enough = MASK_SCORE if highest >= MASK_SCORE else min(highest, float(scores[scores > 0].min()) / 2)
    mask = on_source >= enough
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    z, y, x = (part.start + offset for part, offset in zip(box, (first, *starts), strict=True))
    return Region((z, y, x), mask[box])
