"""Virtual patients as DICOM: CT images, mask images that refer to them, and tables. Says everywhere what they are."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from lungsight import __version__
from lungsight.ct.volume import CTVolume
from lungsight.train.contest import CONTEST_LABELS
from lungsight.train.virtual import Insertion, VirtualPatient

__all__ = ["NODULES_TABLE", "PATIENTS_TABLE", "patient_id_of", "write_patient", "write_tables"]

NODULES_TABLE = "nodules.csv"
PATIENTS_TABLE = "patients.csv"

_DESCRIPTION = "Simulated: nodules of other patients set into a chest CT; no real patient"
_MASKS = {"mask": (2, "Masks of the nodules set in"), "lesions": (3, "Masks of lesions of the host")}
_NODULE_COLUMNS = (
    "patient_id",
    "kind",
    "nodule_id",
    "source_patient_id",
    "host_patient_id",
    "malignancy",
    "label",
    "x_lps_mm",
    "y_lps_mm",
    "z_lps_mm",
    "diameter_mm",
    "seed",
)
_PATIENT_COLUMNS = ("patient_id", "label", "host_patient_id", "nodules", "slice_thickness_mm", "seed")


def patient_id_of(number: int) -> str:
    """What a virtual patient is called.

    Examples
    --------
    >>> patient_id_of(7)
    'SIM-0007'
    """
    return f"SIM-{number:04}"


def write_patient(folder: Path, patient: VirtualPatient) -> None:
    """Write the CT and masks of a virtual patient.

    Parameters
    ----------
    folder
        Gets ``ct/`` and ``mask/``, a file a slice, and ``lesions/`` with a file for each slice that shows a lesion of
        the host, if there are any; must be empty or absent.
    patient
        The same patient gives the same files, UIDs included, and another patient others.
    """
    # UIDs follow the content: what was drawn from other CTs with the same seed is another patient.
    content = [patient.ct.hu, patient.ct.affine, patient.mask, patient.lesions]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in content)).hexdigest()
    name = patient_id_of(patient.number)
    every = range(len(patient.ct.hu))
    diseased = np.flatnonzero(patient.lesions.any((1, 2))).tolist()
    for kind, slices in (("ct", every), ("mask", every), ("lesions", diseased)):
        if slices:
            (folder / kind).mkdir(parents=True)
        for index in slices:
            dataset = _slice(patient.ct, name, digest, index)
            if kind == "ct":
                _as_ct(dataset, patient.ct, digest, patient.ct.hu[index])
            else:
                _as_mask(dataset, digest, kind, (patient.mask if kind == "mask" else patient.lesions)[index])
            dataset.save_as(folder / kind / f"{index + 1:04}.dcm", enforce_file_format=True)


def write_tables(folder: Path, patients: Sequence[tuple[str, dict[str, object], tuple[Insertion, ...]]]) -> None:
    """Write ``labels.csv``, ``patients.csv`` and ``nodules.csv``.

    Parameters
    ----------
    folder
        Beside the patients' folders.
    patients
        Of each: its id, its line in the table of patients, and what was set in.
    """
    _write(folder / CONTEST_LABELS, ("patient_id", "label"), ((one, line["label"]) for one, line, _ in patients))
    _write(
        folder / PATIENTS_TABLE,
        _PATIENT_COLUMNS,
        ((one, *(line[column] for column in _PATIENT_COLUMNS[1:])) for one, line, _ in patients),
    )
    _write(
        folder / NODULES_TABLE,
        _NODULE_COLUMNS,
        ((one, *_cells(each, line)) for one, line, insertions in patients for each in insertions),
    )


def _cells(insertion: Insertion, line: dict[str, object]) -> tuple[object, ...]:
    rating = insertion.malignancy
    return (
        insertion.kind.value,
        insertion.nodule_id,
        insertion.patient_id,
        line["host_patient_id"],
        "" if rating is None else f"{rating:g}",
        "" if rating is None else int(insertion.is_malignant),
        *(f"{mm:.3f}" for mm in insertion.centre_lps_mm),
        f"{insertion.diameter_mm:.2f}",
        line["seed"],
    )


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _slice(ct: CTVolume, name: str, digest: str, index: int) -> Dataset:
    """What CT and masks of a slice have in common."""
    _, row_spacing_mm, column_spacing_mm = ct.spacing_zyx_mm
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName = name, name.replace("-", "^")
    dataset.PatientBirthDate, dataset.PatientSex = "", ""
    dataset.StudyInstanceUID = _uid(digest, "study")
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "1", "", "", ""
    dataset.ReferringPhysicianName = ""
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = _uid(digest, "frame of reference"), ""
    dataset.Manufacturer, dataset.ManufacturerModelName = "Lungsight", "simulate"
    dataset.SoftwareVersions = __version__
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.DerivationDescription = _DESCRIPTION
    dataset.PatientComments = "Simulated patient"
    dataset.BodyPartExamined = "CHEST"
    dataset.InstanceNumber = index + 1
    dataset.Rows, dataset.Columns = ct.shape[1:]
    dataset.PixelSpacing = _decimals([row_spacing_mm, column_spacing_mm])
    dataset.ImageOrientationPatient = _decimals([*_unit(ct.affine[:3, 2]), *_unit(ct.affine[:3, 1])])
    dataset.ImagePositionPatient = _decimals(ct.to_lps((index, 0, 0)))
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.file_meta = FileMetaDataset()
    return dataset


def _as_ct(dataset: Dataset, ct: CTVolume, digest: str, hu: NDArray[np.generic]) -> None:
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.SOPInstanceUID = _uid(digest, "ct", dataset.InstanceNumber)
    dataset.SeriesInstanceUID, dataset.SeriesNumber = _uid(digest, "ct"), 1
    dataset.SeriesDescription = "Simulated chest CT"
    dataset.PatientPosition, dataset.AcquisitionNumber, dataset.KVP = "HFS", 1, None
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimals([ct.spacing_zyx_mm[0]])[0]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = hu.astype("<i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _as_mask(dataset: Dataset, digest: str, kind: str, mask: NDArray[np.generic]) -> None:
    source = Dataset()
    source.ReferencedSOPClassUID = CTImageStorage
    source.ReferencedSOPInstanceUID = _uid(digest, "ct", dataset.InstanceNumber)
    dataset.SourceImageSequence = DicomSequence([source])
    dataset.SOPClassUID, dataset.Modality, dataset.ConversionType = SecondaryCaptureImageStorage, "OT", "WSD"
    dataset.SOPInstanceUID = _uid(digest, kind, dataset.InstanceNumber)
    dataset.SeriesInstanceUID = _uid(digest, kind)
    dataset.SeriesNumber, dataset.SeriesDescription = _MASKS[kind]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    pixels = (mask.astype(np.uint8) * 255).tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def _uid(digest: str, *what: object) -> str:
    return str(generate_uid(entropy_srcs=["lungsight simulate", digest, *map(str, what)]))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]
