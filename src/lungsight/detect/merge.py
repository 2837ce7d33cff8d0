"""The `segments` system's two mergings: centres of one slice (distance merging), then through slices (Z-merging).

Both look at centres only, in mm in the plane of the slices, and say which belong together; `docs/merging.md` draws
them. Source: Pugliese, *Lung Cancer Images Classification by Deep Learning* (Data Science Bowl 2017), DeepLearn 2017,
which names both steps. The details (chains join, partners are one to one, how ties are decided) are ours.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.spatial import KDTree

__all__ = ["merge_in_slice", "merge_through_slices"]

_MARGIN = 1 + 1e-9
"""The search goes a little farther than the distance, so that what its rounding would lose is found, then measured."""


def merge_in_slice(centres_mm: NDArray[np.float64], distance_mm: float) -> NDArray[np.intp]:
    """Distance merging: centres of one slice that lie nearer to each other than a distance become one.

    Parameters
    ----------
    centres_mm
        Shape ``(n, 2)``, row and column in mm; all of one slice.
    distance_mm
        Centres strictly nearer than this join, and with them those that a chain of such steps reaches (single
        linkage). Exactly at it they stay apart, so at 0 nothing joins.

    Returns
    -------
    ndarray
        Shape ``(n,)``, the group of each centre, 0 to the number of groups less 1. Groups are numbered by their first
        centre in the order of rows, then columns, whatever the order of the input. Empty in, empty out.

    Raises
    ------
    ValueError
        If the shape is another, a coordinate is not finite, or the distance is negative or not finite.

    Notes
    -----
    Time grows with the number of pairs that are nearer than the distance.

    Examples
    --------
    >>> merge_in_slice(np.array([[50.0, 20], [10, 12], [10, 10], [10, 14]]), distance_mm=2.5).tolist()
    [1, 0, 0, 0]
    """
    centres_mm = _checked(centres_mm, distance_mm)
    order = np.lexsort((centres_mm[:, 1], centres_mm[:, 0]))
    centres_mm = centres_mm[order]
    near = KDTree(centres_mm).query_pairs(distance_mm * _MARGIN, output_type="ndarray")
    groups = DisjointSet(range(len(order)))
    for one, other in near[_apart_mm(centres_mm, near) < distance_mm].tolist():
        groups.merge(one, other)
    roots = np.array([groups[centre] for centre in range(len(order))], np.intp)
    return _numbered(roots, order)


def merge_through_slices(
    slices: NDArray[np.intp], centres_mm: NDArray[np.float64], distance_mm: float
) -> NDArray[np.intp]:
    """Z-merging: centres of neighbouring slices that lie nearer to each other than a distance become one nodule.

    The pair that lies nearest is linked first, then the next, unless one of the two already has its partner in the
    other's slice. So a centre has at most one partner above and one below: a chain through slices is one nodule, and
    two nodules side by side stay two. No nodule has two centres of one slice, and none skips a slice.

    Parameters
    ----------
    slices
        Shape ``(n,)``, integers: the slice of each centre. Slices whose numbers differ by 1 are neighbours.
    centres_mm
        Shape ``(n, 2)``, row and column in mm, already merged in their slices.
    distance_mm
        Distance in the plane; only pairs strictly nearer than this are linked, so at 0 none is.

    Returns
    -------
    ndarray
        Shape ``(n,)``, the nodule of each centre, 0 to the number of nodules less 1. Nodules are numbered by their
        first centre in the order of slices, rows, then columns, whatever the order of the input. Empty in, empty out.

    Raises
    ------
    ValueError
        If a shape is another, the slices are not integers, a coordinate is not finite, or the distance is negative or
        not finite.

    Notes
    -----
    Of pairs equally far apart, that goes first whose centre in the lower slice has the lower row, then column; then
    that whose other centre has. Only centres that coincide in one slice are told apart by their place in the input:
    in another order they may change places, in nodules of the same shape. Time grows with the number of pairs that
    are nearer than the distance.

    Examples
    --------
    Two nodules side by side; slice 7 shows only one of them:

    >>> slices, columns_mm = [5, 5, 6, 6, 7], [10, 18, 11, 19, 12]
    >>> centres_mm = np.array([(40.0, column) for column in columns_mm])
    >>> merge_through_slices(np.array(slices), centres_mm, distance_mm=10).tolist()
    [0, 1, 0, 1, 0]
    """
    centres_mm = _checked(centres_mm, distance_mm)
    slices = np.asarray(slices)
    if slices.shape != centres_mm.shape[:1] or slices.dtype.kind not in "iu":
        raise ValueError(f"slices: found {slices.dtype} of shape {slices.shape}, expected {len(centres_mm)} integers")
    order = np.lexsort((centres_mm[:, 1], centres_mm[:, 0], slices))
    links = _links(slices[order].astype(np.int64), centres_mm[order], distance_mm)
    roots = np.arange(len(order))
    for lower, upper in sorted(links):
        roots[upper] = roots[lower]
    return _numbered(roots, order)


def _links(slices: NDArray[np.int64], centres_mm: NDArray[np.float64], distance_mm: float) -> list[tuple[int, int]]:
    """Pairs of neighbouring slices, the nearest first, one to one; centres sorted by slice, row, column."""
    # At this height the next slice is in the reach of the search and the one after it is not.
    heights_mm = 0.75 * distance_mm * (slices - slices.min(initial=0))
    tree = KDTree(np.column_stack([heights_mm, centres_mm]))
    near = tree.query_pairs(distance_mm * _MARGIN, p=math.inf, output_type="ndarray")
    apart_mm = _apart_mm(centres_mm, near)
    neighbours = (slices[near[:, 1]] - slices[near[:, 0]] == 1) & (apart_mm < distance_mm)
    near, apart_mm = near[neighbours], apart_mm[neighbours]
    has_upper, has_lower, links = set[int](), set[int](), []
    for lower, upper in near[np.lexsort((near[:, 1], near[:, 0], apart_mm))].tolist():
        if lower not in has_upper and upper not in has_lower:
            has_upper.add(lower)
            has_lower.add(upper)
            links.append((lower, upper))
    return links


def _checked(centres_mm: NDArray[np.float64], distance_mm: float) -> NDArray[np.float64]:
    centres_mm = np.asarray(centres_mm, np.float64)
    if centres_mm.ndim != 2 or centres_mm.shape[1] != 2:
        raise ValueError(f"centres_mm: found shape {centres_mm.shape}, expected (n, 2): row and column of each")
    if not np.isfinite(centres_mm).all():
        raise ValueError("centres_mm: found a coordinate that is not finite, expected mm")
    if not 0 <= distance_mm < math.inf:
        raise ValueError(f"distance_mm: found {distance_mm}, expected 0 or more, and finite")
    return centres_mm


def _apart_mm(centres_mm: NDArray[np.float64], pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    apart_mm: NDArray[np.float64] = np.linalg.norm(centres_mm[pairs[:, 0]] - centres_mm[pairs[:, 1]], axis=1)
    return apart_mm


def _numbered(roots: NDArray[np.intp], order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the sets by their first member, and put them back into the input's order; roots are in sorted order."""
    _, first, which = np.unique(roots, return_index=True, return_inverse=True)
    numbers = np.empty(len(roots), np.intp)
    numbers[order] = np.argsort(np.argsort(first))[which]
    return numbers
