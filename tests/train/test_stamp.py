from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK

from lungsight.train.stamp import CLEAR_MM, Piece, cut_stamp, resample_weights, resampled
from virtual import lopsided_piece


@pytest.mark.parametrize("spacing_zyx_mm", [(2.5, 0.8, 0.8), (1.25, 0.6, 0.6), (3.0, 0.98, 0.98), (2.0, 0.7, 1.1)])
def test_the_mask_keeps_its_volume_on_another_grid(spacing_zyx_mm: tuple[float, float, float]) -> None:
    piece = lopsided_piece((1.25, 0.7, 0.7))
    stamp = cut_stamp(piece, spacing_zyx_mm)
    before_mm3 = piece.mask.sum() * np.prod(piece.spacing_zyx_mm)
    assert stamp.mask.sum() * np.prod(spacing_zyx_mm) == pytest.approx(before_mm3, rel=0.06)
    assert stamp.mask_share.sum() * np.prod(spacing_zyx_mm) == pytest.approx(before_mm3, rel=0.01)


def test_on_a_grid_of_its_own_spacing_nothing_is_interpolated() -> None:
    piece = lopsided_piece()
    stamp = cut_stamp(piece, piece.spacing_zyx_mm)
    assert stamp.mask.sum() == piece.mask.sum()
    assert np.array_equal(np.sort(stamp.hu[stamp.mask]), np.sort(piece.hu[piece.mask]))


def test_a_finer_grid_gets_what_linear_interpolation_gives() -> None:
    piece = lopsided_piece((2.5, 2.8, 2.0))
    weights, middle = resample_weights(piece, (1.0, 0.9, 0.7))
    ours = resampled(piece.hu, [w / np.maximum(w.sum(1, keepdims=True), 1e-9) for w in weights])
    itk: Any = SimpleITK
    image = itk.GetImageFromArray(piece.hu.astype(np.float64))
    image.SetSpacing((2.0, 2.8, 2.5))
    at_zyx = np.rint(np.argwhere(piece.mask).mean(0))
    image.SetOrigin((-at_zyx * (2.5, 2.8, 2.0))[::-1].tolist())
    origin = (-np.multiply(middle, (1.0, 0.9, 0.7)))[::-1].tolist()
    judged = itk.GetArrayFromImage(
        itk.Resample(
            image,
            ours.shape[::-1],
            itk.Transform(),
            itk.sitkLinear,
            origin,
            (0.7, 0.9, 1.0),
            image.GetDirection(),
            np.nan,
        )
    )
    inside = np.isfinite(judged)
    for axis, size in enumerate(piece.mask.shape):  # beyond the middle of the last voxel ITK repeats it, we fade
        steps = (np.arange(ours.shape[axis]) - middle[axis]) * (1.0, 0.9, 0.7)[axis] / piece.spacing_zyx_mm[axis]
        within = (steps + at_zyx[axis] >= 0) & (steps + at_zyx[axis] <= size - 1)
        inside &= within.reshape([-1 if a == axis else 1 for a in range(3)])
    assert inside.sum() > 5000
    assert np.abs(ours - judged)[inside].max() < 1e-3


def test_the_stamp_covers_the_mask_and_fades_out_beyond_it() -> None:
    piece = lopsided_piece((1.25, 0.7, 0.7))
    stamp = cut_stamp(piece, piece.spacing_zyx_mm)
    assert (stamp.alpha[stamp.mask] > 0.999).all()
    assert 0 < stamp.alpha[~stamp.mask].min() + 1 <= 1
    grown_mm = max(
        (size - inner) * step
        for size, inner, step in zip(
            stamp.mask.shape, np.ptp(np.argwhere(stamp.mask), axis=0), piece.spacing_zyx_mm, strict=True
        )
    )
    assert grown_mm <= 2 * CLEAR_MM + max(piece.spacing_zyx_mm)


def test_what_is_bright_beside_the_nodule_does_not_come_along() -> None:
    piece = lopsided_piece((1.25, 0.7, 0.7))
    hu = piece.hu.copy()
    wall = np.zeros(piece.mask.shape, np.bool_)
    wall[:, :, : int(np.argwhere(piece.mask)[:, 2].min())] = True
    hu[wall] = 60
    stamp = cut_stamp(Piece(hu, piece.mask, piece.spacing_zyx_mm), piece.spacing_zyx_mm)
    far = stamp.alpha < 0.2
    assert (stamp.hu[far & (stamp.alpha > 0)] < -500).all()
    assert np.percentile(stamp.hu[stamp.mask], 50) == pytest.approx(40, abs=5)


def test_the_lung_beside_a_nodule_and_its_noise_are_measured() -> None:
    stamp = cut_stamp(lopsided_piece((1.25, 0.7, 0.7), noise_hu=30.0, lung_hu=-820.0), (1.25, 0.7, 0.7))
    assert stamp.lung_hu == pytest.approx(-820, abs=3)
    # White noise less its Gaussian average (sigma 1 px): sqrt(1 - 2 g0 + sum of g^2) is left, 0.873 with g0 = 0.1592.
    assert stamp.noise_hu == pytest.approx(30 * 0.873, rel=0.05)


def test_a_piece_without_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="a voxel in it"):
        Piece(np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.bool_), (1.0, 1.0, 1.0))
