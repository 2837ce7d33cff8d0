"""Which series is a CT, and which of several is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

import phantom
from lungsight import read_ct
from lungsight.ct.read import inspect_series
from lungsight.errors import AmbiguousSeriesError, CorruptFileError, IrregularSeriesError, NoCTSeriesError
from phantom import Body, lopsided_body, series_uid, setting, write_series
from refusals import refused


def chest(slices: int = 41, spacing_mm: float = 2.5) -> Body:
    """Long enough for a chest, small in the plane: 41 slices of 2.5 mm are 102.5 mm."""
    body = lopsided_body((slices, 7, 11))
    return Body(body.hu % np.int16(700) - np.int16(900), phantom.affine_of((spacing_mm, 0.9, 0.6), (-3, -4, -500)))


def upright(body: Body) -> Body:
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    return Body(body.hu, turn @ body.affine)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "MR": ({"Modality": "MR", "SOPClassUID": uid.MRImageStorage}, "MR, not CT"),
    "chest X-ray": ({"Modality": "DX", "SOPClassUID": uid.DigitalXRayImageStorageForPresentation}, "DX, not CT"),
    "old chest X-ray": ({"Modality": "CR", "SOPClassUID": uid.ComputedRadiographyImageStorage}, "CR, not CT"),
    "SEG": ({"Modality": "SEG", "SOPClassUID": uid.SegmentationStorage}, "SEG, not CT"),
    "RTSTRUCT": ({"Modality": "RTSTRUCT", "SOPClassUID": uid.RTStructureSetStorage}, "RTSTRUCT, not CT"),
    "SR": ({"Modality": "SR", "SOPClassUID": uid.EnhancedSRStorage}, "SR, not CT"),
    "screen": ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "Secondary Capture Image Storage, not a CT image"),
    "dose page": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "a colour image, not a CT image"),
    "scout": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
    "electron density": ({"RescaleType": "EDW"}, "in units of EDW, not HU"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_ct_is_passed_over(tmp_path: Path, kind: str) -> None:
    body, (attributes, reason) = lopsided_body(), OTHERS[kind]
    write_series(tmp_path / "ct", body)
    write_series(tmp_path / "other", lopsided_body((6, 7, 11)), series="2", edit=setting(**attributes))
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    assert ct.warnings == ()
    told = {info.uid: info for info in inspect_series(tmp_path).series}[series_uid("2")]
    assert not told.usable
    assert told.reason == reason
    assert told.slices == 6


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_ct_alone(tmp_path: Path, kind: str) -> None:
    attributes, reason = OTHERS[kind]
    write_series(tmp_path, lopsided_body(), edit=setting(**attributes))
    modality = attributes.get("Modality", "CT")
    found = rf"1 series: {series_uid()} \(5 x {modality}: {reason}\)"
    with refused(NoCTSeriesError, found, "a CT series", "patient's chest CT"):
        read_ct(tmp_path)
    with refused(NoCTSeriesError, f"series {series_uid()} is {reason}", "a CT series", "Choose another"):
        read_ct(tmp_path, series_uid())


def test_localizer_in_the_series_itself(tmp_path: Path) -> None:
    body = chest()
    write_series(tmp_path, body)

    def scout(dataset: Dataset, index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.SOPInstanceUID = phantom.instance_uid("scout", index)

    write_series(tmp_path / "scouts", upright(lopsided_body((2, 90, 60))), edit=scout)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    assert ct.warnings == ("2 of the series' files left out: a localizer.",)


@pytest.mark.parametrize(
    ("better", "worse", "worse_attributes"),
    [
        pytest.param(chest(), lopsided_body((39, 7, 11)), {}, id="long enough for a chest"),
        pytest.param(chest(), upright(chest(43)), {}, id="axial"),
        pytest.param(chest(), chest(43), {"BodyPartExamined": "ABDOMEN"}, id="chest rather than abdomen"),
        pytest.param(chest(), chest(43), {"BodyPartExamined": None}, id="chest rather than unsaid"),
        pytest.param(chest(), chest(60, 5), {}, id="thin"),
        pytest.param(chest(), chest(40, 3), {}, id="more slices"),
    ],
)
def test_choice(tmp_path: Path, better: Body, worse: Body, worse_attributes: dict[str, Any]) -> None:
    write_series(tmp_path / "a", worse, series="worse", edit=setting(**worse_attributes))
    write_series(tmp_path / "b", better, series="better")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, better.hu)
    assert ct.warnings[0].startswith(f"Series {series_uid('better')} was read. Of 2 CT series it fits best: axial")
    looked = inspect_series(tmp_path)
    assert looked.chosen is not None
    assert looked.chosen.uid == series_uid("better")
    assert looked.reason in ct.warnings[0]


def test_series_asked_for(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(), series="1")
    write_series(tmp_path / "b", chest(50), series="2")
    ct = read_ct(tmp_path, series_uid("1"))
    assert ct.series_uid == series_uid("1")
    assert len(ct.hu) == 41
    assert ct.warnings == ()
    assert inspect_series(tmp_path, series_uid("1")).reason == "It was asked for."


def test_unknown_series_asked_for(tmp_path: Path) -> None:
    write_series(tmp_path, chest())
    found = rf"no series 1\.2\.3; 1 series: {series_uid()} \(41 x CT\)"
    with refused(NoCTSeriesError, found, "that is there", "Give one of those"):
        read_ct(tmp_path, "1.2.3")


def test_two_that_fit_equally_well(tmp_path: Path) -> None:
    for series in ("1", "2"):
        write_series(tmp_path / series, chest(), series=series)
    write_series(tmp_path / "3", chest(20), series="3")
    one, other = sorted((series_uid("1"), series_uid("2")))
    found = rf"2 CT series with 41 slices each .*: {one} \(series number 2\), {other} \(series number 2\)"
    with refused(AmbiguousSeriesError, found, "one that fits best", "--series UID"):
        read_ct(tmp_path)
    looked = inspect_series(tmp_path)
    assert looked.chosen is None
    assert "2 CT series with 41 slices each" in looked.reason
    assert [info.usable for info in looked.series] == [True, True, True]


def test_broken_series_beside_a_whole_one_is_told(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(43), series="broken", shuffle=False)[20].unlink()
    write_series(tmp_path / "b", chest(), series="whole")
    ct = read_ct(tmp_path)
    assert ct.series_uid == series_uid("whole")
    assert f"Series {series_uid('broken')} cannot be used: slices 19 and 20 " in ct.warnings[1]
    with refused(IrregularSeriesError, "slices 19 and 20", "2.50 mm apart", "again"):
        read_ct(tmp_path, series_uid("broken"))


def test_broken_series_alone_says_what_is_wrong_with_the_larger(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(43), series="1", shuffle=False)[20].unlink()
    write_series(tmp_path / "b", chest(), series="2", shuffle=False)[7].unlink()
    with refused(IrregularSeriesError, "slices 19 and 20", "2.50 mm apart", "again"):
        read_ct(tmp_path)
    assert "slices 19 and 20" in inspect_series(tmp_path).reason


def test_series_without_uid(tmp_path: Path) -> None:
    path = write_series(tmp_path, lopsided_body(), edit=setting(only=(2,), SeriesInstanceUID=None))[2]
    with refused(CorruptFileError, f"{path.name} has no Series Instance UID", "of a series", "again"):
        read_ct(tmp_path)


@pytest.mark.parametrize("attributes", [{"Modality": None}, {"Modality": None, "SOPClassUID": None}])
def test_image_without_modality_is_not_passed_over(tmp_path: Path, attributes: dict[str, None]) -> None:
    path = write_series(tmp_path, lopsided_body())[2]
    dataset = pydicom.dcmread(path)
    for keyword in attributes:
        delattr(dataset, keyword)
    dataset.save_as(path)
    with refused(CorruptFileError, f"{path.name} has no Modality", "a whole CT image", "again"):
        read_ct(tmp_path)


def test_inspection_tells_the_grid(tmp_path: Path) -> None:
    body = lopsided_body()
    write_series(tmp_path, body)
    (info,) = inspect_series(tmp_path).series
    assert info.usable
    assert (info.uid, info.modality, info.series_number, info.body_part) == (series_uid(), "CT", 2, "CHEST")
    assert (info.slices, info.rows, info.columns) == body.hu.shape
    assert (info.slice_spacing_mm, info.row_spacing_mm, info.column_spacing_mm) == pytest.approx((2.5, 0.9, 0.6))
    assert (info.orientation, info.transfer_syntax) == ("oblique axial", "Explicit VR Little Endian")
    assert inspect_series(tmp_path).reason == "It is the only CT that can be used."
