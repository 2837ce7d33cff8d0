"""Which mark hits which finding, by the rules of the LUNA16 challenge. Done once; every figure comes from it.

The rules are those of the challenge's own script, ``noduleCADEvaluationLUNA16.py`` (function ``evaluateCAD``); Setio et
al., *Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules in computed
tomography images: the LUNA16 challenge*, Medical Image Analysis 42, 2017.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_MARKS_PER_SCAN", "UNKNOWN_DIAMETER_MM", "Finding", "Mark", "Matches", "match_marks"]

MAX_MARKS_PER_SCAN = 100
"""If a scan has more, only those count that score above the 101st; so ties with the 101st are dropped too."""

UNKNOWN_DIAMETER_MM = 10.0
"""Of a finding without a size."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place where a system sees a nodule.

    Attributes
    ----------
    series_uid
        The scan.
    centre_lps_mm
        Its centre.
    score
        Higher is more certainly a nodule; any finite number.
    """

    series_uid: str
    centre_lps_mm: tuple[float, float, float]
    score: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What people found in a scan.

    Attributes
    ----------
    series_uid
        The scan.
    centre_lps_mm
        Its centre.
    diameter_mm
        0 or more; None if it is not known.
    excluded
        False for a nodule that must be found. True for one that need not be: neither a miss, nor are marks on it
        false.
    """

    series_uid: str
    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float | None
    excluded: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Marks and findings, matched. Every figure comes from this.

    Attributes
    ----------
    series_uids
        The listed scans, ``n_scans`` of them, those without marks or nodules included.
    nodules
        The findings that must be found, scan by scan.
    nodule_scan
        Shape ``(n_nodules,)``, index into `series_uids`.
    nodule_score
        Shape ``(n_nodules,)``, of the best mark that hits the nodule; minus infinity if none does.
    false_scan, false_score
        Shape ``(n_false,)``, of the marks that hit no finding at all.
    n_marks
        Marks in listed scans, before any was dropped.
    n_over_limit, n_on_excluded, n_repeated
        Marks that were dropped over `MAX_MARKS_PER_SCAN`, that hit excluded findings only, and that hit a nodule which
        a better mark hits.
    """

    series_uids: tuple[str, ...]
    nodules: tuple[Finding, ...]
    nodule_scan: NDArray[np.intp]
    nodule_score: NDArray[np.float64]
    false_scan: NDArray[np.intp]
    false_score: NDArray[np.float64]
    n_marks: int
    n_over_limit: int
    n_on_excluded: int
    n_repeated: int


def match_marks(marks: Iterable[Mark], findings: Iterable[Finding], series_uids: Sequence[str]) -> Matches:
    """Say which mark hits which finding.

    A mark hits a finding if it lies strictly inside its radius. It may hit several. A nodule takes the score of the
    best mark that hits it; a mark that hits no finding is false.

    Parameters
    ----------
    marks, findings
        Those of scans that are not listed are ignored.
    series_uids
        The scans, each once; at least one.

    Raises
    ------
    ValueError
        If no scan is listed or one is listed twice, or a coordinate, score or diameter is not a finite number or, the
        last, negative.
    """
    series_uids = tuple(series_uids)
    if not series_uids or len(set(series_uids)) < len(series_uids):
        raise ValueError(f"{len(series_uids)} scans, {len(set(series_uids))} of them distinct; expected each once")
    marks_of = _by_scan(marks)
    findings_of = _by_scan(findings)
    each = [_match_scan(marks_of[uid], findings_of[uid]) for uid in series_uids]
    indices = np.arange(len(each))
    return Matches(
        series_uids=series_uids,
        nodules=tuple(nodule for scan in each for nodule in scan.nodules),
        nodule_scan=np.repeat(indices, [len(scan.nodules) for scan in each]),
        nodule_score=np.concatenate([scan.nodule_score for scan in each]),
        false_scan=np.repeat(indices, [len(scan.false_score) for scan in each]),
        false_score=np.concatenate([scan.false_score for scan in each]),
        n_marks=sum(len(marks_of[uid]) for uid in series_uids),
        n_over_limit=sum(scan.n_over_limit for scan in each),
        n_on_excluded=sum(scan.n_on_excluded for scan in each),
        n_repeated=sum(scan.n_repeated for scan in each),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _ScanMatches:
    nodules: tuple[Finding, ...]
    nodule_score: NDArray[np.float64]
    false_score: NDArray[np.float64]
    n_over_limit: int
    n_on_excluded: int
    n_repeated: int


def _match_scan(marks: Sequence[Mark], findings: Sequence[Finding]) -> _ScanMatches:
    places = np.array([mark.centre_lps_mm for mark in marks], np.float64).reshape(-1, 3)
    scores = np.array([mark.score for mark in marks], np.float64)
    centres = np.array([finding.centre_lps_mm for finding in findings], np.float64).reshape(-1, 3)
    radius_mm = np.array([_diameter_mm(finding) / 2 for finding in findings], np.float64)
    if not all(np.isfinite(array).all() for array in (places, scores, centres, radius_mm)) or (radius_mm < 0).any():
        raise ValueError("a coordinate, score or diameter is not a finite number, or a diameter is negative")
    kept = _within_limit(scores)
    places, scores = places[kept], scores[kept]
    inside = ((places[:, None] - centres) ** 2).sum(axis=2) < radius_mm**2
    excluded = np.array([finding.excluded for finding in findings], np.bool_)
    on_nodule = inside[:, ~excluded]
    return _ScanMatches(
        nodules=tuple(finding for finding in findings if not finding.excluded),
        nodule_score=np.where(on_nodule, scores[:, None], -np.inf).max(axis=0, initial=-np.inf),
        false_score=scores[~inside.any(axis=1)],
        n_over_limit=int(np.count_nonzero(~kept)),
        n_on_excluded=int(np.count_nonzero(inside.any(axis=1) & ~on_nodule.any(axis=1))),
        n_repeated=int((on_nodule.sum(axis=0) - 1).clip(0).sum()),
    )


def _within_limit(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    if len(scores) <= MAX_MARKS_PER_SCAN:
        return np.ones(len(scores), np.bool_)
    above: NDArray[np.bool_] = scores > np.sort(scores)[::-1][MAX_MARKS_PER_SCAN]
    return above


def _diameter_mm(finding: Finding) -> float:
    return UNKNOWN_DIAMETER_MM if finding.diameter_mm is None else finding.diameter_mm


_Placed = TypeVar("_Placed", Mark, Finding)


def _by_scan(placed: Iterable[_Placed]) -> dict[str, list[_Placed]]:
    by_scan: dict[str, list[_Placed]] = defaultdict(list)
    for each in placed:
        by_scan[each.series_uid].append(each)
    return by_scan
