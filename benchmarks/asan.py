"""`lungsight train windows --recipe asan` on virtual patients, and what it learns about lungs and nodules it never saw.

    python -m benchmarks.asan ../shared/data VOIS --epochs 1.5

VOIS is the unpacked lidc_vois.tar.gz with the table of recipes.vois.

The patients are written by `lungsight simulate`'s code in the contest's layout, slices of 5 mm, one nodule each (so
that the patient's label is the nodule's): those to learn from of the CTs and nodules of folds 1 and 2, those to be
measured of fold 0. The recipe is that of the paper but for the number of epochs. The weights of each half epoch are
then asked about windows of fold 0, drawn as the recipe draws them: as many of each class, none of them changed, none
twice. Prints Markdown.

Intervals are 95 %, of a bootstrap over the patients the nodules come from and over those whose lungs they are in. A
rating is an opinion, not pathology. What is done is kept in the folder of the runs and is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmarks.contest import estimate_text
from benchmarks.pathology import auc
from numpy.typing import NDArray
from recipes.windows.collection import FOLDS, LESIONS, NOT_A_HOST, fold_table, table

from lungsight.detect.windows import field_of_windows
from lungsight.detect.working import working_slice
from lungsight.evaluate.intervals import bootstrap_cases
from lungsight.train.build import build_cases
from lungsight.train.cohort import write_virtual_patients
from lungsight.train.donors import read_vois
from lungsight.train.hosts import find_hosts, read_lesions
from lungsight.train.networks import network_of
from lungsight.train.precision import computing
from lungsight.train.recipe import Recipe, WindowDraw
from lungsight.train.recipes import RECIPES
from lungsight.train.run import train_windows
from lungsight.train.simulate import SimulationConfig
from lungsight.train.truth import read_truth
from lungsight.train.virtual_dicom import NODULES_TABLE

MEASURED_FOLD = 0
HOST_NODULES = LESIONS.with_name("host_nodules.csv")
CLASSES = ("not ROI", "benign", "malignant")
PUBLISHED_EPOCHS = 200
BATCH = 200


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of patients no network here learned from.

    Attributes
    ----------
    fields
        Shape ``(n, 68, 68)``, as the network is given them.
    kind
        Shape ``(n,)``: 0 not ROI, 1 benign, 2 malignant ROI.
    nodule_patient, host
        Shape ``(n,)``: whose nodule and whose lungs are in the CT of each.
    diameter_mm
        Shape ``(n,)``, of the nodule of the CT.
    """

    fields: NDArray[np.float32]
    kind: NDArray[np.intp]
    nodule_patient: NDArray[np.str_]
    host: NDArray[np.str_]
    diameter_mm: NDArray[np.float64]


def write_patients(data: Path, vois: Path, folds: frozenset[int], patients: int, seed: int, out: Path) -> None:
    """Virtual patients of these folds' lungs and nodules, if they are not there yet."""
    if out.exists():
        return
    of_folds = {patient for patient, fold in fold_table(data).items() if fold in folds}
    hosts = find_hosts(data / "chest_ct", read_lesions((LESIONS, HOST_NODULES)), of_folds, NOT_A_HOST)
    donors, _ = read_vois(vois, only=of_folds)
    config = SimulationConfig(seed=seed, nodule_counts=(1.0,))
    for warning in write_virtual_patients(out, hosts, donors, patients, config):
        print(f"warning: {warning}", flush=True)


def short_recipe(epochs: float, epoch_windows: int) -> Recipe:
    """The published recipe with fewer epochs, the weights of each half one kept."""
    (stage,) = RECIPES["asan"].stages
    assert isinstance(stage.draw, WindowDraw)
    draw = dataclasses.replace(stage.draw, epoch_windows=epoch_windows)
    every = max(1, draw.epoch_batches // 2)
    batches = round(epochs * draw.epoch_batches)
    fit = dataclasses.replace(stage.fit, batches=batches, checkpoint_every=every, keep_every=1)
    return dataclasses.replace(RECIPES["asan"], stages=(dataclasses.replace(stage, draw=draw, fit=fit),))


def train(truth: Path, run: Path, recipe: Recipe) -> float:
    """Train, or go on; gives the processor's seconds a batch, all of the training loop included."""
    measured = run / "seconds-a-batch.json"
    if measured.exists():
        return float(json.loads(measured.read_text("utf-8")))
    told: list[tuple[float, int]] = []

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith("batch "):
            told.append((time.process_time(), int(line.removeprefix("batch ").split("/")[0])))

    train_windows(truth, run, recipe, resume=run.exists(), say=say)
    if len(told) < 2:  # it had ended already
        return math.nan
    (began, first), (ended, last) = told[0], told[-1]
    seconds = (ended - began) / (last - first)
    measured.write_text(json.dumps(seconds), "utf-8")
    return seconds


def draw_windows(truth: Path, recipe: Recipe, folder: Path, at_most: int) -> Windows:
    """As many windows of each class, of a dataset's patients, at most so many; none twice."""
    cases = build_cases(read_truth(truth), recipe, folder)
    nodule_of = {row["patient_id"]: row for row in table(truth / NODULES_TABLE)}
    lungs = cases.lungs_of(frozenset(cases.patient_ids))
    counts = np.array([case.counts for case in lungs])
    each = min(at_most, int(counts.sum(0).min()))
    rng = np.random.default_rng(recipe.seed)
    fields, kinds, sources = [], [], []
    for kind, ends in enumerate(counts.cumsum(0).T):
        # In order, so that a slice is made ready once for all its windows.
        ranks = np.sort(rng.choice(ends[-1], each, replace=False))
        for number in np.unique(np.searchsorted(ends, ranks, side="right")).tolist():
            case, before = lungs[number], ends[number] - counts[number, kind]
            mine = ranks[(ranks >= before) & (ranks < ends[number])] - before + counts[number, :kind].sum()
            windows = case.windows[mine].tolist()
            slices = {z: working_slice(case.hu[z], case.spacing_mm) for z in {z for z, _, _ in windows}}
            fields += [field_of_windows(slices[z], slice(i, i + 1), slice(j, j + 1)) for z, i, j in windows]
            kinds += [kind] * len(windows)
            sources += [nodule_of[case.patient_id]] * len(windows)
    return Windows(
        np.stack(fields),
        np.array(kinds, np.intp),
        np.array([row["source_patient_id"] for row in sources]),
        np.array([row["host_patient_id"] for row in sources]),
        np.array([float(row["diameter_mm"]) for row in sources]),
    )


def score(weights: Path, recipe: Recipe, fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores ``(n, 3)`` of windows, by the weights of a checkpoint."""
    network = network_of(recipe.network, recipe.padding).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    parts = (torch.from_numpy(fields[at : at + BATCH])[:, None] for at in range(0, len(fields), BATCH))
    with torch.inference_mode(), computing():
        return np.concatenate([network.windows(part)[:, :, 0, 0].float().softmax(1).numpy() for part in parts])


def figures(scores: NDArray[np.float32], windows: Windows) -> tuple[str, str, str]:
    """Accuracy, AUC of ROI windows among all, AUC of malignant windows among those, as text."""
    right, patients = scores.argmax(1) == windows.kind, (windows.nodule_patient, windows.host)
    found = partial(auc, windows.kind > 0, 1 - scores[:, 0].astype(np.float64))
    return (
        estimate_text(bootstrap_cases(lambda k: float(right[k].mean()), *patients)),
        estimate_text(bootstrap_cases(found, *patients)),
        malignancy_figure((scores[:, 2] / (scores[:, 1] + scores[:, 2])).astype(np.float64), windows),
    )


def malignancy_figure(malignancy: NDArray[np.float64], windows: Windows) -> str:
    """AUC of malignant windows among ROI windows, as text."""
    roi = np.flatnonzero(windows.kind > 0)
    figure = partial(auc, windows.kind[roi] == 2, malignancy[roi])
    return estimate_text(bootstrap_cases(figure, windows.nodule_patient[roi], windows.host[roi]))


def learning_table(run: Path, epoch_batches: int) -> str:
    """Mean loss and accuracy up to each checkpoint, in training and on the patients the run kept aside."""
    lines = [
        "| epochs | loss | accuracy | loss, kept aside | accuracy, kept aside |",
        "|--:|--:|--:|--:|--:|",
    ]
    told: list[tuple[float, float]] = []
    for record in map(json.loads, (run / "log.jsonl").read_text("utf-8").splitlines()):
        told.append((record["loss"], record["accuracy"]))
        if "validation_loss" in record:
            cells = [*np.mean(told, 0).tolist(), record["validation_loss"], record["validation_accuracy"]]
            values = " | ".join(f"{cell:.3f}" for cell in cells)
            lines.append(f"| {record['batch'] / epoch_batches:g} | {values} |")
            told = []
    return "\n".join(lines)


def measured_table(scores: Mapping[str, NDArray[np.float32]], windows: Windows) -> str:
    """Three figures for each checkpoint, by its number of epochs."""
    lines = [
        "| epochs | accuracy | AUC, ROI or not | AUC, malignant or benign ROI |",
        "|--:|---|---|---|",
    ]
    lines += [f"| {epochs} | " + " | ".join(figures(each, windows)) + " |" for epochs, each in scores.items()]
    return "\n".join(
        [*lines, f"| the nodule's diameter alone | | | {malignancy_figure(windows.diameter_mm, windows)} |"]
    )


def answers_table(scores: NDArray[np.float32], windows: Windows) -> str:
    """How many windows of each class got which answer."""
    lines = ["| truth | " + " | ".join(f"called {name}" for name in CLASSES) + " |", "|---|--:|--:|--:|"]
    for kind, name in enumerate(CLASSES):
        counts = np.bincount(scores.argmax(1)[windows.kind == kind], minlength=len(CLASSES))
        lines.append(f"| {name} | " + " | ".join(map(str, counts.tolist())) + " |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, train, measure, print the tables."""
    published = RECIPES["asan"].stages[0].draw
    assert isinstance(published, WindowDraw)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("vois", type=Path, help="folder with image/, nodule_mask/, nodules.csv")
    parser.add_argument("--epochs", type=float, default=1.5)
    parser.add_argument("--epoch-windows", type=int, default=published.epoch_windows, help="to try it out")
    parser.add_argument("--patients", type=int, nargs=2, default=(100, 60), help="to learn from, to be measured")
    parser.add_argument("--windows", type=int, default=1500, help="of each class that are measured, at most")
    parser.add_argument("--runs", type=Path, default=Path("runs/asan"))
    a = parser.parse_args()
    others = frozenset(range(FOLDS)) - {MEASURED_FOLD}
    learn, measure = a.runs / "learn", a.runs / "measure"
    write_patients(a.data, a.vois, others, a.patients[0], 1, learn)
    write_patients(a.data, a.vois, frozenset({MEASURED_FOLD}), a.patients[1], 2, measure)
    recipe, run = short_recipe(a.epochs, a.epoch_windows), a.runs / "run"
    seconds = train(learn, run, recipe)
    windows = draw_windows(measure, recipe, a.runs / "cases", a.windows)
    draw = dataclasses.replace(published, epoch_windows=a.epoch_windows)
    kept = {int(file.stem.partition("-")[2]): file for file in (run / "stage1").glob("weights-*.pt")}
    kept[recipe.stages[0].fit.batches] = run / "weights.pt"
    scores = {f"{n / draw.epoch_batches:g}": score(kept[n], recipe, windows.fields) for n in sorted(kept)}
    last = list(scores.values())[-1]
    for each in (
        learning_table(run, draw.epoch_batches),
        measured_table(scores, windows),
        answers_table(last, windows),
    ):
        print(f"\n{each}")
    n, nodules, hosts = len(windows.kind), len(set(windows.nodule_patient)), len(set(windows.host))
    hours = seconds * PUBLISHED_EPOCHS * published.epoch_batches / 3600
    print(f"\n{n} windows, {n // len(CLASSES)} of each class; nodules of {nodules} patients, lungs of {hosts}.")
    print(
        f"A batch took {seconds:.2f} s of the processor: {PUBLISHED_EPOCHS} epochs would take {hours:.0f} hours of it."
    )


if __name__ == "__main__":
    main()
