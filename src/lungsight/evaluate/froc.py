"""FROC curve and competition performance metric (CPM) of matched marks, by the rules of the LUNA16 challenge.

The rules are those of the challenge's own script, ``noduleCADEvaluationLUNA16.py`` (functions ``computeFROC``,
``computeFROC_bootstrap``). Where the script divides by zero or fails (no nodule, no mark, nothing hit) the rule is
stated here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.evaluate.intervals import Bootstrap, Estimate, bootstrap_estimates, ignore_progress
from lungsight.evaluate.match import Matches

__all__ = ["FP_RATES", "Froc", "FrocCurve", "froc", "froc_curve"]

FP_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which the CPM takes the sensitivity."""

_BAND_RATES = np.geomspace(FP_RATES[0], FP_RATES[-1], 49)


@dataclass(frozen=True, slots=True, eq=False)
class FrocCurve:
    """Sensitivity against false positives per scan, from no mark to all marks.

    Attributes
    ----------
    thresholds
        Shape ``(k,)``: infinity (no mark counts), then every distinct score, descending.
    fp_per_scan
        Shape ``(k,)``, 0 or more, ascending.
    sensitivity
        Shape ``(k,)``, 0 to 1, ascending; NaN if there is no nodule.
    """

    thresholds: NDArray[np.float64]
    fp_per_scan: NDArray[np.float64]
    sensitivity: NDArray[np.float64]

    def at(self, fp_per_scan: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sensitivity at rates of false positives: linear between points, the last point's beyond it."""
        return np.interp(fp_per_scan, self.fp_per_scan, self.sensitivity)


@dataclass(frozen=True, slots=True, eq=False)
class Froc:
    """How well nodules are found.

    Attributes
    ----------
    curve
        The FROC curve.
    sensitivity_at
        At each of `FP_RATES`; None throughout if there is no nodule.
    cpm
        Competition performance metric: the mean of `sensitivity_at`.
    band_fp_per_scan, band
        The curve's interval between the first and the last of `FP_RATES`.
    bootstrap
        What the intervals were made with: scans are drawn, draws without a nodule are left out.
    """

    curve: FrocCurve
    sensitivity_at: tuple[Estimate, ...]
    cpm: Estimate
    band_fp_per_scan: NDArray[np.float64]
    band: tuple[Estimate, ...]
    bootstrap: Bootstrap


def froc_curve(matches: Matches) -> FrocCurve:
    """The FROC curve; marks of the same score are one point of it.

    Without false positives the curve rises at 0; where no nodule is hit it stays at 0.
    """
    return _Ranked(matches).curve(np.ones(len(matches.series_uids), np.intp))


def froc(
    matches: Matches,
    bootstrap: Bootstrap | None = None,
    progress: Callable[[str, float], None] = ignore_progress,
) -> Froc:
    """FROC curve, sensitivities and CPM with intervals by scan.

    Parameters
    ----------
    matches
        Of at least one scan.
    bootstrap
        None takes its defaults, the challenge's 1,000 draws.
    progress
        Told ``("bootstrap", done)``.

    Examples
    --------
    A perfect detector: one nodule, one mark on it, nothing false.

    >>> from lungsight.evaluate.match import Finding, Mark, match_marks
    >>> nodule = Finding("1.2", (10.0, 20.0, 30.0), diameter_mm=8.0)
    >>> perfect = froc(match_marks([Mark("1.2", (10.0, 21.0, 30.0), 0.9)], [nodule], ["1.2"]))
    >>> perfect.cpm
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    bootstrap = bootstrap or Bootstrap()
    ranked = _Ranked(matches)
    n_rates = len(FP_RATES)
    rates = np.concatenate([FP_RATES, _BAND_RATES])

    def figures(counts: NDArray[np.intp]) -> NDArray[np.float64]:
        sensitivity = ranked.curve(counts).at(rates)
        return np.append(sensitivity, sensitivity[:n_rates].mean())

    estimates = bootstrap_estimates(figures, len(matches.series_uids), bootstrap, progress)
    return Froc(
        curve=ranked.curve(np.ones(len(matches.series_uids), np.intp)),
        sensitivity_at=estimates[:n_rates],
        cpm=estimates[-1],
        band_fp_per_scan=_BAND_RATES,
        band=estimates[n_rates:-1],
        bootstrap=bootstrap,
    )


class _Ranked:
    """Matches whose scores are sorted once, for many curves."""

    def __init__(self, matches: Matches) -> None:
        hit = np.isfinite(matches.nodule_score)
        self.nodule_scan = matches.nodule_scan
        self.scan = np.concatenate([matches.nodule_scan[hit], matches.false_scan])
        self.n_hit = int(np.count_nonzero(hit))
        scores = np.concatenate([matches.nodule_score[hit], matches.false_score])
        level, self.level_of = np.unique(-scores, return_inverse=True)
        self.thresholds = np.concatenate([[np.inf], -level])

    def curve(self, counts: NDArray[np.intp]) -> FrocCurve:
        """The curve if each scan counts `counts` times, shape ``(n_scans,)``."""
        hits, false = (
            np.bincount(self.level_of[part] + 1, counts[self.scan[part]], len(self.thresholds)).cumsum()
            for part in (slice(self.n_hit), slice(self.n_hit, None))
        )
        with np.errstate(invalid="ignore"):
            sensitivity = hits / np.float64(counts[self.nodule_scan].sum())
        return FrocCurve(self.thresholds, false / counts.sum(), sensitivity)
