"""Wilson's interval against SciPy's, the bootstrap's against cases where it is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from lungsight.evaluate.intervals import Bootstrap, Estimate, Proportion, bootstrap_cases, bootstrap_estimates
from lungsight.evaluate.roc import auc, auc_difference


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize(("hits", "of"), [(57, 62), (0, 7), (7, 7), (1, 1), (3, 1000)])
def test_wilson_is_scipys(hits: int, of: int, confidence: float) -> None:
    judge = binomtest(hits, of).proportion_ci(confidence, method="wilson")
    ours = Proportion(hits, of).wilson(confidence)
    assert (ours.value, ours.low, ours.high) == pytest.approx((hits / of, judge.low, judge.high), abs=1e-12)


def test_at_the_ends_the_interval_stays_inside_and_is_not_empty() -> None:
    none, all_of_them = Proportion(0, 9).wilson(), Proportion(9, 9).wilson()
    assert (none.low, all_of_them.high) == (0.0, 1.0)
    assert none.high is not None
    assert all_of_them.low is not None
    assert none.high == pytest.approx(1 - all_of_them.low)
    assert 0.2 < none.high < 0.4


def test_a_share_of_no_cases_is_not_defined() -> None:
    assert Proportion(0, 0).wilson() == Estimate(None, None, None)


@pytest.mark.parametrize(("hits", "of"), [(-1, 3), (4, 3)])
def test_more_hits_than_cases_is_refused(hits: int, of: int) -> None:
    with pytest.raises(ValueError, match=f"{hits} hits of {of} cases"):
        Proportion(hits, of)


@pytest.mark.parametrize(("setting", "value"), [("draws", 0), ("confidence", 0.0), ("confidence", 1.0)])
def test_a_bootstrap_that_cannot_be_is_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} is {value}"):
        Bootstrap(**{setting: value})  # type: ignore[arg-type]


def mean_of(values: NDArray[np.float64]) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    return lambda counts: np.array([counts @ values / counts.sum()])


def test_the_interval_of_a_mean_is_the_one_of_theory() -> None:
    values = np.random.default_rng(5).normal(size=400)
    (estimate,) = bootstrap_estimates(mean_of(values), 400, Bootstrap(draws=2000))
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_each_draw_counts_as_many_clusters_as_there_are_and_the_seed_fixes_them() -> None:
    sizes: list[int] = []

    def figures(counts: NDArray[np.intp]) -> NDArray[np.float64]:
        sizes.append(int(counts.sum()))
        return np.array([float(counts[0]), 1.0])

    one = bootstrap_estimates(figures, 7, Bootstrap(draws=50, seed=3))
    assert sizes == [7] * 51  # the cases as they are, then the draws
    assert one == bootstrap_estimates(figures, 7, Bootstrap(draws=50, seed=3))
    assert one[0] == Estimate(1.0, 0.0, 3.0)
    assert one[1] == Estimate(1.0, 1.0, 1.0)


def test_draws_in_which_the_figure_is_not_defined_are_left_out() -> None:
    def share(counts: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.array([float(counts[1]) if counts[0] else math.nan])

    (estimate,) = bootstrap_estimates(share, 2, Bootstrap(draws=200))
    # counts is (2, 0), (1, 1) or (0, 2): without the last, the figure is 0 or 1.
    assert estimate == Estimate(1.0, 0.0, 1.0)


def test_a_figure_that_is_not_defined_has_no_interval() -> None:
    (estimate,) = bootstrap_estimates(lambda counts: np.full(1, math.nan * counts[0]), 2, Bootstrap(draws=3))
    assert estimate == Estimate(None, None, None)
    (nobody,) = bootstrap_estimates(lambda counts: np.array([0.5]) + counts.sum(), 0, Bootstrap(draws=3))
    assert nobody == Estimate(0.5, None, None)


def test_progress_ends_at_1() -> None:
    told: list[tuple[str, float]] = []
    bootstrap_estimates(
        lambda counts: counts[:1].astype(np.float64),
        1,
        Bootstrap(draws=4),
        lambda step, done: told.append((step, done)),
    )
    assert told == [("bootstrap", 0.25), ("bootstrap", 0.5), ("bootstrap", 0.75), ("bootstrap", 1.0)]


def test_cases_of_a_patient_are_drawn_together() -> None:
    patient = np.array(["a", "a", "a", "b", "c", "c"])
    seen: list[NDArray[np.intp]] = []

    def figure(cases: NDArray[np.intp]) -> float:
        seen.append(cases)
        return float(len(cases))

    estimate = bootstrap_cases(figure, patient, bootstrap=Bootstrap(draws=300))
    assert estimate == Estimate(6.0, 3.0, 9.0)  # b, b, b (3 cases) to a, a, a (9)
    assert seen[0].tolist() == [0, 1, 2, 3, 4, 5]
    for cases in seen[1:]:
        times = np.bincount(cases, minlength=6)
        assert times[0] == times[1] == times[2]
        assert times[4] == times[5]
        assert times[0] + times[3] + times[4] == 3


def test_any_figure_gets_the_interval_of_its_own_bootstrap() -> None:
    rng = np.random.default_rng(3)
    label = rng.random(80) < 0.5
    score, other = label + rng.normal(size=80), label + 2 * rng.normal(size=80)
    patient = rng.integers(30, size=80)
    few = Bootstrap(draws=200, seed=5)

    def difference(cases: NDArray[np.intp]) -> float:
        first, second = (auc(label[cases], s[cases], bootstrap=Bootstrap(draws=1)).value for s in (score, other))
        return math.nan if first is None or second is None else first - second

    ours = bootstrap_cases(difference, patient, bootstrap=few)
    judge = auc_difference(label, score, other, patient, few)
    assert (ours.value, ours.low, ours.high) == pytest.approx((judge.value, judge.low, judge.high), abs=1e-12)


def test_nodules_and_hosts_are_both_drawn() -> None:
    # Every nodule in every host; the value is a nodule's part plus a host's, whose variances then add up.
    rng = np.random.default_rng(8)
    nodule, host = (axis.ravel() for axis in np.indices((60, 40)))
    of_nodule, of_host = rng.normal(size=60), 2 * rng.normal(size=40)
    value = of_nodule[nodule] + of_host[host]

    def half(*clusters: NDArray[np.intp]) -> float:
        estimate = bootstrap_cases(lambda cases: value[cases].mean(), *clusters, bootstrap=Bootstrap(draws=1500))
        assert estimate.value == pytest.approx(value.mean())
        assert estimate.low is not None
        assert estimate.high is not None
        return (estimate.high - estimate.low) / 2

    by_nodule, by_host = 1.96 * of_nodule.std() / math.sqrt(60), 1.96 * of_host.std() / math.sqrt(40)
    assert half(nodule) == pytest.approx(by_nodule, rel=0.1)
    assert half(host) == pytest.approx(by_host, rel=0.1)
    assert half(nodule, host) == pytest.approx(math.hypot(by_nodule, by_host), rel=0.1)


def test_draws_without_a_case_are_left_out() -> None:
    # A nodule of ann in the CT of x, one of ben in that of y: drawn as ann twice and y twice no case is left.
    asked: list[int] = []

    def figure(cases: NDArray[np.intp]) -> float:
        asked.append(len(cases))
        return 1.0

    estimate = bootstrap_cases(figure, ["ann", "ben"], ["x", "y"], bootstrap=Bootstrap(draws=100))
    assert estimate == Estimate(1.0, 1.0, 1.0)
    assert len(asked) < 101
    assert set(asked) == {2, 4}
    assert bootstrap_cases(figure, []) == Estimate(None)


def test_clusters_that_do_not_fit_are_refused() -> None:
    for clusters in ((), (["a"], ["a", "b"]), ([["a"]],)):
        with pytest.raises(ValueError, match="clusters have shapes"):
            bootstrap_cases(len, *clusters)
