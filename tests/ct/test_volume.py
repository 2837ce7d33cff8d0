"""Geometry of CTVolume on a body without symmetry, against SimpleITK and highdicom.

The body has 5 x 7 x 11 voxels of 2.5 x 0.9 x 0.6 mm, is turned by 20 and then by 7 degrees, and lies far from
the origin: whatever axis, spacing or sign is exchanged, no number stays the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own name for itself
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume, SourceInstance

SHAPE = (5, 7, 11)
SLICE_MM, ROW_MM, COLUMN_MM = 2.5, 0.9, 0.6
ORIGIN_LPS = (-171.3, 88.25, -1043.5)
TURNED_20, TURNED_7 = np.deg2rad(20), np.deg2rad(7)
ALONG_ROW = np.array([np.cos(TURNED_20), np.sin(TURNED_20), 0])
"""Direction in which the column index grows."""
ALONG_COLUMN = np.array([-np.sin(TURNED_20) * np.cos(TURNED_7), np.cos(TURNED_20) * np.cos(TURNED_7), np.sin(TURNED_7)])
NORMAL = np.cross(ALONG_ROW, ALONG_COLUMN)
HU = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
INSTANCES = tuple(SourceInstance(f"1.2.{90 - z}", instance_number=90 - z) for z in range(SHAPE[0]))
CORNERS_ZYX = np.array(list(np.ndindex(2, 2, 2))) * (np.array(SHAPE) - 1)
POINTS_ZYX = np.concatenate([CORNERS_ZYX, [(1, 2, 3), (3.25, 5.5, 9.875), (-2, 8.5, 30)]])


def by_highdicom() -> Any:
    direction: Any = np.column_stack([NORMAL, ALONG_COLUMN, ALONG_ROW])
    # (from_attributes would stack the slices against the normal.)
    return hd.Volume.from_components(
        array=HU,
        position=ORIGIN_LPS,
        direction=direction,
        spacing=(SLICE_MM, ROW_MM, COLUMN_MM),
        coordinate_system="PATIENT",
    )


def by_simpleitk() -> Any:
    image: Any = sitk.GetImageFromArray(HU)
    image.SetSpacing((COLUMN_MM, ROW_MM, SLICE_MM))
    image.SetOrigin(ORIGIN_LPS)
    image.SetDirection(np.column_stack([ALONG_ROW, ALONG_COLUMN, NORMAL]).ravel().tolist())
    return image


def affine_of_the_body() -> NDArray[np.float64]:
    # The matrix comes from highdicom and the points from SimpleITK: neither knows of the other, nor of us.
    return np.asarray(by_highdicom().affine, np.float64)


CT = CTVolume(HU, affine_of_the_body(), "1.2.3", INSTANCES)


def test_points_of_the_patient_are_simpleitks() -> None:
    image = by_simpleitk()
    for z, y, x in POINTS_ZYX:
        expected = image.TransformContinuousIndexToPhysicalPoint((float(x), float(y), float(z)))
        np.testing.assert_allclose(CT.to_lps((z, y, x)), expected, atol=1e-9)
    assert CT.to_lps((1, 2, 3)) == pytest.approx(image.TransformIndexToPhysicalPoint((3, 2, 1)), abs=1e-9)


def test_points_of_the_patient_are_highdicoms() -> None:
    expected = by_highdicom().map_indices_to_reference(POINTS_ZYX)
    np.testing.assert_allclose(CT.to_lps(POINTS_ZYX), expected, atol=1e-9)


def test_voxel_indices_are_simpleitks_and_highdicoms() -> None:
    image = by_simpleitk()
    points_lps = [image.TransformContinuousIndexToPhysicalPoint(zyx[::-1].astype(float).tolist()) for zyx in POINTS_ZYX]
    found_zyx = CT.to_zyx(points_lps)
    expected_xyz = [image.TransformPhysicalPointToContinuousIndex(point) for point in points_lps]
    np.testing.assert_allclose(found_zyx, np.array(expected_xyz)[:, ::-1], atol=1e-9)
    np.testing.assert_allclose(found_zyx, by_highdicom().map_reference_to_indices(np.array(points_lps)), atol=1e-9)


def test_the_first_voxels_centre_is_the_origin() -> None:
    assert CT.to_lps((0, 0, 0)).tolist() == list(ORIGIN_LPS)


def test_a_voxels_value_lies_where_simpleitk_sees_it() -> None:
    image = by_simpleitk()
    for zyx in [(0, 0, 0), (1, 2, 3), (4, 6, 10), (3, 0, 7)]:
        x, y, z = image.TransformPhysicalPointToIndex(CT.to_lps(zyx).tolist())
        assert image[x, y, z] == CT.hu[zyx]


def test_spacing_is_slices_rows_columns() -> None:
    assert CT.spacing_zyx_mm == pytest.approx((SLICE_MM, ROW_MM, COLUMN_MM), abs=1e-12)
    assert CT.spacing_zyx_mm == pytest.approx(tuple(by_highdicom().spacing), abs=1e-12)


def test_slice_spacing_is_measured_along_the_normal() -> None:
    # A gantry tilt shears the slices: 2.5 mm along the normal, 1 mm along the column, 2.69 mm from origin to origin.
    sheared = affine_of_the_body()
    sheared[:3, 0] += 1.0 * ALONG_COLUMN
    assert CTVolume(HU, sheared).spacing_zyx_mm == pytest.approx((SLICE_MM, ROW_MM, COLUMN_MM), abs=1e-12)


def test_slices_against_the_normal_have_a_positive_spacing() -> None:
    upside_down = affine_of_the_body()
    upside_down[:3, 0] *= -1
    assert CTVolume(HU, upside_down).spacing_zyx_mm == pytest.approx((SLICE_MM, ROW_MM, COLUMN_MM), abs=1e-12)


@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(-2000, 2000)))
def test_there_and_back_again(points_zyx: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(CT.to_zyx(CT.to_lps(points_zyx)), points_zyx, atol=1e-8)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 3), (2, 4, 3)])
def test_any_number_of_points_keeps_its_shape(shape: tuple[int, ...]) -> None:
    assert CT.to_lps(np.zeros(shape)).shape == shape
    assert CT.to_zyx(np.zeros(shape)).shape == shape


def test_a_place_names_patient_point_and_source() -> None:
    place = CT.locate((2.6, 4.25, 8.5))
    assert place.lps_mm == pytest.approx(by_simpleitk().TransformContinuousIndexToPhysicalPoint((8.5, 4.25, 2.6)))
    assert (place.slice_index, place.row, place.column) == (3, 4.25, 8.5)
    assert (place.sop_instance_uid, place.instance_number) == ("1.2.87", 87)


def test_a_place_without_dicom_has_no_source() -> None:
    place = CTVolume(HU, affine_of_the_body()).locate((0, 0, 0))
    assert place.sop_instance_uid is None
    assert place.instance_number is None


@pytest.mark.parametrize(("z", "slice_index"), [(-0.49, 0), (4.49, 4)])
def test_half_a_slice_outside_is_still_inside(z: float, slice_index: int) -> None:
    assert CT.locate((z, 0, 0)).slice_index == slice_index


@pytest.mark.parametrize("z", [-0.51, 4.51, 99])
def test_a_slice_outside_is_refused(z: float) -> None:
    with pytest.raises(ValueError, match=r"slice -?\d+ is outside the volume's 5 slices"):
        CT.locate((z, 0, 0))


def test_the_arrays_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        CT.hu[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        CT.affine[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        CT.series_uid = "1.2.4"  # type: ignore[misc]


def test_the_callers_matrix_stays_the_callers() -> None:
    affine = affine_of_the_body()
    ct = CTVolume(HU.copy(), affine)
    affine[0, 3] = 0
    assert ct.affine[0, 3] == ORIGIN_LPS[0]


def test_what_is_printed_tells_shape_spacing_and_range() -> None:
    assert repr(CT) == "<CTVolume 5 slices of 7 x 11, spacing 2.500 x 0.900 x 0.600 mm, HU 0 to 384>"
    assert CT.shape == SHAPE


def with_entry(row: int, column: int, value: float) -> NDArray[np.float64]:
    affine = affine_of_the_body()
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("hu", "affine", "message"),
    [
        (HU[0], np.eye(4), r"hu has shape \(7, 11\)"),
        (HU[None], np.eye(4), r"hu has shape \(1, 5, 7, 11\)"),
        (HU[:0], np.eye(4), r"hu has shape \(0, 7, 11\)"),
        (HU[:, :, :0], np.eye(4), r"hu has shape \(5, 7, 0\)"),
        (HU.astype(np.float64), np.eye(4), "hu is float64, expected int16 or float32"),
        (HU.astype(np.uint16), np.eye(4), "hu is uint16"),
        (HU, np.eye(3), "affine is not a finite 4 x 4"),
        (HU, with_entry(3, 0, 0.5), "affine is not a finite 4 x 4"),
        (HU, with_entry(3, 3, 2), "affine is not a finite 4 x 4"),
        (HU, with_entry(0, 3, np.nan), "affine is not a finite 4 x 4"),
        (HU, with_entry(1, 1, np.inf), "affine is not a finite 4 x 4"),
        (HU, np.diag([0.0, 1, 1, 1]), "affine has no inverse"),
    ],
)
def test_what_is_no_volume_is_refused(hu: Any, affine: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CTVolume(hu, affine)


def test_instances_must_be_as_many_as_slices() -> None:
    with pytest.raises(ValueError, match="4 instances for 5 slices"):
        CTVolume(HU, np.eye(4), "1.2.3", INSTANCES[:4])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_both_kinds_of_hu_are_kept_as_they_are(dtype: Any) -> None:
    ct = CTVolume(HU.astype(dtype), np.eye(4))
    assert ct.hu.dtype == dtype
    assert np.array_equal(ct.hu, HU)
