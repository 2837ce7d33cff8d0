"""The door to a PACS: SEG, SR and pages as DICOM files."""

from __future__ import annotations

import dataclasses
import re
import uuid
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import Comprehensive3DSRStorage

from lungsight.ct.volume import CTVolume
from lungsight.errors import OutputError
from lungsight.findings import Diagnosis
from lungsight.report.dicom.capture import make_captures
from lungsight.report.dicom.identity import identify
from lungsight.report.dicom.pages import draw_pages
from lungsight.report.dicom.seg import make_seg, nodule_region
from lungsight.report.dicom.source import SourceSeries, read_source
from lungsight.report.dicom.sr import make_sr
from lungsight.report.staging import staged_folder

__all__ = ["warn_without_seg", "write_dicom", "write_seg", "write_sr"]

_OWNED = re.compile(r"(?:seg|sr|page_\d+)\.dcm")
_NO_SEG = "No nodule was found, so there is no DICOM SEG, which cannot be empty; the DICOM SR says so."


def warn_without_seg(diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis; if it has no nodule, with the warning that there is no SEG of it."""
    if diagnosis.nodules or _NO_SEG in diagnosis.warnings:
        return diagnosis
    return dataclasses.replace(diagnosis, warnings=(*diagnosis.warnings, _NO_SEG))


def write_dicom(
    diagnosis: Diagnosis,
    ct: CTVolume,
    source: Path,
    out: Path,
    *,
    version: int = 1,
    predecessor: Path | None = None,
) -> tuple[Path, ...]:
    """Write a diagnosis for a PACS: ``seg.dcm``, ``sr.dcm`` and ``page_NN.dcm``, in the study of the source.

    The folder appears when all of it is written, or not at all. UIDs derive from study, series, weights, configuration
    and version: writing again replaces an earlier set of files with the same objects, but for their dates.

    Parameters
    ----------
    diagnosis
        Of `ct`. Without nodules there is no ``seg.dcm``, and the SR's comments say so.
    ct
        The CT it was made from.
    source
        The folder, DICOM file, DICOMDIR or zip that `ct` was read from; patient and study are copied from there.
    out
        The folder to write; its parents are made. An earlier set of files in it is replaced.
    version
        1, or more when slices arrived after an earlier version was written.
    predecessor
        The ``sr.dcm`` that this version replaces, which its report then names; None for a first one.

    Returns
    -------
    tuple of Path
        The SEG if there is one, the SR, the pages.

    Raises
    ------
    OutputError
        If the CT did not come from DICOM, `source` does not hold it, `predecessor` is no report of Lungsight's kind,
        `out` holds other files, or the disk refuses.
    ValueError
        If the diagnosis is of another series, a region lies outside the CT, or `version` is under 1.
    """
    diagnosis = warn_without_seg(diagnosis)
    _check_diagnosis(diagnosis, ct)
    series = read_source(source, ct)
    identity = identify(diagnosis, series, version)
    earlier = None if predecessor is None else _read_predecessor(predecessor)
    results: dict[str, Dataset] = {"seg.dcm": make_seg(diagnosis, series, identity)} if diagnosis.nodules else {}
    results["sr.dcm"] = make_sr(diagnosis, series, identity, earlier)
    captures = make_captures(draw_pages(diagnosis, ct), series, identity)
    results |= {f"page_{number:02d}.dcm": capture for number, capture in enumerate(captures, start=1)}
    with staged_folder(out, overwrite=True, owned=_OWNED) as staged:
        for name, result in results.items():
            result.save_as(staged / name, enforce_file_format=True)
    return tuple(out / name for name in results)


def write_seg(diagnosis: Diagnosis, ct: CTVolume, source: str | Path, path: str | Path) -> Path:
    """Write the nodules as a DICOM Segmentation: binary, one segment each, on the planes of the source series.

    Parameters
    ----------
    diagnosis
        Of `ct`, with a nodule or more.
    ct
        The CT it was made from.
    source
        What `ct` was read from (folder, DICOM file, DICOMDIR, zip); patient and study are copied from there.
    path
        The file, which should not exist.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    OutputError
        If there is no nodule, the CT did not come from DICOM, `source` does not hold it, the file exists or the disk
        refuses.
    ValueError
        If the diagnosis is of another series, or a region lies outside the CT.
    """
    if not diagnosis.nodules:
        raise OutputError(
            "a diagnosis without nodules", "one nodule or more: a SEG cannot be empty", "Write the SR, which says so."
        )
    series = _series_of(diagnosis, ct, Path(source))
    return _write_file(make_seg(diagnosis, series, identify(diagnosis, series)), Path(path))


def write_sr(diagnosis: Diagnosis, ct: CTVolume, source: str | Path, path: str | Path) -> Path:
    """Write the diagnosis as a DICOM structured report: TID 1500 in a Comprehensive 3D SR.

    It refers to the segments that :func:`write_seg` writes for the same diagnosis; without nodules it says so.

    Parameters
    ----------
    diagnosis
        Of `ct`.
    ct, source, path
        As for :func:`write_seg`.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    OutputError
        If the CT did not come from DICOM, `source` does not hold it, the file exists or the disk refuses.
    ValueError
        If the diagnosis is of another series, or a region lies outside the CT.
    """
    series = _series_of(diagnosis, ct, Path(source))
    return _write_file(make_sr(diagnosis, series, identify(diagnosis, series)), Path(path))


def _series_of(diagnosis: Diagnosis, ct: CTVolume, source: Path) -> SourceSeries:
    _check_diagnosis(diagnosis, ct)
    return read_source(source, ct)


def _check_diagnosis(diagnosis: Diagnosis, ct: CTVolume) -> None:
    if diagnosis.provenance.series_uid != ct.series_uid:
        raise ValueError(f"the diagnosis is of series {diagnosis.provenance.series_uid}, the CT is {ct.series_uid}")
    for nodule in diagnosis.nodules:
        region = nodule_region(nodule)
        if min(region.start_zyx) < 0 or any(a > b for a, b in zip(region.stop_zyx, ct.shape, strict=True)):
            raise ValueError(f"a region from {region.start_zyx} to {region.stop_zyx} is not inside {ct.shape}")


def _read_predecessor(path: Path) -> Dataset:
    expected = "the sr.dcm of the earlier version"
    try:
        header = pydicom.dcmread(
            path, specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
        )
    except (OSError, InvalidDicomError) as error:
        raise OutputError(f"{path}: {error}", expected, "Name that file.") from error
    if header.get("SOPClassUID") != Comprehensive3DSRStorage:
        raise OutputError(f"{path} holds a {header.get('SOPClassUID')}", expected, "Name that file.")
    return header


def _write_file(result: Dataset, path: Path) -> Path:
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path} exists", "a file that does not", "Choose another name.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        result.save_as(temporary, enforce_file_format=True)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            "a place with room and the right to write",
            "Choose another place, or free some space.",
        ) from error
    return path
