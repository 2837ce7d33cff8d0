"""A CT that knows where it is: HU values and the matrix from voxel index to patient coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.findings import Location

__all__ = ["CTVolume", "SourceInstance"]


@dataclass(frozen=True, slots=True)
class SourceInstance:
    """The DICOM instance (and frame) a slice came from.

    Attributes
    ----------
    sop_instance_uid
        Its SOP Instance UID.
    instance_number
        Its Instance Number; None if the file has none.
    frame_number
        Counted from 1 in an enhanced multi-frame instance; None in a single-frame one.
    """

    sop_instance_uid: str
    instance_number: int | None = None
    frame_number: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class CTVolume:
    """One CT series as one regular volume.

    Attributes
    ----------
    hu
        Shape ``(slices, rows, columns)``, Hounsfield units, int16 or float32. Slices ascend along the slice normal
        (row direction x column direction). Read-only.
    affine
        Shape ``(4, 4)``, takes ``(slice, row, column, 1)`` to patient LPS mm. Index 0 is the centre of the first voxel.
        The same matrix as ``highdicom.Volume.affine``.
    series_uid
        DICOM Series Instance UID; None if the CT did not come from DICOM.
    instances
        The source of each slice, in the order of the slices; empty if the CT did not come from DICOM.
    warnings
        What was repaired on reading, a sentence each.

    Raises
    ------
    ValueError
        If the array is not 3D, empty or of another type, the matrix is not an invertible affine one, or the number
        of instances differs from the number of slices.

    Examples
    --------
    >>> ct = CTVolume(np.zeros((2, 3, 4), np.int16), np.diag([2.5, 0.9, 0.6, 1.0]))
    >>> ct
    <CTVolume 2 slices of 3 x 4, spacing 2.500 x 0.900 x 0.600 mm, HU 0 to 0>
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    affine: NDArray[np.float64]
    series_uid: str | None = None
    instances: tuple[SourceInstance, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or 0 in self.hu.shape:
            raise ValueError(f"hu has shape {self.hu.shape}, expected (slices, rows, columns), none of them 0")
        if self.hu.dtype not in (np.int16, np.float32):
            raise ValueError(f"hu is {self.hu.dtype}, expected int16 or float32")
        affine = np.array(self.affine, np.float64)
        if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)) or not np.isfinite(affine).all():
            raise ValueError(f"affine is not a finite 4 x 4 matrix that ends in 0 0 0 1: {affine.tolist()}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(f"affine has no inverse: {affine.tolist()}")
        if self.instances and len(self.instances) != len(self.hu):
            raise ValueError(f"{len(self.instances)} instances for {len(self.hu)} slices")
        affine.flags.writeable = False
        hu = self.hu.view()
        hu.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "hu", hu)

    def __repr__(self) -> str:
        slices, rows, columns = self.shape
        spacing = " x ".join(f"{mm:.3f}" for mm in self.spacing_zyx_mm)
        return (
            f"<CTVolume {slices} slices of {rows} x {columns}, spacing {spacing} mm, "
            f"HU {self.hu.min():g} to {self.hu.max():g}>"
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        slices, rows, columns = self.hu.shape
        return slices, rows, columns

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Distance between slices (along their normal), rows and columns."""
        step, down, right = self.affine[:3, :3].T
        normal = np.cross(right, down)
        normal /= np.linalg.norm(normal)
        return float(abs(step @ normal)), float(np.linalg.norm(down)), float(np.linalg.norm(right))

    def to_lps(self, points_zyx: ArrayLike) -> NDArray[np.float64]:
        """Patient coordinates of voxel indices.

        Parameters
        ----------
        points_zyx
            Shape ``(..., 3)``: slice, row, column; may be fractional or outside the volume.

        Returns
        -------
        ndarray
            Shape ``(..., 3)``, LPS mm. Empty in, empty out.
        """
        points = np.asarray(points_zyx, np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_zyx(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices of patient coordinates, the inverse of :meth:`to_lps`.

        Parameters
        ----------
        points_lps
            Shape ``(..., 3)``, LPS mm.

        Returns
        -------
        ndarray
            Shape ``(..., 3)``: slice, row, column; fractional, not clipped to the volume. Empty in, empty out.
        """
        points = np.asarray(points_lps, np.float64)
        return (points - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def locate(self, point_zyx: ArrayLike) -> Location:
        """A voxel index as a :class:`~lungsight.findings.Location`, with the source instance of its slice.

        Parameters
        ----------
        point_zyx
            Shape ``(3,)``: slice, row, column; the nearest slice is named.

        Returns
        -------
        Location
            The point; its ``slice_index`` lies inside the volume.

        Raises
        ------
        ValueError
            If the nearest slice is outside the volume.
        """
        point = np.asarray(point_zyx, np.float64)
        slice_index = round(float(point[0]))
        if not 0 <= slice_index < len(self.hu):
            raise ValueError(f"slice {slice_index} is outside the volume's {len(self.hu)} slices")
        x, y, z = self.to_lps(point).tolist()
        source = self.instances[slice_index] if self.instances else None
        return Location(
            lps_mm=(x, y, z),
            slice_index=slice_index,
            row=float(point[1]),
            column=float(point[2]),
            sop_instance_uid=source.sop_instance_uid if source else None,
            instance_number=source.instance_number if source else None,
        )
