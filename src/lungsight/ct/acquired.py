"""When a series was acquired: the only date that is ever read, and only to tell how fast a nodule grew."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from lungsight.ct.attributes import first_value, open_dataset
from lungsight.ct.read import open_series

__all__ = ["read_acquisition_date"]

_DATES = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
"""In the order in which they are believed (PS3.3, C.7.6.1 and C.7.3.1)."""


def read_acquisition_date(path: str | Path, series_uid: str | None) -> date | None:
    """The day on which a series was acquired.

    Parameters
    ----------
    path
        As for :func:`~lungsight.ct.read.read_ct`.
    series_uid
        Of the CT that was read; None if it did not come from DICOM.

    Returns
    -------
    date or None
        None without DICOM, or if the file has no readable date.

    Raises
    ------
    InputError
        As :func:`~lungsight.ct.read.read_ct`.
    """
    if series_uid is None:
        return None
    with open_series(path, series_uid) as stack:
        first = stack.slices[0]
        dataset, _ = open_dataset(first.path, first.file_name, _DATES, pixels=False)
    for keyword in _DATES:
        text = str(first_value([dataset], keyword) or "")
        try:
            return datetime.strptime(text[:8], "%Y%m%d").date()
        except ValueError:
            continue
    return None
