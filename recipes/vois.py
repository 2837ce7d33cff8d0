"""The table of LIDC-IDRI's VOIs with what each reader rated, for `lungsight simulate` and the benchmarks.

    python -m recipes.vois DATA VOIS

DATA holds `lidc_vois.csv` and `lidc_crops`, VOIS is the unpacked `lidc_vois.tar.gz`, and gets `nodules.csv`. The table
that comes with the VOIs tells a rating by majority, and where there is none the lowest of the most frequent: a nodule
rated 2, 3, 4 and 5 is told as 2, benign. The crops' table has every reader's rating, of which the median counts, as
everywhere else here.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from recipes.windows.collection import table

from lungsight.train.donors import VOI_TABLE

__all__ = ["crop_rows", "write_table"]

_RATED = {
    "malignancy": "Malignancy_value",
    "texture": "Texture_value",
    "spiculation": "Spiculation_value",
    "calcification": "Calcification_value",
    "subtlety": "Subtlety_value",
}
"""Columns of the crops' table, and of the VOIs' what the majority said."""


def crop_rows(data: Path) -> dict[tuple[str, str], int]:
    """Which row of `lidc_crops/nodules.csv` is the nodule of a VOI, by patient and nodule.

    It is of the same series, has the same number of readers, of whom the majority rated the same in five respects; if
    several do, it is the one nearest in z.
    """
    z_mm = defaultdict(list)
    for row in table(data / "lidc_crops" / "slices.csv"):
        if row["z_mm"]:
            z_mm[row["patient_id"], row["nodule"]].append(float(row["z_mm"]))
    of_series = defaultdict(list)
    for k, row in enumerate(table(data / "lidc_crops" / "nodules.csv")):
        middle_mm = float(np.mean(z_mm[row["patient_id"], row["nodule"]] or [np.inf]))
        of_series[row["series_instance_uid"]].append((k, row, middle_mm))
    found = {}
    for voi in table(data / "lidc_vois.csv"):
        alike = [(abs(z - float(voi["coordZ"])), k) for k, row, z in of_series[voi["seriesuid"]] if _alike(row, voi)]
        if alike:
            found[voi["patient_id"], voi["nodule_id"]] = min(alike)[1]
    return found


def _alike(row: Mapping[str, str], voi: Mapping[str, str]) -> bool:
    readers = len(row["malignancy"].split("|")) == int(voi["len_mal_details"])
    return readers and all(majority(row[ours]) == int(voi[theirs]) for ours, theirs in _RATED.items())


def majority(ratings: str) -> int:
    """The lowest of the most frequent ratings.

    Examples
    --------
    >>> majority("5|3|4|2"), majority("4|4|2")
    (2, 4)
    """
    given = Counter(int(each) for each in ratings.split("|"))
    most = max(given.values())
    return min(rating for rating, count in given.items() if count == most)


def write_table(data: Path, file: Path) -> int:
    """Write the table; how many nodules it has."""
    rows, ratings = crop_rows(data), table(data / "lidc_crops" / "nodules.csv")
    temporary = file.with_suffix(".part")
    with temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["patient_id", "nodule_id", "malignancy"])
        writer.writerows((*voi, ratings[k]["malignancy"]) for voi, k in rows.items())
    temporary.replace(file)
    return len(rows)


def main() -> None:
    """Write the table into the folder of the VOIs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("vois", type=Path, help="folder with image/ and nodule_mask/")
    arguments = parser.parse_args()
    count = write_table(arguments.data, arguments.vois / VOI_TABLE)
    print(f"{arguments.vois / VOI_TABLE}: {count} nodules")


if __name__ == "__main__":
    main()
