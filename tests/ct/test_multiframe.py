"""Enhanced CT: every slice in one file, its place in functional groups."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import phantom
from lungsight import read_ct
from lungsight.errors import CorruptFileError, IrregularSeriesError
from phantom import Encoding, lopsided_body, write_enhanced, write_series
from refusals import refused

ORDER = (3, 1, 0, 2, 4)


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]
)
def test_frames_are_sorted_by_position(tmp_path: Path, syntax: str) -> None:
    body = lopsided_body((5, 40, 44))
    path = tmp_path / "enhanced"
    write_enhanced(path, body, order=ORDER, encoding=Encoding(syntax, bits_stored=12))
    ct = read_ct(path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    np.testing.assert_allclose(ct.affine, body.affine, atol=1e-8)
    assert [one.frame_number for one in ct.instances] == [3, 2, 4, 1, 5]
    assert {one.sop_instance_uid for one in ct.instances} == {phantom.instance_uid("1", 0)}
    assert ct.warnings == ()


def test_as_highdicom_sees_it(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "x.dcm", lopsided_body(), order=ORDER)
    ct = read_ct(tmp_path / "x.dcm")
    judge = highdicom.imread(tmp_path / "x.dcm").get_volume().flip_spatial(0)
    np.testing.assert_allclose(ct.affine, judge.affine, atol=1e-6)
    np.testing.assert_array_equal(ct.hu, judge.array)


def test_own_slope_of_a_frame(tmp_path: Path) -> None:
    """What a frame says of itself holds before what is said of all."""
    body = lopsided_body()
    path = tmp_path / "x.dcm"
    write_enhanced(path, body)
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    for index, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        own = Dataset()
        own.RescaleSlope, own.RescaleIntercept, own.RescaleType = index + 1, shared.RescaleIntercept, "HU"
        item.PixelValueTransformationSequence = Sequence([own])
    dataset.save_as(path)
    expected = (body.hu.astype(int) + 1024) * np.arange(1, 6)[:, None, None] - 1024
    np.testing.assert_array_equal(read_ct(path).hu, expected)


def test_localizer_frames_are_left_out(tmp_path: Path) -> None:
    body = lopsided_body()
    path = tmp_path / "x.dcm"
    write_enhanced(path, body)
    dataset = pydicom.dcmread(path)
    frame_type = dataset.PerFrameFunctionalGroupsSequence[4].CTImageFrameTypeSequence[0]
    frame_type.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    dataset.save_as(path)
    np.testing.assert_array_equal(read_ct(path).hu, body.hu[:4])


def test_series_in_two_files(tmp_path: Path) -> None:
    """A concatenation: the slices of one series in several multi-frame instances."""
    body = lopsided_body((6, 7, 11))
    write_enhanced(tmp_path / "a.dcm", body, order=(4, 0, 2))
    write_enhanced(tmp_path / "b.dcm", body, order=(5, 3, 1))
    dataset = pydicom.dcmread(tmp_path / "b.dcm")
    dataset.SOPInstanceUID = phantom.instance_uid("b", 0)
    dataset.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, body.hu)


def test_missing_frame(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "x.dcm", lopsided_body((6, 7, 11)), order=(5, 4, 0, 1, 3))
    found = r"slices 1 and 2 \(x.dcm frame 4, x.dcm frame 5\) are 5.00 mm apart"
    with refused(IrregularSeriesError, found, "2.50 mm apart", "again"):
        read_ct(tmp_path)


def test_frames_without_place(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    write_enhanced(path, lopsided_body())
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence.pop()
    dataset.save_as(path)
    with refused(CorruptFileError, "x.dcm places 4 of its 5 frames", "the place of each", "again"):
        read_ct(path)
    del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    dataset.NumberOfFrames = 4
    dataset.save_as(path)
    with refused(CorruptFileError, "x.dcm, frame 3, has no readable Image Position", "3 finite numbers", "again"):
        read_ct(path)


def test_too_few_frames_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    write_enhanced(path, lopsided_body())
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData[:-154]
    dataset.save_as(path)
    with refused(CorruptFileError, "x.dcm has 616 bytes", "770 for 5 x 7 x 11 pixels of 16 bits", "again"):
        read_ct(path)


def test_units_that_are_no_hu_in_a_functional_group(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body())
    path = tmp_path / "x.dcm"
    write_enhanced(path, lopsided_body((60, 7, 11)), series="2")
    dataset = pydicom.dcmread(path)
    dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType = "Z_EFF"
    dataset.save_as(path)
    assert read_ct(tmp_path).shape == (5, 7, 11)
