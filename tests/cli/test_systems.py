"""`segments` on the command line: diagnosed whole, points scored, the same weights told."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import pytest

from drawn_networks import sha256_of, write_segments
from lungsight import cli
from lungsight.regions import read_regions
from lungsight.report.record import diagnosis_schema
from phantom import Sphere, thorax, write_series

PLACE = (-80.0, 12.0, -36.0)


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(word) for word in words])
    return int(str(caught.value.code))


def test_segments_diagnoses_and_scores_points(tmp_path: Path) -> None:
    scan, weights, out = tmp_path / "scan", write_segments(tmp_path / "weights"), tmp_path / "out"
    write_series(scan, thorax((Sphere(PLACE, 26, 200),), (32, 96, 96), (6.0, 3.7, 3.7)))
    words: list[str | Path] = ["--system", "segments", "--weights", weights, "--engine", "onnxruntime"]
    assert run("diagnose", scan, "-o", out, "--save-nodules", *words) == 0
    record = json.loads((out / "diagnosis.json").read_text("utf-8"))
    jsonschema.validate(record, diagnosis_schema())
    assert (record["system"], len(record["nodules"])) == ("segments", 1)
    assert record["provenance"]["weights_sha256"] == sha256_of(weights)
    assert record["nodules"][0]["centre_lps_mm"] == pytest.approx(PLACE, abs=3.7)
    (region,) = read_regions(out / "regions.npz").regions
    volume_mm3 = record["nodules"][0]["measurements"]["volume_mm3"]
    assert region.mask.sum() * 6.0 * 3.7 * 3.7 == pytest.approx(volume_mm3, rel=1e-3)  # the mask, no box
    assert (out / "nodules" / "1.nii.gz").is_file()

    (tmp_path / "points.csv").write_text("x_lps_mm,y_lps_mm,z_lps_mm\n-80,12,-36\n72,0,30\n")
    points: list[str | Path] = ["--points", tmp_path / "points.csv", "-o", tmp_path / "scores.csv"]
    assert run("classify", scan, *points, *words) == 0
    with (tmp_path / "scores.csv").open(newline="") as file:
        scores = [float(row["nodule_score"]) for row in csv.DictReader(file)]
    assert scores[0] > 0.9
    assert scores[1] < 0.1
