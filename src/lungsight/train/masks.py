"""Masks laid on their CT: DICOM images of the same size, or one NIfTI file. What is not 0 is region of interest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lungsight.ct.attributes import first_value, integer, numbers, open_dataset
from lungsight.ct.files import find_files
from lungsight.ct.nifti import NIFTI_SUFFIXES, read_nifti
from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError
from lungsight.findings import Region
from lungsight.train.patient import TrueNodule

__all__ = ["nodules_of_mask", "read_mask"]

POSITION_TOLERANCE_MM = 0.1
"""How far a mask may lie from its slice: positions are sometimes written with one decimal."""

_REMEDY = "Export the masks again, one image for each slice of the CT and of its size."

# What pydicom and the decoders behind it raise at broken or missing pixels.
_DECODING_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError, OSError)

_TAGS = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "ImagePositionPatient",
    "InstanceNumber",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelRepresentation",
    "PlanarConfiguration",
    "ReferencedImageSequence",
    "Rows",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SourceImageSequence",
)


@dataclass(frozen=True, slots=True, eq=False)
class _MaskImage:
    """One DICOM mask: its pixels, and what may tell its slice (None where the file does not)."""

    name: str
    pixels: NDArray[np.bool_]
    sop_instance_uids: tuple[str, ...]
    position_lps: NDArray[np.float64] | None
    instance_number: int | None


def read_mask(path: Path, ct: CTVolume) -> NDArray[np.bool_]:
    """A mask on the grid of its CT.

    Parameters
    ----------
    path
        A NIfTI file on the CT's grid, or a folder of single-frame DICOM images. These are matched to slices by the
        first of the following that all of them allow:

        1. SOP Instance UID: their own, or the one they refer to (Source or Referenced Image Sequence), is a slice's;
        2. Image Position (Patient): each lies on the first pixel of a slice;
        3. Instance Number: each has the number of a slice;
        4. order: there are as many as slices, and both are ordered by Instance Number.

        Slices without an image hold no region, except by order.
    ct
        The CT.

    Returns
    -------
    ndarray
        Shape of the CT, True where the stored value (of any channel) is not 0.

    Raises
    ------
    InputError
        If the mask has another size or place than the CT, two images are of one slice, or one fits no slice.
    CorruptFileError
        If a file is damaged.
    """
    if path.is_file():
        return _read_nifti_mask(path, ct)
    images = [_read_image(file, file.name) for file in find_files(path)] if path.is_dir() else []
    if not images:
        raise InputError(f"no DICOM image in {path}", "mask images of the CT's slices", _REMEDY)
    mask = np.zeros(ct.shape, np.bool_)
    owners: dict[int, str] = {}
    for image, index in zip(images, _slices_of(images, ct, path), strict=True):
        if image.pixels.shape != ct.shape[1:]:
            rows, columns = image.pixels.shape
            raise InputError(
                f"{path / image.name} has {rows} x {columns} pixels",
                f"{ct.shape[1]} x {ct.shape[2]} (rows x columns) as its CT",
                _REMEDY,
            )
        if index in owners:
            raise InputError(
                f"{owners[index]} and {image.name} in {path} are both masks of slice {index}",
                "one mask for each slice",
                "Remove the wrong one.",
            )
        owners[index] = image.name
        mask[index] = image.pixels
    return mask


def nodules_of_mask(mask: NDArray[np.bool_], ct: CTVolume) -> tuple[TrueNodule, ...]:
    """The connected regions of a mask (voxels that share a corner belong together), by first voxel; empty if it is.

    Parameters
    ----------
    mask
        Shape of the CT.
    ct
        The CT.

    Returns
    -------
    tuple
        The centre is the region's centroid; the diameter its greatest extent in one slice, from edge to edge: between
        voxel centres, and one pixel more.
    """
    labels: NDArray[Any] = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    found = []
    for label in range(1, int(labels.max(initial=0)) + 1):
        box = tuple(slice(int(side.start), int(side.stop)) for side in boxes[label])
        inside = labels[box] == label
        start = np.array([side.start for side in box])
        x, y, z = ct.to_lps(np.argwhere(inside).mean(0) + start).tolist()
        z0, y0, x0 = start.tolist()
        found.append(TrueNodule((x, y, z), _greatest_extent_mm(inside, ct), Region((z0, y0, x0), inside)))
    return tuple(found)


def _greatest_extent_mm(inside: NDArray[np.bool_], ct: CTVolume) -> float:
    _, row_spacing_mm, column_spacing_mm = ct.spacing_zyx_mm
    greatest = 0.0
    for layer in inside:
        rows = np.flatnonzero(layer.any(1))
        # The two ends of a greatest extent are the first or last pixel of their rows.
        ends = np.concatenate([layer[rows].argmax(1), layer.shape[1] - 1 - layer[rows, ::-1].argmax(1)])
        points = np.stack([np.tile(rows, 2) * row_spacing_mm, ends * column_spacing_mm], 1)
        between = np.linalg.norm(points[:, None] - points, axis=-1)
        greatest = max(greatest, float(between.max(initial=0.0)))
    return greatest + (row_spacing_mm + column_spacing_mm) / 2


def _read_nifti_mask(path: Path, ct: CTVolume) -> NDArray[np.bool_]:
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise InputError(f"{path}, which is no NIfTI file", "a .nii or .nii.gz file, or a folder of DICOM", _REMEDY)
    mask = read_nifti(path)
    if mask.shape != ct.shape:
        raise InputError(
            f"{path} has {' x '.join(map(str, mask.shape))} voxels",
            f"{' x '.join(map(str, ct.shape))} (slices x rows x columns) as its CT",
            "Resample the mask to the CT's grid.",
        )
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in ct.shape])).reshape(3, -1).T
    apart_mm = float(np.linalg.norm(mask.to_lps(corners) - ct.to_lps(corners), axis=1).max())
    if apart_mm > POSITION_TOLERANCE_MM:
        raise InputError(
            f"a corner of {path} lies {apart_mm:.2f} mm from that of its CT",
            f"the CT's grid within {POSITION_TOLERANCE_MM:g} mm",
            "Resample the mask to the CT's grid.",
        )
    return np.asarray(mask.hu != 0)


def _read_image(path: Path, name: str) -> _MaskImage:
    with warnings.catch_warnings():  # pydicom warns of every odd value; those that matter are checked
        warnings.simplefilter("ignore")
        dataset, _ = open_dataset(path, name, _TAGS, pixels=True)
        if (integer([dataset], "NumberOfFrames") or 1) != 1:
            raise InputError(f"{path} holds {dataset.NumberOfFrames} frames", "one image for each slice", _REMEDY)
        try:
            pixels = dataset.pixel_array != 0
        except _DECODING_ERRORS as error:
            raise CorruptFileError(f"the pixels of {path} cannot be read: {error}", "a whole image", _REMEDY) from error
        placed = first_value([dataset], "ImagePositionPatient") is not None
        return _MaskImage(
            name=name,
            pixels=pixels if pixels.ndim == 2 else pixels.any(-1),
            sop_instance_uids=_source_uids(dataset),
            position_lps=numbers([dataset], "ImagePositionPatient", 3, name) if placed else None,
            instance_number=integer([dataset], "InstanceNumber"),
        )


def _source_uids(dataset: Dataset) -> tuple[str, ...]:
    referred = [
        str(item.get("ReferencedSOPInstanceUID") or "")
        for sequence in ("SourceImageSequence", "ReferencedImageSequence")
        for item in dataset.get(sequence) or ()
    ]
    return (*referred, str(dataset.get("SOPInstanceUID") or ""))


def _slices_of(images: Sequence[_MaskImage], ct: CTVolume, path: Path) -> list[int]:
    """The slice of each mask, by the first rule that holds for all of them."""
    lacking = []
    for told, rule in (
        ("SOP Instance UID", _by_uid(ct)),
        ("Image Position", _by_position(ct)),
        ("Instance Number", _by_number(ct)),
    ):
        slices = [rule(image) for image in images]
        known = [index for index in slices if index is not None]
        if len(known) == len(images):
            return known
        lacking.append(f"{len(images) - len(known)} by {told}, first {images[slices.index(None)].name}")
    ordered = _by_order(images, ct)
    if ordered is not None:
        return ordered
    raise InputError(
        f"{len(images)} masks in {path} for {len(ct.hu)} slices, not all of which fit a slice ({'; '.join(lacking)})",
        "masks that name their slices by UID, position or Instance Number, or one for each slice",
        _REMEDY,
    )


def _by_uid(ct: CTVolume) -> Callable[[_MaskImage], int | None]:
    slices = {s.sop_instance_uid: index for index, s in enumerate(ct.instances) if s.frame_number is None}
    return lambda image: next((slices[uid] for uid in image.sop_instance_uids if uid in slices), None)


def _by_position(ct: CTVolume) -> Callable[[_MaskImage], int | None]:
    firsts = ct.to_lps(np.insert(np.zeros((len(ct.hu), 2)), 0, np.arange(len(ct.hu)), axis=1))

    def rule(image: _MaskImage) -> int | None:
        if image.position_lps is None:
            return None
        apart_mm = np.linalg.norm(firsts - image.position_lps, axis=1)
        return int(apart_mm.argmin()) if apart_mm.min() <= POSITION_TOLERANCE_MM else None

    return rule


def _by_number(ct: CTVolume) -> Callable[[_MaskImage], int | None]:
    slices: dict[Any, int] = {s.instance_number: index for index, s in enumerate(ct.instances)}
    slices = slices if len(slices) == len(ct.instances) else {}
    return lambda image: None if image.instance_number is None else slices.get(image.instance_number)


def _by_order(images: Sequence[_MaskImage], ct: CTVolume) -> list[int] | None:
    ours = [image.instance_number for image in images]
    theirs = [instance.instance_number for instance in ct.instances]
    if len(ours) != len(theirs) or None in ours or None in theirs or len({*ours}) < len(ours):
        return None
    slices = np.empty(len(ours), int)
    slices[np.argsort(np.array(ours, int))] = np.argsort(np.array(theirs, int))
    found: list[int] = slices.tolist()
    return found
