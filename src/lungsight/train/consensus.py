"""Several readers' outlines become nodules: clustered, and drawn on the CT's grid where enough readers agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError
from lungsight.findings import Region
from lungsight.train.outlines import MarkedNodule, Outline
from lungsight.train.patient import PointMark, ReaderMarks, TrueNodule

__all__ = ["CONSENSUS", "cluster_marks", "nodules_of_readers", "outline_slice"]

CONSENSUS = 0.5
"""Share of a nodule's readers from which on a voxel belongs to it: half or more, as pylidc's consensus."""

MOST_MARKS = 4
"""Marks of one nodule at most: LIDC had four readers a CT."""

TIGHTEN = 0.9
"""What the tolerance is multiplied by while a cluster has more marks than there were readers."""

LEAST_TOLERANCE = 0.1
"""Tighter it does not get: what is still joined stays joined."""


def cluster_marks(
    marks: Sequence[MarkedNodule], slice_z_mm: Sequence[float], tolerance: float
) -> tuple[tuple[MarkedNodule, ...], ...]:
    """Join the marks of one CT that mean the same nodule.

    Parameters
    ----------
    marks
        Of all readers.
    slice_z_mm
        Position of each slice of the CT, ascending.
    tolerance
        Marks belong together if a point of the one lies this near to a point of the other, or if other marks join them.
        pylidc takes the slice thickness in mm and measures in voxel indices (rows, columns, slices); so does this, for
        the same clusters. It shrinks by a tenth while a cluster of the CT has more than four marks.

    Returns
    -------
    tuple
        The clusters by their first mark, each with its marks in the order given. Empty in, empty out.

    Notes
    -----
    ``Scan.cluster_annotations`` of pylidc, with its defaults.
    """
    if not marks:
        return ()
    positions = np.asarray(slice_z_mm, np.float64)
    clouds = [_voxel_points(mark, positions) for mark in marks]
    trees = [KDTree(cloud) for cloud in clouds]
    distances = np.zeros((len(marks), len(marks)))
    for i, tree in enumerate(trees):
        for j in range(i):
            nearest, _ = tree.query(clouds[j], distance_upper_bound=np.nextafter(tolerance, np.inf))
            distances[i, j] = distances[j, i] = nearest.min()
    _, cluster = connected_components(distances <= tolerance, directed=False)
    while np.bincount(cluster).max() > MOST_MARKS and tolerance * TIGHTEN >= LEAST_TOLERANCE:
        tolerance *= TIGHTEN
        _, cluster = connected_components(distances <= tolerance, directed=False)
    numbers = dict.fromkeys(cluster.tolist())
    return tuple(tuple(m for m, of in zip(marks, cluster.tolist(), strict=True) if of == n) for n in numbers)


def nodules_of_readers(
    marks: ReaderMarks, ct: CTVolume, consensus: float
) -> tuple[tuple[TrueNodule, ...], tuple[PointMark, ...]]:
    """Nodules and excluded findings of a CT that several readers outlined.

    Parameters
    ----------
    marks
        Of this CT. Their pixels must be the CT's: it was not cut, turned or resampled.
    ct
        The whole CT.
    consensus
        Share of a nodule's readers, over 0 and at most 1, from which on a voxel belongs to it.

    Returns
    -------
    tuple
        The nodules, and what counts neither as found nor as false: points (nodules under 3 mm) and non-nodules. A
        reader who drew one nodule in two pieces is one reader, where the source tells who drew.

    Raises
    ------
    InputError
        If an outline lies on a slice that the CT does not have, or outside its rows and columns.
    """
    outlined = [mark for mark in marks.nodules if not mark.is_point]
    points = [mark.outlines[0] for mark in marks.nodules if mark.is_point] + list(marks.non_nodules)
    every = [outline for mark in outlined for outline in mark.outlines]
    _check_places([*every, *points], ct)
    positions = marks.slice_z_mm or np.sort(_slice_z_mm(ct)).tolist()
    clusters = cluster_marks(outlined, positions, marks.slice_thickness_mm or ct.spacing_zyx_mm[0])
    excluded = tuple(PointMark(_to_lps(ct, _voxels([point], ct).mean(0))) for point in points)
    return tuple(_nodule(cluster, ct, consensus) for cluster in clusters), excluded


def outline_slice(outline: Outline, ct: CTVolume) -> int | None:
    """The slice of a CT that an outline lies on, by SOP Instance UID, else by position; None if it lies on none.

    Without UIDs a slice is meant whose position is nearer than half the slice spacing.
    """
    uids = [instance.sop_instance_uid for instance in ct.instances]
    if outline.sop_instance_uid and uids:
        return uids.index(outline.sop_instance_uid) if outline.sop_instance_uid in uids else None
    positions = _slice_z_mm(ct)
    nearest = int(np.abs(positions - outline.z_mm).argmin())
    return nearest if abs(positions[nearest] - outline.z_mm) < abs(ct.affine[2, 0]) / 2 else None


def _nodule(cluster: Sequence[MarkedNodule], ct: CTVolume, consensus: float) -> TrueNodule:
    every = [outline for mark in cluster for outline in mark.outlines]
    voxels = _voxels(every, ct)
    start, stop = voxels.min(0).astype(int), voxels.max(0).astype(int) + 1
    by_reader: dict[str | int, NDArray[np.bool_]] = {}
    for mark in cluster:
        key = mark.name if mark.reader is None else mark.reader
        drawn = _drawn(mark, ct, start, stop)
        by_reader[key] = by_reader[key] | drawn if key in by_reader else drawn
    share = np.mean(list(by_reader.values()), axis=0)
    mask = (share > 0) & (share >= consensus - 1e-9)  # 1e-9: shares such as 2/3 are rounded
    region = None
    centre_zyx = voxels.mean(0)
    if mask.any():
        centre_zyx = np.argwhere(mask).mean(0) + start
        z, y, x = start.tolist()
        region = Region((z, y, x), mask)
    diameters_mm = [d for mark in cluster if (d := _greatest_diameter_mm(mark, ct)) > 0]
    return TrueNodule(
        centre_lps_mm=_to_lps(ct, centre_zyx),
        diameter_mm=float(np.mean(diameters_mm)) if diameters_mm else None,
        region=region,
        readers=len(by_reader),
        ratings=tuple(mark.ratings for mark in cluster),
        names=tuple(mark.name for mark in cluster),
    )


def _drawn(mark: MarkedNodule, ct: CTVolume, start: NDArray[np.int_], stop: NDArray[np.int_]) -> NDArray[np.bool_]:
    """What one mark encloses, in a box of the CT: its outlines' insides without the holes."""
    drawn = np.zeros(stop - start, np.bool_)
    for outline in sorted(mark.outlines, key=lambda outline: outline.is_hole):
        inside = outline.draw(drawn.shape[1:], (start[1], start[2]), with_line=outline.is_hole)
        layer = drawn[(outline_slice(outline, ct) or 0) - start[0]]
        layer[inside] = not outline.is_hole
    return drawn


def _greatest_diameter_mm(mark: MarkedNodule, ct: CTVolume) -> float:
    _, row_spacing_mm, column_spacing_mm = ct.spacing_zyx_mm
    lines = (o.points_row_column for o in mark.outlines if len(o.points_row_column) > 1)
    return max((float(pdist(points * (row_spacing_mm, column_spacing_mm)).max()) for points in lines), default=0.0)


def _check_places(outlines: Sequence[Outline], ct: CTVolume) -> None:
    remedy = "Give the whole CT that belongs to the outlines, as DICOM."
    lost = [outline for outline in outlines if outline_slice(outline, ct) is None]
    if lost:
        raise InputError(
            f"{len(lost)} of {len(outlines)} outlines lie on slices that the CT does not have, first at z "
            f"{lost[0].z_mm:g} mm {lost[0].sop_instance_uid}".rstrip(),
            f"outlines on its {len(ct.hu)} slices",
            remedy,
        )
    for outline in outlines:
        least, most = outline.points_row_column.min(0), outline.points_row_column.max(0)
        if (least < 0).any() or (most > np.subtract(ct.shape[1:], 1)).any():
            raise InputError(
                f"an outline at z {outline.z_mm:g} mm reaches from row {least[0]:g}, column {least[1]:g} to row "
                f"{most[0]:g}, column {most[1]:g}",
                f"outlines on {ct.shape[1]} rows and {ct.shape[2]} columns",
                remedy,
            )


def _voxels(outlines: Sequence[Outline], ct: CTVolume) -> NDArray[np.float64]:
    """Slice, row and column of every point of outlines that lie on the CT; shape (n, 3)."""
    return np.concatenate([np.insert(o.points_row_column, 0, outline_slice(o, ct) or 0, axis=1) for o in outlines])


def _voxel_points(mark: MarkedNodule, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row, column and slice of every point of a mark; shape (n, 3)."""
    nearest = [float(np.abs(positions - outline.z_mm).argmin()) for outline in mark.outlines]
    return np.concatenate(
        [np.insert(o.points_row_column, 2, z, axis=1) for o, z in zip(mark.outlines, nearest, strict=True)]
    )


def _slice_z_mm(ct: CTVolume) -> NDArray[np.float64]:
    """The third coordinate of each slice's first pixel, as Image Position (Patient) has it."""
    z_mm: NDArray[np.float64] = ct.affine[2, 3] + ct.affine[2, 0] * np.arange(len(ct.hu))
    return z_mm


def _to_lps(ct: CTVolume, point_zyx: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = ct.to_lps(point_zyx).tolist()
    return x, y, z
