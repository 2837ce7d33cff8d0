"""A small dataset in the contest's layout, of drawn patients: truth is known to the voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from phantom import Sphere, thorax

nifti: Any = nibabel  # its functions carry no types
SHAPE, SPACING_MM = (24, 128, 128), (8.0, 2.8, 2.8)
# Right, left; each patient one or two nodules of its kind, or none.
PLACES = ((-80.0, 12.0, -30.0), (72.0, -10.0, 25.0))
MALIGNANT_HU, BENIGN_HU = 60, -300


def nodules_of(number: int) -> tuple[Sphere, ...]:
    """Even patients have malignant nodules, odd ones benign ones."""
    hu = BENIGN_HU if number % 2 else MALIGNANT_HU
    x, y, z = PLACES[number // 2 % 2]
    return (Sphere((x, y + number, z), 24.0 + 2 * (number % 3), hu),)


def write_contest(root: Path, count: int) -> Path:
    """`count` patients as pairs of NIfTI files, and labels.csv."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["patient_id,label"]
    for number in range(count):
        nodules = nodules_of(number)
        body = thorax(nodules, SHAPE, SPACING_MM, seed=number)
        zyx = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
        lps = zyx @ body.affine[:3, :3].T + body.affine[:3, 3]
        mask = np.zeros(SHAPE, np.uint8)
        for nodule in nodules:
            mask |= np.linalg.norm(lps - nodule.centre_lps_mm, axis=-1) <= nodule.diameter_mm / 2
        folder = root / f"patient{number}"
        folder.mkdir()
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ body.affine
        nifti.save(nifti.Nifti1Image(body.hu, ras), folder / "ct.nii.gz")
        nifti.save(nifti.Nifti1Image(mask, ras), folder / "mask.nii.gz")
        lines.append(f"patient{number},{1 - number % 2}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return root
