"""LUNA16: 888 CTs of LIDC-IDRI as MetaImage, nodules as points, ten subsets as folds."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from lungsight.errors import CorruptFileError, InputError
from lungsight.train.patient import PatientTruth, PointMark, PointMarks
from lungsight.train.tables import Row, read_table

__all__ = ["LUNA16_ANNOTATIONS", "read_luna16"]

LUNA16_ANNOTATIONS = "annotations.csv"
_EXCLUDED = "annotations_excluded.csv"
_CANDIDATES = "candidates_V2.csv"
_POSITION = ("seriesuid", "coordX", "coordY", "coordZ")
_REMEDY = "Keep LUNA16's tables and its folders subset0 to subset9 together in one folder."


def read_luna16(root: Path) -> tuple[PatientTruth, ...]:
    """The CTs of LUNA16.

    Parameters
    ----------
    root
        Holds ``subset0`` to ``subset9`` (some of them are enough) with ``<series UID>.mhd`` and ``.raw``, and
        ``annotations.csv``. ``annotations_excluded.csv`` (of the challenge's evaluation script) and
        ``candidates_V2.csv`` are read where they are there; without the first, nothing is excluded.

    Returns
    -------
    tuple
        One for each ``.mhd``, by fold and UID; `patient_id` is the series UID. World coordinates are LPS mm. An
        excluded finding whose diameter is under 0 or not given has none. Findings of CTs that are not there are left
        out, as subsets are fetched one by one.

    Raises
    ------
    InputError
        If there is no subset, no ``annotations.csv``, or none of its findings belongs to a CT that is there.
    CorruptFileError
        If a table is damaged, a CT lies in two subsets, or a nodule has no diameter.

    Notes
    -----
    Setio et al., *Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules
    in computed tomography images: the LUNA16 challenge*, Medical Image Analysis 42, 2017.
    """
    cts = _find_cts(root)
    nodules = _read_points(root / LUNA16_ANNOTATIONS)
    excluded = _read_points(root / _EXCLUDED) if (root / _EXCLUDED).exists() else {}
    if nodules and not nodules.keys() & cts.keys():
        raise InputError(
            f"none of the {len(nodules)} series in {root / LUNA16_ANNOTATIONS} is one of the {len(cts)} CTs there",
            "CTs named <series UID>.mhd",
            _REMEDY,
        )
    unmeasured = [uid for uid, marks in nodules.items() if any(mark.diameter_mm is None for mark in marks)]
    if unmeasured:
        raise CorruptFileError(
            f"{root / LUNA16_ANNOTATIONS}: a nodule of {unmeasured[0]} without diameter",
            "a diameter over 0 for each",
            "Take the table that came with the dataset.",
        )
    candidates = _read_candidates(root / _CANDIDATES)
    return tuple(
        PatientTruth(
            patient_id=uid,
            ct_path=path,
            series_uid=uid,
            fold=fold,
            marks=PointMarks(
                tuple(nodules.get(uid, ())),
                tuple(excluded.get(uid, ())),
                np.array([point for point, _ in candidates.get(uid, ())], np.float64).reshape(-1, 3),
                np.array([is_nodule for _, is_nodule in candidates.get(uid, ())], np.bool_),
            ),
        )
        for uid, (fold, path) in cts.items()
    )


def _find_cts(root: Path) -> dict[str, tuple[int, Path]]:
    """Fold and file of each CT by series UID."""
    found: dict[str, tuple[int, Path]] = {}
    for folder in sorted(root.glob("subset[0-9]")):
        fold = int(re.sub(r"\D", "", folder.name))
        for path in sorted(folder.glob("*.mhd")):
            if path.stem in found:
                raise CorruptFileError(
                    f"{path.stem} lies in subset{found[path.stem][0]} and in {folder.name}", "one place a CT", _REMEDY
                )
            found[path.stem] = (fold, path)
    if not found:
        raise InputError(f"no subset0 to subset9 with .mhd files in {root}", "LUNA16's folders", _REMEDY)
    return found


def _read_points(path: Path) -> dict[str, list[PointMark]]:
    found: dict[str, list[PointMark]] = defaultdict(list)
    for row in read_table(path, (*_POSITION, "diameter_mm")):
        diameter_mm = row.number("diameter_mm") if row.values["diameter_mm"] else -1.0
        found[row.text("seriesuid")].append(PointMark(_centre(row), diameter_mm if diameter_mm > 0 else None))
    return dict(found)


def _read_candidates(path: Path) -> dict[str, list[tuple[tuple[float, float, float], bool]]]:
    found: dict[str, list[tuple[tuple[float, float, float], bool]]] = defaultdict(list)
    for row in read_table(path, (*_POSITION, "class")) if path.exists() else ():
        kind = row.flag("class")
        if kind is None:
            raise CorruptFileError(f"{row.place}: class is empty", "0 or 1", "Take the table of the dataset.")
        found[row.text("seriesuid")].append((_centre(row), bool(kind)))
    return dict(found)


def _centre(row: Row) -> tuple[float, float, float]:
    return row.number("coordX"), row.number("coordY"), row.number("coordZ")
