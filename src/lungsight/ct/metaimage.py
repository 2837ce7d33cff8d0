"""MetaImage files (.mhd, .mha), as LUNA16 has them. Read by SimpleITK, which is an extra because it is large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lungsight.ct.grid import as_hu, check_right_angles, plausible_hu, turn_to_slices
from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError

__all__ = ["METAIMAGE_SUFFIXES", "read_metaimage"]

METAIMAGE_SUFFIXES = (".mhd", ".mha")

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_metaimage(path: Path) -> CTVolume:
    """A CT from MetaImage.

    Parameters
    ----------
    path
        A ``.mhd`` (with its data file beside it) or ``.mha`` file.

    Returns
    -------
    CTVolume
        Axes swapped and flipped so that slices ascend to the head, rows to the back and columns to the left. Without
        series UID and instances.

    Raises
    ------
    InputError
        If SimpleITK is not installed, or the file is not one 3D image of real numbers.
    CorruptFileError
        If it is damaged.
    """
    try:
        import SimpleITK  # noqa: PLC0415 - 264 MB that only this reader needs
    except ImportError as error:
        raise InputError(
            f"{path}, a MetaImage, which needs SimpleITK", "SimpleITK", "pip install 'lungsight[metaimage]'"
        ) from error
    sitk: Any = SimpleITK  # its functions carry no types
    try:
        image = sitk.ReadImage(str(path), imageIO="MetaImageIO")
    except RuntimeError as error:
        raise CorruptFileError(
            f"{path} cannot be read as MetaImage: {str(error).strip().splitlines()[-1]}",
            "a whole MetaImage, its data file beside it",
            "Copy or convert it again.",
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path} has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} values a voxel",
            "one 3D image of real numbers (HU)",
            "Give one volume of it.",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    warnings = check_right_angles(affine, str(path))
    # SimpleITK's arrays run (z, y, x), its matrix takes (x, y, z).
    turned, affine_lps = turn_to_slices(sitk.GetArrayFromImage(image).T, _LPS_TO_RAS @ affine)
    hu, repaired = as_hu(turned)
    return CTVolume(hu, affine_lps, warnings=(*warnings, *repaired, *plausible_hu(hu)))
