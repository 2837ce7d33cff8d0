"""What makes one regular grid of slices, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

import phantom
from lungsight import read_ct
from lungsight.ct.instance import SliceHeader
from lungsight.ct.slices import stack_slices
from lungsight.errors import CorruptFileError, IrregularSeriesError
from phantom import Body, lopsided_body, setting, write_series
from refusals import refused

sitk: Any = SimpleITK
STEP = lopsided_body().affine[:3, 0]


def moved(distances: dict[int, float], along: tuple[float, float, float] | None = None) -> phantom.Edit:
    """Move slices by so many mm along the normal, or another direction."""
    direction = phantom.unit(STEP) if along is None else np.array(along)

    def edit(dataset: Dataset, index: int) -> None:
        place = np.array(dataset.ImagePositionPatient, float) + distances.get(index, 0.0) * direction
        dataset.ImagePositionPatient = [f"{mm:.6f}" for mm in place]

    return edit


def test_distance_comes_from_positions_not_from_what_is_stated(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body(), edit=setting(SliceThickness="2.5", SpacingBetweenSlices="7"))
    assert read_ct(tmp_path).spacing_zyx_mm == pytest.approx((2.5, 0.9, 0.6))


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_missing_slice(tmp_path: Path, lost: int) -> None:
    paths = write_series(tmp_path, lopsided_body(), shuffle=False)
    paths[lost].unlink()
    before, after = paths[lost - 1].name, paths[lost + 1].name
    found = (
        rf"slices {lost - 1} and {lost} \({before}, {after}\) are 5\.00 mm apart, the others 2\.50 mm, as if 1 slice"
    )
    with refused(IrregularSeriesError, found, "slices 2.50 mm apart within 0.12 mm", "whole series again"):
        read_ct(tmp_path)


def test_several_slices_missing(tmp_path: Path) -> None:
    paths = write_series(tmp_path, lopsided_body((24, 7, 11)), shuffle=False)
    for lost in (2, 3, 7, 11, 15, 19):
        paths[lost].unlink()
    found = (
        "slices 1 and 2 .* 7.50 mm apart; slices 4 and 5 .*; .* and 2 more such places, .* as if 6 slices were missing"
    )
    with refused(IrregularSeriesError, found, "2.50 mm apart", "again"):
        read_ct(tmp_path)


def test_distances_that_drift(tmp_path: Path) -> None:
    """No single distance is odd, yet the last slices lie a millimetre off."""
    drift = {index: 0.002 * index**2 for index in range(24)}
    write_series(tmp_path, lopsided_body((24, 7, 11)), edit=moved(drift))
    with refused(IrregularSeriesError, "are 2.59 mm apart, the others 2.55 mm", "within 0.13 mm", "again"):
        read_ct(tmp_path)


def test_rounded_positions_are_no_gap(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body(), edit=moved({1: 0.05, 3: -0.05}))
    ct = read_ct(tmp_path)
    assert ct.spacing_zyx_mm[0] == pytest.approx(2.5, abs=1e-6)
    assert ct.warnings == ()


def test_slice_beside_the_others(tmp_path: Path) -> None:
    paths = write_series(tmp_path, lopsided_body(), edit=moved({2: 3.0}, tuple(lopsided_body().row_direction)))
    found = rf"{paths[2].name} \(slice 2\) lies 3.00 mm beside the line"
    with refused(IrregularSeriesError, found, "one straight line within 0.12 mm", "again"):
        read_ct(tmp_path)


def test_tilted_gantry_is_a_sheared_grid_and_told(tmp_path: Path) -> None:
    body = lopsided_body()
    affine = body.affine.copy()
    affine[:3, 0] += body.column_direction * 2.5 * np.tan(np.radians(12))
    paths = write_series(tmp_path, Body(body.hu, affine))
    ct = read_ct(tmp_path)
    np.testing.assert_allclose(ct.affine, affine, atol=1e-6)
    assert ct.spacing_zyx_mm == pytest.approx((2.5, 0.9, 0.6))
    assert "tilted by 12.0 degrees" in ct.warnings[0]
    for index, path in enumerate(paths):  # each slice on its own is straight: SimpleITK can judge where it lies
        expected = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((8, 5, 0))
        np.testing.assert_allclose(ct.to_lps((index, 5, 8)), expected, atol=1e-4)


def test_more_tilt_than_a_gantry_has(tmp_path: Path) -> None:
    body = lopsided_body()
    affine = body.affine.copy()
    affine[:3, 0] += body.row_direction * 2.5
    write_series(tmp_path, Body(body.hu, affine))
    with refused(IrregularSeriesError, "sideways by 45.0 degrees", "at most 35 degrees", "again"):
        read_ct(tmp_path)


def test_copy_of_a_slice_is_left_out(tmp_path: Path) -> None:
    body = lopsided_body()
    paths = write_series(tmp_path, body)
    (tmp_path / "zz copy.dcm").write_bytes(paths[3].read_bytes())
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    assert ct.warnings == ("1 copy of a slice left out: zz copy.dcm.",)


def test_one_identity_for_two_images(tmp_path: Path) -> None:
    paths = write_series(tmp_path, lopsided_body())
    other = pydicom.dcmread(paths[3])
    other.PixelData = other.PixelData[::-1]
    other.save_as(tmp_path / "zz.dcm")
    found = rf"{paths[3].name} and zz.dcm have one SOP Instance UID, {other.SOPInstanceUID}, and differ"
    with refused(IrregularSeriesError, found, "one image for each", "Remove the wrong one"):
        read_ct(tmp_path)


def test_two_slices_at_one_place(tmp_path: Path) -> None:
    paths = write_series(tmp_path, lopsided_body(), edit=moved({3: -2.5}))
    found = rf"1 pair of slices at one place, first ({paths[2].name} and {paths[3].name}) at -?\d+\.\d\d mm"
    with refused(IrregularSeriesError, found, "one slice at each place", "one reconstruction or time point"):
        read_ct(tmp_path)


def second_acquisition(folder: Path, body: Body, slices: tuple[int, ...]) -> None:
    """More files of the same series, at the places of some of its slices."""

    def edit(dataset: Dataset, index: int) -> None:
        dataset.AcquisitionNumber = 2
        dataset.SOPInstanceUID = phantom.instance_uid("second", index)

    for path in write_series(folder / "second", body, edit=edit, shuffle=False):
        if int(path.stem.removeprefix("IM")) not in slices:
            path.unlink()


def test_larger_acquisition_that_spans_the_other(tmp_path: Path) -> None:
    body = lopsided_body()
    write_series(tmp_path, body)
    second_acquisition(tmp_path, Body(body.hu + np.int16(5), body.affine), (1, 2))
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    assert "number 1 (5 slices) was read, not 2 (2)" in ct.warnings[0]


def test_two_equal_acquisitions_are_not_guessed_between(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body())
    second_acquisition(tmp_path, lopsided_body(), (0, 1, 2, 3, 4))
    with refused(IrregularSeriesError, "5 pairs of slices at one place", "one slice", "time point"):
        read_ct(tmp_path)


def test_smaller_acquisition_that_reaches_farther_is_not_dropped(tmp_path: Path) -> None:
    body = lopsided_body((8, 7, 11))
    for path in write_series(tmp_path, body, shuffle=False)[6:]:
        path.unlink()
    second_acquisition(tmp_path, body, (5, 6, 7))
    with refused(IrregularSeriesError, "1 pair of slices at one place", "one slice", "time point"):
        read_ct(tmp_path)


def test_two_acquisitions_that_continue_each_other_are_one(tmp_path: Path) -> None:
    body = lopsided_body()
    write_series(tmp_path, body, edit=setting(AcquisitionNumber=2, only=(3, 4)))
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    assert ct.warnings == ()


TURNED = [f"{cosine:.6f}" for cosine in [*lopsided_body().column_direction, *-lopsided_body().row_direction]]


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ({"ImageOrientationPatient": TURNED}, r"more than one Image Orientation: \[.*\] in .*, \[.*\] in"),
        (
            {"PixelSpacing": ["0.9", "0.7"]},
            r"more than one Pixel Spacing in mm: \(0.9, 0.6\) in .*, \(0.9, 0.7\) in IM",
        ),
        ({"FrameOfReferenceUID": "1.2.3"}, "more than one frame of reference: .*, 1.2.3 in IM"),
        ({"Rows": 11, "Columns": 7}, "more than one Rows x Columns: 7 x 11 in IM.*, 11 x 7 in IM"),
    ],
)
def test_mixtures(tmp_path: Path, attributes: dict[str, object], found: str) -> None:
    write_series(tmp_path, lopsided_body(), edit=setting(only=(4,), **attributes), shuffle=False)
    with refused(IrregularSeriesError, found, "one for the whole series", "folder of their own"):
        read_ct(tmp_path)


def test_single_slice_without_thickness(tmp_path: Path) -> None:
    path = write_series(tmp_path, lopsided_body(), edit=setting(SliceThickness=None))[2]
    with refused(IrregularSeriesError, f"{path.name} is the only slice", "two slices or more", "again"):
        read_ct(path)


def test_single_slice_with_its_spacing(tmp_path: Path) -> None:
    path = write_series(tmp_path, lopsided_body(), edit=setting(SpacingBetweenSlices="-1.25"))[2]
    ct = read_ct(path)
    assert ct.spacing_zyx_mm[0] == pytest.approx(1.25)
    assert "1.25 mm thick (Spacing Between Slices)" in ct.warnings[0]


def test_tissue_between_slices_is_told(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body(), edit=setting(SliceThickness="1"))
    assert read_ct(tmp_path).warnings == (
        "The slices are 2.50 mm apart and 1.00 mm thick: what lies between them was not imaged.",
    )


REQUIRED = {
    "ImagePositionPatient": "Image Position",
    "ImageOrientationPatient": "Image Orientation",
    "PixelSpacing": "Pixel Spacing",
    "RescaleSlope": "Rescale Slope",
    "RescaleIntercept": "Rescale Intercept",
    "SOPInstanceUID": "SOP Instance UID",
    "Rows": "Rows 0",
    "Columns": "Columns 0",
}


@pytest.mark.parametrize("keyword", REQUIRED)
def test_missing_attribute(tmp_path: Path, keyword: str) -> None:
    path = write_series(tmp_path, lopsided_body())[1]
    dataset = pydicom.dcmread(path)
    delattr(dataset, keyword)
    dataset.save_as(path)
    with refused(CorruptFileError, f"{path.name} has .*{REQUIRED[keyword]}", ".", "Export or send the series again"):
        read_ct(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "found", "expected"),
    [
        ({"PixelSpacing": ["0.9"]}, "Pixel Spacing 0.9", "2 finite numbers"),
        ({"PixelSpacing": ["0.9", "0"]}, "column spacing 0", "more than 0"),
        ({"RescaleSlope": "0"}, "Rescale Slope 0", "more than 0"),
        ({"ImageOrientationPatient": list("100100")}, r"\[1.0, 0.0, 0.0, 1.0, 0.0, 0.0\]", "right angle"),
        ({"NumberOfFrames": 3}, "3 frames and no Per-frame", "the place of each"),
    ],
)
def test_attribute_that_makes_no_sense(
    tmp_path: Path, attributes: dict[str, object], found: str, expected: str
) -> None:
    path = write_series(tmp_path, lopsided_body(), edit=setting(only=(1,), **attributes))[1]
    with refused(CorruptFileError, f"{path.name} has.*{found}", expected, "Export or send the series again"):
        read_ct(tmp_path)


def header(place: int, position_lps: np.ndarray[tuple[int], np.dtype[np.float64]]) -> SliceHeader:
    return SliceHeader(
        path=Path("x"),
        file_name=f"{place}",
        sop_instance_uid=f"{place}",
        instance_number=None,
        frame_number=None,
        acquisition_number=None,
        frame_of_reference_uid=None,
        transfer_syntax_uid="",
        rows=7,
        columns=11,
        position_lps=position_lps,
        orientation=np.array([lopsided_body().row_direction, lopsided_body().column_direction]),
        row_spacing_mm=0.9,
        column_spacing_mm=0.6,
        slope=1.0,
        intercept=0.0,
        thickness_mm=None,
        stated_spacing_mm=None,
    )


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(range(9)),
    spacing_mm=st.floats(0.3, 12),
    origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
)
def test_any_order_and_place(order: list[int], spacing_mm: float, origin: tuple[float, float, float]) -> None:
    normal = phantom.unit(STEP)
    stack = stack_slices([header(place, np.array(origin) + place * spacing_mm * normal) for place in order])
    assert [one.file_name for one in stack.slices] == [f"{place}" for place in range(9)]
    np.testing.assert_allclose(stack.affine[:3, 3], origin)
    np.testing.assert_allclose(stack.affine[:3, 0], spacing_mm * normal, atol=1e-9)
    assert stack.slice_spacing_mm == pytest.approx(spacing_mm)


@settings(max_examples=40, deadline=None)
@given(lost=st.sets(st.integers(1, 18), min_size=1, max_size=12), spacing_mm=st.floats(0.3, 12))
def test_no_gap_is_overlooked(lost: set[int], spacing_mm: float) -> None:
    """Whichever inner slices are lost, as long as those left do not happen to be regular again."""
    kept = [place for place in range(20) if place not in lost]
    slices = [header(place, place * spacing_mm * phantom.unit(STEP)) for place in kept]
    if len(set(np.diff(kept).tolist())) == 1:
        assert stack_slices(slices).slice_spacing_mm > spacing_mm
        return
    with pytest.raises(IrregularSeriesError):
        stack_slices(slices)
