"""The whole way from files to a volume, judged by SimpleITK, highdicom and pydicom."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

import phantom
from lungsight import read_ct
from lungsight.ct.read import inspect_series
from lungsight.errors import CorruptFileError, InputError, NoCTSeriesError
from phantom import Body, Encoding, lopsided_body, setting, write_series
from refusals import refused

sitk: Any = SimpleITK
CORNERS = [(0, 0, 0), (4, 0, 0), (0, 6, 0), (0, 0, 10), (1, 2, 3)]


def by_simpleitk(folder: Path) -> Any:
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def by_highdicom(paths: tuple[Path, ...]) -> highdicom.Volume:
    """Its slices run against the normal of the images, ours along it."""
    return highdicom.get_volume_from_series([pydicom.dcmread(path) for path in sorted(paths)]).flip_spatial(0)


def placed(body: Body, rotation: Any) -> Body:
    """The body turned about LPS (0, 0, 0)."""
    turn = np.eye(4)
    turn[:3, :3] = rotation
    return Body(body.hu, turn @ body.affine)


TURNS = {
    "oblique": np.eye(3),
    "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "prone": np.diag([-1, -1, 1]),
    "slices to the feet": np.diag([1, -1, -1]),
}


@pytest.mark.parametrize("turn", TURNS)
def test_geometry_as_simpleitk_and_highdicom_see_it(tmp_path: Path, turn: str) -> None:
    body = placed(lopsided_body(), TURNS[turn])
    paths = write_series(tmp_path, body)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    np.testing.assert_allclose(ct.affine, body.affine, atol=1e-8)

    judge = by_highdicom(paths)
    np.testing.assert_allclose(ct.affine, judge.affine, atol=1e-6)
    np.testing.assert_array_equal(ct.hu, judge.array)

    image = by_simpleitk(tmp_path)
    np.testing.assert_array_equal(ct.hu, sitk.GetArrayFromImage(image))
    for z, y, x in CORNERS:
        expected = image.TransformIndexToPhysicalPoint((x, y, z))
        np.testing.assert_allclose(ct.to_lps((z, y, x)), expected, atol=1e-4)


def test_feet_first_changes_nothing(tmp_path: Path) -> None:
    """Positions are the patient's, whichever end went into the scanner first."""

    def feet_first(dataset: Dataset, index: int) -> None:
        dataset.PatientPosition = "FFP"
        dataset.InstanceNumber = 5 - index

    body = lopsided_body()
    write_series(tmp_path, body, edit=feet_first)
    np.testing.assert_allclose(read_ct(tmp_path).affine, body.affine, atol=1e-8)


def test_instances_follow_the_slices(tmp_path: Path) -> None:
    paths = write_series(tmp_path, lopsided_body())
    ct = read_ct(tmp_path)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    assert [one.sop_instance_uid for one in ct.instances] == [header.SOPInstanceUID for header in headers]
    assert [one.instance_number for one in ct.instances] == [header.InstanceNumber for header in headers]
    assert {one.frame_number for one in ct.instances} == {None}
    assert [one.instance_number for one in ct.instances] != sorted(one.instance_number or 0 for one in ct.instances)
    assert ct.series_uid == phantom.series_uid()
    assert ct.warnings == ()


def test_no_name_enters(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body())
    everything = repr(vars(read_ct(tmp_path))) + repr(inspect_series(tmp_path))
    family, given = phantom.PATIENT_NAME.split("^")
    assert family not in everything
    assert given not in everything
    assert "1815" not in everything


LOSSLESS = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
]


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: uid.UID(syntax).keyword)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_lossless_syntaxes(tmp_path: Path, syntax: str, signed: bool) -> None:
    body = lopsided_body((3, 40, 44))  # JPEG 2000 cannot encode fewer than 32 pixels
    encoding = Encoding(syntax, intercept=0 if signed else -1024, bits_stored=13 if signed else 12, signed=signed)
    paths = write_series(tmp_path, body, encoding=encoding)
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID == syntax
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, body.hu)
    assert ct.warnings == ()


def test_jpeg_lossless_process_14(tmp_path: Path) -> None:
    """Selection value 1 is one of the predictors that process 14 allows, so its streams are of both."""
    body = lopsided_body((3, 40, 44))
    for path in write_series(tmp_path, body, encoding=Encoding(uid.JPEGLosslessSV1)):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = uid.JPEGLossless
        dataset.save_as(path)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, body.hu)


@pytest.mark.parametrize(("syntax", "within_hu"), [(uid.JPEGLSNearLossless, 3), (uid.JPEG2000, 100)])
def test_lossy_syntaxes_are_told(tmp_path: Path, syntax: str, within_hu: int) -> None:
    body = lopsided_body((3, 40, 44))
    write_series(tmp_path, body, encoding=Encoding(syntax, bits_stored=12))
    ct = read_ct(tmp_path)
    assert 0 < np.abs(ct.hu.astype(int) - body.hu).max() <= within_hu
    assert "lossy compression" in ct.warnings[0]


def test_lossy_once_is_told_too(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body(), edit=setting(LossyImageCompression="01"))
    assert "lossy compression" in read_ct(tmp_path).warnings[0]


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_without_preamble_and_meta(tmp_path: Path, syntax: str) -> None:
    body = lopsided_body()
    for path in write_series(tmp_path, body, encoding=Encoding(syntax)):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(path, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=True)
        assert b"DICM" not in path.read_bytes()[:200]
    np.testing.assert_array_equal(read_ct(tmp_path).hu, body.hu)


def test_other_files_and_folders_below(tmp_path: Path) -> None:
    body = lopsided_body()
    paths = write_series(tmp_path / "a" / "b", body)
    (tmp_path / "c").mkdir()
    paths[0].rename(tmp_path / "c" / "without suffix")
    (tmp_path / "notes.txt").write_text("Group 8 is not all.")
    (tmp_path / "table.csv").write_bytes(b"")
    (tmp_path / "a" / "b" / "._IM0000.dcm").write_bytes(b"Mac OS X resource fork")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, body.hu)
    np.testing.assert_array_equal(read_ct(str(tmp_path)).hu, body.hu)


def test_one_file_is_one_slice(tmp_path: Path) -> None:
    body = lopsided_body()
    ct = read_ct(write_series(tmp_path, body)[2])
    np.testing.assert_array_equal(ct.hu, body.hu[2:3])
    np.testing.assert_allclose(ct.to_lps((0, 3, 4)), (body.affine @ (2, 3, 4, 1))[:3])
    assert ct.spacing_zyx_mm[0] == pytest.approx(9.9)
    assert "single slice: it is taken as 9.9 mm thick (Slice Thickness)" in ct.warnings[0]


def test_zip(tmp_path: Path) -> None:
    body = phantom.thorax(shape=(3, 64, 64))
    paths = write_series(tmp_path / "files", body)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, f"patient/{path.name}")
        archive.writestr("patient/notes.txt", "nothing")
    ct = read_ct(tmp_path / "scan.zip")
    np.testing.assert_array_equal(ct.hu, body.hu)
    assert len(ct.instances) == 3


def dicomdir(folder: Path, body: Body) -> Path:
    files = FileSet()
    for path in write_series(folder / "source", body):
        files.add(path)
    files.write(folder / "medium")
    files._stage["t"].cleanup()  # pydicom leaves it to the garbage collector
    return folder / "medium" / "DICOMDIR"


def test_dicomdir_and_its_folder(tmp_path: Path) -> None:
    body = lopsided_body()
    path = dicomdir(tmp_path, body)
    write_series(path.parent / "not listed", body, series="2", edit=setting(Modality="MR"))
    np.testing.assert_array_equal(read_ct(path).hu, body.hu)
    np.testing.assert_array_equal(read_ct(path.parent).hu, body.hu)
    assert len(inspect_series(path).series) == 1
    assert len(inspect_series(path.parent).series) == 2


def test_dicomdir_copied_in_small_letters(tmp_path: Path) -> None:
    body = lopsided_body()
    path = dicomdir(tmp_path, body)
    for found in sorted(path.parent.rglob("*"), reverse=True):
        found.rename(found.with_name(found.name.lower()))
    np.testing.assert_array_equal(read_ct(path.with_name("dicomdir")).hu, body.hu)


def test_dicomdir_with_a_file_lost(tmp_path: Path) -> None:
    path = dicomdir(tmp_path, lopsided_body())
    lost = next(found for found in path.parent.rglob("*") if found.is_file() and found != path)
    lost.unlink()
    with refused(InputError, rf"lists 1 files that are not there.*{lost.name}", "all 5 files", "give the folder"):
        read_ct(path)


def test_dicomdir_that_points_outside(tmp_path: Path) -> None:
    path = dicomdir(tmp_path, lopsided_body())
    dataset = pydicom.dcmread(path)
    record = next(record for record in dataset.DirectoryRecordSequence if "ReferencedFileID" in record)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record.ReferencedFileID = ["..", "SECRET"]
        dataset.save_as(path)
    with refused(InputError, r"lists \.\./SECRET", "below its own folder", "Give the folder"):
        read_ct(path)


def test_nothing_there(tmp_path: Path) -> None:
    with refused(InputError, "absent, which does not exist", "a folder, zip or file", "Check the path"):
        read_ct(tmp_path / "absent")


def test_empty_folder(tmp_path: Path) -> None:
    for look in (read_ct, inspect_series):
        with refused(NoCTSeriesError, "no DICOM file in .*, 0 others", "DICOM files of a chest CT", "Give the folder"):
            look(tmp_path)


def test_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "ct.nii.gz").write_bytes(b"\x1f\x8b")
    with refused(NoCTSeriesError, "no DICOM file in .*, 1 others", "DICOM", "NIfTI or MetaImage file has to be named"):
        read_ct(tmp_path)


@pytest.mark.parametrize(("content", "found"), [(b"", "x.dcm is empty"), (b"a b" * 100, r"x.dcm \(300 bytes\) is not")])
def test_file_that_is_not_dicom(tmp_path: Path, content: bytes, found: str) -> None:
    write_series(tmp_path, lopsided_body())
    (tmp_path / "x.dcm").write_bytes(content)
    for path in (tmp_path, tmp_path / "x.dcm"):
        with refused(CorruptFileError, found, "a DICOM file", "Copy or export it again"):
            read_ct(path)


def test_series_uid_for_a_file_that_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"")
    with refused(InputError, "series UID 1.2 for .*a.nii", "DICOM", "Leave out"):
        read_ct(tmp_path / "a.nii", "1.2")


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    path = write_series(tmp_path, lopsided_body((1, 7, 11)))[0]
    monkeypatch.setattr("lungsight.ct.files.is_dicom", refuse)
    with refused(InputError, f"{path.name}: Permission denied", "files that can be read", "the permissions"):
        read_ct(tmp_path)
