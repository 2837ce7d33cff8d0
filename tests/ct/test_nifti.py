"""NIfTI, written by nibabel and judged by SimpleITK, which reads it on its own."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from lungsight import read_ct
from lungsight.ct.read import inspect_series
from lungsight.errors import CorruptFileError, InputError
from phantom import lopsided_body
from refusals import refused

sitk: Any = SimpleITK
nib: Any = nibabel
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CHEST_CT = Path(__file__).parents[3] / "shared" / "data" / "chest_ct"


def stored_xyz() -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """The body as most NIfTI files have it: x, y, z, and a matrix to RAS."""
    body = lopsided_body()
    return body.hu.transpose(2, 1, 0), LPS_TO_RAS @ body.affine[:, [2, 1, 0, 3]]


def save(path: Path, values: NDArray[Any], affine: NDArray[np.float64] | None, kind: Any = nib.Nifti1Image) -> Any:
    image = kind(values, affine)
    if affine is not None:
        image.set_qform(affine, 1)
    nib.save(image, path)
    return image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_as_simpleitk_sees_it(tmp_path: Path, name: str, kind: Any) -> None:
    body = lopsided_body()
    save(tmp_path / "x.nii.gz", *stored_xyz(), kind)
    content = (tmp_path / "x.nii.gz").read_bytes()
    path = tmp_path / name
    path.write_bytes(content if name.lower().endswith("gz") else gzip.decompress(content))
    ct = read_ct(path)
    assert ct.hu.dtype == np.int16
    np.testing.assert_array_equal(ct.hu, body.hu)
    np.testing.assert_allclose(ct.affine, body.affine, atol=1e-4)
    if kind is nib.Nifti1Image:
        image = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(ct.hu, sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(ct.to_lps((4, 2, 9)), image.TransformIndexToPhysicalPoint((9, 2, 4)), atol=1e-3)
    assert (ct.series_uid, ct.instances, ct.warnings) == (None, (), ())


def test_as_nibabel_sees_it_whatever_the_axes(tmp_path: Path) -> None:
    """Stored as P, S, R: each voxel's HU and place as nibabel says."""
    values, affine = stored_xyz()
    values, affine = values[::-1].transpose(1, 2, 0), affine.copy()
    affine[:3, 3] += affine[:3, 0] * 10
    affine[:3, 0] *= -1
    affine = affine[:, [1, 2, 0, 3]]
    image = save(tmp_path / "a.nii.gz", values, affine)
    ct = read_ct(tmp_path / "a.nii.gz")
    assert ct.shape == (5, 7, 11)
    for index in ((0, 0, 0), (6, 4, 10), (2, 3, 8)):
        lps = (LPS_TO_RAS @ image.affine @ (*index, 1))[:3]
        slice_index, row, column = np.rint(ct.to_zyx(lps)).astype(int)
        assert ct.hu[slice_index, row, column] == values[index]


def test_slope_and_intercept(tmp_path: Path) -> None:
    values, affine = stored_xyz()
    image = nib.Nifti1Image(((values + 1024) * 2).astype(np.uint16), affine)
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_ct(tmp_path / "a.nii").hu, lopsided_body().hu)
    assert read_ct(tmp_path / "a.nii").hu.dtype == np.int16


def test_units_are_millimetres_here(tmp_path: Path) -> None:
    values, affine = stored_xyz()
    image = nib.Nifti1Image(values, np.diag([0.001, 0.001, 0.001, 1]) @ affine)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    assert read_ct(tmp_path / "a.nii").spacing_zyx_mm == pytest.approx((2.5, 0.9, 0.6), rel=1e-4)


def test_fourth_axis_of_one_is_nothing(tmp_path: Path) -> None:
    values, affine = stored_xyz()
    save(tmp_path / "a.nii", values[..., None], affine)
    assert read_ct(tmp_path / "a.nii").shape == (5, 7, 11)


def test_inspection(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", *stored_xyz())
    looked = inspect_series(tmp_path / "a.nii")
    assert looked.chosen == looked.series[0]
    assert (looked.chosen.modality, looked.chosen.orientation) == ("NIfTI", "oblique axial")
    assert (looked.chosen.slices, looked.chosen.rows, looked.chosen.columns) == (5, 7, 11)


@pytest.mark.parametrize("shape", [(11, 7, 5, 2), (11, 7)])
def test_not_one_volume(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save(tmp_path / "a.nii", np.zeros(shape, np.int16), stored_xyz()[1])
    with refused(InputError, rf"a.nii has shape \({shape[0]}, ", "one 3D image", "Give one volume"):
        read_ct(tmp_path / "a.nii")


@pytest.mark.parametrize("dtype", [[("R", "u1"), ("G", "u1"), ("B", "u1")], np.complex64])
def test_colours_and_complex_numbers(tmp_path: Path, dtype: Any) -> None:
    save(tmp_path / "a.nii", np.zeros((11, 7, 5), dtype), stored_xyz()[1])
    with refused(InputError, "a.nii holds .*, colours or complex", "real numbers", "Convert"):
        read_ct(tmp_path / "a.nii")


def test_no_place_in_the_patient(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", stored_xyz()[0], None)
    with refused(InputError, "a.nii does not say how it lies", "a matrix from voxels", "dcm2niix"):
        read_ct(tmp_path / "a.nii")


@pytest.mark.parametrize("size", [0, 100, 348, 400])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged(tmp_path: Path, size: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(path, *stored_xyz())
    path.write_bytes(path.read_bytes()[:size])
    with refused(CorruptFileError, "a.nii.* cannot be read as NIfTI", "a whole NIfTI", "Convert"):
        read_ct(path)


def test_no_hu(tmp_path: Path) -> None:
    values, affine = stored_xyz()
    save(tmp_path / "a.nii", np.clip(values, 0, 255).astype(np.uint8), affine)
    assert "No value is under 0" in read_ct(tmp_path / "a.nii").warnings[0]


@pytest.mark.parametrize("name", ["LIDC-IDRI-0003", "LCTSC-001", "QIN-LSC-0014"])
def test_real_chest(name: str) -> None:
    path = CHEST_CT / f"{name}_ct.nii.gz"
    if not path.is_file():
        pytest.skip("the real CTs are not at ../shared/data/chest_ct")
    ct = read_ct(path)
    image = nib.load(path)
    np.testing.assert_array_equal(ct.hu, np.asarray(image.dataobj).transpose(2, 1, 0))
    np.testing.assert_allclose(ct.to_lps((3, 2, 1)), (LPS_TO_RAS @ image.affine @ (1, 2, 3, 1))[:3])
    assert ct.warnings == ()
