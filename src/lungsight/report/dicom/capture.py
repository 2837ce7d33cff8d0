"""Pages as DICOM secondary captures, which every viewer shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray

from lungsight.report.dicom.identity import Identity
from lungsight.report.dicom.source import SourceSeries

__all__ = ["make_captures"]


def make_captures(pages: list[NDArray[np.uint8]], source: SourceSeries, identity: Identity) -> tuple[SCImage, ...]:
    """One secondary capture for each page, all in one series.

    Parameters
    ----------
    pages
        Each ``(rows, columns, 3)``, RGB; stored as they are. Empty in, empty out.
    source
        The series they tell of.
    identity
        Of the results.
    """
    return tuple(_capture(page, number, source, identity) for number, page in enumerate(pages, start=1))


def _capture(page: NDArray[np.uint8], number: int, source: SourceSeries, identity: Identity) -> SCImage:
    blank: dict[str, Any] = dict.fromkeys(("patient_id", "patient_name", "patient_birth_date", "patient_sex"), "")
    capture = SCImage(
        pixel_array=page,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        study_instance_uid=source.study_uid,
        series_description="Lungsight pages (research use only)",
        contributing_equipment=[*source.scanner(), identity.device.contribution()],
        **blank,
        **identity.instance("PICTURE", number),
    )
    source.describe(capture)
    # highdicom asks for an orientation, and a page of text has none; it was drawn, not captured.
    capture.PatientOrientation = []
    capture.BodyPartExamined = "CHEST"
    capture.ConversionType = "SYN"
    capture.BurnedInAnnotation = "NO"  # nothing in it identifies the patient
    return capture
