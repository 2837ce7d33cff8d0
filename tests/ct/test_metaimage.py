"""MetaImage, written and judged by SimpleITK."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from lungsight import read_ct
from lungsight.ct.read import inspect_series
from lungsight.errors import CorruptFileError, InputError
from phantom import lopsided_body
from refusals import refused

sitk: Any = SimpleITK


def image_of(values: Any) -> Any:
    body = lopsided_body()
    image = sitk.GetImageFromArray(values)
    spacing = body.spacing_zyx_mm[::-1]
    image.SetSpacing(spacing)
    image.SetDirection((body.affine[:3, [2, 1, 0]] / spacing).ravel().tolist())
    image.SetOrigin(body.affine[:3, 3].tolist())
    return image


@pytest.mark.parametrize("name", ["a.mhd", "a.mha", "A.MHA"])
@pytest.mark.parametrize("compressed", [False, True])
def test_as_simpleitk_wrote_it(tmp_path: Path, name: str, compressed: bool) -> None:
    body = lopsided_body()
    image = image_of(body.hu)
    path = tmp_path / name
    sitk.WriteImage(image, str(path.with_suffix(path.suffix.lower())), useCompression=compressed)
    path.with_suffix(path.suffix.lower()).rename(path)
    ct = read_ct(path)
    assert ct.hu.dtype == np.int16
    np.testing.assert_array_equal(ct.hu, body.hu)
    np.testing.assert_allclose(ct.to_lps((4, 2, 9)), image.TransformIndexToPhysicalPoint((9, 2, 4)), atol=1e-6)
    assert ct.warnings == ()
    assert inspect_series(path).series[0].modality == "MetaImage"


def test_slices_stored_from_head_to_feet(tmp_path: Path) -> None:
    body = lopsided_body()
    sitk.WriteImage(sitk.Flip(image_of(body.hu), (True, False, True)), str(tmp_path / "a.mha"))
    ct = read_ct(tmp_path / "a.mha")
    np.testing.assert_array_equal(ct.hu, body.hu)
    np.testing.assert_allclose(ct.affine, body.affine, atol=1e-6)


def test_without_simpleitk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitk.WriteImage(image_of(lopsided_body().hu), str(tmp_path / "a.mha"))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with refused(
        InputError, "a.mha, a MetaImage, which needs SimpleITK", "SimpleITK", r"pip install 'lungsight\[metaimage\]'"
    ):
        read_ct(tmp_path / "a.mha")


def test_data_file_lost(tmp_path: Path) -> None:
    sitk.WriteImage(image_of(lopsided_body().hu), str(tmp_path / "a.mhd"))
    (tmp_path / "a.raw").unlink()
    with refused(CorruptFileError, "a.mhd cannot be read as MetaImage", "its data file beside it", "Copy or convert"):
        read_ct(tmp_path / "a.mhd")


def test_not_a_metaimage(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_text("NDims = many")
    with refused(CorruptFileError, "a.mha cannot be read as MetaImage", "a whole MetaImage", "Copy or convert"):
        read_ct(tmp_path / "a.mha")


def test_not_one_volume_of_numbers(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([11, 7], sitk.sitkInt16), str(tmp_path / "flat.mha"))
    with refused(InputError, "flat.mha has 2 dimensions and 1 values", "one 3D image", "Give one volume"):
        read_ct(tmp_path / "flat.mha")
    sitk.WriteImage(sitk.Image([11, 7, 5], sitk.sitkVectorUInt8, 3), str(tmp_path / "colour.mha"))
    with refused(InputError, "colour.mha has 3 dimensions and 3 values", "one 3D image", "Give one volume"):
        read_ct(tmp_path / "colour.mha")
