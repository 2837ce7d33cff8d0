"""`Pipeline.classify` and the CSV files of `lungsight classify`."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.cli import main
from lungsight.ct.volume import CTVolume
from lungsight.detect.windows import FIELD_PX, STEP_PX
from lungsight.detect.working import normalise_hu
from lungsight.diagnose.points import judge_point, judge_slices
from lungsight.errors import InputError, OutputError
from lungsight.pipeline import WindowsPipeline, load_pipeline
from lungsight.points import read_points, write_scores
from refusals import refused


def mean_of_cores(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network whose ROI score is the mean of the middle 2 x 2 px of each window's field, three quarters malignant."""
    n = (len(field) - FIELD_PX) // STEP_PX + 1
    middle = FIELD_PX // 2 - 1
    mean = np.array(
        [
            [
                field[middle + 10 * i : middle + 10 * i + 2, middle + 10 * j : middle + 10 * j + 2].mean()
                for j in range(n)
            ]
            for i in range(n)
        ]
    )
    return np.stack([1 - mean, mean / 4, mean * 3 / 4]).astype(np.float32)


class _Named:
    """That network with what a pipeline asks of one."""

    sha256 = "0" * 64
    engine = "by hand"

    def __init__(self, card: dict[str, object] | None = None) -> None:
        self.card = card or {}

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        return mean_of_cores(field)


def lit(shape: tuple[int, int, int], zyx: tuple[int, int, int], spacing: tuple[float, float, float]) -> CTVolume:
    """Air with one block of 500 HU, 5 slices and about 28 x 28 mm, round a voxel; origin far from 0."""
    hu = np.full(shape, -1000, np.int16)
    z, y, x = zyx
    half_y, half_x = round(14 / spacing[1]), round(14 / spacing[2])
    hu[max(0, z - 2) : z + 3, y - half_y : y + half_y + 1, x - half_x : x + half_x + 1] = 500
    affine = np.array([[0, 0, spacing[2], 31], [0, spacing[1], 0, -77], [spacing[0], 0, 0, 105], [0, 0, 0, 1.0]])
    return CTVolume(hu, affine)


@pytest.mark.parametrize("spacing", [(2.5, 0.7, 0.7), (5.0, 0.9, 0.6), (1.25, 0.5, 0.98)])
def test_the_lit_block_scores_and_no_other_place(spacing: tuple[float, float, float]) -> None:
    ct = lit((20, 140, 150), (9, 60, 80), spacing)
    points = ct.to_lps([(9, 60, 80), (9, 110, 30), (0, 60, 80)])
    pipeline = WindowsPipeline(_Named())
    there, elsewhere, _ = pipeline.classify(ct, points)
    # The window's middle lies well inside the block, in three slices or more.
    assert there.candidate.detection_score == pytest.approx(1, abs=1e-6)
    assert there.malignancy_score == pytest.approx(0.75, abs=1e-6)
    assert elsewhere.candidate.detection_score == pytest.approx(0, abs=1e-6)
    assert elsewhere.malignancy_score == 0
    assert there.candidate.location.lps_mm == pytest.approx(tuple(points[0]))
    assert there.candidate.location.slice_index == 9


def test_slices_beyond_the_reach_are_not_looked_at() -> None:
    ct = lit((40, 140, 150), (20, 60, 80), (5.0, 0.7, 0.7))
    # The block ends at slice 22; 10 mm are two slices, so from slice 25 on nothing of it is seen.
    nodules = WindowsPipeline(_Named()).classify(ct, ct.to_lps([(24, 60, 80), (25, 60, 80)]))
    scores = [nodule.candidate.detection_score for nodule in nodules]
    assert scores[0] > 0.3
    assert scores[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("flip", [False, True])
def test_orientation_does_not_matter(order: tuple[int, int, int], flip: bool) -> None:
    ct = lit((20, 140, 150), (9, 60, 80), (2.5, 0.9, 0.6))
    point = ct.to_lps((9, 60, 80))
    sign = -1 if flip else 1
    affine = np.eye(4)
    affine[:3, :3] = ct.affine[:3, list(order)] * sign
    affine[:3, 3] = ct.to_lps(np.subtract(ct.shape, 1) if flip else (0, 0, 0))
    turned = CTVolume(ct.hu.transpose(order)[::sign, ::sign, ::sign], affine)
    (nodule,) = WindowsPipeline(_Named()).classify(turned, [point])
    assert nodule.candidate.detection_score == pytest.approx(1, abs=1e-6)
    assert nodule.candidate.location.lps_mm == pytest.approx(tuple(point), abs=1.3)  # half a slice
    assert turned.hu[nodule.candidate.region.box][nodule.candidate.region.mask].mean() == 500


def test_the_smallest_ct_and_its_corners_have_a_score() -> None:
    ct = CTVolume(np.full((1, 64, 64), -250, np.int16), np.diag([3.0, 0.7, 0.7, 1.0]))
    nodules = WindowsPipeline(_Named()).classify(ct, ct.to_lps([(0, 0, 0), (0, 63, 63), (0, 32, 32)]))
    expected = float(normalise_hu(np.array([-250]))[0])
    assert [n.candidate.detection_score for n in nodules] == pytest.approx([expected] * 3)


def test_no_points_are_no_nodules_and_wrong_ones_are_refused() -> None:
    ct = lit((5, 70, 70), (2, 35, 35), (2.5, 0.7, 0.7))
    pipeline = WindowsPipeline(_Named())
    assert pipeline.classify(ct, np.empty((0, 3))) == ()
    with pytest.raises(ValueError, match=r"expected \(n, 3\)"):
        pipeline.classify(ct, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="outside the CT"):
        pipeline.classify(ct, ct.to_lps([(2, 35, 35), (5, 35, 35)]))
    with pytest.raises(ValueError, match="outside the CT"):
        judge_point(ct, np.array([2.0, -0.6, 35.0]), mean_of_cores)


def test_three_slices_decide() -> None:
    malignant = np.array([0.1, 0.9, 0.8, 0.2, 0.7])
    scores = np.stack([1 - malignant - 0.05, np.full(5, 0.05), malignant], -1)
    # Nodule 0.15, 0.95, 0.85, 0.25, 0.75: the second, third and fifth; malignant (0.9 + 0.8 + 0.7) / 2.55 of them.
    assert judge_slices(scores) == pytest.approx((0.85, 2.4 / 2.55))


def test_the_cards_scaling_is_applied_to_the_malignancy_alone() -> None:
    ct = lit((20, 140, 150), (9, 60, 80), (2.5, 0.7, 0.7))
    point = ct.to_lps([(9, 60, 80)])
    (plain,) = WindowsPipeline(_Named()).classify(ct, point)
    named = _Named(card={"malignancy_scaling": {"slope": 2.0, "intercept": -1.0}})
    (scaled,) = WindowsPipeline(named).classify(ct, point)
    assert plain.malignancy_score == pytest.approx(0.75, abs=1e-6)
    # log(0.75 / 0.25) = log 3, so 2 log 3 - 1; the odds are 9 / e.
    assert scaled.malignancy_score == pytest.approx(9 / (9 + np.e), abs=1e-5)
    assert scaled.candidate.detection_score == plain.candidate.detection_score


def test_a_csv_keeps_its_order_and_columns(tmp_path: Path, shipped_network: object) -> None:  # noqa: ARG001
    ct = lit((5, 80, 80), (2, 40, 40), (2.5, 0.7, 0.7))
    source, out = tmp_path / "points.csv", tmp_path / "scores.csv"
    lps = ct.to_lps([(2, 40, 40), (1, 20, 60)])
    rows = [{"z_lps_mm": z, "name": n, "y_lps_mm": y, "x_lps_mm": x} for n, (x, y, z) in zip("ba", lps, strict=True)]
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    read, points = read_points(source)
    assert points == pytest.approx(lps)
    nodules = load_pipeline().classify(ct, points)
    write_scores(out, read, nodules, overwrite=False)
    with out.open(newline="") as file:
        scored = list(csv.DictReader(file))
    assert [row["name"] for row in scored] == ["b", "a"]
    assert list(scored[0]) == ["z_lps_mm", "name", "y_lps_mm", "x_lps_mm", "nodule_score", "malignancy_score"]
    for row, nodule in zip(scored, nodules, strict=True):
        assert float(row["nodule_score"]) == pytest.approx(nodule.candidate.detection_score, abs=1e-6)
        assert float(row["malignancy_score"]) == pytest.approx(nodule.malignancy_score, abs=1e-6)
    with refused(OutputError, "exists", "does not exist", "--overwrite"):
        write_scores(out, read, nodules, overwrite=False)


@pytest.mark.parametrize(
    ("text", "found"),
    [("x,y,z\n1,2,3\n", "columns x, y, z"), ("x_lps_mm,y_lps_mm,z_lps_mm\n1,2,here\n", "row 1"), ("", "columns none"),
     ("x_lps_mm,y_lps_mm,z_lps_mm\n1,2\n", "row 1"), ("x_lps_mm,y_lps_mm,z_lps_mm\n1,2,inf\n", "row 1")],
)  # fmt: skip
def test_a_csv_without_points_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "points.csv").write_text(text)
    with refused(InputError, found, "mm", "x_lps_mm,y_lps_mm,z_lps_mm"):
        read_points(tmp_path / "points.csv")


def test_the_command_says_which_file_is_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["classify", str(tmp_path), "--points", str(tmp_path / "no.csv"), "-o", str(tmp_path / "out.csv")])
    assert stopped.value.code == 2
    assert "no.csv" in capsys.readouterr().err


def test_the_command_refuses_an_existing_file_before_it_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main(["classify", str(tmp_path), "--points", str(tmp_path / "no.csv"), "-o", str(out)])
    assert stopped.value.code == 2
    assert "out.csv, which exists" in capsys.readouterr().err
    assert out.read_text() == "mine"
