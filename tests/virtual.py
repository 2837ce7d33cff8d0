"""A phantom's lungs and lopsided nodules to set into them, for the tests of simulation."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.train.donors import Donor
from lungsight.train.paste import Host
from lungsight.train.stamp import Piece
from phantom import thorax

SHAPE = (40, 128, 128)
SPACING_ZYX_MM = (2.5, 2.8, 2.8)


@lru_cache(maxsize=4)
def phantom_host(patient_id: str = "host", noise_hu: float = 20.0, seed: int = 7) -> Host:
    """A thorax without nodules, its lungs, and a lesion at the top of the left lung."""
    body = thorax((), (SHAPE[0] * 2, *SHAPE[1:]), SPACING_ZYX_MM, noise_hu, seed)
    ct = CTVolume(body.hu, body.affine)
    closed = np.zeros(ct.shape, np.bool_)
    closed[55:, :, 64:] = True
    return Host(patient_id, ct, segment_lungs(ct), closed)


def lopsided_piece(
    spacing_zyx_mm: tuple[float, float, float] = SPACING_ZYX_MM, noise_hu: float = 20.0, lung_hu: float = -800.0
) -> Piece:
    """An ellipsoid of three different radii with a bump, cut close to its ends along z, with noise."""
    shape = [int(2 * mm / step) | 1 for mm, step in zip((9.0, 40.0, 36.0), spacing_zyx_mm, strict=True)]
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * step).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, step) in enumerate(zip(shape, spacing_zyx_mm, strict=True))
    )
    mask = (z / 8) ** 2 + (y / 12) ** 2 + (x / 9) ** 2 <= 1
    mask |= (z / 4) ** 2 + ((y - 12) / 5) ** 2 + ((x - 3) / 5) ** 2 <= 1
    noise = np.random.default_rng(3).normal(0, noise_hu, mask.shape)
    hu = np.where(mask, 40.0, lung_hu) + noise
    return Piece(hu.astype(np.float32), mask, spacing_zyx_mm)


def phantom_donors() -> tuple[Donor, ...]:
    """Two benign nodules and two malignant ones of four patients."""
    return tuple(
        Donor("1", f"patient-{rating}", float(rating), lambda mm=mm: lopsided_piece((2.5, mm, mm)))  # type: ignore[misc]
        for rating, mm in ((1, 2.8), (2, 2.0), (4, 2.8), (5, 1.4))
    )


def save_nifti(values: NDArray[np.generic], affine_lps: NDArray[np.float64], path: Path) -> None:
    """Write slices, rows, columns as NIfTI, which has x, y, z and RAS."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps[:, [2, 1, 0, 3]]
    image: Any = nibabel
    image.Nifti1Image(values.transpose(2, 1, 0), affine).to_filename(path)
