"""CT and ROI masks by patient, with a table of labels: the layout of the Asan contest, and of one's own CTs."""

from __future__ import annotations

from pathlib import Path

from lungsight.errors import InputError
from lungsight.train.patient import MaskMarks, PatientTruth
from lungsight.train.tables import read_labels

__all__ = ["CONTEST_LABELS", "read_contest"]

CONTEST_LABELS = "labels.csv"
_CT_NAMES = ("ct", "ct.nii.gz", "ct.nii")
_MASK_NAMES = ("mask", "mask.nii.gz", "mask.nii")
_EXCLUDED_NAMES = ("lesions", "lesions.nii.gz", "lesions.nii")
_REMEDY = "Lay out the files as <root>/<patient>/ct and mask (DICOM) or ct.nii.gz and mask.nii.gz, and labels.csv."


def read_contest(root: Path) -> tuple[PatientTruth, ...]:
    """Patients with a CT and masks of their regions of interest.

    Parameters
    ----------
    root
        Holds ``labels.csv`` (columns ``patient_id,label``; 1 malignant, 0 benign, or empty) and for each patient a
        folder called as the patient, in it either ``ct/`` and ``mask/`` with DICOM images or ``ct.nii.gz`` and
        ``mask.nii.gz`` (or ``.nii``; mixtures are fine). What ``lesions/`` or ``lesions.nii.gz`` beside a mask shows
        counts neither as nodule nor as false: virtual patients have it. How masks are matched to slices tells
        :func:`~lungsight.train.masks.read_mask`.

    Returns
    -------
    tuple
        One for each folder that holds a CT, by name. Without a mask nobody looked for nodules: `marks` is None. A
        patient who is not in the table has no label.

    Raises
    ------
    InputError
        If the table is missing, a patient of the table has no folder or no CT, a folder has a mask and no CT or two
        CTs, or there is no patient.
    CorruptFileError
        If the table is damaged.
    """
    labels = read_labels(root / CONTEST_LABELS, "patient_id", "label")
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        ct_path, mask_path = _only(folder, _CT_NAMES), _only(folder, _MASK_NAMES)
        if ct_path is None:
            if mask_path is not None or folder.name in labels:
                raise InputError(f"{folder} holds no CT", "ct/ with DICOM images, or ct.nii.gz", _REMEDY)
            continue
        marks = None if mask_path is None else MaskMarks(mask_path, _only(folder, _EXCLUDED_NAMES))
        found[folder.name] = PatientTruth(folder.name, ct_path, label=labels.get(folder.name), marks=marks)
    absent = sorted(set(labels) - set(found))
    if absent:
        raise InputError(
            f"{len(absent)} of {len(labels)} patients in {root / CONTEST_LABELS} have no folder, first {absent[0]}",
            "a folder for each patient of the table",
            _REMEDY,
        )
    if not found:
        raise InputError(f"no patient's folder in {root}", "a folder with a CT for each patient", _REMEDY)
    return tuple(found.values())


def _only(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The one of several paths that is there; None if none is."""
    there = [folder / name for name in names if (folder / name).exists()]
    if len(there) > 1:
        raise InputError(f"{folder} holds {' and '.join(path.name for path in there)}", "one of them", _REMEDY)
    return there[0] if there else None
