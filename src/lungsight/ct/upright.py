"""The same CT with its axes turned: slices to the head, rows to the back, columns to the patient's left.

Networks and rules of anatomy expect a CT this way up. Most are; a coronal or feet-first series, or a patient on the
belly, is not. Turning swaps and flips axes and interpolates nothing; what is found is turned back to the source grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.ct.volume import CTVolume
from lungsight.findings import Region

__all__ = ["Turn", "turn_upright"]


@dataclass(frozen=True, slots=True)
class Turn:
    """How the axes of a source grid are swapped and flipped.

    Attributes
    ----------
    axes
        Source axis that becomes slices, rows and columns.
    flipped
        Whether it also changes direction.
    shape
        Of the source grid.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    def array(self, source: NDArray[Any]) -> NDArray[Any]:
        """A turned view of an array on the source grid; to write in it is to write in the source.

        Examples
        --------
        >>> turn = Turn((1, 0, 2), (False, False, True), (2, 1, 2))
        >>> turn.array(np.array([[[1, 2]], [[3, 4]]])).tolist()
        [[[2, 1], [4, 3]]]
        """
        return source.transpose(self.axes)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def volume(self, ct: CTVolume) -> CTVolume:
        """The turned CT, sharing its voxels; each point keeps its place in the patient."""
        if self.axes == (0, 1, 2) and not any(self.flipped):
            return ct
        affine = np.eye(4)
        affine[:3, :3] = ct.affine[:3, list(self.axes)] * np.where(self.flipped, -1, 1)
        affine[:3, 3] = ct.to_lps(self.to_source((0, 0, 0)))
        return CTVolume(self.array(ct.hu), affine, ct.series_uid)

    def to_source(self, points_zyx: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices of the turned grid ``(..., 3)`` as indices of the source grid."""
        points = np.asarray(points_zyx, np.float64)
        source = np.empty_like(points)
        for axis, (of, flip) in enumerate(zip(self.axes, self.flipped, strict=True)):
            source[..., of] = self.shape[of] - 1 - points[..., axis] if flip else points[..., axis]
        return source

    def region_to_source(self, region: Region) -> Region:
        """A region of the turned grid on the source grid."""
        ends = np.array([region.start_zyx, np.subtract(region.stop_zyx, 1)])
        corners = self.to_source(ends).min(0).astype(int)
        unflipped = region.mask[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]
        z, y, x = corners.tolist()
        return Region((z, y, x), np.ascontiguousarray(unflipped.transpose(np.argsort(self.axes))))


def turn_upright(ct: CTVolume) -> Turn:
    """The turn that makes a CT upright, or as nearly so as swapping axes can.

    Parameters
    ----------
    ct
        In any orientation, oblique too.

    Returns
    -------
    Turn
        Apply it with :meth:`Turn.volume`.
    """
    along = ct.affine[:3, :3] / np.linalg.norm(ct.affine[:3, :3], axis=0)
    # Rows of `along` are L, P, S; slices shall follow S, rows P, columns L.
    z, y, x = max(permutations(range(3)), key=lambda axes: sum(abs(along[2 - i, a]) for i, a in enumerate(axes)))
    return Turn((z, y, x), (bool(along[2, z] < 0), bool(along[1, y] < 0), bool(along[0, x] < 0)), ct.shape)
