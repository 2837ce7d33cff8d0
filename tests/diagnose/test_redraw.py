"""A nodule outlined again: which piece becomes its mask, what the network is shown, and when all stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.config import SegmentsConfig
from lungsight.ct.volume import CTVolume
from lungsight.diagnose.redraw import redraw
from lungsight.findings import Candidate, Nodule, Region
from phantom import affine_of

SPACING_MM = (2.5, 0.7, 0.7)
BRIGHT_HU = 200
Box = tuple[slice, slice, slice]


def ct_with(*boxes: Box) -> CTVolume:
    """Lung, and in these boxes what the network marks."""
    hu = np.full((20, 200, 220), -900, np.int16)
    for box in boxes:
        hu[box] = BRIGHT_HU
    return CTVolume(hu, affine_of(SPACING_MM, (-40.0, 12.0, -300.0)))


def nodule_of(ct: CTVolume, box: Box) -> Nodule:
    z, y, x = (part.start for part in box)
    region = Region((z, y, x), np.ones([part.stop - part.start for part in box], bool))
    candidate = Candidate(ct.locate((z, y, x)), roi_diameter_mm=3.0, detection_score=0.8, region=region)
    return Nodule(candidate, 0.4, mask=region)


def marks_bright(field: NDArray[np.float32]) -> NDArray[np.float32]:
    return (field > 0.5).astype(np.float32)


def box_of(region: Region | None) -> Box:
    assert region is not None
    assert region.mask.all()
    z, y, x = (slice(a, b) for a, b in zip(region.start_zyx, region.stop_zyx, strict=True))
    return z, y, x


LARGE, SMALL = np.s_[8:13, 80:100, 90:120], np.s_[8:13, 80:100, 128:133]


def test_the_mask_is_what_the_network_marks_there_and_nothing_else_changes() -> None:
    ct = ct_with(LARGE, SMALL)
    given = nodule_of(ct, np.s_[9:11, 85:90, 100:110])
    drawn = redraw(given, ct, marks_bright, SegmentsConfig(merge_mm=0.0, z_merge_mm=0.0))
    z, y, x = box_of(drawn.mask)
    # A slice is a piece where nothing is merged; the first of those that share as much is taken.
    assert (y, x) == LARGE[1:]
    assert z in (slice(9, 10), slice(10, 11))
    merged = redraw(given, ct, marks_bright, SegmentsConfig(merge_mm=0.0, z_merge_mm=6.0))
    assert box_of(merged.mask) == LARGE
    assert merged.candidate.region is merged.mask
    # A disc as large as 20 x 30 pixels of 0.7 mm.
    assert merged.candidate.roi_diameter_mm == pytest.approx(2 * np.sqrt(600 * 0.49 / np.pi))
    assert merged.candidate.location == given.candidate.location
    assert (merged.candidate.detection_score, merged.malignancy_score) == (0.8, 0.4)


def test_of_several_pieces_that_which_shares_most_is_taken() -> None:
    ct = ct_with(LARGE, SMALL)
    config = SegmentsConfig(merge_mm=0.0)
    over_both = nodule_of(ct, np.s_[9:11, 85:90, 118:133])  # 2 columns of the large one, 5 of the small
    assert box_of(redraw(over_both, ct, marks_bright, config).mask) == SMALL
    over_both = nodule_of(ct, np.s_[9:11, 85:90, 110:130])  # 10 and 2
    assert box_of(redraw(over_both, ct, marks_bright, config).mask) == LARGE


def test_at_the_border_of_the_ct_it_looks_at_what_there_is() -> None:
    corner = np.s_[0:2, 0:12, 205:220]
    ct = ct_with(corner)
    assert box_of(redraw(nodule_of(ct, np.s_[0:1, 2:5, 210:214]), ct, marks_bright, SegmentsConfig()).mask) == corner


def test_it_sees_some_slices_and_some_of_what_lies_around() -> None:
    ct = ct_with(LARGE)
    seen: list[tuple[int, ...]] = []

    def network(field: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(field.shape[2:])
        return marks_bright(field)

    redraw(nodule_of(ct, LARGE), ct, network, SegmentsConfig())
    assert len(seen) == 5 + 2 * 2  # 5 mm above and below
    # 24 mm are 34 pixels on each side of 20 rows and 30 columns; at least so much, and not the whole slice.
    assert all(88 <= rows <= 160 and 98 <= columns <= 160 for rows, columns in seen)


@pytest.mark.parametrize("score", [0.0, 0.49])
def test_where_the_network_sees_nothing_the_mask_stays(score: float) -> None:
    ct = ct_with(LARGE)
    given = nodule_of(ct, LARGE)
    assert redraw(given, ct, lambda field: marks_bright(field) * np.float32(score), SegmentsConfig()) is given
    elsewhere = nodule_of(ct, np.s_[9:11, 85:90, 125:127])
    assert redraw(elsewhere, ct, marks_bright, SegmentsConfig()) is elsewhere


def test_a_nodule_without_mask_is_left_alone() -> None:
    ct = ct_with(LARGE)
    nodule = Nodule(nodule_of(ct, LARGE).candidate, 0.4)
    assert redraw(nodule, ct, lambda _: pytest.fail("asked"), SegmentsConfig()) is nodule
