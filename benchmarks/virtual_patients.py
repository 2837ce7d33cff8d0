"""Virtual patients of each fold, seen by the network of that fold: it knows neither the lungs nor the nodules.

The windows' scores are kept in a folder, so that figures and settings can be measured again without the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recipes.windows.collection import FOLDS, Host, fold_table

from lungsight.detect.lungs import segment_lungs
from lungsight.detect.windows import WindowMap, score_windows
from lungsight.runtime import load_network
from lungsight.train import paste
from lungsight.train.donors import read_vois
from lungsight.train.simulate import SimulationConfig, host_of, simulate_patient
from lungsight.train.virtual import VirtualPatient

__all__ = ["SETS", "Scored", "score_virtual_patients"]

SETS = {"contest": (SimulationConfig(seed=1), 70), "nodules": (SimulationConfig(seed=2, slice_thickness_mm=None), 20)}
"""Patients a fold: `contest` at 5 mm, two of three malignant, as the paper's; `nodules` at the hosts' slice spacing."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A virtual patient and what the network says of each window."""

    name: str
    fold: int
    patient: VirtualPatient
    windows: WindowMap


class _Remembering:
    """A network that looks at the same field once: virtual patients of one host differ in a few slices."""

    def __init__(self, run: Path) -> None:
        self.network, self.seen = load_network(run), dict[bytes, NDArray[np.float32]]()

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        key = hashlib.sha256(field.tobytes() + repr(field.shape).encode()).digest()
        if key not in self.seen:
            self.seen[key] = self.network(field)
        return self.seen[key]


def score_virtual_patients(
    data: Path, vois: Path, hosts: tuple[Host, ...], runs: Path, config: SimulationConfig, a_fold: int, kept: Path
) -> Iterator[Scored]:
    """So many patients a fold, scored; `kept` holds the scores of those that were scored before."""
    fold_of = fold_table(data)
    for fold in range(FOLDS):
        patients = {p for p, k in fold_of.items() if k == fold}
        donors, _ = read_vois(vois, data / "lidc_vois.csv", only=patients)
        mine = [paste.Host(h.name, h.ct, h.lungs, h.lesions) for h in hosts if h.name in patients]
        run = runs / f"fold{fold}"
        network = _Remembering(run)
        for number in range(1, a_fold + 1):
            drawn = fold * a_fold + number
            # Not every host in turn: labels come in turn too, and one host would have all of a label.
            patient = simulate_patient(drawn, mine[host_of(drawn, len(mine), config.seed)], donors, config)
            file = kept / f"fold{fold}-{number:03}.npz"
            yield Scored(f"{fold}-{number:03}", fold, patient, _windows(patient, network, file))


def _windows(patient: VirtualPatient, network: _Remembering, file: Path) -> WindowMap:
    if file.exists():
        with np.load(file) as saved:
            row_mm, column_mm = saved["pixel_mm"].tolist()
            return WindowMap(saved["scores"], saved["evaluated"], (row_mm, column_mm))
    windows = score_windows(patient.ct, segment_lungs(patient.ct), network)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part.npz")
    np.savez_compressed(temporary, scores=windows.scores, evaluated=windows.evaluated, pixel_mm=windows.pixel_mm)
    temporary.replace(file)
    return windows
