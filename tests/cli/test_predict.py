"""``lungsight predict-dsb`` on a folder as the contest's, and its prediction measured."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drawn_networks import write_segments
from lungsight import cli
from phantom import Sphere, thorax, write_series

Run = Callable[..., tuple[int, str, str]]
SHAPE, SPACING_MM = (32, 96, 96), (6.0, 3.7, 3.7)
SEGMENTS = ("--system", "segments", "--engine", "onnxruntime", "--weights")
WITH = (Sphere((-80.0, 12.0, -36.0), 26, 200),)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(word) for word in words])
        return (int(str(caught.value.code)), *capsys.readouterr())

    return run_it


@pytest.fixture
def stage1(tmp_path: Path) -> Path:
    """Two with a nodule, one without, and one whose files are cut short; labels beside them."""
    root = tmp_path / "stage1"
    for name, nodules in {"d4": WITH, "a1": (), "c3": WITH}.items():
        write_series(root / name, thorax(nodules, SHAPE, SPACING_MM), series=name)
    (root / "b2").mkdir()
    (root / "b2" / "cut.dcm").write_bytes(next((root / "a1").iterdir()).read_bytes()[:200])
    (root / "stage1_labels.csv").write_text("id,cancer\nc3,1\na1,0\nb2,0\nd4,1\n")
    return root


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_contest_is_predicted_and_measured(run: Run, stage1: Path, tmp_path: Path) -> None:
    table, weights = tmp_path / "submission.csv", write_segments(tmp_path / "weights", malignancy=0.9)
    words = ["predict-dsb", stage1, "-o", table, *SEGMENTS, weights]
    code, told, said = run(*words)
    assert code == 2
    assert told.splitlines() == [
        f"4 patients predicted: {table}",
        f"1 of them could not be judged: {table}.failed.json",
    ]
    header, *rows = rows_of(table)
    assert header == ["id", "cancer"]
    assert [name for name, _ in rows] == ["a1", "b2", "c3", "d4"]
    score = {name: float(value) for name, value in rows}
    assert score["a1"] == 0.02
    assert 0.85 < score["c3"] < 0.9
    assert score["b2"] == pytest.approx((score["a1"] + score["c3"] + score["d4"]) / 3, abs=1e-6)
    assert f"warning: b2 has the score {score['b2']:.6f}, the mean of the others. Found: " in said
    (failed,) = json.loads((tmp_path / "submission.csv.failed.json").read_text())
    assert (failed["id"], failed["source"], failed["score"]) == ("b2", str(stage1 / "b2"), pytest.approx(score["b2"]))

    code, told, _ = run("evaluate", table, stage1 / "stage1_labels.csv", "-o", tmp_path / "evaluation")
    assert (code, told.split(":")[0]) == (0, "3 of 4 patients right")  # b2 is benign, its mean score above 0.5
    patients = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["patients"]
    assert patients["auc"]["value"] == 1.0
    assert patients["calibration"]["log_loss"] > 0
    assert patients["calibration"]["bins"]


def test_a_run_that_was_broken_off_goes_on(run: Run, stage1: Path, tmp_path: Path) -> None:
    table, weights = tmp_path / "submission.csv", write_segments(tmp_path / "weights", malignancy=0.9)
    words = ["predict-dsb", stage1, "-o", table, *SEGMENTS, weights]
    run(*words)
    first = table.read_bytes()
    table.unlink()
    shutil.rmtree(tmp_path / "submission.csv.diagnoses" / "c3")
    shutil.rmtree(stage1 / "b2")
    code, _, said = run(*words)
    assert code == 0
    assert ["was done before" in line for line in said.splitlines()] == [True, False, True]
    # Without the patient who could not be read: the same scores, and nobody is listed any more.
    kept = [line for line in first.splitlines() if not line.startswith(b"b2")]
    assert table.read_bytes().splitlines() == kept
    assert not (tmp_path / "submission.csv.failed.json").exists()
    assert run(*words)[0] == 2  # it is there already
    assert run(*words, "--overwrite")[0] == 0
