"""The day a series was acquired, from the attribute that is believed first."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lungsight.ct.acquired import read_acquisition_date
from phantom import lopsided_body, series_uid, setting, write_series


@pytest.mark.parametrize(
    ("attributes", "day"),
    [
        ({"AcquisitionDate": "20240229", "SeriesDate": "20250101"}, date(2024, 2, 29)),
        ({"AcquisitionDate": "", "SeriesDate": "20250101"}, date(2025, 1, 1)),
        ({"AcquisitionDate": "20241399"}, date(2026, 1, 1)),  # no such month; the study's date is the phantom's
        ({"StudyDate": ""}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_the_first_readable_date_is_taken(attributes: dict[str, Any], day: date | None, tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body(), edit=setting(**attributes))
    assert read_acquisition_date(tmp_path, series_uid()) == day


def test_without_dicom_there_is_no_date(tmp_path: Path) -> None:
    assert read_acquisition_date(tmp_path / "ct.nii.gz", None) is None
