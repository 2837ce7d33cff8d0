from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lungsight import cli
from lungsight.cohort.options import Options, Outcome, Study
from lungsight.config import Config
from lungsight.ct.volume import CTVolume
from lungsight.findings import Diagnosis
from stub_system import StubSystem, write_scan

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(["diagnose", *map(str, words)])
        return (int(str(caught.value.code)), *capsys.readouterr())

    return run_it


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """With what each system was loaded."""
    asked: list[dict[str, Any]] = []

    def load(system: str, weights: Path | None, config: Config, **others: Any) -> StubSystem:
        asked.append({"system": system, "weights": weights, "config": config, **others})
        return StubSystem(config)

    monkeypatch.setattr("lungsight.pipeline.load_pipeline", load)
    return asked


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for name in ("ann", "bob"):
        write_scan(folder / name)
    (folder / "broken").mkdir()
    return folder


def test_many_cts_are_told_one_by_one_and_a_failure_is_exit_2(
    run: Run, loaded: list[dict[str, Any]], scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, told, progress = run(scans / "ann", scans / "broken", scans / "bob", "-o", out, "--no-report")
    assert (code, told) == (2, f"2 of 3 CTs diagnosed: {out}\n1 failed: {out / 'failed.json'}\n")
    line = "MALIGNANT: score 0.97; 1 nodule; best at slice 2 (instance 3), row 13.2, column 31.5"
    first, second, third = progress.splitlines()
    assert (first, third) == (f"[1/3] ann: {line}", f"[3/3] bob: {line}")
    assert second.startswith("[2/3] broken: FAILED. Found: ")
    assert [row["name"] for row in json.loads((out / "failed.json").read_text("utf-8"))] == ["broken"]
    assert len(loaded) == 1
    code, told, progress = run(scans / "ann", scans / "bob", "-o", out, "--no-report", "--resume")
    assert (code, told) == (0, f"2 of 2 CTs diagnosed: {out}\n")
    assert progress == "[1/2] ann: was done before\n[2/2] bob: was done before\n"
    assert not (out / "failed.json").exists()


def test_a_list_of_one_has_its_folder_too(run: Run, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "studies.txt").write_text(f"{scans / 'ann'}\n")
    assert run("--list", tmp_path / "studies.txt", "-o", tmp_path / "out")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out" / "ann").iterdir()) == [
        "diagnosis.json",
        "overlays",
        "regions.npz",
        "report.html",
    ]
    run(scans / "bob", "--list", tmp_path / "studies.txt", "-o", tmp_path / "both", "--no-report")
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["ann", "bob", "sources.json"]


def test_one_ct_alone_lies_in_out_itself(run: Run, scans: Path, tmp_path: Path) -> None:
    code, told, _ = run(scans / "ann", "-o", tmp_path / "out", "--no-report")
    assert code == 0
    assert told.splitlines()[1] == f"Diagnosis: {tmp_path / 'out' / 'diagnosis.json'}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["diagnosis.json", "regions.npz"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["a", "--resume"], "--resume"),
        (["a", "--jobs", "2"], "--jobs"),
        (["a", "b", "--series", "1.2"], "--series"),
        (["a", "b", "--prior", "c"], "--prior"),
        (["a", "b", "--patient", "p.toml"], "--patient"),
        (["a", "b", "--resume", "--overwrite"], "--resume"),
        (["a", "b", "--jobs", "0"], "--jobs"),
        ([], "INPUT"),
    ],
)
def test_options_that_do_not_fit_are_refused(run: Run, words: list[str], named: str, tmp_path: Path) -> None:
    code, told, error = run(*words, "-o", tmp_path / "out")
    assert (code, told) == (2, "")
    assert named in error
    assert not (tmp_path / "out").exists()


def test_every_option_arrives(
    run: Run, loaded: list[dict[str, Any]], scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def cohort(studies: tuple[Study, ...], out: Path, options: Options, **others: Any) -> tuple[Outcome, ...]:
        asked.update(others, options=options, out=out)
        return tuple(map(Outcome, studies))

    monkeypatch.setattr("lungsight.cohort.run.diagnose_cohort", cohort)
    monkeypatch.setattr("lungsight.cohort.workers._usable_cores", lambda: [0, 1])
    named = {"--jobs": "3", "--engine": "e", "--precision": "p", "--system": "s", "--weights": "w"}
    words = ["--no-report", "--dicom", "--resume", "--save-nodules", *itertools.chain(*named.items())]
    code, _, error = run(scans / "ann", scans / "bob", "-o", tmp_path / "out", *words)
    assert (code, asked["jobs"], asked["out"]) == (0, 2, tmp_path / "out")
    assert error == "warning: 2 jobs: there are no more cores, or CTs.\n"
    assert asked["options"] == Options(
        "s", Path("w"), Config(), "e", "p", page=False, dicom=True, resume=True, save_nodules=True
    )
    run(scans / "ann", "-o", tmp_path / "one", "--engine", "e", "--precision", "p", "--weights", "w")
    assert loaded == [{"system": "windows", "weights": Path("w"), "config": Config(), "engine": "e", "precision": "p"}]


def test_on_a_terminal_there_is_a_bar_over_the_cts(
    run: Run, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    monkeypatch.setenv("TERM", "xterm")
    code, told, error = run(scans / "ann", scans / "bob", "-o", tmp_path / "out", "--no-report")
    assert (code, told) == (0, f"2 of 2 CTs diagnosed: {tmp_path / 'out'}\n")
    assert [word for word in ("CTs", "read", "[1/2] ann: ", "[2/2] bob: ") if word not in error] == []


def test_an_interrupt_is_not_taken_for_a_failed_ct(
    run: Run, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_self: StubSystem, _ct: CTVolume, **_: Any) -> Diagnosis:
        raise KeyboardInterrupt

    monkeypatch.setattr(StubSystem, "__call__", interrupted)
    code, told, _ = run(scans / "ann", scans / "bob", "-o", tmp_path / "out")
    assert (code, told) == (130, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sources.json"]
