"""What is known of one CT, as arrays for training: which voxels are nodules of which kind, and which are uncertain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.upright import turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.evaluate.match import UNKNOWN_DIAMETER_MM
from lungsight.train.cases import rating_to_malignancy
from lungsight.train.draw import how_often, how_sure
from lungsight.train.hosts import LESION_MARGIN_MM
from lungsight.train.patient import CTTruth, PointMark, TrueNodule

__all__ = ["KnownNodule", "UprightMarks", "known_kind", "mark_upright"]

RATING = "malignancy"


@dataclass(frozen=True, slots=True)
class KnownNodule:
    """A nodule that may be learned from.

    Attributes
    ----------
    label
        Its number in the volume of labels, from 1.
    sure, malignancy
        How sure it is a nodule, and how malignant, 0 to 1.
    chance
        How often it is drawn beside one of which all is sure.
    ratings
        One mapping a reader who gave any.
    """

    label: int
    sure: float
    malignancy: float
    chance: float
    ratings: tuple[Mapping[str, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class UprightMarks:
    """The marks of a CT, turned upright as the CT is.

    Attributes
    ----------
    ct
        Upright.
    labels
        Shape of the CT: 0, or the number of a nodule.
    nodules
        Those of known kind; other numbers are findings of unknown kind.
    places
        Shape of the CT: round findings of which only a place is known, and voxels that are excluded.
    lesions
        Shape of the CT: every finding and what lies within 5 mm of it; what is excluded, as it was given.
    """

    ct: CTVolume
    labels: NDArray[np.int16]
    nodules: tuple[KnownNodule, ...]
    places: NDArray[np.bool_]
    lesions: NDArray[np.bool_]

    def others(self, z: int, *numbers: int) -> NDArray[np.bool_]:
        """Findings of a slice but nodules of these numbers."""
        other: NDArray[np.bool_] = self.places[z] | ((self.labels[z] > 0) & ~np.isin(self.labels[z], numbers))
        return other


def known_kind(nodule: TrueNodule, patient_label: int | None, labels: str) -> tuple[float, float] | None:
    """How sure it is a nodule, and how malignant it is; None where that is not known.

    Parameters
    ----------
    nodule
        Its own ratings count before the patient's label.
    patient_label
        1 malignant, 0 benign, None unknown.
    labels
        ``"soft"``: the ratings' mean on a scale of its own (see
        :func:`~lungsight.train.cases.rating_to_malignancy`), as sure as readers outlined it; ``"hard"``: 0 or 1, by the
        median rating under or over 3, which itself says nothing.
    """
    ratings = np.array([rating[RATING] for rating in nodule.ratings if RATING in rating], np.float64)
    if labels == "hard":
        if not len(ratings):
            return None if patient_label is None else (1.0, float(patient_label))
        median = float(np.median(ratings))
        return None if median == 3 else (1.0, float(median > 3))
    if len(ratings):
        return how_sure(nodule.readers), rating_to_malignancy(ratings)
    return None if patient_label is None else (how_sure(nodule.readers), float(patient_label))


def mark_upright(ct: CTVolume, truth: CTTruth, labels: str) -> UprightMarks:
    """Draw the marks of a CT and turn both upright.

    Parameters
    ----------
    ct
        As read.
    truth
        Its nodules, not None. Those without a region, or of unknown kind, become findings that nothing is learned from.
    labels
        See :func:`known_kind`.

    Returns
    -------
    UprightMarks
        Where nodules overlap, a voxel belongs to the later one.
    """
    volume = np.zeros(ct.shape, np.int16)
    known = []
    points = list(truth.excluded)
    for number, nodule in enumerate(truth.nodules or (), 1):
        if nodule.region is None:
            points.append(PointMark(nodule.centre_lps_mm, nodule.diameter_mm))
            continue
        volume[nodule.region.box][nodule.region.mask] = number
        kind = known_kind(nodule, truth.patient.label, labels)
        if kind is not None:
            chance = 1.0 if labels == "hard" else how_often(nodule.readers)
            known.append(KnownNodule(number, *kind, chance, nodule.ratings))
    turn = turn_upright(ct)
    upright = turn.volume(ct)
    turned = np.ascontiguousarray(turn.array(volume))
    excluded = np.zeros(ct.shape, np.bool_)
    if truth.excluded_region is not None:
        excluded[truth.excluded_region.box] = truth.excluded_region.mask
    places = np.ascontiguousarray(turn.array(excluded))
    for point in points:
        _add_ball(places, upright, point)
    return UprightMarks(upright, turned, tuple(known), places, _grown(turned, upright.spacing_zyx_mm) | places)


def _grown(labels: NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """What lies within the margin of a label; measured in a box round each, for the CT may be large."""
    lesions = labels > 0
    margin = [int(LESION_MARGIN_MM / mm) + 1 for mm in spacing_zyx_mm]
    for box in ndimage.find_objects(labels):
        if box is None:
            continue
        wide = tuple(slice(max(0, side.start - m), side.stop + m) for side, m in zip(box, margin, strict=True))
        far = ndimage.distance_transform_edt(labels[wide] == 0, sampling=spacing_zyx_mm)
        lesions[wide] |= far <= LESION_MARGIN_MM
    return lesions


def _add_ball(places: NDArray[np.bool_], ct: CTVolume, point: PointMark) -> None:
    radius = (point.diameter_mm or UNKNOWN_DIAMETER_MM) / 2 + LESION_MARGIN_MM
    centre = ct.to_zyx(point.centre_lps_mm)
    spacing = np.array(ct.spacing_zyx_mm)
    start = np.maximum(np.floor(centre - radius / spacing), 0).astype(int)
    stop = np.minimum(np.ceil(centre + radius / spacing) + 1, ct.shape).astype(int)
    if (start >= stop).any():
        return
    offsets = np.stack(np.meshgrid(*map(np.arange, start, stop), indexing="ij"), -1) - centre
    box = tuple(map(slice, start, stop))
    places[box] |= np.linalg.norm(offsets * spacing, axis=-1) <= radius
