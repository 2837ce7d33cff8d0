"""One DICOM file's header: what kind of image it is and where its slices lie. Pixels are not read here.

Only the attributes listed here are ever read, so that no patient's name or number enters the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset

from lungsight.ct.attributes import SEND_AGAIN, first_value, image_type, integer, numbers, open_dataset, positive
from lungsight.errors import CorruptFileError

__all__ = ["Instance", "SliceHeader", "read_instance"]

_CT_CLASSES = {uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage}

_TAGS: tuple[str, ...] = (
    "AcquisitionNumber",
    "BodyPartExamined",
    "Columns",
    "FrameOfReferenceUID",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "LossyImageCompression",
    "Modality",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SpacingBetweenSlices",
)

# Where an enhanced multi-frame image keeps what a single-frame one has at its top (PS3.3, C.7.6.16.2 and C.8.15.3).
_FUNCTIONAL_GROUPS = (
    "CTImageFrameTypeSequence",
    "FrameContentSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
)

# HU, "unspecified" (what many scanners write) and HU of photon-counting and dual-energy reconstructions (PS3.3,
# C.11.1.1.2). Anything else (electron density, effective atomic number, iodine) is not a CT number.
_HU_RESCALE_TYPES = {"", "HU", "US", "HU_MOD"}


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice: a single-frame instance or one frame of a multi-frame one.

    Attributes
    ----------
    path
        The file.
    file_name
        The file's name below the folder or zip that was given, for messages.
    sop_instance_uid, instance_number, acquisition_number, frame_of_reference_uid
        As in the file; None where it has none.
    frame_number
        Counted from 1 in a multi-frame instance; None in a single-frame one.
    transfer_syntax_uid
        How the pixels are encoded.
    rows, columns
        Size of the image.
    position_lps
        Shape ``(3,)``: centre of the first pixel in patient mm (Image Position (Patient)).
    orientation
        Shape ``(2, 3)``: unit vectors along a row and along a column (Image Orientation (Patient)).
    row_spacing_mm, column_spacing_mm
        Distance between rows, and between columns (Pixel Spacing, in its order).
    slope, intercept
        HU = slope * stored value + intercept.
    thickness_mm, stated_spacing_mm
        Slice Thickness and Spacing Between Slices; None where the file has none. They never place a slice.
    """

    path: Path
    file_name: str
    sop_instance_uid: str
    instance_number: int | None
    frame_number: int | None
    acquisition_number: int | None
    frame_of_reference_uid: str | None
    transfer_syntax_uid: str
    rows: int
    columns: int
    position_lps: NDArray[np.float64]
    orientation: NDArray[np.float64]
    row_spacing_mm: float
    column_spacing_mm: float
    slope: float
    intercept: float
    thickness_mm: float | None
    stated_spacing_mm: float | None

    @property
    def name(self) -> str:
        """What to call the slice in messages."""
        return self.file_name if self.frame_number is None else f"{self.file_name} frame {self.frame_number}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM file.

    Attributes
    ----------
    path, name
        The file, and its name below what was given.
    modality, series_uid, series_number, body_part, transfer_syntax_uid
        As in the file; empty or None where it has none.
    lossy
        True if the pixels went through a lossy compression.
    exclusion
        Why the file holds no slice of a CT, as the end of the sentence "it is ..."; empty if it does.
    fault
        Why the CT slice cannot be placed; None if it can.
    slices
        One for a single-frame image, one a frame for a multi-frame one; empty where excluded or faulty.
    """

    path: Path
    name: str
    modality: str
    series_uid: str
    series_number: int | None
    body_part: str
    transfer_syntax_uid: str
    lossy: bool
    exclusion: str = ""
    fault: CorruptFileError | None = None
    slices: tuple[SliceHeader, ...] = ()


def read_instance(path: Path, name: str) -> Instance:
    """The header of one DICOM file.

    Parameters
    ----------
    path, name
        The file and what to call it in messages.

    Returns
    -------
    Instance
        With slices if it is a CT; else with what it is, or with what is wrong.

    Raises
    ------
    CorruptFileError
        If the file cannot be parsed so far that its series is known.
    """
    dataset, syntax = open_dataset(path, name, _TAGS, pixels=False)
    if not dataset.get("Modality") and str(dataset.get("SOPClassUID") or "") in ("", *_CT_CLASSES):
        raise CorruptFileError(f"{name} has no Modality: it ends early, or is no image", "a whole CT image", SEND_AGAIN)
    exclusion = _exclusion(dataset)
    series_uid = str(dataset.get("SeriesInstanceUID") or "")
    if not series_uid and not exclusion:
        raise CorruptFileError(f"{name} has no Series Instance UID", "a CT image of a series", SEND_AGAIN)
    slices: tuple[SliceHeader, ...] = ()
    fault = None
    if not exclusion:
        try:
            slices = _slices(dataset, path, name, syntax)
        except CorruptFileError as error:
            fault = error
    return Instance(
        path=path,
        name=name,
        modality=str(dataset.get("Modality") or ""),
        series_uid=series_uid,
        series_number=integer([dataset], "SeriesNumber"),
        body_part=str(dataset.get("BodyPartExamined") or ""),
        transfer_syntax_uid=syntax,
        lossy=str(dataset.get("LossyImageCompression") or "") == "01",
        exclusion=exclusion,
        fault=fault,
        slices=slices,
    )


def _exclusion(dataset: Dataset) -> str:
    """Why a file is no slice of a CT; empty if it is one."""
    modality = str(dataset.get("Modality") or "")
    sop_class = str(dataset.get("SOPClassUID") or "")
    if modality != "CT":
        return f"{modality or uid.UID(sop_class).name or 'without modality'}, not CT"
    if sop_class and sop_class not in _CT_CLASSES:
        return f"{uid.UID(sop_class).name}, not a CT image"
    if (integer([dataset], "SamplesPerPixel") or 1) != 1:
        return "a colour image, not a CT image"
    if "LOCALIZER" in image_type([dataset]):
        return "a localizer"
    shared = [group for item in dataset.get("SharedFunctionalGroupsSequence") or () for group in _groups(item)]
    rescale_type = str(first_value([dataset, *shared], "RescaleType") or "").strip().upper()
    return "" if rescale_type in _HU_RESCALE_TYPES else f"in units of {rescale_type}, not HU"


def _slices(dataset: Dataset, path: Path, name: str, syntax: str) -> tuple[SliceHeader, ...]:
    per_frame: Sequence[Dataset] | None = dataset.get("PerFrameFunctionalGroupsSequence")
    frames = integer([dataset], "NumberOfFrames") or 1
    if per_frame is None:
        if frames != 1:
            raise CorruptFileError(
                f"{name} has {frames} frames and no Per-frame Functional Groups Sequence",
                "the place of each",
                SEND_AGAIN,
            )
        return (_slice([dataset], path, name, syntax, None),)
    if len(per_frame) != frames:
        raise CorruptFileError(
            f"{name} places {len(per_frame)} of its {frames} frames", "the place of each", SEND_AGAIN
        )
    shared = [group for item in dataset.get("SharedFunctionalGroupsSequence") or () for group in _groups(item)]
    headers = []
    for number, item in enumerate(per_frame, start=1):
        sources = [*_groups(item), *shared, dataset]
        if "LOCALIZER" not in image_type(sources):
            headers.append(_slice(sources, path, name, syntax, number))
    return tuple(headers)


def _groups(item: Dataset) -> list[Dataset]:
    return [item[keyword][0] for keyword in _FUNCTIONAL_GROUPS if item.get(keyword)]


def _slice(sources: Sequence[Dataset], path: Path, name: str, syntax: str, frame_number: int | None) -> SliceHeader:
    where = name if frame_number is None else f"{name}, frame {frame_number},"
    orientation = numbers(sources, "ImageOrientationPatient", 6, where).reshape(2, 3)
    # A hundredth is far beyond the rounding of six decimals and far under any real shear of pixels.
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=0.01):
        raise CorruptFileError(
            f"{where} has the Image Orientation {orientation.ravel().tolist()}",
            "two unit vectors at a right angle",
            SEND_AGAIN,
        )
    row_spacing_mm, column_spacing_mm = numbers(sources, "PixelSpacing", 2, where).tolist()
    slope = float(numbers(sources, "RescaleSlope", 1, where)[0])
    rows, columns = (integer(sources, keyword) or 0 for keyword in ("Rows", "Columns"))
    for value, label in ((row_spacing_mm, "row spacing"), (column_spacing_mm, "column spacing"), (rows, "Rows"),
                         (columns, "Columns"), (abs(slope), "Rescale Slope")):  # fmt: skip
        if not value > 0:
            raise CorruptFileError(f"{where} has {label} {value:g}", "more than 0", SEND_AGAIN)
    sop_instance_uid = first_value(sources, "SOPInstanceUID")
    if not sop_instance_uid:
        raise CorruptFileError(f"{where} has no SOP Instance UID", "a CT image with its identity", SEND_AGAIN)
    frame_of_reference_uid = first_value(sources, "FrameOfReferenceUID")
    acquisition = "AcquisitionNumber" if frame_number is None else "FrameAcquisitionNumber"
    return SliceHeader(
        path=path,
        file_name=name,
        sop_instance_uid=str(sop_instance_uid),
        instance_number=integer(sources, "InstanceNumber"),
        frame_number=frame_number,
        acquisition_number=integer(sources, acquisition),
        frame_of_reference_uid=str(frame_of_reference_uid) if frame_of_reference_uid else None,
        transfer_syntax_uid=syntax,
        rows=rows,
        columns=columns,
        position_lps=numbers(sources, "ImagePositionPatient", 3, where),
        orientation=orientation,
        row_spacing_mm=row_spacing_mm,
        column_spacing_mm=column_spacing_mm,
        slope=slope,
        intercept=float(numbers(sources, "RescaleIntercept", 1, where)[0]),
        thickness_mm=positive(sources, "SliceThickness"),
        stated_spacing_mm=positive(sources, "SpacingBetweenSlices"),
    )
