"""The evaluation as files: numbers read back from JSON, tables from Markdown, the page with a parser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import lungsight
from lungsight.errors import OutputError
from lungsight.evaluate.evaluation import DetectionEvaluation, Evaluation, OverlapEvaluation
from lungsight.evaluate.froc import FP_RATES, froc
from lungsight.evaluate.intervals import Bootstrap, Proportion
from lungsight.evaluate.match import Finding, Mark, match_marks
from lungsight.evaluate.overlap import LesionOverlap
from lungsight.evaluate.patients import evaluate_patients
from lungsight.report.compared import ComparedSlice
from lungsight.report.evaluation import check_evaluation_folder, write_evaluation
from lungsight.report.figures import evaluation_plots
from lungsight.report.lines import evaluation_lines
from refusals import refused

FEW = Bootstrap(draws=20)
EVIL = "<script>alert(1)</script> | x"


def of_patients(warnings: tuple[str, ...] = ()) -> Evaluation:
    # c is missing. a and b are right: 2 of 3; the pair a > b is right, c < b is wrong: AUC 1/2.
    result = evaluate_patients({"a": True, "b": False, "c": True}, {"a": 0.75, "b": 0.25}, 0.5, FEW)
    return Evaluation(patients=result, warnings=warnings)


def of_scans(
    findings: tuple[Finding, ...] = (Finding("1", (0, 0, 0), 8.0), Finding("2", (0, 0, 0), None)),
) -> Evaluation:
    matches = match_marks([Mark("1", (1, 0, 0), 0.9), Mark("2", (50, 0, 0), 0.4)], findings, ["1", "2"])
    return Evaluation(detection=DetectionEvaluation(matches, froc(matches, FEW)))


def of_both() -> Evaluation:
    scans = of_scans()
    # 2 * 50 / (100 + 100) and a miss: mean 1/4; pooled 100 / 240.
    lesions = (LesionOverlap(8.0, 100.0, 100.0, 50.0), LesionOverlap(None, 40.0, 0.0, 0.0))
    assert scans.detection is not None
    overlap = OverlapEvaluation(scans.detection.matches.nodules, lesions)
    return Evaluation(of_patients().patients, scans.detection, overlap, ("Something is missing.",))


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_patients_as_json(tmp_path: Path) -> None:
    page = write_evaluation(of_patients(("One is missing.",)), tmp_path / "out")
    assert page == tmp_path / "out" / "evaluation.html"
    assert sorted(p.name for p in page.parent.iterdir()) == ["evaluation.html", "evaluation.json", "evaluation.md"]
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert (told["version"], told["warnings"]) == (lungsight.__version__, ["One is missing."])
    assert (told["detection"], told["overlap"]) == (None, None)
    told = told["patients"]
    assert (told["n_patients"], told["n_malignant"], told["missing"]) == (3, 2, ["c"])
    wilson = Proportion(2, 3).wilson()
    assert told["at_threshold"]["accuracy"] == {
        "value": wilson.value,
        "low": wilson.low,
        "high": wilson.high,
        "hits": 2,
        "of": 3,
    }
    assert [told["at_threshold"][f"{w}_positives"] for w in ("true", "false")] == [1, 0]
    assert told["auc"]["value"] == 0.5
    assert told["roc"]["sensitivity"] == [0, 0.5, 0.5, 1]
    assert told["roc"]["thresholds"] == [None, 0.75, 0.25, None]  # above every score; below every score
    # a is off by 1/4, b too, c (missing, counted as 0) by 1: (1/16 + 1/16 + 1) / 3.
    assert told["calibration"]["brier_score"] == pytest.approx(1.125 / 3)
    assert told["bootstrap"] == {"draws": 20, "confidence": 0.95, "seed": 0}
    assert told["cases"][0] == {"patient_id": "a", "label": 1, "score": 0.75}
    assert told["cases"][2] == {"patient_id": "c", "label": 1, "score": None}


def test_detection_as_json(tmp_path: Path) -> None:
    write_evaluation(of_scans(), tmp_path / "out")
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    counts = ("n_scans", "n_nodules", "n_found", "n_marks", "n_false", "n_on_excluded", "n_repeated", "n_over_limit")
    assert told["patients"] is None
    told = told["detection"]
    assert [told[name] for name in counts] == [2, 2, 1, 2, 1, 0, 0, 0]
    assert told["cpm"]["value"] == 0.5
    assert [at["fp_per_scan"] for at in told["sensitivity_at"]] == list(FP_RATES)
    assert told["froc"]["fp_per_scan"] == [0, 0, 0.5]
    assert told["found_by_size"]["6-10 mm"]["value"] == 1.0
    assert told["found_by_size"]["unknown"]["value"] == 0.0
    assert [nodule["score"] for nodule in told["nodules"]] == [0.9, None]


def test_tables_for_a_paper(tmp_path: Path) -> None:
    write_evaluation(of_patients((EVIL,)), tmp_path / "out")
    text = (tmp_path / "out" / "evaluation.md").read_text("utf-8")
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert ["Accuracy", "0.667", "0.208 to 0.939", "2 of 3"] in rows
    assert ["Called malignant", "1", "0"] in rows
    assert "Research use only" in text
    write_evaluation(of_scans(), tmp_path / "scans")
    detection = (tmp_path / "scans" / "evaluation.md").read_text("utf-8")
    assert re.search(r"\| CPM \| 0\.500 \| \d\.\d{3} to \d\.\d{3} \| 2 nodules, 2 scans \|", detection)
    assert r"| \<6 mm |" not in detection  # sizes that no nodule has are left out
    assert "| 6-10 mm | 1.000 |" in detection


def test_the_page_holds_everything_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    page = Page(write_evaluation(of_patients((EVIL,)), tmp_path / "out").read_text("utf-8"))
    assert page.tags.count("svg") == 3
    assert page.links == []
    assert "script" not in page.tags
    assert EVIL in page.words  # told as text, not run
    assert "Research use only" in page.words
    assert "0.208 to 0.939" in page.words
    assert Page(write_evaluation(of_scans(), tmp_path / "scans").read_text("utf-8")).tags.count("svg") == 1


def test_what_is_not_defined_is_a_dash_and_null(tmp_path: Path) -> None:
    nobody = Evaluation(patients=evaluate_patients({}, {}, 0.5, FEW))
    for name, evaluation in (("patients", nobody), ("detection", of_scans(()))):
        page = write_evaluation(evaluation, tmp_path / name)
        assert re.search(r"<td>–</td>", page.read_text("utf-8"))
        told = json.loads((tmp_path / name / "evaluation.json").read_text("utf-8"))
        assert told[name]["auc" if name == "patients" else "cpm"] == {"value": None, "low": None, "high": None}
    assert evaluation_plots(of_scans(())) == ()


def test_the_line_says_what_matters_most() -> None:
    (line,) = evaluation_lines(of_patients())
    assert line.startswith("2 of 3 patients right: accuracy 0.667 (0.208 to 0.939); AUC 0.500 (")
    (line,) = evaluation_lines(of_scans())
    assert line.startswith("1 of 2 nodules hit in 2 scans: CPM 0.500 (")
    assert evaluation_lines(of_scans(())) == ["0 of 0 nodules hit in 2 scans: CPM not defined"]
    of_each_part = evaluation_lines(of_both())
    assert [words.split(":")[0] for words in of_each_part[:2]] == [
        "2 of 3 patients right",
        "1 of 2 nodules hit in 2 scans",
    ]
    assert of_each_part[2] == "1 of 2 lesions touched by a ROI: mean Dice 0.250"


def test_all_parts_stand_together(tmp_path: Path) -> None:
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    slices = [ComparedSlice(f"a, slice 7 {EVIL}", pixel, pixel + "#2")]
    page = Page(write_evaluation(of_both(), tmp_path / "out", slices=slices).read_text("utf-8"))
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert (told["patients"]["n_patients"], told["detection"]["n_scans"]) == (3, 2)
    assert told["overlap"]["by_size"]["all"] == {"n_lesions": 2, "n_touched": 1, "mean_dice": 0.25, "dice": 100 / 240}
    first, second = told["overlap"]["lesions"]
    assert (first["series_uid"], first["diameter_mm"], first["dice"]) == ("1", 8.0, 0.5)
    assert (second["diameter_mm"], second["lesion_mm3"], second["dice"]) == (None, 40.0, 0.0)
    text = (tmp_path / "out" / "evaluation.md").read_text("utf-8")
    assert "| all | 2 | 1 | 0.250 | 0.417 |" in text
    assert "| 6-10 mm | 1 | 1 | 0.500 | 0.500 |" in text
    assert "| unknown | 1 | 0 | 0.000 | 0.000 |" in text
    assert text.index("Patients, at") < text.index("Detection, by") < text.index("Overlap of ROI")
    assert page.tags.count("svg") == 4
    assert page.links == [pixel, pixel + "#2"]
    assert "script" not in page.tags
    assert f"a, slice 7 {EVIL}" in page.words


def test_only_an_earlier_evaluation_is_replaced(tmp_path: Path) -> None:
    write_evaluation(of_patients(), tmp_path / "out")
    with refused(OutputError, "exists", "one that does not", "--overwrite"):
        write_evaluation(of_patients(), tmp_path / "out")
    write_evaluation(of_scans(), tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "thesis.md").write_text("mine")
    with refused(OutputError, "1 files that are not of a report: thesis.md", "nothing else", "nothing was overwritten"):
        check_evaluation_folder(tmp_path / "out", overwrite=True)


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("in the middle")

    monkeypatch.setattr("lungsight.report.evaluation._html", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        write_evaluation(of_patients(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
