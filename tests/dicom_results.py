"""Diagnoses of phantoms written as DICOM, and who judges the result: dciodvfy, DCMTK's dsrdump, pydicom."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.findings import Candidate, Density, Diagnosis, Measurements, Nodule, Region, Verdict
from phantom import Body, Edit, lopsided_body, write_series
from samples import provenance_of

# Two that overlap, in planes that do not begin at either end; neither fills its box.
START_ZYX = ((1, 1, 2), (2, 2, 3))
MASKS = (np.ones((2, 3, 5), np.bool_), np.ones((2, 4, 2), np.bool_))
for mask in MASKS:
    mask[0, 0, 0] = mask[1, -1, -1] = False
MEASURED = Measurements(12.3, 7.1, 533.1234567, -12.25, Density.PART_SOLID, 3.5, "right", "upper", 2.0)


def nodules_of(ct: CTVolume, count: int) -> tuple[Nodule, ...]:
    """The first was only detected, the second is outlined (elsewhere than detected) and measured."""
    regions = [Region(start, mask) for start, mask in zip(START_ZYX, MASKS, strict=True)]
    detected = Candidate(ct.locate((1.2, 2.0, 3.5)), 4.5, 0.75, regions[0])
    both = (Nodule(detected, 0.625), Nodule(detected, 0.875, regions[1], MEASURED))
    return both[:count]


def diagnosis_of(ct: CTVolume, count: int = 2, warnings: tuple[str, ...] = ()) -> Diagnosis:
    verdict, score = (Verdict.MALIGNANT, 0.8125) if count else (Verdict.NO_NODULE, None)
    return Diagnosis(verdict, score, "windows", nodules_of(ct, count), provenance_of(ct), warnings)


def scanned(folder: Path, body: Body | None = None, edit: Edit | None = None) -> tuple[Path, CTVolume]:
    """A series on the disk, and its CT."""
    write_series(folder, body or lopsided_body(), edit=edit)
    return folder, read_ct(folder)


def with_provenance(diagnosis: Diagnosis, **changes: Any) -> Diagnosis:
    return dataclasses.replace(diagnosis, provenance=dataclasses.replace(diagnosis.provenance, **changes))


def faults(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    judge = shutil.which("dciodvfy", path=Path(sys.executable).parent)
    assert judge, "dciodvfy is absent: install the dev extra"
    done = subprocess.run([judge, "-new", str(path)], check=False, capture_output=True, text=True, errors="replace")  # noqa: S603
    told = (done.stdout + done.stderr).splitlines()
    assert any(line and not line.startswith(("Warning", "Error")) for line in told), told  # it names the IOD it checked
    return [line for line in told if line.startswith("Error")]


def dumped(path: Path) -> str:
    """The report as DCMTK reads it, with codes and whole values."""
    reader = shutil.which("dsrdump")
    if reader is None:
        pytest.skip("dsrdump is absent: install Debian's dcmtk")
    done = subprocess.run([reader, "+Pc", "+Pl", str(path)], check=False, capture_output=True, text=True)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def elements(dataset: Dataset) -> Iterator[tuple[str, Any]]:
    """Every element that is no date or time, however deep, with its path."""
    for element in dataset:
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from ((f"{element.keyword}[{number}].{path}", value) for path, value in elements(item))
        elif element.VR not in {"DA", "TM", "DT"}:
            yield element.keyword, element.value
