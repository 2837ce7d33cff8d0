"""Nodules cut out of a CT: where two other readers see them, and the report's folder that holds them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lungsight.cohort.options import Options
from lungsight.cohort.study import is_done
from lungsight.ct.volume import CTVolume
from lungsight.errors import OutputError
from lungsight.findings import Diagnosis, Region
from lungsight.report.nodules import cut_region, write_nodules
from lungsight.report.overlay import NODULE_YELLOW
from lungsight.report.page import write_report
from phantom import lopsided_body
from samples import lopsided_mask, malignant, sample_ct, without_nodule
from stub_system import StubSystem

nifti: Any = nibabel  # its functions carry no types
REGION = Region((8, 30, 40), np.array([[[1, 0], [1, 1]], [[0, 1], [0, 1]]], np.bool_))


def oblique() -> tuple[Diagnosis, CTVolume]:
    """A lopsided nodule in an oblique CT of noise, so that each place is known by its voxels."""
    body = lopsided_body((15, 60, 70))
    hu = np.random.default_rng(3).integers(-1000, 1000, body.hu.shape, np.int16)
    ct = CTVolume(hu, body.affine)
    nodule = dataclasses.replace(malignant(sample_ct()).nodules[0], mask=REGION)
    of_ct = malignant(ct)
    return dataclasses.replace(of_ct, nodules=(nodule,)), ct


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CTVolume]:
    folder = tmp_path_factory.mktemp("written") / "nodules"
    diagnosis, ct = oblique()
    write_nodules(diagnosis, ct, folder)
    return folder, ct


def test_a_cut_reaches_15_mm_beyond_the_nodule_or_to_the_end_of_the_ct(written: tuple[Path, CTVolume]) -> None:
    _, ct = written
    # Slices 8 and 9 and 6 of 2.5 mm, rows 30 and 31 and 17 of 0.9 mm, columns 40 and 41 and 25 of 0.6 mm.
    assert cut_region(ct, REGION) == (slice(2, 15), slice(13, 49), slice(15, 67))


def places_by_nibabel(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels (column, row, slice), and each one's place in LPS."""
    image = nifti.load(path)
    voxels = np.asarray(image.dataobj)
    index = np.argwhere(np.ones(voxels.shape, bool))
    return voxels, nifti.affines.apply_affine(image.affine, index).reshape(*voxels.shape, 3) * (-1, -1, 1)


def test_nibabel_sees_every_voxel_where_the_ct_has_it(written: tuple[Path, CTVolume]) -> None:
    folder, ct = written
    voxels, places = places_by_nibabel(folder / "1.nii.gz")
    assert voxels.dtype == np.int16
    found = np.rint(ct.to_zyx(places.reshape(-1, 3))).astype(int)
    assert np.abs(ct.to_zyx(places.reshape(-1, 3)) - found).max() < 1e-3
    assert np.array_equal(ct.hu[tuple(found.T)], voxels.ravel())
    assert voxels.shape == (52, 36, 13)


def test_simpleitk_sees_the_mask_where_the_nodule_is(written: tuple[Path, CTVolume]) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is the other judge of places")
    folder, ct = written
    mask, volume = (sitk.ReadImage(str(folder / name)) for name in ("1_mask.nii.gz", "1.nii.gz"))
    inside = np.argwhere(sitk.GetArrayFromImage(mask))
    places = np.array([mask.TransformIndexToPhysicalPoint([int(i) for i in zyx[::-1]]) for zyx in inside])
    expected = np.argwhere(REGION.mask) + REGION.start_zyx
    assert np.abs(ct.to_zyx(places) - expected).max() < 1e-3
    values = [volume.GetPixel([int(i) for i in zyx[::-1]]) for zyx in inside]
    assert values == ct.hu[tuple(expected.T)].tolist()


def test_pictures_show_the_slices_of_the_nodule_with_its_outline(written: tuple[Path, CTVolume]) -> None:
    folder, _ = written
    assert sorted(path.name for path in folder.iterdir()) == [
        "1.nii.gz",
        "1_mask.nii.gz",
        "1_slice_008.png",
        "1_slice_009.png",
    ]
    picture = np.asarray(Image.open(folder / "1_slice_009.png"))
    yellow = np.argwhere((picture == NODULE_YELLOW).all(-1))
    # 36 rows of 0.9 mm and 52 columns of 0.6 mm; the mask has rows 17 and 18, column 26 of them.
    scale = np.array(picture.shape[:2]) / (36, 52)
    assert max(picture.shape) == 384
    assert np.abs(yellow.min(0) - scale * (17, 26)).max() <= 1
    assert np.abs(yellow.max(0) + 1 - scale * (19, 27)).max() <= 1
    assert not np.array_equal(picture[..., 0], picture[..., 2])
    assert [tuple(picture[0, 0]), tuple(picture[-1, -1])] == [(p, p, p) for p in (picture[0, 0, 0], picture[-1, -1, 0])]


def test_a_nodule_without_a_mask_is_cut_by_its_region(tmp_path: Path) -> None:
    diagnosis, ct = malignant(sample_ct()), sample_ct()
    nodule = dataclasses.replace(diagnosis.nodules[0], mask=None, measurements=None)
    write_nodules(dataclasses.replace(diagnosis, nodules=(nodule,)), ct, tmp_path / "nodules")
    mask = np.asarray(nifti.load(tmp_path / "nodules" / "1_mask.nii.gz").dataobj)
    assert mask.sum() == nodule.candidate.region.mask.sum()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_they_are_part_of_the_report_and_are_replaced_with_it(tmp_path: Path) -> None:
    ct, out = sample_ct(), tmp_path / "out"
    write_report(malignant(ct), ct, out, page=False, save_nodules=True)
    of_nodules = ["nodules/1.nii.gz", "nodules/1_mask.nii.gz", "nodules/1_slice_002.png"]
    assert names(out) == ["diagnosis.json", *of_nodules, "regions.npz"]
    assert np.asarray(nifti.load(out / of_nodules[1]).dataobj).sum() == lopsided_mask().mask.sum()
    write_report(without_nodule(ct), ct, out, overwrite=True, page=False, save_nodules=True)
    assert names(out) == ["diagnosis.json", "regions.npz"]
    assert (out / "nodules").is_dir()
    (out / "nodules" / "mine.nii.gz").write_text("precious")
    with pytest.raises(OutputError, match=r"nodules/mine\.nii\.gz"):
        write_report(without_nodule(ct), ct, out, overwrite=True)


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lungsight.report.nodules._nifti.save", full)
    ct = sample_ct()
    with pytest.raises(OutputError, match="No space left"):
        write_report(malignant(ct), ct, tmp_path / "out", page=False, save_nodules=True)
    assert list(tmp_path.iterdir()) == []


def test_a_ct_is_not_done_before_its_nodules_are_saved(tmp_path: Path) -> None:
    ct, system = sample_ct(), StubSystem()
    diagnosis = system(ct, progress=lambda *_: None)
    write_report(diagnosis, ct, tmp_path / "without", page=False)
    write_report(diagnosis, ct, tmp_path / "with", page=False, save_nodules=True)
    assert len(json.loads((tmp_path / "with" / "diagnosis.json").read_text())["nodules"]) == 1
    asked, other = (Options(page=False, save_nodules=save) for save in (True, False))
    pipeline: Any = system
    done = [is_done(tmp_path / name, pipeline, options) for name in ("with", "without") for options in (asked, other)]
    assert done == [True, True, False, True]
