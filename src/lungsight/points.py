"""Points in, scores out: the CSV files of ``lungsight classify``."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError, OutputError
from lungsight.findings import Nodule

__all__ = ["POINT_COLUMNS", "SCORE_COLUMNS", "check_scores_file", "read_points", "write_scores"]

POINT_COLUMNS = ("x_lps_mm", "y_lps_mm", "z_lps_mm")
SCORE_COLUMNS = ("nodule_score", "malignancy_score")


def read_points(path: Path) -> tuple[list[dict[str, str]], NDArray[np.float64]]:
    """The rows of a CSV file and the points in them.

    Parameters
    ----------
    path
        CSV with the columns ``x_lps_mm,y_lps_mm,z_lps_mm``, in any order; other columns are kept.

    Returns
    -------
    tuple
        The rows as they are, and the points ``(n, 3)``; no rows give an empty list and ``(0, 3)``.

    Raises
    ------
    InputError
        If the file cannot be read, a column is absent or a coordinate is no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {error}", "a CSV file of points", "Check the path and the file.") from error
    remedy = f"Give a CSV file with the columns {','.join(POINT_COLUMNS)}."
    if not set(POINT_COLUMNS) <= set(columns):
        raise InputError(f"{path} has the columns {', '.join(columns) or 'none'}", ", ".join(POINT_COLUMNS), remedy)
    points = np.empty((len(rows), 3))
    for number, row in enumerate(rows):
        try:
            points[number] = [float(row[name]) for name in POINT_COLUMNS]
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, row {number + 1}: {error}", "three numbers in mm", remedy) from error
        if not np.isfinite(points[number]).all():
            raise InputError(f"{path}, row {number + 1}: {points[number].tolist()}", "finite numbers in mm", remedy)
    return rows, points


def check_scores_file(path: Path, overwrite: bool) -> None:
    """Refuse a file that scores may not be written to; for asking before a long computation.

    Raises
    ------
    OutputError
        If the file exists and `overwrite` is False.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path}, which exists", "a file that does not exist", "Add --overwrite or name another.")


def write_scores(path: Path, rows: Sequence[dict[str, str]], nodules: Sequence[Nodule], overwrite: bool) -> None:
    """The rows with the scores added, in the same order; written whole or not at all.

    Raises
    ------
    OutputError
        If the file exists and `overwrite` is False, or cannot be written.
    """
    check_scores_file(path, overwrite)
    columns = [*(rows[0] if rows else POINT_COLUMNS), *SCORE_COLUMNS]
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, dict.fromkeys(columns), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            for row, nodule in zip(rows, nodules, strict=True):
                scores = (nodule.candidate.detection_score, nodule.malignancy_score)
                writer.writerow(row | {name: f"{s:.6f}" for name, s in zip(SCORE_COLUMNS, scores, strict=True)})
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: {error}", "a file that can be written", "Check the folder and the disk.") from error
