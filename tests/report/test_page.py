import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungsight.errors import OutputError
from lungsight.findings import Region, Verdict
from lungsight.regions import read_regions
from lungsight.report.overlay import NODULE_YELLOW
from lungsight.report.page import check_report_folder, write_report
from samples import START_ZYX, lopsided_mask, lopsided_region, malignant, sample_ct, without_nodule


def test_a_report_is_a_page_a_record_and_a_picture_for_each_slice_with_a_roi(tmp_path: Path) -> None:
    ct = sample_ct()
    page = write_report(malignant(ct), ct, tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")) == [
        "diagnosis.json",
        "overlays",
        "overlays/slice_002.png",
        "overlays/slice_004.png",
        "regions.npz",
        "report.html",
    ]
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text("utf-8"))["verdict"] == "MALIGNANT"
    saved = read_regions(tmp_path / "out" / "regions.npz")
    assert (saved.shape_zyx, saved.affine.tolist()) == (ct.shape, ct.affine.tolist())
    assert [(r.start_zyx, r.mask.tolist()) for r in saved.regions] == [(START_ZYX, lopsided_region().mask.tolist())]


def test_without_the_page_what_machines_read_is_the_same(tmp_path: Path) -> None:
    ct = sample_ct()
    whole = write_report(malignant(ct), ct, tmp_path / "whole").parent
    record = write_report(malignant(ct), ct, tmp_path / "out", page=False)
    assert record == tmp_path / "out" / "diagnosis.json"
    assert sorted(path.name for path in record.parent.iterdir()) == ["diagnosis.json", "regions.npz"]
    assert record.read_bytes() == (whole / "diagnosis.json").read_bytes()
    assert len(read_regions(record.parent / "regions.npz").regions) == 1
    # An earlier page does not stay beside a diagnosis that is not its own.
    write_report(without_nodule(ct), ct, whole, overwrite=True, page=False)
    assert sorted(path.name for path in whole.iterdir()) == ["diagnosis.json", "regions.npz"]


def test_the_overlay_on_the_disk_is_red_where_the_region_is(tmp_path: Path) -> None:
    ct = sample_ct()
    write_report(malignant(ct), ct, tmp_path / "out")
    picture = np.asarray(Image.open(tmp_path / "out" / "overlays" / "slice_002.png"))
    rows, columns = np.nonzero(picture[..., 0] != picture[..., 1])
    expected = np.argwhere(lopsided_region().mask[0]) + START_ZYX[1:]
    assert np.column_stack([rows, columns]).tolist() == expected.tolist()


@pytest.mark.parametrize("verdict", [Verdict.NO_NODULE, Verdict.INDETERMINATE])
def test_without_a_nodule_there_is_a_report_too(tmp_path: Path, verdict: Verdict) -> None:
    ct = sample_ct()
    write_report(without_nodule(ct, verdict), ct, tmp_path / "out")
    assert list((tmp_path / "out" / "overlays").iterdir()) == []


def test_an_earlier_report_is_replaced_only_when_asked(tmp_path: Path) -> None:
    ct = sample_ct()
    write_report(malignant(ct), ct, tmp_path / "out")
    with pytest.raises(OutputError, match="exists"):
        check_report_folder(tmp_path / "out")
    with pytest.raises(OutputError, match="exists"):
        write_report(without_nodule(ct), ct, tmp_path / "out")
    check_report_folder(tmp_path / "out", overwrite=True)
    write_report(without_nodule(ct), ct, tmp_path / "out", overwrite=True)
    assert list((tmp_path / "out" / "overlays").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_scan_is_not_overwritten(tmp_path: Path) -> None:
    ct = sample_ct()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1-001.dcm").write_text("precious")
    with pytest.raises(OutputError, match=r"1-001\.dcm"):
        write_report(malignant(ct), ct, tmp_path / "out", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1-001.dcm"]


def test_a_diagnosis_of_another_ct_is_refused(tmp_path: Path) -> None:
    ct = sample_ct()
    diagnosis = malignant(ct)
    other = dataclasses.replace(diagnosis, provenance=dataclasses.replace(diagnosis.provenance, series_uid="1.2.3"))
    with pytest.raises(ValueError, match=r"series 1\.2\.3"):
        write_report(other, ct, tmp_path / "out")
    nodule = diagnosis.nodules[0]
    outside = dataclasses.replace(nodule.candidate, region=Region((6, 0, 0), np.ones((2, 1, 1), bool)))
    moved = dataclasses.replace(diagnosis, nodules=(dataclasses.replace(nodule, candidate=outside),))
    with pytest.raises(ValueError, match=r"not inside \(7, 40, 64\)"):
        write_report(moved, ct, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_nodule_is_outlined_on_the_overlay(tmp_path: Path) -> None:
    ct = sample_ct()
    write_report(malignant(ct), ct, tmp_path / "out")
    picture = np.asarray(Image.open(tmp_path / "out" / "overlays" / "slice_002.png"))
    mask = lopsided_mask()
    expected = np.argwhere(mask.mask[0]) + mask.start_zyx[1:]
    assert np.argwhere((picture == NODULE_YELLOW).all(-1)).tolist() == expected.tolist()


def test_a_nodule_outside_the_ct_is_refused(tmp_path: Path) -> None:
    ct = sample_ct()
    nodule = malignant(ct).nodules[0]
    outside = dataclasses.replace(nodule, mask=dataclasses.replace(lopsided_mask(), start_zyx=(7, 0, 0)))
    with pytest.raises(ValueError, match=r"a region from \(7, 0, 0\) to \(8, 2, 3\) is not inside"):
        write_report(dataclasses.replace(malignant(ct), nodules=(outside,)), ct, tmp_path / "out")
