"""The DICOM files in a folder, a DICOMDIR or a single file."""

from __future__ import annotations

from pathlib import Path

from pydicom import uid

from lungsight.ct.attributes import is_dicom, open_dataset
from lungsight.ct.instance import Instance, read_instance
from lungsight.errors import CorruptFileError, InputError

__all__ = ["files_of_dicomdir", "find_files", "is_dicomdir", "not_dicom", "read_headers"]

_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}


def find_files(folder: Path) -> tuple[Path, ...]:
    """Every DICOM file below a folder, by name; hidden files and folders, and all that is no DICOM, are passed over.

    Raises
    ------
    CorruptFileError
        If a file is called ``.dcm``, ``.dicom`` or ``.ima`` and is none: a slice may be lost in it.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if any(part.startswith(".") or part == "__MACOSX" for part in below.parts) or not path.is_file():
            continue
        if is_dicom(path):
            found.append(path)
        elif path.suffix.lower() in _DICOM_SUFFIXES:
            raise not_dicom(str(below), path.stat().st_size)
    return tuple(found)


def not_dicom(name: str, size: int) -> CorruptFileError:
    """The error for a file that should be DICOM."""
    what = "is empty" if size == 0 else f"({size} bytes) is not DICOM"
    return CorruptFileError(f"{name} {what}", "a DICOM file", "Copy or export it again, or remove it.")


def read_headers(paths: tuple[Path, ...], root: Path) -> tuple[Instance, ...]:
    """The headers of DICOM files; directories (DICOMDIR) are passed over.

    Raises
    ------
    CorruptFileError
        If one cannot be read.
    """
    names = ((path, str(path.relative_to(root)) if path.is_relative_to(root) else str(path)) for path in paths)
    return tuple(read_instance(path, name) for path, name in names if path.name.upper() != "DICOMDIR")


def is_dicomdir(path: Path) -> bool:
    """Whether a DICOM file is a media directory."""
    dataset, _ = open_dataset(path, path.name, ["Modality"], pixels=False)
    return bool(dataset.file_meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage)


def files_of_dicomdir(path: Path) -> tuple[Path, ...]:
    """The files a DICOMDIR lists, in its order.

    Raises
    ------
    InputError
        If a file it lists is not there or lies outside its folder.
    CorruptFileError
        If it cannot be read.
    """
    dataset, _ = open_dataset(path, path.name, ["DirectoryRecordSequence"], pixels=False)
    found, absent = [], []
    for record in dataset.get("DirectoryRecordSequence") or ():
        parts = record.get("ReferencedFileID")
        if not parts:
            continue
        parts = [parts] if isinstance(parts, str) else list(parts)
        if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
            raise InputError(
                f"{path} lists {'/'.join(parts)}", "files below its own folder", "Give the folder instead."
            )
        # Media are written in capitals; copies are often in small letters.
        candidates = [path.parent.joinpath(*names) for names in (parts, [part.lower() for part in parts])]
        there = next((candidate for candidate in candidates if candidate.is_file()), None)
        if there is None:
            absent.append("/".join(parts))
        else:
            found.append(there)
    if absent:
        raise InputError(
            f"{path} lists {len(absent)} files that are not there, first {absent[0]}",
            f"all {len(absent) + len(found)} files it lists",
            "Copy the whole medium again, or give the folder to read what is there.",
        )
    return tuple(found)
