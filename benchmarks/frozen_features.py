"""What a frozen backbone sees of LIDC's nodules, and a ridge regression that learns their rating from it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarks.inflated_resnet import STAGES, InflatedResNet
from numpy.typing import NDArray
from recipes.segments.sheaves import tiles_of
from recipes.windows.collection import FOLD_SEED, FOLDS, Crops, LidcNodule
from scipy import linalg, ndimage
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from lungsight.train.split import folds

__all__ = ["BATCH", "MADE_FOR", "VIEWS", "Choice", "Features", "Rated", "View", "judge", "see"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

POOLS = ("mean", "max", "centre")
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
BATCH = 8
Features = dict[str, list[NDArray[np.float32]]]
"""Of each view, of each stage: ``(n, len(POOLS), channels)``."""


@dataclass(frozen=True, slots=True)
class View:
    """A block round a nodule: voxels, and mm from one to the next; `beyond` the nodule's slices its last, or air."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    beyond: str = "repeated"


MADE_FOR = "as made for"
VIEWS = {
    MADE_FOR: View((16, 40, 40), (3.0, 1.5, 1.5)),
    "enlarged twice": View((16, 64, 64), (1.5, 0.75, 0.75)),
    "enlarged twice, air beyond": View((16, 64, 64), (1.5, 0.75, 0.75), "air"),
    "enlarged thrice": View((16, 80, 80), (1.0, 0.5, 0.5)),
}
"""Whole CTs came to the backbone at 3 x 1.5 x 1.5 mm, where a nodule is a few voxels: enlarged it is more of them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which features, how smoothly they are learned from, and the AUC that spoke for it."""

    view: str
    stage: int
    pool: str
    ridge: float
    auc: float


def block_of(crops: Crops, tiles: Indices, view: View) -> NDArray[np.float32]:
    """A nodule's block, -1000 to 1000 HU as 0 to 1, its axes running to S, R, A as the backbone's did."""
    known = tiles[np.isfinite(crops.z_mm[tiles])]
    mine = known if len(known) else tiles[:1]
    z_mm = crops.z_mm[mine] if len(known) else np.zeros(1)
    from_middle = z_mm - (z_mm[0] + z_mm[-1]) / 2
    along = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(view.shape, view.spacing_mm, strict=True)]
    hu = crops.hu(mine)
    middle = (hu.shape[1] - 1) / 2
    slices = np.interp(along[0], from_middle, np.arange(len(mine)))
    rows, columns = (middle + line / crops.spacing_mm[mine[0]] for line in along[1:])
    places = np.meshgrid(slices, rows, columns, indexing="ij")
    block = (ndimage.map_coordinates(hu, places, order=1, mode="nearest") / 2000 + 0.5).clip(0, 1)
    if view.beyond == "air":
        block[np.abs(along[0]) > from_middle[-1] + view.spacing_mm[0]] = 0
    return np.ascontiguousarray(block[:, ::-1, ::-1].transpose(0, 2, 1), np.float32)


def pooled(seen: Tensor) -> Tensor:
    """What a stage sees, ``(n, channels, d, h, w)``: its mean, its largest and the middle, ``(n, 3, channels)``."""
    middle = (slice(None), slice(None), *(slice((side - 1) // 2, side // 2 + 1) for side in seen.shape[2:]))
    across = (2, 3, 4)
    return torch.stack([seen.mean(across), seen.amax(across), seen[middle].mean(across)], 1).float()


def see(network: InflatedResNet, crops: Crops, numbers: Indices, view: View, kept: Path) -> list[NDArray[np.float32]]:
    """Features of each stage, ``(n, 3, channels)``, computed once."""
    if not kept.exists():
        tiles, found = tiles_of(crops), []
        for start in range(0, len(numbers), BATCH):
            blocks = np.stack([block_of(crops, tiles[k], view) for k in numbers[start : start + BATCH]])
            with torch.inference_mode():
                found.append([pooled(seen).numpy() for seen in network(torch.from_numpy(blocks))])
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".part.npz")
        np.savez(unfinished, *map(np.concatenate, zip(*found, strict=True)))
        unfinished.replace(kept)
    with np.load(kept) as file:
        return [file[f"arr_{stage}"] for stage in range(len(STAGES))]


def ridge_scores(known: NDArray[np.float32], target: Floats, asked: NDArray[np.float32]) -> Floats:
    """Scores ``(len(RIDGES), m)`` of `asked`, by ridge regressions on standardised features, in their dual form."""
    scaler = StandardScaler().fit(known)
    a, b = scaler.transform(known), scaler.transform(asked)
    alike, across = ((x @ a.T / a.shape[1]).astype(np.float64) for x in (a, b))
    centred, diagonal = target - target.mean(), np.eye(len(a))
    return np.stack([across @ linalg.solve(alike + ridge * diagonal, centred, assume_a="pos") for ridge in RIDGES])


def ways(features: Features) -> Iterator[tuple[str, int, str, NDArray[np.float32]]]:
    """Every view, stage and pooling, and the features."""
    for (view, stages), (stage, _) in itertools.product(features.items(), enumerate(STAGES)):
        for p, pool in enumerate(POOLS):
            yield view, stage, pool, stages[stage][:, p]
        yield view, stage, "all three", stages[stage].reshape(len(stages[stage]), -1)


@dataclass(frozen=True, slots=True, eq=False)
class Rated:
    """Nodules with what is to be learned, 0 to 1; those that are not `clear` are learned from and not asked about."""

    target: Floats
    clear: NDArray[np.bool_]
    patient: NDArray[np.str_]

    @staticmethod
    def of(nodules: Sequence[LidcNodule]) -> Rated:
        """Of the crops' nodules: a clear one is benign or malignant, another one what its readers said of it."""
        target = [float(n.malignancy_median > 3) if n.clear else n.malignancy for n in nodules]
        return Rated(np.array(target), np.array([n.clear for n in nodules]), np.array([n.patient_id for n in nodules]))

    def __getitem__(self, these: Indices) -> Rated:
        return Rated(self.target[these], self.clear[these], self.patient[these])


def choose(features: Features, nodules: Rated) -> Choice:
    """The best on average over three folds of these patients."""
    inner = folds(nodules.patient.tolist(), FOLDS, FOLD_SEED)
    fold = np.array([inner[p] for p in nodules.patient])
    best = Choice("", 0, "", 0.0, 0.0)
    for view, stage, pool, x in ways(features):
        aucs = np.zeros(len(RIDGES))
        for k in range(FOLDS):
            known, asked = fold != k, (fold == k) & nodules.clear
            scores = ridge_scores(x[known], nodules.target[known], x[asked])
            aucs += [roc_auc_score(nodules.target[asked] == 1, score) / FOLDS for score in scores]
        if aucs.max() > best.auc:
            best = Choice(view, stage, pool, RIDGES[int(aucs.argmax())], float(aucs.max()))
    return best


def judge(features: Features, nodules: Rated, fold: Indices) -> tuple[Floats, list[Choice]]:
    """Each nodule's score by what was chosen and learned from the patients of the other folds."""
    score, choices = np.full(len(fold), np.nan), []
    for k in range(FOLDS):
        others, mine = np.flatnonzero(fold != k), fold == k
        choice = choose({view: [x[others] for x in stages] for view, stages in features.items()}, nodules[others])
        print(f"fold {k}: {choice}", flush=True)
        x = next(x for *way, x in ways(features) if way == [choice.view, choice.stage, choice.pool])
        scores = ridge_scores(x[others], nodules.target[others], x[mine])
        score[mine] = scores[RIDGES.index(choice.ridge)]
        choices.append(choice)
    return score, choices
