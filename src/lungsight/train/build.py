"""A dataset becomes training cases on disk, see :mod:`lungsight.train.store`: each CT is read once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lungsight.config import LungsConfig
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.working import PIXEL_MM, PIXEL_TOLERANCE
from lungsight.diagnose.redraw import slices_beyond
from lungsight.errors import InputError
from lungsight.train.arrays import ArrayWriter
from lungsight.train.cases import TILE_PX, make_tile
from lungsight.train.grid import NEITHER, label_windows_of_slice
from lungsight.train.marks import KnownNodule, UprightMarks, mark_upright
from lungsight.train.mining import lung_windows
from lungsight.train.patient import MaskMarks, PatientTruth, PointMarks
from lungsight.train.store import CASES_TABLE, Cases, open_cases
from lungsight.train.truth import read_ct_truth, read_patient_ct

__all__ = ["DEMO_PATIENT", "CaseSettings", "build_cases", "fingerprint"]

DEMO_PATIENT = "LIDC-IDRI-0001"
"""No network is trained on the patient of the demo."""
_FORMAT = 3


class CaseSettings(Protocol):
    """What of a recipe cases are made by; see :class:`~lungsight.train.recipe.Recipe`."""

    @property
    def pixel(self) -> str:
        """``"working"`` or ``"native"``."""

    @property
    def labels(self) -> str:
        """``"soft"`` or ``"hard"``."""


def fingerprint(patients: Sequence[PatientTruth], settings: CaseSettings) -> str:
    """A hash of all that cases are made from: the recipe's pixel and labels, and the dataset's files by size."""
    listed = [
        (p.patient_id, p.series_uid, p.label, type(p.marks).__name__, *map(_size, (p.ct_path, *_mask_paths(p))))
        for p in patients
    ]
    made_from = [_FORMAT, settings.pixel, settings.labels, asdict(LungsConfig()), listed]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def build_cases(
    patients: Sequence[PatientTruth],
    settings: CaseSettings,
    folder: Path,
    progress: Callable[[float], None] = lambda _: None,
) -> Cases:
    """Read every CT once and write its cases, or open them if they are there and were made from the same.

    Parameters
    ----------
    patients
        Of a dataset, see :func:`~lungsight.train.truth.read_truth`. Those without regions are left out, and told.
    settings
        A recipe: its pixel and labels matter here.
    folder
        Appears whole or not at all.
    progress
        Called with the share of patients done.

    Returns
    -------
    Cases
        Opened.

    Raises
    ------
    InputError
        If no patient has regions, a CT or its marks cannot be read, its pixels are not square, or no nodule is of a
        known kind.
    OutputError
        If other cases are in the folder.
    """
    mark = fingerprint(patients, settings)
    if folder.exists():
        return open_cases(folder, mark)
    outlined, warnings = _outlined(patients)
    staged = folder.with_name(folder.name + ".partial")
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "ct").mkdir(parents=True)
    listed: list[dict[str, Any]] = []
    nodules: list[dict[str, Any]] = []
    with ExitStack() as stack:
        tiles = stack.enter_context(ArrayWriter(staged / "tiles.npy", (TILE_PX, TILE_PX), np.int16))
        marks = stack.enter_context(ArrayWriter(staged / "marks.npy", (TILE_PX, TILE_PX), np.uint8))
        for number, patient in enumerate(outlined):
            made = _read(patient, settings)
            spacing_mm = _spacing(made, patient, settings)
            listed.append(_write_ct(made, staged / "ct" / f"{number:04}", patient.patient_id, spacing_mm))
            for nodule in made.nodules:
                kept = []
                for hu, mask, *told in _tiles(made, nodule):
                    tiles.append(hu)
                    marks.append(mask)
                    kept.append(told)
                values = {"patient_id": patient.patient_id, "ct": number, "spacing_mm": spacing_mm[0]}
                of_tiles = dict(zip(("slices", "places", "shown"), zip(*kept, strict=True), strict=True))
                nodules.append({**values, **_described(made, nodule), **of_tiles})
            if not listed[-1]["windows"]:
                warnings.append(f"{patient.patient_id}: no lung was found in the CT, so no window is drawn from it.")
            progress((number + 1) / len(outlined))
    if not nodules:
        raise InputError(
            f"{len(outlined)} CTs and no nodule whose kind is known",
            "outlined nodules with ratings, or a label (benign or malignant) of their patient",
            "Fill in the labels.",
        )
    table = {"made_from": mark, "patients": listed, "nodules": nodules, "warnings": warnings}
    (staged / CASES_TABLE).write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
    staged.rename(folder)
    return open_cases(folder, mark)


def _outlined(patients: Sequence[PatientTruth]) -> tuple[list[PatientTruth], list[str]]:
    """The patients to learn from, and what is told of the others."""
    places = [p for p in patients if isinstance(p.marks, PointMarks)]
    if places:
        raise InputError(
            f"{len(places)} of {len(patients)} patients with nodules marked as points, first {places[0].patient_id}",
            "outlines of nodules: masks, or the readers' outlines of LIDC-IDRI",
            "LUNA16's CTs are of LIDC-IDRI: train on that dataset, which has outlines.",
        )
    warnings = []
    if demo := [p for p in patients if p.patient_id == DEMO_PATIENT]:
        warnings.append(f"{DEMO_PATIENT} is the patient of the demo and is left out.")
    marked = [p for p in patients if p.marks is not None and p not in demo]
    if not marked:
        raise InputError(
            f"{len(patients)} patients, of whom none has nodules outlined",
            "outlines of nodules: masks, or the readers' outlines of LIDC-IDRI",
            "Put a mask beside each CT (an empty one where there is no nodule).",
        )
    absent = len(patients) - len(marked) - len(demo)
    if absent:
        warnings.append(f"{absent} of {len(patients)} patients have no outlines and are left out.")
    return marked, warnings


def _read(patient: PatientTruth, settings: CaseSettings) -> UprightMarks:
    ct = read_patient_ct(patient)
    return mark_upright(ct, read_ct_truth(patient, ct), settings.labels)


def _spacing(made: UprightMarks, patient: PatientTruth, settings: CaseSettings) -> tuple[float, float]:
    _, row_mm, column_mm = made.ct.spacing_zyx_mm
    if abs(row_mm / column_mm - 1) > PIXEL_TOLERANCE:
        raise InputError(
            f"the CT of {patient.patient_id} has pixels of {row_mm:.3f} x {column_mm:.3f} mm",
            "square pixels in axial slices",
            "Resample it, or leave the patient out.",
        )
    return (PIXEL_MM, PIXEL_MM) if settings.pixel == "native" else (row_mm, column_mm)


def _write_ct(made: UprightMarks, prefix: Path, patient_id: str, spacing_mm: tuple[float, float]) -> dict[str, Any]:
    hu = np.rint(made.ct.hu).clip(-32768, 32767).astype(np.int16)
    lungs = segment_lungs(made.ct)
    windows, counts = _windows(made, lungs, spacing_mm)
    for name, array in (("hu", hu), ("lungs", lungs), ("lesions", made.lesions), ("windows", windows)):
        np.save(prefix.with_name(f"{prefix.name}_{name}.npy"), array)
    slice_mm = made.ct.spacing_zyx_mm[0]
    values = {"patient_id": patient_id, "spacing_mm": spacing_mm, "slice_mm": slice_mm}
    return {**values, "windows": len(windows), "counts": counts}


def _windows(
    made: UprightMarks, lungs: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> tuple[NDArray[np.int16], list[int]]:
    """Windows that touch the lungs or are ROIs, sorted by label, and how many there are of each but the last."""
    kind_of = {nodule.label: 1 if nodule.malignancy < 0.5 else 2 for nodule in made.nodules}
    touching = lung_windows(lungs, spacing_mm)
    places, labels = [np.zeros((0, 3), np.int16)], [np.zeros(0, np.int16)]
    for z, marked in enumerate(made.labels):
        here = touching[touching[:, 0] == z]
        if not made.lesions[z].any():
            places.append(here)
            labels.append(np.zeros(len(here), np.int16))
            continue
        there = np.unique(marked)
        nodules = [(marked == number, kind_of[number]) for number in there.tolist() if number in kind_of]
        label = label_windows_of_slice(nodules, made.others(z, *kind_of), spacing_mm)
        wanted = (label == 1) | (label == 2)
        wanted[here[:, 1], here[:, 2]] = True
        i, j = np.nonzero(wanted)
        places.append(np.column_stack([np.full(len(i), z), i, j]).astype(np.int16))
        labels.append(label[i, j])
    every, of = np.concatenate(places), np.concatenate(labels)
    return every[np.argsort(of, kind="stable")], np.bincount(of, minlength=NEITHER + 1)[:NEITHER].tolist()


def _described(made: UprightMarks, nodule: KnownNodule) -> dict[str, Any]:
    """What the table tells of a nodule beside its tiles; its diameter is that of a ball of the same volume."""
    inside = np.argwhere(made.labels == nodule.label)
    volume_mm3 = len(inside) * np.prod(made.ct.spacing_zyx_mm)
    return {
        "sure": nodule.sure,
        "malignancy": nodule.malignancy,
        "chance": nodule.chance,
        "centre_zyx": inside.mean(0).tolist(),
        "diameter_mm": float(np.cbrt(6 / np.pi * volume_mm3)),
        "ratings": [dict(each) for each in nodule.ratings],
    }


def _tiles(
    made: UprightMarks, nodule: KnownNodule
) -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint8], int, tuple[int, int], bool]]:
    """One tile for each slice of a nodule and for those next to its ends, round its centroid there or in the nearest
    slice that shows it; with the slice, the tile's middle in it, and whether it shows the nodule.
    """
    slices = np.flatnonzero((made.labels == nodule.label).any((1, 2)))
    beyond = slices_beyond(made.ct.spacing_zyx_mm[0])
    for z in range(max(0, slices[0] - beyond), min(len(made.labels), slices[-1] + 1 + beyond)):
        nearest = slices[np.abs(slices - z).argmin()]
        y, x = np.argwhere(made.labels[nearest] == nodule.label).mean(0).tolist()
        mask = made.labels[z] == nodule.label
        marks = mask.astype(np.uint8) + 2 * (made.others(z, nodule.label) & ~mask)
        hu = np.rint(make_tile(made.ct.hu[z], (y, x))).clip(-32768, 32767)
        place = round(y), round(x)
        yield hu.astype(np.int16), make_tile(marks, (y, x)).astype(np.uint8), z, place, bool(mask.any())


def _mask_paths(patient: PatientTruth) -> tuple[Path | None, ...]:
    return (patient.marks.path, patient.marks.excluded) if isinstance(patient.marks, MaskMarks) else ()


def _size(path: Path | None) -> tuple[int, int] | None:
    """Files and bytes under a path."""
    if path is None:
        return None
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)
