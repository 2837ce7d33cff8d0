"""The windows of a slice: where they lie, what the network sees of them, and that one pass is as good as 2,209.

The numbers of the geometry (50 px, steps of 10, margin 9, 0.7 mm) are written here once more on purpose.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.detect.windows import (
    WindowMap,
    field_of_windows,
    label_windows,
    score_windows,
    window_counts,
    windows_touching,
)
from lungsight.detect.working import normalise_hu, working_pixel_mm, working_slice
from lungsight.runtime import Network
from phantom import Sphere, affine_of, thorax
from stub_network import Field, UnaskedNetwork, brightest_in_window, pieces, scores_of

REAL = Path(__file__).parents[3] / "shared" / "data" / "chest_ct" / "LIDC-IDRI-0003_ct.nii.gz"
SPACINGS = [(0.5, 0.5), (0.7, 0.7), (0.703, 0.703), (0.9, 0.9), (0.9, 0.6), (0.55, 1.3)]
FIELD_OF_VIEW_MM = 140.5


def ct_of(hu: NDArray[np.int16], spacing_mm: tuple[float, float] = (0.7, 0.7)) -> CTVolume:
    return CTVolume(hu, affine_of((2.5, *spacing_mm), (-12.0, 40.0, -300.0)))


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1100, 600, shape).astype(np.int16)


def disc(spacing_mm: tuple[float, float], centre_mm: tuple[float, float] = (61.3, 77.9)) -> NDArray[np.float32]:
    """A slice of 140 mm, whatever its pixels: a disc of 24 mm at 30 HU, its edge 3 mm soft, in lung."""
    y, x = (np.arange(int(FIELD_OF_VIEW_MM / mm) + 1) * mm for mm in spacing_mm)
    distance_mm = np.hypot(y[:, None] - centre_mm[0], x[None] - centre_mm[1])
    hu: NDArray[np.float32] = (-850 + 880 * np.clip((13.5 - distance_mm) / 3, 0, 1)).astype(np.float32)
    return hu


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_a_nodule_looks_the_same_at_every_spacing(spacing_mm: tuple[float, float]) -> None:
    expected = disc((0.7, 0.7))
    found = working_slice(disc(spacing_mm), spacing_mm)
    rows, columns = np.minimum(expected.shape, found.shape)
    assert rows >= 199
    assert columns >= 199
    difference = np.abs(found[:rows, :columns] - normalise_hu(expected)[:rows, :columns])
    # The edge rises by 0.2 a millimetre; 0.703 mm is not resampled, which is 0.33 mm off at 78 mm.
    assert difference.max() < (0.1 if 0.703 in spacing_mm else 0.07)
    assert difference.mean() < 0.003


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_a_nodule_has_the_same_windows_at_every_spacing(spacing_mm: tuple[float, float]) -> None:
    def core(seen: Field) -> Field:
        return scores_of(pieces(seen, 19, 30).mean((2, 3)), np.zeros(1, np.float32))

    found, expected = (
        score_windows(
            ct_of(np.rint(disc(mm)).astype(np.int16)[None], mm), np.ones((1, *disc(mm).shape), np.bool_), core
        )
        for mm in (spacing_mm, (0.7, 0.7))
    )
    assert found.scores.shape == expected.scores.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.02)
    assert expected.scores[0, 1].max() > 0.5
    assert found.pixel_mm == ((0.703, 0.703) if 0.703 in spacing_mm else (0.7, 0.7))


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "counts"),
    [
        ((512, 512), (0.7, 0.7), (47, 47)),  # 2,209 windows
        ((512, 512), (0.703, 0.703), (47, 47)),
        ((50, 59), (0.7, 0.7), (1, 1)),
        ((60, 50), (0.7, 0.7), (2, 1)),
        ((49, 12), (0.7, 0.7), (1, 1)),
        ((1, 1), (0.7, 0.7), (1, 1)),
        ((512, 256), (0.35, 1.4), (21, 47)),  # 179 and 357 mm
    ],
)
def test_windows_are_counted(shape: tuple[int, int], spacing_mm: tuple[float, float], counts: tuple[int, int]) -> None:
    assert window_counts(shape, spacing_mm) == counts


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_the_windows_that_touch_a_mask_are_those_that_hold_a_pixel_of_it(spacing_mm: tuple[float, float]) -> None:
    shape = (137, 171)
    for seed, share in enumerate((0.0, 0.0001, 0.0005, 0.001, 1.0)):
        mask = np.random.default_rng(seed).random(shape) < share
        expected = np.zeros(window_counts(shape, spacing_mm), np.bool_)
        for pixel in np.argwhere(mask)[:500]:
            y, x = (k * mm / working_pixel_mm(mm) for k, mm in zip(pixel, spacing_mm, strict=True))
            for i, j in np.ndindex(expected.shape):
                expected[i, j] |= 10 * i - 0.5 <= y < 10 * i + 49.5 and 10 * j - 0.5 <= x < 10 * j + 49.5
        if share == 1:
            expected[:] = True
        assert np.array_equal(windows_touching(mask, spacing_mm), expected)


@pytest.mark.parametrize(
    ("rows", "columns"), [((0, 1), (0, 1)), ((0, 9), (0, 11)), ((8, 9), (10, 11)), ((2, 5), (0, 3))]
)
def test_a_field_is_the_windows_and_9_px_around_with_the_border_repeated(
    rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    image = normalise_hu(noise((137, 155)))  # its last windows end at 130 and 150 px
    padded = np.pad(image, 9, mode="edge")
    expected = padded[
        10 * rows[0] : 10 * (rows[1] - 1) + 68,
        10 * columns[0] : 10 * (columns[1] - 1) + 68,
    ]
    assert np.array_equal(field_of_windows(image, slice(*rows), slice(*columns)), expected)


def test_a_slice_smaller_than_a_window_is_continued() -> None:
    image = normalise_hu(noise((33, 41)))
    expected = np.pad(image, ((9, 50 - 33 + 9), (9, 50 - 41 + 9)), mode="edge")
    assert np.array_equal(field_of_windows(image, slice(0, 1), slice(0, 1)), expected)


@pytest.mark.parametrize("pixel", [(0, 0), (9, 10), (49, 50), (50, 49), (73, 118), (99, 129), (109, 139)])
def test_exactly_the_windows_that_hold_a_lone_bright_pixel_see_it(pixel: tuple[int, int]) -> None:
    hu = np.full((2, 110, 140), -1000, np.int16)
    hu[1][pixel] = 500
    found = score_windows(ct_of(hu), np.ones(hu.shape, np.bool_), brightest_in_window)
    expected = np.zeros((2, 7, 10))
    for i, j in np.ndindex(7, 10):
        expected[1, i, j] = 10 * i <= pixel[0] < 10 * i + 50 and 10 * j <= pixel[1] < 10 * j + 50
    assert np.array_equal(found.scores[:, 1], expected)
    assert expected.any()


def test_only_windows_that_touch_the_lungs_are_evaluated() -> None:
    hu = noise((4, 120, 150))
    lungs = np.zeros(hu.shape, np.bool_)
    lungs[1, 70, 81] = lungs[3, 20:30, 0:3] = lungs[3, 119, 149] = True
    found = score_windows(ct_of(hu), lungs, brightest_in_window)
    everywhere = score_windows(ct_of(hu), np.ones_like(lungs), brightest_in_window)
    touching = np.array([windows_touching(mask, (0.7, 0.7)) for mask in lungs])
    assert np.array_equal(found.evaluated, touching)
    assert everywhere.evaluated.all()
    assert touching.sum((1, 2)).tolist() == [0, 25, 0, 4]  # (the last windows end at 120 and 150 px)
    assert np.array_equal(found.scores, np.where(touching[:, None], everywhere.scores, 0))
    assert found.roi_score.shape == touching.shape


def test_without_lungs_no_network_is_asked() -> None:
    hu = noise((3, 80, 80))
    found = score_windows(ct_of(hu), np.zeros(hu.shape, np.bool_), UnaskedNetwork())
    assert not found.evaluated.any()
    assert not found.scores.any()
    assert found.scores.shape == (3, 3, 4, 4)


def test_progress_is_told_after_every_slice() -> None:
    hu = noise((4, 60, 60))
    lungs = np.zeros(hu.shape, np.bool_)
    lungs[2] = True
    told: list[float] = []
    score_windows(ct_of(hu), lungs, brightest_in_window, told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("benign", "malignant", "evaluated", "label"),
    [
        (0.25, 0.125, True, 0),
        (0.375, 0.125, True, 1),  # the threshold itself is ROI
        (0.125, 0.375, True, 2),
        (0.25, 0.25, True, 2),  # a tie is malignant
        (0.0, 0.5, True, 2),
        (0.0, 1.0, True, 2),
        (1.0, 0.0, True, 1),
        (1.0, 0.0, False, 0),
        (0.0, 0.0, True, 0),
    ],
)
def test_the_label_of_a_window(benign: float, malignant: float, evaluated: bool, label: int) -> None:
    scores = np.array([1 - benign - malignant, benign, malignant], np.float32).reshape(1, 3, 1, 1)
    found = label_windows(WindowMap(scores, np.full((1, 1, 1), evaluated), (0.7, 0.7)), 0.5)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[label]]]


def assert_dense_is_window_by_window(ct: CTVolume, network: Network) -> None:
    """About 150 windows of the only slice, its corners and borders among them, each cut and asked for by itself."""
    dense = score_windows(ct, np.ones(ct.shape, np.bool_), network).scores[0]
    rows, columns = dense.shape[1:]
    image = working_slice(ct.hu[0], ct.spacing_zyx_mm[1:])
    around = np.pad(image, 9, mode="edge")
    chosen = {(i, j) for i in (0, rows // 2, rows - 1) for j in range(0, columns, 2)}
    chosen |= {(i, j) for i in range(0, rows, 2) for j in (0, columns // 2, columns - 1)}
    chosen |= {(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)}
    each = {(i, j): network(around[10 * i : 10 * i + 68, 10 * j : 10 * j + 68])[:, 0, 0] for i, j in sorted(chosen)}
    assert len(each) > 100
    for (i, j), scores in each.items():
        np.testing.assert_allclose(dense[:, i, j], scores, atol=1e-5)
    together = np.array(list(each.values()))
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)
    assert np.ptp(together[:, 0]) > 0.3  # or agreement would say little


def test_dense_is_window_by_window_on_a_drawn_slice(shipped_network: Network) -> None:
    body = thorax((Sphere((-75, 12, 1.5), 16),), shape=(1, 340, 340), spacing_zyx_mm=(3.0, 0.95, 0.95))
    assert_dense_is_window_by_window(CTVolume(body.hu, body.affine), shipped_network)


@pytest.mark.skipif(not REAL.exists(), reason="the real CTs are not beside this repository (../shared/data)")
def test_dense_is_window_by_window_on_a_real_slice(shipped_network: Network) -> None:
    ct = read_ct(REAL)
    z = len(ct.hu) // 2
    assert_dense_is_window_by_window(CTVolume(ct.hu[z : z + 1], ct.affine), shipped_network)
