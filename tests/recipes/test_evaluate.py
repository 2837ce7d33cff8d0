"""The figures of nodules at known places, of networks whose answer can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recipes.segments.evaluate import _dice, outlines
from recipes.segments.train_unet import VIRTUAL_SHARE, slice_cases, with_virtual
from recipes.segments.virtual_nodules import VirtualNodules
from recipes.windows.collection import Crops
from torch import Tensor

from drawn_crops import IN_THE_MIDDLE, NODULES, SPACING_MM
from lungsight.train.unet import UNet

ALL = np.arange(len(NODULES))


class Bright(UNet):
    """Outlines what is bright, and one pixel more in each direction if it is asked to."""

    def __init__(self, more_px: int = 0) -> None:
        super().__init__((1, 1))
        self.more_px = more_px

    def forward(self, field: Tensor) -> Tensor:
        bright = (field > 0.3).float()
        if self.more_px:
            bright = torch.nn.functional.max_pool2d(bright, 2 * self.more_px + 1, 1, self.more_px)
        return 40 * bright - 20


def test_a_perfect_network_outlines_every_nodule_also_at_the_border(crops: Crops) -> None:
    sums, diameter_mm = outlines(Bright(), crops, ALL)
    area = [2 * drawn.disc().sum() for drawn in NODULES]  # two slices
    # The field lies half a pixel off: where it is interpolated a ring of pixels may be lost or won.
    np.testing.assert_allclose(sums, np.repeat(np.array(area)[:, None], 3, 1), rtol=0.15)
    assert diameter_mm == pytest.approx([2 * drawn.radius_px * SPACING_MM for drawn in NODULES], rel=0.1)
    figures = _dice(crops, sums)
    assert [figures[size]["n"] for size in figures] == [3, 1, 2, 1]
    assert figures["over 6 mm"]["mean"]["value"] > 0.95


def test_a_network_that_outlines_too_much_has_the_dice_of_two_discs(crops: Crops) -> None:
    sums, _ = outlines(Bright(more_px=3), crops, ALL)
    exact, _ = outlines(Bright(), crops, ALL)
    assert (sums[:, 1] > 1.5 * exact[:, 1]).all()
    over_6_mm = np.array([2 * drawn.radius_px * SPACING_MM > 6 for drawn in NODULES])
    wide, true = sums[over_6_mm, 1].sum(), sums[over_6_mm, 2].sum()
    found = _dice(crops, sums)["over 6 mm"]
    assert found["pooled"] == pytest.approx(2 * true / (wide + true), abs=0.01)


def test_what_is_marked_beside_the_nodule_does_not_count(crops: Crops) -> None:
    class AtTheEdges(Bright):
        def forward(self, field: Tensor) -> Tensor:
            logits = super().forward(field)
            logits[..., :6, :] = logits[..., -6:, :] = 20
            return logits

    np.testing.assert_array_equal(outlines(AtTheEdges(), crops, ALL)[0], outlines(Bright(), crops, ALL)[0])


def test_a_network_that_outlines_nothing_has_a_dice_of_nought(crops: Crops) -> None:
    class Nothing(Bright):
        def forward(self, field: Tensor) -> Tensor:
            return torch.full_like(field, -20)

    sums, diameter_mm = outlines(Nothing(), crops, ALL)
    assert not sums[:, :2].any()
    assert not diameter_mm.any()
    assert _dice(crops, sums)["over 6 mm"]["mean"]["value"] == 0


def test_the_outline_network_learns_from_virtual_nodules_as_often_as_told(crops: Crops) -> None:
    flat = np.zeros((3, 128, 16), np.uint8)
    virtual = VirtualNodules(
        hu=np.full((3, 128, 128), 7, np.int16),
        outline=np.full_like(flat, 255),
        other=flat,
        of=np.array([0, 0, 1]),
        z_mm=np.arange(3.0),
        shown=np.ones(3, bool),
        nodule=np.array([("LIDC-IDRI-0003", "1"), ("LIDC-IDRI-0003", "2")]),
        spacing_mm=np.full(2, 0.6, np.float32),
    )
    of_crops = slice_cases(crops, {IN_THE_MIDDLE.name})
    cases = with_virtual(of_crops, virtual)
    assert of_crops.chance.tolist() == [1, 0, 0, 0]  # the other patients are held out
    assert cases.chance[len(NODULES) :].sum() / cases.chance.sum() == pytest.approx(VIRTUAL_SHARE)
    hu, share, other = cases.read(np.array([0, 8, 10]))  # a slice of a crop, the first and the last virtual one
    assert np.array_equal(hu[0], crops.hu(np.array([0]))[0])
    assert (hu[1:] == 7).all()
    assert (share[1:] == 1).all()
    assert (share[0] == IN_THE_MIDDLE.disc()).all()
    assert other[0].any()
    assert not other[1:].any()
    assert cases.nodule[[0, 8, 10]].tolist() == [0, 4, 5]
    assert cases.spacing_mm[[0, 8]].tolist() == pytest.approx([0.7, 0.6])
