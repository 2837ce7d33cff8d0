from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset

from dicom_results import MASKS, START_ZYX, diagnosis_of, faults, scanned
from lungsight import read_ct, write_seg
from lungsight.ct.volume import CTVolume
from lungsight.errors import OutputError
from phantom import Body, Encoding, lopsided_body, write_enhanced, write_series
from refusals import refused


def marked_indices(number: int) -> NDArray[np.int64]:
    """Voxel indices of a nodule of the tests, slice, row, column."""
    return np.argwhere(MASKS[number - 1]) + START_ZYX[number - 1]


def frames_of(seg: Dataset, number: int) -> list[tuple[Dataset, NDArray[np.uint8]]]:
    groups = seg.PerFrameFunctionalGroupsSequence
    return [
        (group, pixels)
        for group, pixels in zip(groups, seg.pixel_array, strict=True)
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
    ]


def hold_that_it_fits(seg: Dataset, source: Path, ct: CTVolume) -> None:
    """Each frame lies on the image it names, and the images' own pixels under the frames are the nodule's.

    All voxels of the lopsided body differ, so their HU say which they are, whatever lungsight thinks of the geometry.
    """
    images = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, source.iterdir())}
    shared = seg.SharedFunctionalGroupsSequence[0]
    for number in (1, 2):
        found: list[float] = []
        for group, marked in frames_of(seg, number):
            named = group.DerivationImageSequence[0].SourceImageSequence[0]
            image = images[named.ReferencedSOPInstanceUID]
            index = int(named.get("ReferencedFrameNumber", 1)) - 1
            hu = image.pixel_array.reshape(-1, *marked.shape)[index] + -1024.0
            found += hu[marked.astype(bool)].tolist()
            place, orientation, measures = image, image, image
            if "PerFrameFunctionalGroupsSequence" in image:
                place = image.PerFrameFunctionalGroupsSequence[index].PlanePositionSequence[0]
                orientation = image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
                measures = image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            assert group.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(place.ImagePositionPatient)
            turned = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            assert turned == pytest.approx(orientation.ImageOrientationPatient)
            assert shared.PixelMeasuresSequence[0].PixelSpacing == measures.PixelSpacing
        assert sorted(found) == sorted(ct.hu[tuple(marked_indices(number).T)].tolist())
    assert (seg.FrameOfReferenceUID, seg.Rows, seg.Columns) == (image.FrameOfReferenceUID, image.Rows, image.Columns)


def test_each_frame_lies_on_the_image_it_names(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    path = write_seg(diagnosis_of(ct), ct, source, tmp_path / "seg.dcm")
    assert faults(path) == []
    hold_that_it_fits(pydicom.dcmread(path), source, ct)


def test_highdicom_puts_each_voxel_where_the_ct_has_it(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    seg = hd.seg.segread(write_seg(diagnosis_of(ct), ct, source, tmp_path / "seg.dcm"))
    for number in (1, 2):
        volume = seg.get_volume(segment_numbers=[number], combine_segments=False)
        indices = np.argwhere(volume.array[..., 0])
        places = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        expected = ct.to_lps(marked_indices(number))
        assert sorted(np.round(places, 3).tolist()) == sorted(np.round(expected, 3).tolist())


def test_a_series_stored_from_the_other_end_is_no_mirror(tmp_path: Path) -> None:
    body = lopsided_body()
    affine = body.affine.copy()
    affine[:3, 3] = body.affine[:3] @ (len(body.hu) - 1, 0, 0, 1)
    affine[:3, 0] *= -1
    write_series(tmp_path / "ct", Body(body.hu[::-1], affine), shuffle=False)
    ct = read_ct(tmp_path / "ct")
    assert ct.instances[0].instance_number == len(body.hu)
    path = write_seg(diagnosis_of(ct), ct, tmp_path / "ct", tmp_path / "seg.dcm")
    hold_that_it_fits(pydicom.dcmread(path), tmp_path / "ct", ct)


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.RLELossless])
def test_a_compressed_series_will_do(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path / "ct", lopsided_body(), encoding=Encoding(syntax))
    ct = read_ct(tmp_path / "ct")
    path = write_seg(diagnosis_of(ct), ct, tmp_path / "ct", tmp_path / "seg.dcm")
    assert faults(path) == []
    hold_that_it_fits(pydicom.dcmread(path), tmp_path / "ct", ct)


def test_frames_of_an_enhanced_ct_are_named_by_their_own_numbers(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    write_enhanced(tmp_path / "ct" / "all.dcm", lopsided_body(), order=(3, 1, 4, 0, 2))
    ct = read_ct(tmp_path / "ct")
    path = write_seg(diagnosis_of(ct), ct, tmp_path / "ct", tmp_path / "seg.dcm")
    assert faults(path) == []
    hold_that_it_fits(pydicom.dcmread(path), tmp_path / "ct", ct)


def test_a_segment_is_a_nodule(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    seg = hd.seg.segread(write_seg(diagnosis_of(ct), ct, source, tmp_path / "seg.dcm"))
    assert (seg.Modality, seg.SegmentationType, seg.SegmentsOverlap) == ("SEG", "BINARY", "YES")
    assert [(s.segment_number, s.segment_label, s.tracking_id) for s in map(seg.get_segment_description, (1, 2))] == [
        (1, "Nodule 1", "Nodule 1"),
        (2, "Nodule 2", "Nodule 2"),
    ]
    first, second = map(seg.get_segment_description, (1, 2))
    assert first.segmented_property_type.value == "27925004"
    assert first.algorithm_type is hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    assert first.tracking_uid != second.tracking_uid
    # The first was detected and not outlined.
    assert "not outlined" in first.SegmentDescription
    assert "SegmentDescription" not in second
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices) == pytest.approx(
        2.5
    )


def test_a_lone_nodule_is_a_segment_without_overlap(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    path = write_seg(diagnosis_of(ct, 1), ct, source, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    assert (faults(path), seg.SegmentsOverlap, len(seg.SegmentSequence), seg.NumberOfFrames) == ([], "NO", 1, 2)
    assert seg.pixel_array.sum() == MASKS[0].sum()


def test_without_a_nodule_there_is_no_seg(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    with refused(OutputError, "without nodules", "cannot be empty", "SR"):
        write_seg(diagnosis_of(ct, 0), ct, source, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    (tmp_path / "seg.dcm").write_text("precious")
    with refused(OutputError, r"seg\.dcm exists", "does not", "another name"):
        write_seg(diagnosis_of(ct), ct, source, tmp_path / "seg.dcm")
    assert (tmp_path / "seg.dcm").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct", "seg.dcm"]
