import contextlib
import dataclasses
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jsonschema
import nibabel
import numpy as np
import pytest

import lungsight
from lungsight import cli
from lungsight.config import Config, SegmentsConfig, WindowsConfig, config_to_toml
from lungsight.ct.volume import CTVolume
from lungsight.engines import ENGINES, PRECISIONS
from lungsight.errors import WeightsError
from lungsight.findings import Diagnosis, Verdict
from lungsight.report.record import diagnosis_schema
from phantom import PATIENT_NAME, Body, series_uid, setting, write_series
from samples import malignant, sample_ct, without_nodule


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*words: str | Path) -> Ran:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(word) for word in words])
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, *capsys.readouterr())

    return run_it


@dataclasses.dataclass
class StubPipeline:
    """Finds the sample's nodule in any CT of the sample's size."""

    answer: Callable[[CTVolume], Diagnosis] = malignant
    configs: list[Config | None] = dataclasses.field(default_factory=list)
    systems: list[str] = dataclasses.field(default_factory=list)
    engines: list[dict[str, str | None]] = dataclasses.field(default_factory=list)

    def load(
        self, system: str = "windows", weights: Path | None = None, config: Config | None = None, **engine: str | None
    ) -> "StubPipeline":
        assert weights is None
        self.engines.append(engine)
        self.systems.append(system)
        self.configs.append(config)
        return self

    def __call__(self, ct: CTVolume, *, progress: Callable[[str, float], None] | None = None) -> Diagnosis:
        assert progress is not None
        for share in (0.0, 0.5, 1.0):
            progress("detect", share)
        return self.answer(ct)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> StubPipeline:
    stub = StubPipeline()
    monkeypatch.setattr("lungsight.pipeline.load_pipeline", stub.load)
    return stub


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    ct = sample_ct(from_dicom=False)
    hu = ct.hu.astype("int16")
    write_series(folder, Body(hu, ct.affine))
    return folder


def test_a_scan_becomes_a_report_and_two_lines(run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path) -> None:
    ran = run("diagnose", scan, "-o", tmp_path / "out")
    assert ran == Ran(
        0,
        "MALIGNANT: score 0.97; 1 nodule; best at slice 2 (instance 3), row 13.2, column 31.5\n"
        f"Report: {tmp_path / 'out' / 'report.html'}\n",
        "",
    )
    record = json.loads((tmp_path / "out" / "diagnosis.json").read_text("utf-8"))
    jsonschema.validate(record, diagnosis_schema())
    assert list(record["provenance"]["seconds"]) == ["read", "lungs", "detect", "vote"]
    assert record["provenance"]["series_uid"] == series_uid()
    assert pipeline.systems == ["windows"]


@pytest.mark.usefixtures("pipeline")
def test_the_patient_is_named_nowhere(run: Run, scan: Path, tmp_path: Path) -> None:
    name = PATIENT_NAME.split("^")[0].encode()
    assert name in next(scan.iterdir()).read_bytes()
    ran = run("diagnose", scan, "-o", tmp_path / "out")
    told = [
        ran.out.encode(),
        ran.err.encode(),
        run("info", scan).out.encode(),
        run("info", scan, "--json").out.encode(),
    ]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert [name for text in told + [path.read_bytes() for path in files] if name in text] == []


@pytest.mark.parametrize(
    ("verdict", "line"),
    [(Verdict.NO_NODULE, "NO_NODULE: no nodules"), (Verdict.INDETERMINATE, "INDETERMINATE: no nodules")],
)
def test_no_nodule_is_a_result(
    run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path, verdict: Verdict, line: str
) -> None:
    pipeline.answer = lambda ct: without_nodule(ct, verdict, ("One slice was odd.",))
    ran = run("diagnose", scan, "-o", tmp_path / "out")
    assert (ran.code, ran.out.splitlines()[0], ran.err) == (0, line, "warning: One slice was odd.\n")


def test_the_place_for_the_report_is_checked_before_the_computing(
    run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    ran = run("diagnose", scan, "-o", tmp_path / "out")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.splitlines() == [
        "lungsight: the report cannot be written",
        f"  Found:    the folder {tmp_path / 'out'} exists",
        "  Expected: one that does not",
        "  Remedy:   Choose another folder, or say --overwrite.",
    ]
    assert pipeline.systems == []
    assert run("diagnose", scan, "-o", tmp_path / "out", "--overwrite").code == 0


@pytest.mark.usefixtures("pipeline")
def test_dicom_for_a_pacs_is_written_with_the_report(
    run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path
) -> None:
    assert run("diagnose", scan, "-o", tmp_path / "out", "--dicom").code == 0
    names = sorted(path.name for path in (tmp_path / "out" / "dicom").iterdir())
    assert names == ["page_01.dcm", "seg.dcm", "sr.dcm"]
    # Without nodules there is no SEG, and an earlier one goes.
    pipeline.answer = without_nodule
    ran = run("diagnose", scan, "-o", tmp_path / "out", "--dicom", "--overwrite")
    assert ran.code == 0
    assert "there is no DICOM SEG" in ran.err
    assert sorted(path.name for path in (tmp_path / "out" / "dicom").iterdir()) == ["page_01.dcm", "sr.dcm"]
    record = json.loads((tmp_path / "out" / "diagnosis.json").read_text("utf-8"))
    assert any("there is no DICOM SEG" in warning for warning in record["warnings"])


def test_dicom_of_a_nifti_is_refused_before_the_computing(run: Run, pipeline: StubPipeline, tmp_path: Path) -> None:
    pipeline.answer = fail
    ct = sample_ct(from_dicom=False)
    image = nibabel.Nifti1Image(ct.hu.T, np.diag([0.7, 0.7, 2.5, 1]))  # type: ignore[no-untyped-call]
    nibabel.save(image, tmp_path / "ct.nii")
    ran = run("diagnose", tmp_path / "ct.nii", "-o", tmp_path / "out", "--dicom")
    assert (ran.code, ran.out) == (2, "")
    assert "Found:    a CT that did not come from DICOM" in ran.err
    assert not (tmp_path / "out").exists()


def test_an_input_that_cannot_be_used_is_told_in_three_parts(run: Run, tmp_path: Path) -> None:
    ran = run("diagnose", tmp_path / "nowhere", "-o", tmp_path / "out")
    lines = ran.err.splitlines()
    assert (ran.code, ran.out, lines[0]) == (2, "", "lungsight: the input cannot be used")
    assert [line[:12] for line in lines[1:]] == ["  Found:    ", "  Expected: ", "  Remedy:   "]
    assert "nowhere" in lines[1]
    assert list(tmp_path.iterdir()) == []


def test_weights_that_cannot_be_used_are_told(
    run: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise WeightsError("no file", "model.onnx", "Install again.")

    monkeypatch.setattr("lungsight.pipeline.load_pipeline", load)
    ran = run("diagnose", scan, "-o", tmp_path / "out")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "lungsight: the network's weights cannot be used")


@pytest.mark.parametrize("command", ["diagnose", "classify"])
def test_the_engine_and_the_precision_reach_the_network(
    command: str, run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path
) -> None:
    (tmp_path / "points.csv").write_text("x_lps_mm,y_lps_mm,z_lps_mm\n", "utf-8")
    words = [command, scan, "-o", tmp_path / "out", *(["--points", tmp_path / "points.csv"] * (command == "classify"))]
    run(*words)
    run(*words, "--overwrite", "--engine", "onnxruntime", "--precision", "float32")
    assert pipeline.engines == [
        {"engine": None, "precision": None},
        {"engine": "onnxruntime", "precision": "float32"},
    ]


def test_the_help_names_every_engine_and_precision(run: Run) -> None:
    for command in ("diagnose", "classify", "demo"):
        told = run(command, "--help").out
        assert [name for name in (*ENGINES, *PRECISIONS) if name not in told] == []


def test_an_unknown_engine_is_refused(run: Run, scan: Path, tmp_path: Path) -> None:
    ran = run("diagnose", scan, "-o", tmp_path / "out", "--engine", "abacus")
    assert (ran.code, "one of openvino, onnxruntime" in " ".join(ran.err.split())) == (2, True)


def test_an_unknown_series_and_an_unknown_system_are_refused(
    run: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run("diagnose", scan, "-o", tmp_path / "out", "--system", "tea leaves")
    assert (ran.code, "tea leaves" in ran.err) == (2, True)
    monkeypatch.setattr("lungsight.pipeline.load_pipeline", StubPipeline().load)
    ran = run("diagnose", scan, "-o", tmp_path / "out", "--series", "1.2.3")
    assert (ran.code, "1.2.3" in ran.err, series_uid() in ran.err) == (2, True, True)
    assert run("diagnose", scan, "-o", tmp_path / "out", "--series", series_uid()).code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["diagnose", "scan"], "--out"),
        (["diagnose", "-o", "out"], "INPUT"),
        (["diagnose", "scan", "-o", "out", "--vote-threshold", "3"], "vote_threshold is 3.0, expected 0 to 1"),
        (["diagnose", "scan", "-o", "out", "--vote-threshold", "high"], "--vote-threshold"),
        (["divine"], "divine"),
    ],
)
def test_a_wrong_command_is_exit_2_and_names_what_is_wrong(run: Run, words: list[str], named: str) -> None:
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert named in " ".join(ran.err.replace("│", " ").split())


def test_settings_come_from_the_file_and_the_option_goes_before_it(
    run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[windows]\nmin_overlap = 5\nvote_threshold = 0.7\n")
    run("diagnose", scan, "-o", tmp_path / "a")
    run("diagnose", scan, "-o", tmp_path / "b", "--config", settings)
    run("diagnose", scan, "-o", tmp_path / "c", "--config", settings, "--vote-threshold", "0.2")
    assert pipeline.configs == [
        Config(),
        Config(windows=WindowsConfig(min_overlap=5, vote_threshold=0.7)),
        Config(windows=WindowsConfig(min_overlap=5, vote_threshold=0.2)),
    ]
    settings.write_text("[windows]\nmin_overlaps = 5\n")
    ran = run("diagnose", scan, "-o", tmp_path / "d", "--config", settings)
    assert (ran.code, "windows.min_overlaps" in ran.err) == (2, True)


def fail(ct: CTVolume) -> Diagnosis:
    raise RuntimeError(f"{len(ct.hu)} is not a number of slices")


def test_a_bug_is_exit_1_and_says_how_to_report_it(
    run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.answer = fail
    quiet = run("diagnose", scan, "-o", tmp_path / "out")
    loud = run("--debug", "diagnose", scan, "-o", tmp_path / "out")
    monkeypatch.setenv("LUNGSIGHT_DEBUG", "1")
    by_environment = run("diagnose", scan, "-o", tmp_path / "out")
    assert [ran.code for ran in (quiet, loud, by_environment)] == [1, 1, 1]
    assert ["Traceback" in ran.err for ran in (quiet, loud, by_environment)] == [False, True, True]
    assert f"bug in Lungsight {lungsight.__version__}" in quiet.err
    assert "RuntimeError: 7 is not a number of slices" in quiet.err
    assert "report it" in quiet.err
    assert list(tmp_path.iterdir()) == []


def test_version_and_config(run: Run) -> None:
    assert run("--version") == Ran(0, f"lungsight {lungsight.__version__}\n", "")
    told = run("config")
    assert (told.code, told.out) == (0, config_to_toml(Config()))
    assert tomllib.loads(told.out) == dataclasses.asdict(Config())


def test_info_says_what_is_there_and_what_would_be_read(run: Run, scan: Path, tmp_path: Path) -> None:
    ran = run("info", scan)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("* CT")
    assert "7 slices of 40 x 64, 2.500 x 0.700 x 0.700 mm, axial" in lines[0]
    assert f"    {series_uid()}" in lines
    assert any(line.startswith(f"Would be diagnosed: {series_uid()}. ") for line in lines)
    assert run("info", tmp_path / "nowhere").code == 2


def test_info_says_why_nothing_would_be_read(run: Run, tmp_path: Path) -> None:
    ct = sample_ct(from_dicom=False)
    write_series(tmp_path, Body(ct.hu.astype("int16"), ct.affine), edit=setting(Modality="MR"))
    ran = run("info", tmp_path)
    assert ran.code == 0
    assert ran.out.startswith("- MR")
    assert "Would be diagnosed: none. " in ran.out


def test_info_for_machines(run: Run, scan: Path) -> None:
    told = json.loads(run("info", scan, "--json").out)
    assert told["chosen"] == told["series"][0]
    assert (told["chosen"]["uid"], told["chosen"]["slices"]) == (series_uid(), 7)


def test_help_tells_each_setting_in_the_words_of_its_class(run: Run) -> None:
    ran = run("diagnose", "--help")
    words = " ".join(ran.out.replace("│", " ").split())
    assert ran.code == 0
    assert "A ROI or patient is malignant if" in words
    assert str(WindowsConfig().vote_threshold) in words


def modules_of_dependencies(without: set[str]) -> set[str]:
    """The modules of every library that Lungsight or one of its extras names."""
    required = {re.split(r"[^\w.-]", one)[0] for one in importlib.metadata.requires("lungsight") or ()}
    heavy = {name.lower().replace("_", "-") for name in required} - without
    of = importlib.metadata.packages_distributions()
    return {module for module, names in of.items() if heavy & {name.lower().replace("_", "-") for name in names}}


def test_help_loads_nothing_but_what_draws_it() -> None:
    # It is fast as long as this holds; seconds are not measured on a machine that does other things too.
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    code += "from lungsight import cli; cli.main(['--help'])"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    heavy = modules_of_dependencies(without={"typer", "rich", "tomli-w"})
    assert {"numpy", "scipy", "pydicom", "jinja2", "torch"} <= heavy
    assert {"typer", "rich", "lungsight"} <= loaded
    assert heavy & loaded == set()
    assert "diagnose" in ran.stdout


@pytest.mark.usefixtures("pipeline")
def test_on_a_terminal_each_step_has_a_bar(
    run: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    monkeypatch.setenv("TERM", "xterm")
    ran = run("diagnose", scan, "-o", tmp_path / "out")
    assert [step for step in ("read", "detect", "report") if step not in ran.err] == []
    assert ran.out.startswith("MALIGNANT")


def test_the_installed_program_is_this_one() -> None:
    program = Path(sys.executable).with_name("lungsight")
    if not program.exists():
        pytest.skip("lungsight is not installed as a program beside this Python")
    with contextlib.suppress(subprocess.TimeoutExpired):
        ran = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
        assert ran.stdout == f"lungsight {lungsight.__version__}\n"


def test_predictions_are_measured_against_the_truth(run: Run, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("patient_id,label\na,1\nb,0\nc,1\n")
    (tmp_path / "scores.csv").write_text("patient_id,score\na,0.4\nb,0.1\n")
    ran = run("evaluate", tmp_path / "scores.csv", tmp_path / "truth.csv", "-o", tmp_path / "out")
    assert (ran.code, ran.err) == (0, "warning: 1 of 3 patients have no prediction and count as wrong: c.\n")
    first, second = ran.out.splitlines()
    assert first.startswith("1 of 3 patients right: accuracy 0.333 (")
    assert second == f"Evaluation: {tmp_path / 'out' / 'evaluation.html'}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "evaluation.html",
        "evaluation.json",
        "evaluation.md",
    ]
    again = ["evaluate", tmp_path / "scores.csv", tmp_path / "truth.csv", "-o", tmp_path / "out"]
    assert run(*again).code == 2
    moved = run(*again, "--overwrite", "--vote-threshold", "0.4")
    assert moved.out.startswith("2 of 3 patients right")


def test_an_evaluation_that_cannot_be_done_leaves_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("patient_id,label\na,malignant\n")
    ran = run("evaluate", tmp_path / "scores.csv", tmp_path / "truth.csv", "-o", tmp_path / "out")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "lungsight: the input cannot be used")
    assert "line 2, label: 'malignant'" in ran.err
    assert not (tmp_path / "out").exists()


def test_an_evaluation_shows_its_progress(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "truth.csv").write_text("patient_id,label\na,1\n")
    (tmp_path / "scores.csv").write_text("patient_id,score\na,0.4\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    ran = run("evaluate", tmp_path / "scores.csv", tmp_path / "truth.csv", "-o", tmp_path / "out")
    assert [step for step in ("read", "bootstrap") if step not in ran.err] == []


@pytest.mark.parametrize(
    ("words", "configs"),
    [
        (["--system", "segments"], [Config()]),
        (
            ["--system", "segments", "--malignancy-threshold", "0.25"],
            [Config(segments=SegmentsConfig(malignancy_threshold=0.25))],
        ),
        (["--system", "segments", "--vote-threshold", "0.25"], []),
        (["--malignancy-threshold", "0.25"], []),
        (["--system", "segments", "--malignancy-threshold", "1.5"], []),
    ],
)
def test_each_system_has_its_threshold(
    run: Run, pipeline: StubPipeline, scan: Path, tmp_path: Path, words: list[str], configs: list[Config]
) -> None:
    ran = run("diagnose", scan, "-o", tmp_path / "out", *words)
    assert ran.code == (0 if configs else 2)
    assert pipeline.configs == configs
    if not configs:
        assert words[-2] in ran.err
