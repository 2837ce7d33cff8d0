"""Training cases on disk: each CT of a dataset is read once, what is drawn from it lies in memory-mapped arrays.

.. code-block:: text

    cases/
    ├── cases.json          the patients, their windows by class, the nodules; what all of it was made from
    ├── tiles.npy           (n, 128, 128) int16 HU: the slices of the nodules
    ├── marks.npy           (n, 128, 128) uint8: 1 the nodule, 2 other findings
    └── ct/0000_hu.npy …    int16 volume; 0000_lungs.npy, 0000_lesions.npy bool; 0000_windows.npy (n, 3) int16

A CT takes 4 bytes a voxel. Only what a batch needs is read again, so memory does not grow with the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, OutputError
from lungsight.train.draw import NoduleCases
from lungsight.train.mining import LungCase

__all__ = ["CASES_TABLE", "Cases", "open_cases"]

CASES_TABLE = "cases.json"


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Cases on disk, opened.

    Attributes
    ----------
    folder
        Where they are.
    patients
        One entry a CT: ``patient_id``, ``spacing_mm``, ``slice_mm``, ``counts`` of windows.
    nodules
        One entry a nodule: ``patient_id``, ``ct`` (the number of its CT), ``sure``, ``malignancy``, ``chance``,
        ``slices``, ``places`` (rows and columns of the middles) and ``shown`` (whether it shows the nodule) of its
        tiles, ``centre_zyx``, ``diameter_mm``, ``ratings`` (a mapping for each reader).
    warnings
        What was left out, a sentence each.
    """

    folder: Path
    patients: tuple[dict[str, Any], ...]
    nodules: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """Of each CT."""
        return tuple(patient["patient_id"] for patient in self.patients)

    def nodules_of(self, patient_ids: frozenset[str], *, ends: bool = False) -> NoduleCases:
        """The tiles of these patients' nodules; others keep their numbers and are never drawn.

        With `ends` also those of the slices next to a nodule that do not show it.
        """
        kept = np.flatnonzero([shown or ends for nodule in self.nodules for shown in nodule["shown"]])
        tiles = np.load(self.folder / "tiles.npy", mmap_mode="r")
        marks = np.load(self.folder / "marks.npy", mmap_mode="r")

        def read(k: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
            found = np.asarray(marks[kept[k]])
            return np.asarray(tiles[kept[k]]).astype(np.float32), (found & 1) > 0, (found & 2) > 0

        counts = [len(nodule["slices"]) for nodule in self.nodules]
        z_mm = [z * self.patients[n["ct"]]["slice_mm"] for n in self.nodules for z in n["slices"]]
        places = [place for nodule in self.nodules for place in nodule["places"]]
        return NoduleCases(
            read=read,
            spacing_mm=np.repeat([n["spacing_mm"] for n in self.nodules], counts)[kept].astype(np.float32),
            nodule=np.repeat(np.arange(len(counts)), counts)[kept],
            target=np.array([(n["sure"], n["malignancy"]) for n in self.nodules], np.float32).reshape(-1, 2),
            chance=np.array([n["chance"] * (n["patient_id"] in patient_ids) for n in self.nodules], np.float64),
            z_mm=np.array(z_mm, np.float64)[kept],
            at_px=np.array(places, np.intp).reshape(-1, 2)[kept],
        )

    def lungs_of(self, patient_ids: frozenset[str]) -> Sequence[LungCase]:
        """The CTs of these patients, opened each time they are asked for; those without a lung window are left out."""
        numbers = [k for k, p in enumerate(self.patients) if p["patient_id"] in patient_ids and p["windows"]]
        return _LungCases(self, numbers)

    def ct(self, number: int) -> CTVolume:
        """The upright CT of this number, memory-mapped; its place in the patient was not kept."""
        patient = self.patients[number]
        affine = np.diag([patient["slice_mm"], *patient["spacing_mm"], 1.0])
        return CTVolume(self._array(number, "hu"), affine)

    def masks(self, number: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Its lungs, and its lesions with a margin, memory-mapped."""
        return self._array(number, "lungs"), self._array(number, "lesions")

    def _array(self, number: int, name: str) -> Any:
        return np.load(self.folder / "ct" / f"{number:04}_{name}.npy", mmap_mode="r")


class _LungCases(Sequence[LungCase]):
    """Opens a CT when it is asked for: as many open files as there are CTs are more than a system allows."""

    def __init__(self, cases: Cases, numbers: list[int]) -> None:
        self._cases, self._numbers = cases, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        number = self._numbers[index]
        patient = self._cases.patients[number]
        hu, lungs, lesions, windows = (
            self._cases._array(number, name) for name in ("hu", "lungs", "lesions", "windows")
        )
        row_mm, column_mm = patient["spacing_mm"]
        not_roi, benign, malignant = patient["counts"]
        counts = (not_roi, benign, malignant)
        return LungCase(patient["patient_id"], hu, lungs, lesions, (row_mm, column_mm), windows, counts)


def open_cases(folder: Path, made_from: str) -> Cases:
    """Cases that were made before.

    Raises
    ------
    OutputError
        If they were made from another dataset, or by a recipe of other pixels or labels.
    CorruptFileError
        If their table is damaged.
    """
    try:
        table = json.loads((folder / CASES_TABLE).read_text("utf-8"))
        mark, patients, nodules = table["made_from"], table["patients"], table["nodules"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{folder / CASES_TABLE}: {error}", "a table of cases", f"Delete {folder}.") from error
    if mark != made_from:
        raise OutputError(
            f"the cases in {folder} were made from other data, or by a recipe of other pixels or labels",
            "the dataset and the recipe they were made from",
            f"Name those, or delete {folder}, or choose another folder.",
        )
    return Cases(folder, tuple(patients), tuple(nodules), tuple(table["warnings"]))
