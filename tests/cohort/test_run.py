from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lungsight.cohort.options import Options, Outcome
from lungsight.cohort.run import diagnose_cohort, plan_cohort, read_list
from lungsight.config import Config, WindowsConfig
from lungsight.errors import CorruptFileError, InputError, OutputError, WeightsError
from lungsight.evaluate.diagnoses import read_diagnosis_marks, read_diagnosis_scores
from refusals import refused
from stub_diagnosis import EMPTY_HU, RAISES_HU
from stub_system import StubSystem, load_without_weights, write_scan

PLAIN = Options(page=False)


@dataclass
class Ran:
    """A run with stubs, and what was told of it."""

    out: Path
    loaded: list[StubSystem] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def __call__(self, options: Options, *sources: Path) -> list[Outcome]:
        def load(asked: Options) -> Any:
            self.loaded.append(StubSystem(asked.config))
            return self.loaded[-1]

        def progress(step: str, share: float) -> None:
            if step == "CTs":
                self.shares.append(share)

        studies = plan_cohort(sources, self.out, options)
        tell: Callable[[Outcome], None] = lambda outcome: self.told.append(outcome.study.folder.name)  # noqa: E731
        return list(diagnose_cohort(studies, self.out, options, load=load, tell=tell, progress=progress))

    @property
    def asked(self) -> int:
        """How many CTs the last system was asked about."""
        return self.loaded[-1].asked

    def failed(self) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = json.loads((self.out / "failed.json").read_text("utf-8"))
        return rows

    def names(self) -> list[str]:
        return sorted(path.name for path in self.out.iterdir())


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path / "out")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CTs, one without a nodule, one that nobody thought of, and a folder without a CT."""
    folder = tmp_path_factory.mktemp("scans")
    write_scan(folder / "ann" / "ct")
    write_scan(folder / "bob" / "ct", EMPTY_HU)
    write_scan(folder / "odd", RAISES_HU)
    (folder / "broken").mkdir()
    (folder / "broken" / "IM0.dcm").write_bytes(b"no DICOM")
    return folder


def test_each_ct_has_its_folder_and_the_system_is_loaded_once(ran: Ran, scans: Path) -> None:
    outcomes = ran(PLAIN, scans / "ann" / "ct", scans / "bob" / "ct")
    assert ran.names() == ["ann", "bob", "sources.json"]
    assert sorted(path.name for path in (ran.out / "ann").iterdir()) == ["diagnosis.json", "regions.npz"]
    assert (len(ran.loaded), ran.asked) == (1, 2)
    assert [outcome.failure for outcome in outcomes] == [None, None]
    assert outcomes[0].line.startswith("MALIGNANT: score 0.97")
    assert (ran.told, ran.shares) == (["ann", "bob"], [0.0, 0.5, 1.0])
    assert json.loads((ran.out / "sources.json").read_text("utf-8")) == {
        "ann": str(scans / "ann" / "ct"),
        "bob": str(scans / "bob" / "ct"),
    }


def test_what_is_written_is_what_evaluate_reads(ran: Ran, scans: Path) -> None:
    ran(Options(), scans / "ann" / "ct", scans / "bob" / "ct", scans / "broken")
    assert read_diagnosis_scores(ran.out).score == {"ann": 0.96875, "bob": 0.0}
    assert len(read_diagnosis_marks(ran.out).marks) == 1


def test_a_ct_that_fails_is_listed_and_the_others_go_on(ran: Ran, scans: Path) -> None:
    outcomes = ran(PLAIN, scans / "broken", scans / "odd", scans / "ann" / "ct")
    assert [outcome.failure is None for outcome in outcomes] == [False, False, True]
    assert ran.names() == ["ann", "failed.json", "sources.json"]
    broken, odd = ran.failed()
    assert list(broken) == ["name", "source", "error", "found", "expected", "remedy"]
    assert (broken["name"], broken["source"], broken["error"]) == ("broken", str(scans / "broken"), "CorruptFileError")
    assert "IM0.dcm" in broken["found"]
    assert "nobody thought of" in odd["found"]
    assert "bug" in odd["expected"]
    assert "--debug" in odd["remedy"]


def test_resume_skips_what_is_done_and_tries_again_what_failed(ran: Ran, scans: Path, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    mended.mkdir()
    ran(PLAIN, scans / "ann" / "ct", mended)
    before = (ran.out / "ann" / "diagnosis.json").stat().st_mtime_ns
    assert [row["name"] for row in ran.failed()] == ["mended"]
    write_scan(mended)
    outcomes = ran(dataclasses.replace(PLAIN, resume=True), scans / "ann" / "ct", mended, scans / "bob" / "ct")
    assert [outcome.line[:9] for outcome in outcomes] == ["", "MALIGNANT", "NO_NODULE"]
    assert ran.asked == 2
    assert ran.names() == ["ann", "bob", "mended", "sources.json"]
    assert (ran.out / "ann" / "diagnosis.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "other",
    [
        Options(page=False, config=Config(windows=WindowsConfig(vote_threshold=0.25))),
        Options(page=True),
        Options(page=False, dicom=True),
    ],
    ids=["settings", "page", "dicom"],
)
def test_resume_does_anew_what_was_done_otherwise(ran: Ran, scans: Path, other: Options) -> None:
    ran(PLAIN, scans / "ann" / "ct")
    again = dataclasses.replace(other, resume=True)
    ran(again, scans / "ann" / "ct")
    assert ran.asked == 1
    ran(again, scans / "ann" / "ct")
    assert ran.asked == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "diagnosis.json").write_text("{"),
        lambda folder: (folder / "diagnosis.json").write_text('{"system": "windows", "provenance": []}'),
        lambda folder: (folder / "regions.npz").unlink(),
        lambda folder: replace_in(folder / "diagnosis.json", "5" * 64, "6" * 64),
        lambda folder: replace_in(folder / "diagnosis.json", '"system": "windows"', '"system": "tea leaves"'),
        lambda folder: replace_in(folder / "diagnosis.json", '"version": "', '"version": "9.'),
    ],
    ids=["cut short", "no record", "no regions", "weights", "system", "version"],
)
def test_resume_does_anew_what_is_not_whole_or_not_of_this_network(
    ran: Ran, scans: Path, damage: Callable[[Path], object]
) -> None:
    ran(PLAIN, scans / "ann" / "ct")
    whole = (ran.out / "ann" / "diagnosis.json").read_text("utf-8")
    damage(ran.out / "ann")
    ran(dataclasses.replace(PLAIN, resume=True), scans / "ann" / "ct")
    assert ran.asked == 1
    mended = (ran.out / "ann" / "diagnosis.json").read_text("utf-8")
    assert without_seconds(mended) == without_seconds(whole)


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def without_seconds(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    del record["provenance"]["seconds"]
    return record


def test_resume_clears_what_a_killed_run_left_and_keeps_the_names(ran: Ran, tmp_path: Path) -> None:
    write_scan(tmp_path / "x" / "scan")
    ran(PLAIN, tmp_path / "x" / "scan")
    (ran.out / ".scan.0123abcd.partial").mkdir()
    (ran.out / ".failed.json.0123abcd.partial").write_text("[")
    write_scan(tmp_path / "y" / "scan")
    # Another `scan` must not pass for the one that is done.
    outcomes = ran(dataclasses.replace(PLAIN, resume=True), tmp_path / "y" / "scan")
    assert outcomes[0].line.startswith("MALIGNANT")
    assert ran.names() == ["scan", "sources.json", "y-scan"]
    assert json.loads((ran.out / "sources.json").read_text("utf-8"))["scan"] == str(tmp_path / "x" / "scan")


def test_a_folder_that_is_there_is_refused_unless_it_is_meant(ran: Ran, scans: Path, tmp_path: Path) -> None:
    ran(PLAIN, scans / "ann" / "ct")
    with refused(OutputError, "out exists", "does not", "--resume .* --overwrite"):
        ran(PLAIN, scans / "ann" / "ct")
    ran(dataclasses.replace(PLAIN, overwrite=True), scans / "ann" / "ct")
    assert ran.asked == 1
    (tmp_path / "file").write_text("")
    with refused(OutputError, "is a file", "a folder", "another"):
        plan_cohort([scans], tmp_path / "file", PLAIN)


def test_what_is_not_a_result_is_never_overwritten(ran: Ran, scans: Path) -> None:
    (ran.out / "ann").mkdir(parents=True)
    (ran.out / "ann" / "thesis.tex").write_text("years")
    ran(dataclasses.replace(PLAIN, overwrite=True), scans / "ann" / "ct", scans / "bob" / "ct")
    assert "thesis.tex" in ran.failed()[0]["found"]
    assert ran.asked == 1  # it was not computed for nothing
    assert ran.names() == ["ann", "bob", "failed.json", "sources.json"]


def test_sources_that_cannot_be_read_are_told(ran: Ran, scans: Path) -> None:
    ran.out.mkdir()
    (ran.out / "sources.json").write_text("[]")
    with refused(CorruptFileError, "sources.json", "names", "delete"):
        ran(dataclasses.replace(PLAIN, resume=True), scans / "ann" / "ct")


def test_without_a_network_nothing_is_written(ran: Ran, scans: Path) -> None:
    studies = plan_cohort([scans], ran.out, PLAIN)
    with pytest.raises(WeightsError):
        diagnose_cohort(
            studies, ran.out, PLAIN, load=load_without_weights, tell=lambda _: None, progress=lambda *_: None
        )
    assert not ran.out.exists()


def test_an_interrupt_leaves_whole_results_only(ran: Ran, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ran(PLAIN, scans / "ann" / "ct", scans / "broken")
    monkeypatch.setattr("lungsight.report.page.write_regions", interrupt)  # in the midst of writing
    with pytest.raises(KeyboardInterrupt):
        ran(dataclasses.replace(PLAIN, resume=True), scans / "ann" / "ct", scans / "broken", scans / "bob" / "ct")
    assert ran.names() == ["ann", "failed.json", "sources.json"]


def test_a_list_has_an_input_a_line(tmp_path: Path) -> None:
    (tmp_path / "studies.txt").write_text("# the first hundred\na/scan one\n\n  /b/two  \n", "utf-8")
    assert read_list(tmp_path / "studies.txt") == [Path("a/scan one"), Path("/b/two")]
    (tmp_path / "empty.txt").write_text("# none\n")
    for name, found in (("empty.txt", "lists nothing"), ("absent.txt", "absent.txt")):
        with refused(InputError, found, "", "one input a line"):
            read_list(tmp_path / name)
