"""Bodies whose every voxel is known, and the DICOM files of a scanner that saw them.

``lopsided_body()`` has no symmetry: every swap, flip or transpose of its axes shows. ``thorax()`` has what the search
for a nodule needs. ``write_series(folder, body)`` writes single-frame CT files, ``write_enhanced(path, body)`` a
multi-frame one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence

PATIENT_NAME = "Lovelace^Ada"
"""The name in every file: no result may hold it."""

Edit = Callable[[Dataset, int], None]


@dataclass(frozen=True)
class Body:
    """HU of shape (slices, rows, columns), and the matrix from (slice, row, column, 1) to LPS mm."""

    hu: NDArray[np.int16]
    affine: NDArray[np.float64]

    @property
    def row_direction(self) -> NDArray[np.float64]:
        """The way a row runs: from column to column."""
        return unit(self.affine[:3, 2])

    @property
    def column_direction(self) -> NDArray[np.float64]:
        """The way a column runs: from row to row."""
        return unit(self.affine[:3, 1])

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Length of the steps from slice to slice, row to row and column to column."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return z, y, x


@dataclass(frozen=True)
class Sphere:
    """A nodule."""

    centre_lps_mm: tuple[float, float, float] = (-75.0, 12.0, -40.0)
    diameter_mm: float = 20.0
    hu: int = 30


@dataclass(frozen=True)
class Encoding:
    """How a scanner writes HU: stored value = (HU - intercept) / slope."""

    syntax: str = uid.ExplicitVRLittleEndian
    slope: float = 1
    intercept: float = -1024
    bits_allocated: int = 16
    bits_stored: int = 16
    signed: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits_allocated // 8}")


PLAIN = Encoding()


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    direction: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return direction


def turned(degrees_x: float, degrees_z: float) -> NDArray[np.float64]:
    """The rotation by `degrees_x` about x and then `degrees_z` about z, shape (3, 3)."""
    a, b = np.radians([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    both: NDArray[np.float64] = about_z @ about_x
    return both


def affine_of(
    spacing_zyx_mm: tuple[float, float, float],
    origin_lps_mm: tuple[float, float, float],
    rotation: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Slices, rows and columns along z, y and x, scaled, turned and moved."""
    z_mm, y_mm, x_mm = spacing_zyx_mm
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, x_mm], [0, y_mm, 0], [z_mm, 0, 0]], float)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ affine[:3, :3]
    affine[:3, 3] = origin_lps_mm
    return affine


def lopsided_body(shape: tuple[int, int, int] = (5, 7, 11)) -> Body:
    """5 x 7 x 11 voxels of 2.5 x 0.9 x 0.6 mm, oblique by 20 and 7 degrees, far from the origin; no two alike."""
    slices, rows, columns = np.indices(shape)
    hu = -900 + 97 * slices + 13 * rows + columns + 400 * ((slices > 2) & (rows > 3) & (columns < 4))
    return Body(hu.astype(np.int16), affine_of((2.5, 0.9, 0.6), (-183.4, 71.6, -1204.9), turned(20, 7)))


def thorax(
    nodules: tuple[Sphere, ...] = (Sphere(),),
    shape: tuple[int, int, int] = (80, 256, 256),
    spacing_zyx_mm: tuple[float, float, float] = (2.5, 1.4, 1.4),
    noise_hu: float = 12.0,
    seed: int = 7,
) -> Body:
    """A chest around LPS (0, 0, 0): body, table, two unequal lungs, trachea, spine, nodules; noise on top.

    The right lung is at negative x (LPS). A default nodule lies inside it.
    """
    z_mm, y_mm, x_mm = (
        (np.arange(size) - (size - 1) / 2) * step for size, step in zip(shape, spacing_zyx_mm, strict=True)
    )
    z, y, x = np.meshgrid(z_mm, y_mm, x_mm, indexing="ij", sparse=True)

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = sum(
            ((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, radii, strict=True)
        ) <= np.float64(1)
        return inside

    hu = np.full(shape, -1000.0)
    hu[np.broadcast_to((np.abs(x) < 150) & (y > 122) & (y < 134), shape)] = -200  # table
    hu[np.broadcast_to((x / 160) ** 2 + (y / 115) ** 2 <= 1, shape)] = 40
    hu[ellipsoid((-72, 0, -5), (55, 80, 85))] = -860  # right lung
    hu[ellipsoid((75, 5, 0), (48, 76, 80))] = -850  # left lung
    hu[np.broadcast_to(x**2 + (y + 10) ** 2 <= 81, shape) & np.broadcast_to(z > 10, shape)] = -1000  # trachea
    hu[np.broadcast_to(x**2 + (y - 85) ** 2 <= 324, shape)] = 300  # spine
    for nodule in nodules:
        centre_x, centre_y, centre_z = nodule.centre_lps_mm
        distance_mm = np.sqrt((x - centre_x) ** 2 + (y - centre_y) ** 2 + (z - centre_z) ** 2)
        share = np.clip(nodule.diameter_mm / 2 - distance_mm + 0.5, 0, 1)  # its edge is a millimetre soft
        hu = hu * (1 - share) + nodule.hu * share
    hu += np.random.default_rng(seed).normal(0, noise_hu, shape)
    origin_x, origin_y, origin_z = float(x_mm[0]), float(y_mm[0]), float(z_mm[0])
    return Body(
        np.clip(np.rint(hu), -1024, 3071).astype(np.int16), affine_of(spacing_zyx_mm, (origin_x, origin_y, origin_z))
    )


def setting(*, only: tuple[int, ...] | None = None, **attributes: Any) -> Edit:
    """An edit that sets attributes (None: deletes them) in every slice, or in some."""

    def edit(dataset: Dataset, index: int) -> None:
        if only is not None and index not in only:
            return
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return edit


def instance_uid(series: str, index: int) -> str:
    """SOP Instance UID of slice `index`; `series` is any word."""
    return str(uid.generate_uid(entropy_srcs=["instance", series, str(index)]))


def series_uid(series: str = "1") -> str:
    return str(uid.generate_uid(entropy_srcs=["series", series]))


def write_series(
    folder: Path,
    body: Body,
    *,
    series: str = "1",
    encoding: Encoding = PLAIN,
    edit: Edit | None = None,
    shuffle: bool = True,
) -> tuple[Path, ...]:
    """Write one file for each slice, and return their paths in the order of the slices.

    File names and instance numbers do not follow the slices if `shuffle` is set. `edit` may change a slice's data set
    before it is encoded: ``edit(dataset, slice_index)``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(len(body.hu))
    if shuffle:
        numbers = np.random.default_rng(3).permutation(numbers)
    paths = []
    for index, number in enumerate(numbers.tolist()):
        dataset = slice_dataset(body, index, series, encoding)
        dataset.InstanceNumber = number + 1
        if edit is not None:
            edit(dataset, index)
        path = folder / f"IM{number:04d}.dcm"
        save(dataset, path, encoding)
        paths.append(path)
    return tuple(paths)


def write_enhanced(
    path: Path, body: Body, *, series: str = "1", encoding: Encoding = PLAIN, order: tuple[int, ...] | None = None
) -> None:
    """Write one enhanced multi-frame file; `order` gives the slice that each frame holds."""
    order = tuple(range(len(body.hu))) if order is None else order
    dataset = _common(body, series, encoding)
    dataset.SOPClassUID = uid.EnhancedCTImageStorage
    dataset.SOPInstanceUID = instance_uid(series, 0)
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(order)
    shared, measures, orientation, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(map(_decimal, body.spacing_zyx_mm[1:]))
    measures.SliceThickness = _decimal(body.spacing_zyx_mm[0])
    orientation.ImageOrientationPatient = list(map(_decimal, [*body.row_direction, *body.column_direction]))
    rescale.RescaleSlope, rescale.RescaleIntercept = _decimal(encoding.slope), _decimal(encoding.intercept)
    rescale.RescaleType = "HU"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([rescale])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([_frame(body, index) for index in order])
    dataset.PixelData = _stored(body.hu[list(order)], encoding)
    save(dataset, path, encoding)


def slice_dataset(body: Body, index: int, series: str = "1", encoding: Encoding = PLAIN) -> Dataset:
    """One slice as a CT image, not yet encoded."""
    dataset = _common(body, series, encoding)
    dataset.SOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = instance_uid(series, index)
    dataset.InstanceNumber = index + 1
    dataset.AcquisitionNumber = 1
    dataset.PixelSpacing = list(map(_decimal, body.spacing_zyx_mm[1:]))
    dataset.SliceThickness = 9.9  # wrong on purpose: the distance is that of the positions
    dataset.ImageOrientationPatient = list(map(_decimal, [*body.row_direction, *body.column_direction]))
    dataset.ImagePositionPatient = _position(body, index)
    dataset.RescaleSlope, dataset.RescaleIntercept = _decimal(encoding.slope), _decimal(encoding.intercept)
    dataset.RescaleType = "HU"
    dataset.PixelData = _stored(body.hu[index], encoding)
    return dataset


def save(dataset: Dataset, path: Path, encoding: Encoding = PLAIN) -> None:
    """Encode and write a data set with its file meta information."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = uid.UID(uid.ExplicitVRLittleEndian)
    syntax = uid.UID(encoding.syntax)
    if syntax in (uid.JPEGLosslessSV1, uid.JPEGLossless):
        dataset.save_as(path, enforce_file_format=True)
        _jpeg_lossless(path)
        return
    if syntax in (uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian):
        meta.TransferSyntaxUID = syntax
    elif syntax != uid.ExplicitVRLittleEndian:
        options: dict[str, Any] = {"j2k_cr": [10.0]} if syntax == uid.JPEG2000 else {}
        options |= {"jls_error": 3} if syntax == uid.JPEGLSNearLossless else {}
        dataset.compress(syntax, generate_instance_uid=False, **options)
    dataset.save_as(path, enforce_file_format=True)


def _jpeg_lossless(path: Path) -> None:
    """Encode a file in place as JPEG lossless, which pydicom cannot write and GDCM can."""
    import gdcm  # noqa: PLC0415

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def _common(body: Body, series: str, encoding: Encoding) -> Dataset:
    dataset = FileDataset("", {}, preamble=b"\0" * 128)
    dataset.PatientName, dataset.PatientID = PATIENT_NAME, "1815-12-10"
    dataset.PatientBirthDate, dataset.PatientSex = "18151210", "F"
    dataset.StudyInstanceUID = str(uid.generate_uid(entropy_srcs=["study"]))
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime = "1", "20260101", "120000"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.SeriesInstanceUID = series_uid(series)
    dataset.SeriesNumber = 2
    dataset.FrameOfReferenceUID = str(uid.generate_uid(entropy_srcs=["frame of reference"]))
    dataset.PositionReferenceIndicator = ""
    dataset.Modality, dataset.Manufacturer = "CT", "Phantom"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = "HFS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = body.hu.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = encoding.bits_allocated, encoding.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = encoding.bits_stored - 1, int(encoding.signed)
    return dataset


def _frame(body: Body, index: int) -> Dataset:
    item, position, content, kind = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = _position(body, index)
    content.FrameAcquisitionNumber = 1
    kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    item.PlanePositionSequence = Sequence([position])
    item.FrameContentSequence = Sequence([content])
    item.CTImageFrameTypeSequence = Sequence([kind])
    return item


def _position(body: Body, index: int) -> list[str]:
    return list(map(_decimal, body.affine[:3] @ (index, 0, 0, 1)))


def _decimal(value: float) -> str:
    """A decimal string as DICOM wants it: 16 bytes at most (PS3.5, table 6.2-1)."""
    return f"{value:.15g}" if len(f"{value:.15g}") <= 16 else f"{value:.9f}"[:16]


def _stored(hu: NDArray[np.int16], encoding: Encoding) -> bytes:
    stored: NDArray[Any] = np.rint((hu - encoding.intercept) / encoding.slope).astype(encoding.dtype)
    return bytes(stored.tobytes())
