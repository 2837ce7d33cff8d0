"""The figure of a paper: red where something was found, blue where marked, in the slice that shows both."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lungsight.ct.volume import CTVolume
from lungsight.findings import Region
from lungsight.report.compared import compare_slice, most_shared_slice

AIR = CTVolume(np.full((5, 60, 90), -850, np.int16), np.diag([2.5, 0.7, 0.7, 1.0])[[2, 1, 0, 3]])


def block(start_zyx: tuple[int, int, int], shape: tuple[int, int, int]) -> Region:
    return Region(start_zyx, np.ones(shape, np.bool_))


def pixels(uri: str) -> NDArray[np.int16]:
    head, _, text = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), np.int16)


def test_red_is_what_was_found_and_blue_what_was_marked() -> None:
    compared = compare_slice(AIR, 2, [block((2, 10, 10), (1, 20, 20))], [block((2, 30, 50), (1, 20, 30))], "ann")
    found, marked = pixels(compared.found_uri), pixels(compared.marked_uri)
    assert compared.caption == "ann"
    assert found.shape == marked.shape == (299, 448, 3)  # 90 columns become 448
    for picture, colour, other, rows, columns in (
        (found, 0, 2, slice(10, 30), slice(10, 30)),
        (marked, 2, 0, slice(30, 50), slice(50, 80)),
    ):
        tinted = picture[..., colour] - picture[..., other] > 20
        expected = np.zeros(AIR.shape[1:], np.bool_)
        expected[rows, columns] = True
        wide = np.kron(expected, np.ones((5, 5), np.bool_))[:299, :448]
        assert (tinted == wide).mean() > 0.97
    elsewhere = compare_slice(AIR, 3, [block((2, 10, 10), (1, 20, 20))], [], "")
    assert np.ptp(pixels(elsewhere.found_uri), axis=2).max() < 12


@pytest.mark.parametrize(
    ("found", "slice_index"),
    [
        ([], 2),  # the largest
        ([block((3, 0, 0), (1, 9, 9))], 3),
        ([block((2, 0, 0), (1, 1, 1)), block((3, 0, 0), (1, 1, 1))], 2),  # as much in both: the larger
        ([block((2, 0, 0), (1, 1, 1)), block((3, 0, 0), (1, 1, 2))], 3),
        ([block((0, 8, 8), (5, 1, 1))], 2),  # beside it
    ],
)
def test_the_slice_is_the_one_that_shows_most_of_both(found: list[Region], slice_index: int) -> None:
    mask = np.zeros((3, 4, 4), np.bool_)
    mask[0, 0, 0] = mask[1] = mask[2, :2] = True
    assert most_shared_slice(Region((1, 0, 0), mask), found, (9, 9)) == slice_index
