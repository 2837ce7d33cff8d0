"""The series a diagnosis is of, read again for what the computing never sees: patient, study, places of the slices."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from highdicom import ContributingEquipment, SOPClass
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.valuerep import DSfloat

from lungsight.ct.instance import SliceHeader
from lungsight.ct.read import open_series
from lungsight.ct.volume import CTVolume
from lungsight.errors import NoCTSeriesError, OutputError

__all__ = ["SourceSeries", "check_source", "read_source"]

# Required, but may be empty (type 2, PS3.3 tables C.7-1 and C.7-3): where the source has none, a result has it empty.
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True, eq=False)
class SourceSeries:
    """The DICOM series that was diagnosed.

    Attributes
    ----------
    header
        The attributes of its first slice's file, without pixels: names, numbers and texts as they stand there.
    slices
        Where each slice lies and which instance (and frame) holds it, in the order of the CT's slices.
    """

    header: Dataset
    slices: tuple[SliceHeader, ...]

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return str(self.header.StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return str(self.header.SeriesInstanceUID)

    @property
    def is_multiframe(self) -> bool:
        """Whether one enhanced instance holds the slices as frames."""
        return self.slices[0].frame_number is not None

    def instances(self) -> tuple[Dataset, ...]:
        """What names each instance once: its UIDs and those of series and study; in the order of the slices."""
        return tuple(self._named(one) for one in dict.fromkeys(header.sop_instance_uid for header in self.slices))

    def images(self, slice_indices: list[int]) -> list[Dataset]:
        """Some slices as the images highdicom copies a place from, in their order; none of the patient is in them.

        A multi-frame instance becomes one image that has these slices as its only frames; a caller restores their
        numbers.
        """
        chosen = [self.slices[index] for index in slice_indices]
        spacing_mm = self._spacing_mm()
        if not self.is_multiframe:
            return [self._image(header, spacing_mm) for header in chosen]
        image = self._image(chosen[0], spacing_mm)
        image.NumberOfFrames = len(chosen)
        shared, orientation, measures = Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = image.ImageOrientationPatient
        for keyword in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
            setattr(measures, keyword, image[keyword].value)
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        image.SharedFunctionalGroupsSequence = [shared]
        image.PerFrameFunctionalGroupsSequence = [self._frame(header) for header in chosen]
        return [image]

    def describe(self, result: SOPClass) -> None:
        """Copy patient and study, as they stand in the source, into a result."""
        result.copy_patient_and_study_information(self.header)
        if "SpecificCharacterSet" in self.header:
            result.SpecificCharacterSet = self.header.SpecificCharacterSet

    def scanner(self) -> tuple[ContributingEquipment, ...]:
        """What acquired the images, for the Contributing Equipment Sequence; nothing if the source does not say."""
        try:
            return (ContributingEquipment.for_image_acquisition(self.header),)
        except (AttributeError, ValueError, TypeError):  # no manufacturer, or a text beyond its length
            return ()

    def _spacing_mm(self) -> float:
        first, last = self.slices[0], self.slices[-1]
        normal = np.cross(*first.orientation)
        return float(abs((last.position_lps - first.position_lps) @ normal)) / max(1, len(self.slices) - 1)

    def _named(self, sop_instance_uid: str) -> Dataset:
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = self.header.SOPClassUID, sop_instance_uid
        image.StudyInstanceUID, image.SeriesInstanceUID = self.study_uid, self.series_uid
        for keyword in _MAY_BE_EMPTY:
            setattr(image, keyword, "")
        return image

    def _image(self, header: SliceHeader, spacing_mm: float) -> Dataset:
        image = self._named(header.sop_instance_uid)
        image.Modality = "CT"
        image.FrameOfReferenceUID = header.frame_of_reference_uid
        image.PositionReferenceIndicator = self.header.get("PositionReferenceIndicator", "")
        image.Rows, image.Columns = header.rows, header.columns
        image.PixelSpacing = _decimals([header.row_spacing_mm, header.column_spacing_mm])
        image.SliceThickness = _decimals([header.thickness_mm or spacing_mm or 1.0])[0]
        image.SpacingBetweenSlices = _decimals([spacing_mm or header.thickness_mm or 1.0])[0]
        # One orientation for all: they may differ in their last decimals, which highdicom refuses.
        image.ImageOrientationPatient = _decimals(self.slices[0].orientation.ravel().tolist())
        image.ImagePositionPatient = _decimals(header.position_lps.tolist())
        if all(self.header.get(keyword) for keyword in _LOSSY):
            for keyword in _LOSSY:
                setattr(image, keyword, self.header[keyword].value)
        return image

    @staticmethod
    def _frame(header: SliceHeader) -> Dataset:
        item, position = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(header.position_lps.tolist())
        item.PlanePositionSequence = [position]
        return item


def check_source(ct: CTVolume) -> None:
    """Refuse a CT that no DICOM result can be written for; for asking before a long computation.

    Raises
    ------
    OutputError
        If it did not come from DICOM, or from several multi-frame instances.
    """
    if ct.series_uid is None:
        raise OutputError(
            "a CT that did not come from DICOM",
            "a DICOM series, whose patient and study the DICOM results belong to",
            "Diagnose the DICOM files, or leave out --dicom.",
        )
    instances = {instance.sop_instance_uid for instance in ct.instances}
    if len(instances) > 1 and any(instance.frame_number is not None for instance in ct.instances):
        raise OutputError(
            f"series {ct.series_uid} in {len(instances)} multi-frame instances",
            "single-frame instances, or one multi-frame instance",
            "Export the series in one of these forms.",
        )


def read_source(path: Path, ct: CTVolume) -> SourceSeries:
    """Read again the files a CT was made from.

    Parameters
    ----------
    path
        What the CT was read from: a folder, DICOM file, DICOMDIR or zip. It may hold more than before.
    ct
        Says which series and which instances.

    Returns
    -------
    SourceSeries
        Its slices are those of the CT, one for one.

    Raises
    ------
    OutputError
        If the CT did not come from DICOM, the series is not there, has other slices than the CT, has no Frame of
        Reference UID or no Study Instance UID.
    """
    check_source(ct)
    assert ct.series_uid is not None  # noqa: S101 - check_source has seen to it
    remedy = "Give what the CT was read from."
    try:
        with open_series(path, ct.series_uid) as stack:
            slices = stack.slices
            header = _header(slices[0].path)
    except NoCTSeriesError as error:
        raise OutputError(f"{path}: {error.found}", f"series {ct.series_uid}, which was diagnosed", remedy) from error
    there = [(header_.sop_instance_uid, header_.frame_number) for header_ in slices]
    diagnosed = [(instance.sop_instance_uid, instance.frame_number) for instance in ct.instances]
    if there != diagnosed:
        raise OutputError(
            f"{path} holds {len(there)} slices of series {ct.series_uid}",
            f"the same {len(diagnosed)} slices that were diagnosed",
            remedy,
        )
    if slices[0].frame_of_reference_uid is None:
        raise OutputError(
            f"series {ct.series_uid} has no Frame of Reference UID",
            "one, which places the nodules in the patient",
            "Export the series again, from the scanner or the archive it was first stored in.",
        )
    if not _UID.fullmatch(str(header.get("StudyInstanceUID", ""))):
        raise OutputError(f"series {ct.series_uid} has no Study Instance UID", "a study to write to", remedy)
    return SourceSeries(header, slices)


def _header(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values are copied as they are
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for tag in list(header.keys()):
            try:
                header[tag]
            except (ValueError, TypeError, ArithmeticError, NotImplementedError, BytesLengthException):
                del header[tag]
        header.decode()
    if not header.get("SOPClassUID"):
        header.SOPClassUID = uid.CTImageStorage
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _decimals(numbers: list[float]) -> list[DSfloat]:
    """Decimal strings, of 16 characters at most."""
    return [DSfloat(number, auto_format=True) for number in numbers]
