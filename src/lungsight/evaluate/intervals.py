"""A figure with its interval: Wilson's for a share of cases, the bootstrap's for anything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CONFIDENCE",
    "Bootstrap",
    "Estimate",
    "Proportion",
    "bootstrap_cases",
    "bootstrap_estimates",
    "ignore_progress",
]

CONFIDENCE = 0.95
"""Of every interval that is not asked for otherwise."""


def ignore_progress(_step: str, _done: float) -> None:
    """Progress of a step, 0 to 1, that nobody wants to see."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval.

    Attributes
    ----------
    value
        None where the figure is not defined: a share of no cases, an AUC of one class.
    low, high
        The interval's ends; None where it is not defined.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of cases.

    Attributes
    ----------
    hits
        0 to `of`.
    of
        Number of cases; 0 is allowed, the share is then not defined.

    Examples
    --------
    >>> Proportion(57, 62).value
    0.9193548387096774
    >>> Proportion(0, 0).value is None
    True
    """

    hits: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.of:
            raise ValueError(f"{self.hits} hits of {self.of} cases, expected 0 to all of them")

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of no cases."""
        return self.hits / self.of if self.of else None

    def wilson(self, confidence: float = CONFIDENCE) -> Estimate:
        """The share with its score interval, without continuity correction.

        Returns
        -------
        Estimate
            Inside 0 to 1, and not of width 0 where all or no cases are hits. Of no cases: None throughout.

        Notes
        -----
        Wilson, *Probable inference, the law of succession, and statistical inference*, Journal of the American
        Statistical Association 22, 1927.

        Examples
        --------
        >>> interval = Proportion(57, 62).wilson()
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.825, 0.965)
        """
        if not self.of:
            return Estimate(None)
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        share, shrink = self.hits / self.of, 1 + z * z / self.of
        centre = (share + z * z / (2 * self.of)) / shrink
        half = z / shrink * math.sqrt(share * (1 - share) / self.of + z * z / (4 * self.of**2))
        # At the ends the formula is exactly 0 or 1, floating point is not.
        low = 0.0 if self.hits == 0 else centre - half
        high = 1.0 if self.hits == self.of else centre + half
        return Estimate(share, low, high)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How often, and from where, cases are drawn again.

    Attributes
    ----------
    draws
        Number of draws; 1 or more.
    confidence
        Share of the draws between the interval's ends, above 0 and below 1.
    seed
        Of the random numbers: the same seed draws the same cases.
    """

    draws: int = 1000
    confidence: float = CONFIDENCE
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}, expected 1 or more")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}, expected above 0 and below 1")


def bootstrap_estimates(
    figures: Callable[[NDArray[np.intp]], NDArray[np.float64]],
    n_clusters: int,
    bootstrap: Bootstrap,
    progress: Callable[[str, float], None] = ignore_progress,
) -> tuple[Estimate, ...]:
    """Figures with the interval in which they fall when whole clusters (patients, scans) are drawn again.

    Parameters
    ----------
    figures
        Takes how often each cluster counts, shape ``(n_clusters,)``, and gives the figures, shape ``(k,)``, NaN where
        one is not defined.
    n_clusters
        As many are drawn each time, with replacement.
    bootstrap
        Number of draws, confidence, seed.
    progress
        Told ``("bootstrap", done)``.

    Returns
    -------
    tuple of Estimate
        Length ``k``: the figures of the cases as they are, and the interval over the draws in which the figure is
        defined. None without clusters, and where the figure of the cases as they are is not defined.

    Notes
    -----
    The interval's ends are the sorted values at ``floor(n * tail)`` and ``floor(n * (1 - tail))``, as in the LUNA16
    challenge's script (``compute_mean_ci`` of noduleCADEvaluationLUNA16.py).
    """
    return _bootstrap(lambda counts: figures(counts[0]), (n_clusters,), bootstrap, progress)


def bootstrap_cases(
    figure: Callable[[NDArray[np.intp]], float],
    *clusters: ArrayLike,
    bootstrap: Bootstrap | None = None,
    progress: Callable[[str, float], None] = ignore_progress,
) -> Estimate:
    """Any figure of cases with the interval in which it falls when whole patients are drawn again.

    Parameters
    ----------
    figure
        Takes indices of cases, shape ``(m,)``, in which a case stands as often as it was drawn, and gives the figure,
        NaN where it is not defined. It is not asked of no cases.
    clusters
        Shape ``(n,)``, what each case belongs to: its patient. With several (the nodule's patient, the patient whose CT
        holds it) each is drawn by itself, and a case counts as often as the product.
    bootstrap
        Number of draws, confidence, seed; None takes their defaults.
    progress
        Told ``("bootstrap", done)``.

    Returns
    -------
    Estimate
        The figure of the cases as they are, and the interval over the draws in which it is defined. None of no cases.

    Raises
    ------
    ValueError
        If no clusters are given, or they are not of one shape ``(n,)``.

    Notes
    -----
    Several kinds of clusters: Owen, *The pigeonhole bootstrap*, Annals of Applied Statistics 1, 2007.

    Examples
    --------
    >>> score, patient = np.array([0.2, 0.4, 0.9]), ["ann", "ann", "ben"]
    >>> bootstrap_cases(lambda cases: score[cases].mean(), patient)
    Estimate(value=0.5, low=0.30000000000000004, high=0.9)
    """
    members = [np.unique(np.asarray(names), return_inverse=True) for names in clusters]
    shapes = {of_case.shape for _, of_case in members}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"clusters have shapes {sorted(shapes)}, expected one shape (n,)")
    cases = np.arange(len(members[0][1]))

    def figures(counts: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
        times = np.prod(
            [count[of_case] for count, (_, of_case) in zip(counts, members, strict=True)], axis=0, dtype=int
        )
        drawn = np.repeat(cases, times)
        return np.array([figure(drawn) if drawn.size else math.nan], np.float64)

    sizes = tuple(len(names) for names, _ in members)
    return _bootstrap(figures, sizes, bootstrap or Bootstrap(), progress)[0]


def _bootstrap(
    figures: Callable[[Sequence[NDArray[np.intp]]], NDArray[np.float64]],
    sizes: tuple[int, ...],
    bootstrap: Bootstrap,
    progress: Callable[[str, float], None],
) -> tuple[Estimate, ...]:
    """As :func:`bootstrap_estimates`, for several kinds of clusters: `sizes` says how many there are of each."""
    values = figures([np.ones(size, np.intp) for size in sizes])
    drawn = np.full((bootstrap.draws if all(sizes) else 0, len(values)), np.nan)
    rng = np.random.default_rng(bootstrap.seed)
    for k in range(len(drawn)):
        drawn[k] = figures([np.bincount(rng.integers(size, size=size), minlength=size) for size in sizes])
        progress("bootstrap", (k + 1) / len(drawn))
    return tuple(_estimate(value, drawn[:, k], bootstrap.confidence) for k, value in enumerate(values.tolist()))


def _estimate(value: float, drawn: NDArray[np.float64], confidence: float) -> Estimate:
    if math.isnan(value):
        return Estimate(None)
    defined = np.sort(drawn[~np.isnan(drawn)])
    if not defined.size:
        return Estimate(value)
    tail = (1 - confidence) / 2
    low, high = (float(defined[math.floor(share * len(defined))]) for share in (tail, 1 - tail))
    return Estimate(value, low, high)
