"""A nodule outlined again: which piece becomes its mask, what the network is shown, and when all stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.detect.working import normalise_hu
from lungsight.diagnose.redraw import FIELD_PX, OUTLINE_SCORE, outline_scores, redraw
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
    drawn = redraw(given, ct, marks_bright)
    assert box_of(drawn.mask) == LARGE
    assert drawn.candidate.region is drawn.mask
    # A disc as large as 20 x 30 pixels of 0.7 mm.
    assert drawn.candidate.roi_diameter_mm == pytest.approx(2 * np.sqrt(600 * 0.49 / np.pi))
    assert drawn.candidate.location == given.candidate.location
    assert (drawn.candidate.detection_score, drawn.malignancy_score) == (0.8, 0.4)


def test_of_several_pieces_that_which_shares_most_is_taken() -> None:
    ct = ct_with(LARGE, SMALL)
    over_both = nodule_of(ct, np.s_[9:11, 85:91, 119:133])  # 1 column of the large one, 5 of the small
    assert box_of(redraw(over_both, ct, marks_bright).mask) == SMALL
    over_both = nodule_of(ct, np.s_[9:11, 85:91, 110:130])  # 10 and 2
    assert box_of(redraw(over_both, ct, marks_bright).mask) == LARGE


def test_at_the_border_of_the_ct_it_looks_at_what_there_is() -> None:
    corner = np.s_[0:2, 0:12, 205:220]
    ct = ct_with(corner)
    assert box_of(redraw(nodule_of(ct, np.s_[0:1, 2:5, 210:214]), ct, marks_bright).mask) == corner


def test_a_nodule_is_in_the_middle_of_a_field_of_one_size() -> None:
    ct = ct_with(LARGE)
    seen: list[NDArray[np.float32]] = []

    def network(field: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(field)
        return marks_bright(field)

    redraw(nodule_of(ct, LARGE), ct, network)
    assert {field.shape for field in seen} == {(5 + 2 * 2, 1, FIELD_PX, FIELD_PX)}  # 5 mm above and below
    rows, columns = np.nonzero(seen[0][4, 0] > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=0.5)
    assert [int(np.ptp(each)) + 1 for each in (rows, columns)] == [20, 30]


def test_a_wide_nodule_is_seen_whole_in_larger_pixels() -> None:
    wide = np.s_[8:13, 40:160, 60:190]  # 84 x 91 mm
    ct = ct_with(wide)
    fields: list[NDArray[np.float32]] = []

    def network(field: NDArray[np.float32]) -> NDArray[np.float32]:
        fields.append(field)
        return marks_bright(field)

    z, y, x = box_of(redraw(nodule_of(ct, wide), ct, network).mask)
    assert fields[0].shape[2:] == (FIELD_PX, FIELD_PX)
    assert fields[0][4, 0, [0, -1]].max() < 0.1  # lung around it
    assert z == wide[0]
    # A pixel of the field is 2.3 of the CT.
    assert [y.start, y.stop, x.start, x.stop] == pytest.approx([40, 160, 60, 190], abs=2)


def test_scores_are_the_mean_over_mirror_images_on_the_slices_own_pixels() -> None:
    rng = np.random.default_rng(3)
    hu = rng.integers(-1000, 500, (2, 90, 100)).astype(np.int16)
    same = outline_scores(hu, np.array([40.5, 45.5]), (0.7, 0.7), lambda field: field)
    assert same[:, 9:73, 14:78] == pytest.approx(normalise_hu(hu)[:, 9:73, 14:78], abs=1e-5)
    same[:, 9:73, 14:78] = 0
    assert not same.any()

    def first_quarter(field: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = np.zeros_like(field)
        scores[:, :, : FIELD_PX // 2, : FIELD_PX // 2] = 1
        return scores

    mean = outline_scores(hu, np.array([40.5, 45.5]), (0.7, 0.7), first_quarter)
    assert mean[:, 9:73, 14:78] == pytest.approx(0.25)


def test_from_which_score_on_it_is_nodule() -> None:
    ct = ct_with(LARGE)
    given = nodule_of(ct, np.s_[9:11, 85:91, 100:110])
    assert given.mask is not None
    enough = np.float32(OUTLINE_SCORE + 0.01)
    assert box_of(redraw(given, ct, lambda field: (field > 0.5) * enough).mask) == (given.mask.box[0], *LARGE[1:])
    assert redraw(given, ct, lambda field: (field > 0.5) * (enough - np.float32(0.02))) is given


def test_beyond_the_given_mask_it_ends_where_the_network_is_unsure() -> None:
    ct = ct_with((slice(5, 16), *LARGE[1:]))
    given = nodule_of(ct, np.s_[9:11, 85:91, 100:110])
    # Slices 7 and 8, of which the nearer is unsure; the two given ones, unsure as well; 11 and 12.
    sure = np.array([0.9, 0.7, 0.5, 0.5, 0.8, 0.7], np.float32)[:, None, None, None]
    drawn = redraw(given, ct, lambda field: marks_bright(field) * sure)
    assert box_of(drawn.mask) == (slice(9, 12), *LARGE[1:])
    both = redraw(given, ct, lambda field: marks_bright(field) * np.maximum(sure, np.float32(0.8)))
    assert box_of(both.mask) == (slice(7, 13), *LARGE[1:])


def test_where_the_network_sees_nothing_the_mask_stays() -> None:
    ct = ct_with(LARGE)
    given = nodule_of(ct, LARGE)
    assert redraw(given, ct, np.zeros_like) is given
    elsewhere = nodule_of(ct, np.s_[9:11, 85:90, 125:127])
    assert redraw(elsewhere, ct, marks_bright) is elsewhere


def test_a_nodule_without_mask_is_left_alone() -> None:
    ct = ct_with(LARGE)
    nodule = Nodule(nodule_of(ct, LARGE).candidate, 0.4)
    assert redraw(nodule, ct, lambda _: pytest.fail("asked")) is nodule
