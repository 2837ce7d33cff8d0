"""CTs that nodules are set into: found in a folder, with their lungs and the lesions that host nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.ct.nifti import NIFTI_SUFFIXES
from lungsight.ct.read import read_ct
from lungsight.ct.upright import turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.errors import InputError
from lungsight.train.donors import is_wanted
from lungsight.train.masks import read_mask
from lungsight.train.paste import Host
from lungsight.train.tables import read_table

__all__ = ["LESION_MARGIN_MM", "HostFiles", "LesionBox", "find_hosts", "load_host", "read_lesions"]

LESION_MARGIN_MM = 5.0
"""Around a lesion's mask: what belongs to it and was not outlined."""

LESION_MASKS = ("tumour", "lesions", "mask")
"""What follows the CT's name, or stands beside ``ct``, in the name of a mask of lesions."""

LesionBox = tuple[slice, slice, slice]
_BOX_COLUMNS = ("z0", "z1", "y0", "y1", "x0", "x1")
_REMEDY = "Lay out the CTs as <patient>_ct.nii.gz, or as <patient>/ct (DICOM) or <patient>/ct.nii.gz."


@dataclass(frozen=True, slots=True)
class HostFiles:
    """A CT and what is known of its lesions, not yet read.

    Attributes
    ----------
    patient_id
        Whose CT.
    ct
        A NIfTI file or a folder of DICOM.
    lesion_masks
        On the CT's grid; what is not 0 is lesion.
    lesion_boxes
        Index ranges of the CT: slices, rows, columns.
    """

    patient_id: str
    ct: Path
    lesion_masks: tuple[Path, ...] = ()
    lesion_boxes: tuple[LesionBox, ...] = ()


def find_hosts(
    root: Path,
    lesions: Mapping[str, Sequence[LesionBox]],
    only: Collection[str] | None = None,
    exclude: Collection[str] = (),
) -> tuple[HostFiles, ...]:
    """The CTs in a folder; none is read.

    Parameters
    ----------
    root
        Holds ``<patient_id>_ct.nii.gz`` (or ``.nii``), beside them ``<patient_id>_tumour`` or ``_lesions`` if there are
        masks of lesions; and folders ``<patient_id>`` with ``ct/`` (DICOM) or ``ct.nii.gz``, and ``mask``.
    lesions
        Further lesions, see :func:`read_lesions`.
    only, exclude
        Patients that may and may not be used.

    Returns
    -------
    tuple
        By patient.

    Raises
    ------
    InputError
        If there is no such CT, or two of one patient.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder", "a folder of chest CTs", _REMEDY)
    found: dict[str, HostFiles] = {}
    for path in sorted(root.iterdir()):
        suffix = _nifti_suffix(path)
        if path.is_dir():
            patient_id, stem, beside = path.name, "", path
            ct = next((c for c in (path / "ct", path / "ct.nii.gz", path / "ct.nii") if c.exists()), None)
        else:
            patient_id, beside = path.name.removesuffix(f"_ct{suffix}"), root
            stem = f"{patient_id}_"
            ct = path if suffix and patient_id != path.name else None
        if ct is None or not is_wanted(patient_id, only, exclude):
            continue
        if patient_id in found:
            raise InputError(f"two CTs of {patient_id}: {found[patient_id].ct} and {ct}", "one", "Take one out.")
        names = [beside / f"{stem}{kind}{ending}" for kind in LESION_MASKS for ending in ("", *NIFTI_SUFFIXES)]
        masks = tuple(name for name in names if name.exists())
        found[patient_id] = HostFiles(patient_id, ct, masks, tuple(lesions.get(patient_id, ())))
    if not found:
        raise InputError(f"no chest CT in {root} that may be used", "at least one", _REMEDY)
    return tuple(found[patient_id] for patient_id in sorted(found))


def read_lesions(paths: Sequence[Path]) -> dict[str, list[LesionBox]]:
    """Boxes of lesions by patient, from tables with the columns ``ct,z0,z1,y0,y1,x0,x1`` (half open voxel indices).

    Raises
    ------
    InputError
        If a table cannot be read.
    CorruptFileError
        If a value is no number.
    """
    boxes = defaultdict(list)
    for path in paths:
        for row in read_table(path, ("ct", *_BOX_COLUMNS)):
            z0, z1, y0, y1, x0, x1 = (int(row.number(column)) for column in _BOX_COLUMNS)
            boxes[row.text("ct")].append((slice(z0, z1), slice(y0, y1), slice(x0, x1)))
    return dict(boxes)


def load_host(files: HostFiles) -> Host:
    """A CT turned upright, with its lungs and lesions.

    Raises
    ------
    InputError
        If the CT or a mask is refused, or no lung is seen in it.
    """
    ct = read_ct(files.ct)
    closed = np.zeros(ct.shape, np.bool_)
    for path in files.lesion_masks:
        closed |= read_mask(path, ct)
    _widen(closed, ct.spacing_zyx_mm)
    for box in files.lesion_boxes:
        closed[box] = True
    turn = turn_upright(ct)
    upright = turn.volume(ct)
    lungs = segment_lungs(upright)
    if not lungs.any():
        raise InputError(f"no lung is seen in {files.ct}", "a chest CT", "Take it out of the hosts.")
    hu = np.ascontiguousarray(np.rint(upright.hu).astype(np.int16))
    return Host(files.patient_id, CTVolume(hu, upright.affine), lungs, np.ascontiguousarray(turn.array(closed)))


def _widen(mask: NDArray[np.bool_], spacing_zyx_mm: tuple[float, float, float]) -> None:
    """Add what is nearer than the margin, in place; only the box round the mask is looked at."""
    if not mask.any():
        return
    tight = ndimage.find_objects(mask.astype(np.int8))[0]
    reach = [int(LESION_MARGIN_MM / mm) + 1 for mm in spacing_zyx_mm]
    box = tuple(slice(max(0, side.start - more), side.stop + more) for side, more in zip(tight, reach, strict=True))
    mask[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing_zyx_mm) <= LESION_MARGIN_MM


def _nifti_suffix(path: Path) -> str:
    return next((suffix for suffix in reversed(NIFTI_SUFFIXES) if path.name.endswith(suffix)), "")
