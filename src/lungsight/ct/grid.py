"""A volume whose axes run anywhere becomes one whose axes run as in CTVolume."""

from __future__ import annotations

from typing import Any

import nibabel.orientations
import numpy as np
from numpy.typing import NDArray

from lungsight.ct.pixels import padding_to_air
from lungsight.ct.slices import TILT_LIMIT_DEGREES
from lungsight.errors import CorruptFileError, InputError

__all__ = ["as_hu", "check_right_angles", "plausible_hu", "turn_to_slices"]

RIGHT_ANGLE_TOLERANCE_DEGREES = 0.1
"""Less is rounding of a float32 matrix; more is told."""

_ORIENTATIONS: Any = nibabel.orientations  # its functions carry no types

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turn_to_slices(array: NDArray[Any], affine_ras: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Swap and flip axes until slices run to the head, rows to the back and columns to the left, as nearly as they can.

    Parameters
    ----------
    array
        Shape ``(i, j, k)``, axes in any order and direction.
    affine_ras
        Shape ``(4, 4)``: takes (i, j, k, 1) to RAS mm.

    Returns
    -------
    tuple
        The array, shape ``(slices, rows, columns)``, and the matrix from (slice, row, column, 1) to LPS mm. No voxel is
        interpolated and none moves in the patient.
    """
    turn = _ORIENTATIONS.ornt_transform(
        _ORIENTATIONS.io_orientation(affine_ras), _ORIENTATIONS.axcodes2ornt(("S", "P", "L"))
    )
    turned = np.ascontiguousarray(_ORIENTATIONS.apply_orientation(array, turn))
    return turned, _RAS_TO_LPS @ affine_ras @ _ORIENTATIONS.inv_ornt_aff(turn, array.shape)


def check_right_angles(affine: NDArray[np.float64], name: str) -> tuple[str, ...]:
    """A warning if the axes of a matrix are not at right angles.

    Raises
    ------
    CorruptFileError
        If the matrix has no inverse or is not finite.
    InputError
        If the axes lean by more than a tilted gantry explains.
    """
    axes = np.asarray(affine, np.float64)[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(axes)) < 1e-9:
        raise CorruptFileError(
            f"{name} has a matrix without inverse: {np.round(affine, 4).tolist()}",
            "a matrix from voxels to the patient",
            "Convert the CT again, or give the DICOM files.",
        )
    axes = axes / np.linalg.norm(axes, axis=0)
    cosines = (axes.T @ axes)[np.triu_indices(3, 1)]
    degrees = float(np.degrees(np.arcsin(np.abs(cosines).max().clip(0, 1))))
    if degrees > TILT_LIMIT_DEGREES:
        raise InputError(
            f"the axes of {name} lean by {degrees:.1f} degrees",
            f"at most {TILT_LIMIT_DEGREES:g} degrees, the tilt of a gantry",
            "Resample the CT to a straight grid, or give the DICOM files.",
        )
    if degrees <= RIGHT_ANGLE_TOLERANCE_DEGREES:
        return ()
    return (f"The axes lean by {degrees:.1f} degrees: the volume's grid is sheared by as much.",)


def as_hu(values: NDArray[Any]) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[str, ...]]:
    """HU of the type CTVolume holds: int16 if exact, else float32; padding becomes air.

    Parameters
    ----------
    values
        Numbers of any real type and shape; may be changed in place.

    Returns
    -------
    tuple
        The HU, and a warning if some were not finite (they become air).
    """
    warnings: tuple[str, ...] = ()
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        warnings = (f"{int((~finite).sum())} voxels have no finite value and were taken as air.",)
        values[~finite] = -np.inf
    padding_to_air(values)
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        return values.astype(np.float32, copy=False), warnings
    fits = values.size == 0 or values.max() <= np.iinfo(np.int16).max
    if fits:
        return values.astype(np.int16, copy=False), warnings
    return values.astype(np.float32, copy=False), warnings


def plausible_hu(hu: NDArray[Any]) -> tuple[str, ...]:
    """A warning if the values do not look like HU: a chest holds air, which is far under 0."""
    lowest, highest = hu.min(), hu.max()
    if lowest >= 0:
        return (f"No value is under 0 (they run from {lowest:g} to {highest:g}): these are probably not HU.",)
    return ()
