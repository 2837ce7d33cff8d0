import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lungsight.report.overlay import (
    LUNG,
    ROI_RED,
    SOFT_TISSUE,
    display_shape,
    draw_roi,
    outline_path,
    roi_picture,
    slice_mask,
    window_slice,
)
from samples import FOOT, START_ZYX, lopsided_region

SHAPE = (40, 64)


def red_where(picture: np.ndarray) -> np.ndarray:
    """Grey has equal channels; whatever has more red than green is tinted."""
    return np.asarray(picture[..., 0] > picture[..., 1])


def foot_in_slice() -> np.ndarray:
    expected = np.zeros(SHAPE, bool)
    for row, line in enumerate(FOOT.tolist()):
        for column, inside in enumerate(line):
            expected[START_ZYX[1] + row, START_ZYX[2] + column] = inside
    return expected


def test_the_picture_is_red_exactly_where_the_roi_is() -> None:
    hu = np.linspace(-1300, 100, SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(np.float32)
    picture = roi_picture(hu, slice_mask([lopsided_region()], 2, SHAPE), (0.7, 0.7))
    assert np.array_equal(red_where(picture), foot_in_slice())
    outside = picture[~foot_in_slice()]
    assert np.array_equal(outside, np.repeat(window_slice(hu)[~foot_in_slice()][:, None], 3, axis=1))


def test_the_outline_is_full_and_the_inside_lets_the_ct_through() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:8, 1:7] = True
    dark, bright = (draw_roi(np.full((9, 9), level, np.uint8), mask) for level in (20, 220))
    assert dark[2, 3].tolist() == list(ROI_RED)
    assert dark[4, 4].tolist() != bright[4, 4].tolist()
    assert dark[4, 4, 1] < bright[4, 4, 1]


def test_a_roi_at_the_picture_s_border_is_closed_there() -> None:
    picture = draw_roi(np.zeros((5, 5), np.uint8), np.ones((5, 5), bool))
    assert picture[0, 2].tolist() == list(ROI_RED)
    assert picture[2, 2].tolist() != list(ROI_RED)


def test_a_region_marks_its_own_slices_only() -> None:
    region = lopsided_region()
    marked = [int(slice_mask([region], slice_index, SHAPE).sum()) for slice_index in range(6)]
    assert marked == [0, 0, int(FOOT.sum()), 0, int((FOOT & FOOT[:, ::-1]).sum()), 0]
    assert not slice_mask([], 2, SHAPE).any()


def test_pixels_that_are_not_square_keep_their_proportion() -> None:
    mask = np.zeros((20, 40), bool)
    mask[5:9, 10:30] = True
    picture = roi_picture(np.full((20, 40), -500, np.int16), mask, (3.0, 1.0))
    assert picture.shape == (60, 40, 3)
    expected = np.zeros((60, 40), bool)
    expected[15:27, 10:30] = True
    assert np.array_equal(red_where(picture), expected)


def test_a_picture_can_be_made_to_fit() -> None:
    assert display_shape((512, 512), (0.7, 0.7), 224) == (224, 224)
    assert display_shape((1, 400), (1.0, 1.0), 40) == (1, 40)


def test_windows_are_those_radiologists_know() -> None:
    assert (LUNG.low_hu, LUNG.high_hu) == (-1350, 150)
    assert (SOFT_TISSUE.low_hu, SOFT_TISSUE.high_hu) == (-160, 240)
    assert window_slice(np.array([-160, 40, 240], np.int16), SOFT_TISSUE).tolist() == [0, 128, 255]
    assert window_slice(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4\).*\(4, 5\)"):
        draw_roi(np.zeros((4, 4), np.uint8), np.zeros((4, 5), bool))


def rasterised(path: str, shape: tuple[int, int], zoom: int = 8) -> np.ndarray:
    """Another program's idea of the path: Pillow's polygons, even-odd, asked at the pixels' centres."""
    parity = np.zeros(shape, bool)
    for ring in re.findall(r"M[^Z]*Z", path):
        points = []
        x, y = 0, 0
        for word, first, second in re.findall(r"([MHV])(\d+)(?: (\d+))?", ring):
            if word == "M":
                x, y = int(first), int(second)
            elif word == "H":
                x = int(first)
            else:
                y = int(first)
            points.append((x * zoom, y * zoom))
        canvas = Image.new("1", (shape[1] * zoom, shape[0] * zoom))
        ImageDraw.Draw(canvas).polygon(points, fill=1)
        parity ^= np.asarray(canvas)[zoom // 2 :: zoom, zoom // 2 :: zoom]
    return parity


@pytest.mark.parametrize("seed", range(5))
def test_the_svg_outline_encloses_the_mask_and_nothing_else(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) < 0.15 + 0.2 * seed
    assert np.array_equal(rasterised(outline_path(mask), mask.shape), mask)


def test_the_svg_outline_of_the_foot_has_a_hole() -> None:
    path = outline_path(FOOT)
    assert path.count("M") == 2
    assert np.array_equal(rasterised(path, FOOT.shape), FOOT)
    assert outline_path(np.zeros((3, 3), bool)) == ""
