"""The door for ``regions.npz``: the voxels of what was detected, beside the ``diagnosis.json`` that tells of it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import CorruptFileError
from lungsight.findings import Region

__all__ = ["REGIONS_FILE", "SavedRegions", "read_regions", "write_regions"]

REGIONS_FILE = "regions.npz"


@dataclass(frozen=True, slots=True, eq=False)
class SavedRegions:
    """The detected regions of one CT and the grid they lie on.

    Attributes
    ----------
    regions
        In the order of the nodules of ``diagnosis.json``; empty if there is none. All lie inside the grid.
    shape_zyx
        Slices, rows and columns of the CT.
    affine
        Shape ``(4, 4)``, of the CT: takes ``(slice, row, column, 1)`` to patient LPS mm.
    """

    regions: tuple[Region, ...]
    shape_zyx: tuple[int, int, int]
    affine: NDArray[np.float64]


def write_regions(path: Path, saved: SavedRegions) -> None:
    """Write regions as a compressed NumPy archive without pickles.

    Parameters
    ----------
    path
        Ends in ``.npz``; replaced if it exists.
    saved
        The arrays are ``shape_zyx`` ``(3,)``, ``affine`` ``(4, 4)``, ``start_zyx`` ``(n, 3)`` (each region's first
        slice, row and column), and for each region ``k`` from 0 ``mask_k``, bool, the shape of its box.
    """
    arrays: dict[str, Any] = {f"mask_{k}": region.mask for k, region in enumerate(saved.regions)}
    arrays["start_zyx"] = np.array([region.start_zyx for region in saved.regions], np.int64).reshape(-1, 3)
    arrays["shape_zyx"] = np.array(saved.shape_zyx, np.int64)
    arrays["affine"] = saved.affine
    np.savez_compressed(path, **arrays)


def read_regions(path: Path) -> SavedRegions:
    """Read what :func:`write_regions` wrote.

    Raises
    ------
    CorruptFileError
        If the file is absent or damaged, or a region does not lie inside the grid.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return _saved_regions(archive)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptFileError(
            f"{path}: {error}", "the regions as `lungsight diagnose` writes them", "Diagnose the CT again."
        ) from error


def _saved_regions(archive: Mapping[str, NDArray[Any]]) -> SavedRegions:
    slices, rows, columns = _checked(archive["shape_zyx"], "shape_zyx", np.int64, (3,)).tolist()
    affine = _checked(archive["affine"], "affine", np.float64, (4, 4))
    starts = _checked(archive["start_zyx"], "start_zyx", np.int64, (None, 3)).tolist()
    regions = []
    for k, (z, y, x) in enumerate(starts):
        region = Region((z, y, x), _checked(archive[f"mask_{k}"], f"mask_{k}", np.bool_, (None,) * 3))
        if min(region.start_zyx) < 0 or np.any(np.greater(region.stop_zyx, (slices, rows, columns))):
            raise ValueError(f"region {k} does not lie inside [{slices}, {rows}, {columns}]")
        regions.append(region)
    return SavedRegions(tuple(regions), (slices, rows, columns), affine)


def _checked(array: NDArray[Any], name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    fits = array.ndim == len(shape) and all(n in (None, size) for n, size in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
    return array
