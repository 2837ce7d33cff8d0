"""NIfTI files: one CT, in RAS, scaled by slope and intercept of its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import error as ZlibError  # noqa: N812 - the module's own name for it says nothing

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from lungsight.ct.grid import as_hu, check_right_angles, plausible_hu, turn_to_slices
from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError

__all__ = ["NIFTI_SUFFIXES", "read_nifti"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")

_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_REMEDY = "Convert the CT again, for example with dcm2niix, or give the DICOM files."


def read_nifti(path: Path) -> CTVolume:
    """A CT from NIfTI-1 or NIfTI-2.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file.

    Returns
    -------
    CTVolume
        Turned from RAS to LPS, axes swapped and flipped so that slices ascend to the head, rows to the back and columns
        to the left. Without series UID and instances.

    Raises
    ------
    CorruptFileError
        If it is damaged.
    InputError
        If it is not one 3D image of real numbers, or does not say where it lies (qform and sform both 0).
    """
    try:
        image: Any = nibabel.load(path)
        _check(image, path)
        values = np.asanyarray(image.dataobj)
    except (ImageFileError, HeaderDataError, EOFError, OSError, ZlibError, ValueError) as error:
        raise CorruptFileError(f"{path} cannot be read as NIfTI: {error}", "a whole NIfTI file", _REMEDY) from error
    affine_ras = np.diag([_mm_per_unit(image)] * 3 + [1.0]) @ image.affine
    warnings = check_right_angles(affine_ras, str(path))
    turned, affine = turn_to_slices(values.reshape(values.shape[:3]), affine_ras)
    hu, repaired = as_hu(turned)
    return CTVolume(hu, affine, warnings=(*warnings, *repaired, *plausible_hu(hu)))


def _mm_per_unit(image: Any) -> float:
    return _MM_PER_UNIT[image.header.get_xyzt_units()[0]]


def _check(image: Any, path: Path) -> None:
    """Raise unless it is one NIfTI volume of real numbers that knows where it lies."""
    if not isinstance(image, nibabel.Nifti1Pair):
        raise InputError(f"{path} is {type(image).__name__}", "NIfTI", _REMEDY)
    proxy: Any = image.dataobj
    dtype, shape = np.dtype(proxy.dtype), image.shape
    if dtype.kind not in "iuf":
        raise InputError(f"{path} holds {dtype}, colours or complex numbers", "real numbers (HU)", _REMEDY)
    if len(shape) < 3 or any(size != 1 for size in shape[3:]) or 0 in shape:
        raise InputError(f"{path} has shape {shape}", "one 3D image", "Give one volume of it.")
    if image.header["qform_code"] == 0 and image.header["sform_code"] == 0:
        raise InputError(
            f"{path} does not say how it lies in the patient (qform and sform codes are 0)",
            "a matrix from voxels to the patient",
            _REMEDY,
        )
