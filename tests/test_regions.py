"""The voxels of the regions as a file: what is read is what was written, and what is damaged is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungsight.errors import CorruptFileError
from lungsight.regions import SavedRegions, read_regions, write_regions
from refusals import refused
from samples import lopsided_region, sample_ct

CT = sample_ct()


def save(path: Path, **changes: Any) -> Path:
    region = lopsided_region()
    arrays = {
        "shape_zyx": np.array(CT.shape),
        "affine": CT.affine,
        "start_zyx": np.array([region.start_zyx]),
        "mask_0": region.mask,
    }
    kept = {name: array for name, array in (arrays | changes).items() if array is not None}
    np.savez(path, **kept)
    return path


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    region = lopsided_region()
    write_regions(tmp_path / "regions.npz", SavedRegions((region, region), CT.shape, CT.affine))
    read = read_regions(tmp_path / "regions.npz")
    assert (read.shape_zyx, read.affine.tolist()) == ((7, 40, 64), CT.affine.tolist())
    assert [again.start_zyx for again in read.regions] == [(2, 11, 30)] * 2
    assert all(np.array_equal(again.mask, region.mask) for again in read.regions)


def test_the_documented_arrays_are_read(tmp_path: Path) -> None:
    (region,) = read_regions(save(tmp_path / "regions.npz")).regions
    assert region.start_zyx == (2, 11, 30)


def test_no_region_is_a_result(tmp_path: Path) -> None:
    write_regions(tmp_path / "regions.npz", SavedRegions((), CT.shape, CT.affine))
    assert read_regions(tmp_path / "regions.npz").regions == ()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"shape_zyx": np.array([7, 40])}, r"shape_zyx is int64 of shape \(2,\)"),
        ({"shape_zyx": np.array([4, 40, 64])}, r"region 0 does not lie inside \[4, 40, 64\]"),
        ({"start_zyx": np.array([[2, -1, 30]])}, "region 0 does not lie inside"),
        ({"start_zyx": np.array([[2, 11, 30], [0, 0, 0]])}, "mask_1"),
        ({"mask_0": np.zeros((1, 2, 2), np.bool_)}, "a voxel in it"),
        ({"mask_0": np.ones((1, 2, 2))}, "mask_0 is float64"),
        ({"affine": None}, "affine"),
        ({"affine": np.array([[object()]])}, "allow_pickle"),
    ],
)
def test_what_is_no_region_is_refused(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    with refused(CorruptFileError, f"regions.npz: .*{found}", "as `lungsight diagnose` writes", "Diagnose"):
        read_regions(save(tmp_path / "regions.npz", **changes))


def test_a_damaged_or_absent_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "regions.npz")
    whole = path.read_bytes()
    np.save(tmp_path / "array.npy", CT.affine)
    for broken in (whole[:200], b"", b"text", (tmp_path / "array.npy").read_bytes()):
        path.write_bytes(broken)
        with refused(CorruptFileError, "regions.npz", "as `lungsight diagnose`", "Diagnose"):
            read_regions(path)
    path.unlink()
    with refused(CorruptFileError, "regions.npz", "as `lungsight diagnose`", "Diagnose"):
        read_regions(path)
