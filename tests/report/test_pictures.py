import base64
import io

import numpy as np
import pytest
from PIL import Image

from lungsight.ct.volume import CTVolume
from lungsight.report import pictures
from lungsight.report.overlay import LUNG, SOFT_TISSUE, DisplayWindow, window_slice
from lungsight.report.pictures import crop_box, grey_to_hu, hu_to_grey, jpeg_uri, series_uris, window_table
from samples import sample_ct


def decoded(uri: str) -> Image.Image:
    head, content = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize("window", [LUNG, SOFT_TISSUE])
def test_the_browser_shows_the_levels_the_window_asks_for(window: DisplayWindow) -> None:
    """The stored grey through the SVG table (linear between evenly spaced values) against windowing the HU."""
    hu = np.arange(-1100, 240, 10, dtype=np.int16)
    values = np.array(window_table(window).split(), float)
    shown = 255 * np.interp(hu_to_grey(hu) / 255, np.linspace(0, 1, len(values)), values)
    assert np.abs(shown - window_slice(hu, window)).max() < 4


def test_grey_levels_give_the_hu_back() -> None:
    hu = np.arange(-1150, 251, dtype=np.int16)
    assert np.abs(grey_to_hu(hu_to_grey(hu).astype(float)) - hu).max() <= 990 / 127.5 / 2 + 0.5


def test_each_slice_is_a_picture_as_stored() -> None:
    ct = sample_ct()
    uris = series_uris(ct, frozenset())
    assert len(uris) == 7
    picture = np.asarray(decoded(uris[3])).astype(float)
    assert picture.shape == ct.shape[1:]
    assert np.abs(picture - hu_to_grey(ct.hu[3])).mean() < 2


def test_a_long_series_is_shown_smaller_but_for_its_roi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_PIXEL_BUDGET", 7 * 32**2)
    uris = series_uris(sample_ct(), frozenset({2}))
    assert [decoded(uri).size for uri in uris[:4]] == [(32, 20), (32, 20), (64, 40), (32, 20)]


def test_a_colour_picture_is_read_back() -> None:
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, 8:] = (230, 25, 25)
    back = np.asarray(decoded(jpeg_uri(picture))).astype(int)
    assert np.abs(back - picture).max() < 12


def test_a_crop_lies_around_its_centre_and_inside_the_slice() -> None:
    ct = CTVolume(np.zeros((2, 300, 400), np.int16), np.diag([1.0, 0.5, 0.6, 1.0]))
    assert crop_box(ct, ct.locate((0, 150, 200)), 10) == (slice(90, 210), slice(150, 250))
    assert crop_box(ct, ct.locate((0, 150, 200)), 40) == (slice(70, 230), slice(134, 267))
    assert crop_box(ct, ct.locate((0, 0, 399)), 10) == (slice(0, 120), slice(300, 400))
    small = sample_ct()
    assert crop_box(small, small.locate((0, 5, 5)), 10) == (slice(0, 40), slice(0, 64))
