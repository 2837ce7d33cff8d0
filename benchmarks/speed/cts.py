"""The CT that everything is measured on, and what is made of it: thicker slices, fewer slices, more slices."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from lungsight.ct.upright import turn_upright
from lungsight.ct.volume import CTVolume
from phantom import Body, write_series


def pairs_averaged(ct: CTVolume) -> CTVolume:
    """Each two slices as one of twice the thickness; a last one without a partner stays as it is."""
    count = len(ct.hu)
    pairs = [ct.hu[z : z + 2].mean(0) for z in range(0, count, 2)]
    affine = ct.affine.copy()
    affine[:3, 3] += affine[:3, 0] / 2
    affine[:3, 0] *= 2
    return CTVolume(np.rint(pairs).astype(np.int16), affine)


def with_slices(ct: CTVolume, count: int) -> CTVolume:
    """The same body in `count` slices: some left out or repeated, so that a larger CT is a finer one of one patient."""
    nearest = ((np.arange(count) + 0.5) * len(ct.hu) / count).astype(np.intp)
    affine = ct.affine.copy()
    affine[:3, 0] *= len(ct.hu) / count
    return CTVolume(ct.hu[nearest], affine)


def upright(ct: CTVolume) -> CTVolume:
    """Axial slices, head up: what the network sees."""
    return turn_upright(ct).volume(ct)


def write_dicom(ct: CTVolume, folder: Path) -> Path:
    """Write a file a slice, uncompressed; gives the folder."""
    write_series(folder, Body(np.clip(ct.hu, -1024, 3071).astype(np.int16), ct.affine), series=folder.name)
    return folder
