"""The Data Science Bowl 2017: a CT and a label for each patient, no marks."""

from __future__ import annotations

from pathlib import Path

from lungsight.errors import InputError
from lungsight.train.patient import PatientTruth
from lungsight.train.tables import read_labels

__all__ = ["DSB2017_LABELS", "find_dsb2017_labels", "find_dsb2017_patients", "read_dsb2017"]

DSB2017_LABELS = "stage1_labels.csv"


def find_dsb2017_labels(root: Path) -> Path | None:
    """The table of labels, in the folder or beside it; None if there is none."""
    return next((path for path in (root / DSB2017_LABELS, root.parent / DSB2017_LABELS) if path.is_file()), None)


def find_dsb2017_patients(root: Path) -> dict[str, Path]:
    """Each patient's folder by the patient's name, in the order of the names; no label is asked for.

    Raises
    ------
    InputError
        If `root` is no folder, or holds none.
    """
    if not root.is_dir():
        found = f"{root}, which is no folder"
        raise InputError(found, "<patient_id>/*.dcm in a folder", "Unpack the contest's archive and name its folder.")
    folders = _patient_folders(root)
    if not folders:
        raise InputError(f"no patient's folder in {root}", "<patient_id>/*.dcm", "Name the folder that holds them.")
    return folders


def read_dsb2017(root: Path) -> tuple[PatientTruth, ...]:
    """The patients of the Data Science Bowl 2017.

    Parameters
    ----------
    root
        Holds ``<patient_id>/*.dcm``; ``stage1_labels.csv`` (columns ``id,cancer``) lies in it or beside it.

    Returns
    -------
    tuple
        One for each folder, by name. The label is 1 if cancer was found within a year of the CT, None for a patient
        who is not in the table (stage 1 kept 198 of them for its test). No nodules are marked.

    Raises
    ------
    InputError
        If the folder or the table is missing or a patient of the table has no folder.
    CorruptFileError
        If the table is damaged.

    Notes
    -----
    *Data Science Bowl 2017*, Kaggle, data description.
    """
    table = find_dsb2017_labels(root)
    if table is None or not root.is_dir():
        raise InputError(
            f"no {DSB2017_LABELS} in {root} or beside it" if root.is_dir() else f"{root}, which is no folder",
            f"<patient_id>/*.dcm and {DSB2017_LABELS} with the columns id,cancer",
            "Unpack the stage 1 archive and put the table of labels into the same folder.",
        )
    labels = read_labels(table, "id", "cancer")
    folders = _patient_folders(root)
    absent = sorted(set(labels) - set(folders))
    if absent:
        raise InputError(
            f"{len(absent)} of {len(labels)} patients in {table} have no folder in {root}, first {absent[0]}",
            "a folder for each patient",
            "Unpack the whole archive, or take the absent patients out of the table.",
        )
    return tuple(PatientTruth(name, folder, label=labels.get(name)) for name, folder in folders.items())


def _patient_folders(root: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")}
