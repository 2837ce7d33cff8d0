"""The door for single nodules: each cut out of the CT as it was read, in 3D and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungsight.ct.volume import CTVolume
from lungsight.findings import Diagnosis, Nodule, Region
from lungsight.report.overlay import roi_picture, slice_mask

__all__ = ["MARGIN_MM", "NODULES_FOLDER", "NODULE_FILES", "cut_region", "nodule_files", "write_nodules"]

NODULES_FOLDER = "nodules"
NODULE_FILES = rf"{NODULES_FOLDER}/\d+(?:_mask\.nii\.gz|_slice_\d+\.png|\.nii\.gz)"
"""Matches the path of each file that :func:`write_nodules` writes, from the report's folder on."""
MARGIN_MM = 15.0
"""A cut reaches so far beyond the nodule on each side, or to the CT's end."""
_PICTURE_PX = 384
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_nifti: Any = nibabel  # its functions carry no types


def nodule_files(count: int) -> list[str]:
    """The volumes of so many nodules, as paths from the report's folder on."""
    return [f"{NODULES_FOLDER}/{number}.nii.gz" for number in range(1, count + 1)]


def cut_region(ct: CTVolume, region: Region, margin_mm: float = MARGIN_MM) -> tuple[slice, slice, slice]:
    """Slices, rows and columns of the cut round a region, half open.

    Examples
    --------
    >>> ct = CTVolume(np.zeros((40, 100, 100), np.int16), np.diag([2.5, 0.7, 0.7, 1.0]))
    >>> cut_region(ct, Region((2, 50, 90), np.ones((3, 4, 5), bool)), margin_mm=10)
    (slice(0, 9, None), slice(35, 69, None), slice(75, 100, None))
    """
    reach = [int(np.ceil(margin_mm / mm)) for mm in ct.spacing_zyx_mm]
    z, y, x = (
        slice(max(0, start - more), min(size, stop + more))
        for start, stop, more, size in zip(region.start_zyx, region.stop_zyx, reach, ct.shape, strict=True)
    )
    return z, y, x


def write_nodules(diagnosis: Diagnosis, ct: CTVolume, folder: Path) -> None:
    """Write every nodule, numbered from 1 as in the report.

    ``<k>.nii.gz`` holds the HU of the CT's own voxels, `MARGIN_MM` beyond the nodule on each side,
    ``<k>_mask.nii.gz`` 1 where the nodule is (the detected region, if it was not outlined), and ``<k>_slice_NNN.png``
    each slice that shows it, in the lung window, the mask outlined in yellow. The volumes lie where they lay in the
    patient (RAS, qform and sform), their axes are columns, rows and slices of the CT.

    Parameters
    ----------
    diagnosis
        Of `ct`; without nodules the folder is empty.
    ct
        Nothing is resampled.
    folder
        Is made.
    """
    folder.mkdir()
    digits = max(3, len(str(len(ct.hu) - 1)))
    for number, nodule in enumerate(diagnosis.nodules, start=1):
        region = _region_of(nodule)
        cut = cut_region(ct, region)
        mask = np.zeros([part.stop - part.start for part in cut], np.uint8)
        inside = tuple(slice(b.start - c.start, b.stop - c.start) for b, c in zip(region.box, cut, strict=True))
        mask[inside] = region.mask
        affine = ct.affine.copy()
        affine[:3, 3] = ct.to_lps(np.array([part.start for part in cut], np.float64))
        _write_volume(folder / f"{number}.nii.gz", ct.hu[cut], affine)
        _write_volume(folder / f"{number}_mask.nii.gz", mask, affine)
        for z in (region.start_zyx[0] + np.flatnonzero(region.mask.any((1, 2)))).tolist():
            shown = slice_mask([region], z, ct.shape[1:])[cut[1:]]
            hu = ct.hu[z][cut[1:]]
            picture = roi_picture(hu, np.zeros_like(shown), ct.spacing_zyx_mm[1:], _PICTURE_PX, nodule=shown)
            Image.fromarray(picture).save(folder / f"{number}_slice_{z:0{digits}d}.png")


def _region_of(nodule: Nodule) -> Region:
    return nodule.candidate.region if nodule.mask is None else nodule.mask


def _write_volume(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Voxels ``(slices, rows, columns)`` with their matrix to LPS mm, as NIfTI has them: columns first, RAS."""
    ras = _LPS_TO_RAS @ affine[:, [2, 1, 0, 3]]
    image = _nifti.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), ras)
    image.header.set_xyzt_units("mm")
    image.set_qform(ras, code="scanner")
    image.set_sform(ras, code="scanner")
    _nifti.save(image, path)
