"""The tables of `segments` on virtual patients, from what benchmarks.segments_patients kept.

    python -m benchmarks.segments --kept runs/judged

What lies on lesions that the hosts brought along counts neither as found nor as false. The patient's score is scaled as
fitted to the other folds (Platt). Intervals are 95 %: Wilson for shares, bootstraps by patient else. A rating is an
opinion, not pathology.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.contest import LARGE_MM, estimate_text, found_share, share_text
from benchmarks.segments_patients import SETS, Judged, read_judged
from numpy.typing import NDArray
from recipes.windows.train import FOLDS
from sklearn.linear_model import LogisticRegression

from lungsight.config import SegmentsConfig
from lungsight.diagnose.classify import noisy_or
from lungsight.diagnose.scaling import logit_of
from lungsight.evaluate.froc import froc
from lungsight.evaluate.intervals import Proportion
from lungsight.evaluate.match import Finding, Mark, match_marks
from lungsight.evaluate.patients import evaluate_patients
from lungsight.evaluate.platt import fit_platt

SMALL_MM = 6.0


def raw_score(judged: Judged, config: SegmentsConfig) -> float:
    """The patient's noisy-or as it is; 0 without nodule."""
    each = sorted(
        (
            f.nodule_score * f.malignancy_score
            for f in judged.found
            if not f.on_lesion and f.nodule_score >= config.nodule_score
        ),
        reverse=True,
    )
    return noisy_or(each[: config.strongest])


def scaled_scores(patients: Sequence[Judged], config: SegmentsConfig) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Each patient's score scaled as fitted to the other folds, and the scaling fitted to all."""
    raw = np.array([raw_score(p, config) for p in patients])
    label = np.array([p.label == 1 for p in patients])
    fold = np.array([p.fold for p in patients])
    scaled = np.zeros(len(raw))
    for k in np.unique(fold):
        others = fold != k if len(np.unique(fold)) > 1 else fold == k
        scaled[fold == k] = fit_platt(label[others], raw[others]).apply(raw[fold == k])
    return scaled, asdict(fit_platt(label, raw))


def weighed_scores(
    patients: Sequence[Judged], segments: NDArray[np.float64], windows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Each patient's score of both systems as fitted to the other folds, and the weights fitted to all."""
    label = np.array([p.label == 1 for p in patients])
    fold = np.array([p.fold for p in patients])
    logits = np.stack([logit_of(windows), logit_of(segments)], 1)
    both = np.zeros(len(label))
    for k in np.unique(fold):
        fitted = LogisticRegression().fit(logits[fold != k], label[fold != k])
        both[fold == k] = fitted.predict_proba(logits[fold == k])[:, 1]
    fitted = LogisticRegression().fit(logits, label)
    (w, s), intercept = fitted.coef_[0], fitted.intercept_[0]
    return both, {"windows": float(w), "segments": float(s), "intercept": float(intercept)}


def patients_table(patients: Sequence[Judged], scores: Mapping[str, NDArray[np.float64]], threshold: float) -> str:
    """Patients told apart, by each system."""
    label = {p.name: p.label == 1 for p in patients}
    results = []
    for each in scores.values():
        named = {p.name: float(s) for p, s in zip(patients, each, strict=True)}
        results.append(evaluate_patients(label, named, threshold))
    rows = [
        ("patients right", [share_text(r.table.accuracy) for r in results]),
        ("sensitivity", [share_text(r.table.sensitivity) for r in results]),
        ("specificity", [share_text(r.table.specificity) for r in results]),
        ("AUC", [estimate_text(r.auc) for r in results]),
        ("calibration error (ECE)", [f"{r.calibration.expected_calibration_error or 0:.3f}" for r in results]),
    ]
    head = [f"| patients, 5 mm | {' | '.join(scores)} |", "|---" * (1 + len(scores)) + "|"]
    return "\n".join([*head, *(f"| {name} | {' | '.join(values)} |" for name, values in rows)])


def nodules_table(patients: Sequence[Judged], config: SegmentsConfig) -> str:
    """Nodules found, by LUNA16's rules; shares found and false marks at the shipped threshold."""
    findings = [Finding(p.name, n.lps_mm, n.diameter_mm) for p in patients for n in p.placed]
    marks = [Mark(p.name, f.lps_mm, f.nodule_score) for p in patients for f in p.found if not f.on_lesion]
    names = [p.name for p in patients]
    result = froc(match_marks(marks, findings, names))
    shown = match_marks([mark for mark in marks if mark.score >= config.nodule_score], findings, names)
    found = np.isfinite(shown.nodule_score)
    diameter = np.array([n.diameter_mm for n in shown.nodules])
    middle = (diameter > SMALL_MM) & (diameter <= LARGE_MM)
    rows = [
        ("CPM", estimate_text(result.cpm)),
        ("nodules found", share_text(Proportion(int(found.sum()), len(found)))),
        (f"nodules over {LARGE_MM:g} mm found", share_text(found_share(found, diameter > LARGE_MM))),
        (f"nodules of {SMALL_MM:g} to {LARGE_MM:g} mm found", share_text(found_share(found, middle))),
        (f"nodules up to {SMALL_MM:g} mm found", share_text(found_share(found, diameter <= SMALL_MM))),
        ("false nodules a CT", f"{len(shown.false_score) / len(patients):.2f}"),
    ]
    return "\n".join(["| nodules | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _contest(patients: Sequence[Judged], config: SegmentsConfig, windows: Path | None, out: Path | None) -> str:
    """The table of the contest; what was fitted goes into a file."""
    scaled, scaling = scaled_scores(patients, config)
    scores = {"`segments`": scaled}
    fitted: dict[str, Any] = {"patient_scaling": scaling, "both": {}}
    if windows is not None:
        by_name = json.loads(windows.read_text("utf-8"))
        by_windows = np.array([by_name[p.name] for p in patients])
        both, weights = weighed_scores(patients, scaled, by_windows)
        scores = {"`windows`": by_windows, **scores, "both": both}
        fitted["both"] = {"patients": weights}
    if out is not None:
        out.write_text(json.dumps(fitted, indent=1) + "\n", "utf-8")
    return patients_table(patients, scores, config.malignancy_threshold)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, default=Path("runs/judged"))
    parser.add_argument("--windows", type=Path, help="scores of `windows`: benchmarks.contest --scores")
    parser.add_argument("--out", type=Path, help="file for what was fitted: runs/segments/patients.json")
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(FOLDS)))
    a = parser.parse_args()
    config = SegmentsConfig()
    for name in SETS:
        files = [a.kept / f"{name}-fold{fold}.json" for fold in a.folds]
        patients = [p for file in files if file.exists() for p in read_judged(file)]
        if patients:
            print(f"{name}: {len(patients)} virtual patients\n")
            if name == "contest":
                print(_contest(patients, config, a.windows, a.out) + "\n")
            print(nodules_table(patients, config) + "\n")


if __name__ == "__main__":
    main()
