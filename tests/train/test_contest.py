from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lungsight.errors import CorruptFileError, InputError
from lungsight.findings import Region
from lungsight.train.patient import MaskMarks, PatientTruth
from lungsight.train.truth import read_ct_truth, read_patient_ct, read_truth
from phantom import Body, lopsided_body, save, setting, slice_dataset, write_series
from refusals import refused

BODY = lopsided_body()
Mask = NDArray[np.bool_]
nifti: Any = nibabel  # its functions carry no types


def roi() -> Mask:
    """A lopsided L through slices 1 and 2, and one voxel that touches it at no corner."""
    mask = np.zeros(BODY.hu.shape, np.bool_)
    mask[1, 2:5, 3] = mask[1, 4, 3:8] = mask[2, 4, 7] = True
    mask[4, 0, 10] = True
    return mask


def write_masks(folder: Path, mask: Mask, how: str) -> None:
    """Mask images of slices 1 to 4 (all of them by order), which tell their slices in one way only."""
    folder.mkdir(parents=True)
    first = 0 if how == "order" else 1
    for index in range(first, len(mask)):
        dataset = slice_dataset(Body(mask.astype(np.int16) * 255, BODY.affine), index, "masks")
        dataset.Modality = "OT"
        dataset.PixelData = (mask[index] * np.uint16(255)).tobytes()
        number = dataset.InstanceNumber
        del dataset.InstanceNumber
        if how != "position":
            del dataset.ImagePositionPatient
        if how == "uid":
            source = Dataset()
            source.ReferencedSOPInstanceUID = slice_dataset(BODY, index).SOPInstanceUID
            dataset.SourceImageSequence = [source]
        if how == "number":
            dataset.InstanceNumber = number
        if how == "order":
            dataset.InstanceNumber = 100 + number
        save(dataset, folder / f"{9 - index}.dcm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "labels.csv").write_text("patient_id,label\nben,0\nann,1\n", "utf-8")
    for name, how in (("ann", "uid"), ("ben", "position")):
        write_series(tmp_path / name / "ct", BODY)
        write_masks(tmp_path / name / "mask", roi(), how)
    return tmp_path


def drawn(region: Region | None) -> Mask:
    assert region is not None
    mask = np.zeros(BODY.hu.shape, np.bool_)
    mask[region.box] = region.mask
    return mask


def test_what_is_excluded_lies_beside_the_mask(root: Path) -> None:
    other = np.roll(roi(), 1, axis=1)
    write_masks(root / "ann" / "lesions", other, "uid")
    ann, ben = read_truth(root)
    truth = read_ct_truth(ann, read_patient_ct(ann))
    assert np.array_equal(drawn(truth.excluded_region), other)
    assert read_ct_truth(ben, read_patient_ct(ben)).excluded_region is None
    write_masks(root / "ben" / "lesions", np.zeros_like(other), "position")
    ben = read_truth(root)[1]
    assert read_ct_truth(ben, read_patient_ct(ben)).excluded_region is None


def test_patients_are_listed_with_labels(root: Path) -> None:
    write_series(root / "cid" / "ct", BODY)
    assert read_truth(root) == (
        PatientTruth("ann", root / "ann" / "ct", label=1, marks=MaskMarks(root / "ann" / "mask")),
        PatientTruth("ben", root / "ben" / "ct", label=0, marks=MaskMarks(root / "ben" / "mask")),
        PatientTruth("cid", root / "cid" / "ct"),
    )
    cid = read_truth(root)[2]
    assert read_ct_truth(cid, read_patient_ct(cid)).nodules is None  # nobody looked


@pytest.mark.parametrize("how", ["uid", "position", "number", "order"])
def test_masks_find_their_slices(tmp_path: Path, how: str) -> None:
    write_series(tmp_path / "ct", BODY, shuffle=False)
    write_masks(tmp_path / "mask", roi(), how)
    patient = PatientTruth("ann", tmp_path / "ct", marks=MaskMarks(tmp_path / "mask"))
    nodules = read_ct_truth(patient, read_patient_ct(patient)).nodules
    assert nodules is not None
    assert [n.region.start_zyx for n in nodules if n.region] == [(1, 2, 3), (4, 0, 10)]
    assert np.array_equal(drawn(nodules[0].region) | drawn(nodules[1].region), roi())
    # Voxels (1, 2, 3), (1, 3, 3), (1, 4, 3 .. 7) and (2, 4, 7): means 9/8, 29/8 and 38/8; one voxel for the other.
    for nodule, centre in zip(nodules, [(9 / 8, 29 / 8, 38 / 8), (4, 0, 10)], strict=True):
        assert nodule.centre_lps_mm == pytest.approx((BODY.affine @ (*centre, 1))[:3], abs=1e-4)
    # From row 2, column 3 to row 4, column 7: 2 rows of 0.9 and 4 columns of 0.6 mm; one pixel more is 0.75 mm.
    assert nodules[0].diameter_mm == pytest.approx(np.hypot(1.8, 2.4) + 0.75)
    assert nodules[1].diameter_mm == pytest.approx(0.75)


def test_a_nifti_pair(tmp_path: Path) -> None:
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ BODY.affine
    folder = tmp_path / "ann"
    folder.mkdir()
    (tmp_path / "labels.csv").write_text("label,patient_id\n,ann\n", "utf-8")
    nifti.save(nifti.Nifti1Image(BODY.hu, ras), folder / "ct.nii.gz")
    nifti.save(nifti.Nifti1Image(roi().astype(np.uint8), ras), folder / "mask.nii.gz")
    (patient,) = read_truth(tmp_path)
    assert patient.label is None
    nodules = read_ct_truth(patient, read_patient_ct(patient)).nodules
    assert nodules is not None
    assert sum(int(n.region.mask.sum()) for n in nodules if n.region) == roi().sum()
    assert nodules[1].centre_lps_mm == pytest.approx((BODY.affine @ (4, 0, 10, 1))[:3], abs=1e-3)
    nifti.save(nifti.Nifti1Image(roi()[:-1].astype(np.uint8), ras), folder / "mask.nii.gz")
    with refused(InputError, r"mask\.nii\.gz has .* voxels", "as its CT", "Resample"):
        read_ct_truth(patient, read_patient_ct(patient))
    ras[0, 3] += 1.5
    nifti.save(nifti.Nifti1Image(roi().astype(np.uint8), ras), folder / "mask.nii.gz")
    with refused(InputError, r"corner .* 1\.50 mm", "within 0.1 mm", "Resample"):
        read_ct_truth(patient, read_patient_ct(patient))


def edit_mask(folder: Path, **attributes: Any) -> None:
    """Write one mask again, of slice 2, with other attributes."""
    mask = Body(np.zeros(BODY.hu.shape, np.int16), BODY.affine)
    dataset = slice_dataset(mask, 2, "other")
    dataset.PixelData = bytes(len(dataset.PixelData))  # stored 0, whatever the intercept
    setting(**attributes)(dataset, 2)
    save(dataset, folder / "7.dcm")


@pytest.mark.parametrize(
    ("attributes", "found", "expected"),
    [
        ({"Rows": 11, "Columns": 7}, r"7\.dcm has 11 x 7 pixels", r"7 x 11 \(rows x columns\)"),
        (
            {"ImagePositionPatient": [0, 0, 0], "InstanceNumber": 77},
            r"4 masks .* 1 by Image Position, first 7\.dcm",
            "UID",
        ),
        (
            {"ImagePositionPatient": [float(v) for v in BODY.affine[:3] @ (3, 0, 0, 1)]},
            "6.dcm and 7.dcm .* slice 3",
            "one",
        ),
        ({"NumberOfFrames": 2}, "2 frames", "one image"),
    ],
)
def test_masks_that_do_not_fit_are_refused(root: Path, attributes: dict[str, Any], found: str, expected: str) -> None:
    edit_mask(root / "ben" / "mask", **attributes)
    ben = read_truth(root)[1]
    with refused(InputError, found, expected, "Export|Remove"):
        read_ct_truth(ben, read_patient_ct(ben))


def test_a_mask_without_pixels_is_refused(root: Path) -> None:
    edit_mask(root / "ben" / "mask", PixelData=None)
    ben = read_truth(root)[1]
    with refused(CorruptFileError, r"7\.dcm cannot be read", "whole", "Export"):
        read_ct_truth(ben, read_patient_ct(ben))


def test_an_empty_folder_of_masks_is_refused_and_an_empty_mask_is_not(root: Path) -> None:
    ann = read_truth(root)[0]
    ct = read_patient_ct(ann)
    for path in (root / "ann" / "mask").iterdir():
        path.unlink()
    with refused(InputError, "no DICOM image", "mask images", "Export"):
        read_ct_truth(ann, ct)
    edit_mask(root / "ann" / "mask")
    assert read_ct_truth(ann, ct).nodules == ()


@pytest.mark.parametrize(
    ("table", "kind", "found"),
    [
        ("patient_id,label\nann,2\n", CorruptFileError, r"labels\.csv, line 2: label is '2'"),
        ("patient_id,label\nann,1\nann,1\n", CorruptFileError, "line 3: ann for the second time"),
        ("patient_id,label\nann\n", CorruptFileError, "line 2 has 1 values"),
        ("patient,label\nann,1\n", InputError, "patient_id is missing"),
        ("patient_id,label\n,1\n", CorruptFileError, "patient_id is empty"),
        ("patient_id,label\ndan,1\n", InputError, "1 of 1 patients .* first dan"),
        ("patient_id,label\nempty,1\n", InputError, "empty holds no CT"),
    ],
)
def test_tables_that_do_not_fit_are_refused(root: Path, table: str, kind: type[InputError], found: str) -> None:
    (root / "empty").mkdir()
    (root / "labels.csv").write_text(table, "utf-8")
    with refused(kind, found, ".", "."):
        read_truth(root)


def test_two_cts_of_a_patient_are_refused(root: Path) -> None:
    (root / "ann" / "ct.nii.gz").write_bytes(b"")
    with refused(InputError, r"ct and ct\.nii\.gz", "one", "Lay out"):
        read_truth(root)
