from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lungsight.cohort.options import Options, Outcome
from lungsight.cohort.run import diagnose_cohort, plan_cohort
from lungsight.cohort.workers import Load, count_jobs, share_cores
from lungsight.errors import OutputError, WeightsError
from refusals import refused
from stub_diagnosis import DIES_HU, HANGS_HU, RAISES_HU
from stub_system import CORES_HU, DIES_WRITING_HU, load, load_and_die, load_without_weights, write_scan

PLAIN = Options(page=False)


def run(out: Path, jobs: int, *sources: Path, load: Load = load) -> dict[str, Outcome]:
    studies = plan_cohort(sources, out, PLAIN)
    outcomes = diagnose_cohort(studies, out, PLAIN, jobs=jobs, load=load, tell=lambda _: None, progress=lambda *_: None)
    return {outcome.study.folder.name: outcome for outcome in outcomes}


@pytest.mark.parametrize("jobs", range(1, 7))
def test_every_core_has_one_job(jobs: int) -> None:
    shares = share_cores([0, 2, 3, 5, 8, 9], jobs)
    assert sorted(core for share in shares for core in share) == [0, 2, 3, 5, 8, 9]
    assert len(shares) == jobs
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_there_are_no_more_jobs_than_cores_or_cts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungsight.cohort.workers._usable_cores", lambda: [0, 1, 2])
    assert [count_jobs(wanted, studies) for wanted, studies in ((1, 9), (2, 9), (8, 9), (8, 2), (8, 0))] == [
        1, 2, 3, 2, 1,
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be shared out here")
def test_a_killed_process_costs_its_ct_and_no_other(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes need two cores")
    hus = {"a": CORES_HU, "dies": DIES_HU, "b": None, "odd": RAISES_HU, "dies-writing": DIES_WRITING_HU, "c": CORES_HU}
    sources = [write_scan(tmp_path / "scans" / name, hu) for name, hu in hus.items()]
    out = tmp_path / "out"
    outcomes = run(out, 2, *sources)
    assert list(outcomes) == list(hus)
    assert [name for name, outcome in outcomes.items() if outcome.failure is None] == ["a", "b", "c"]
    rows = {row["name"]: row for row in json.loads((out / "failed.json").read_text("utf-8"))}
    assert list(rows) == ["dies", "odd", "dies-writing"]
    assert {row["error"] for row in rows.values()} == {"WorkerDied", "KeyError"}
    assert "died (signal 9)" in rows["dies"]["found"]
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "c", "failed.json", "sources.json"]
    for name in ("a", "c"):
        (told,) = json.loads((out / name / "diagnosis.json").read_text("utf-8"))["warnings"]
        half = share_cores(sorted(os.sched_getaffinity(0)), 2)
        assert told in [f"cores {sorted(share)}" for share in half]


def test_a_system_that_cannot_be_loaded_is_told_before_anything_is_written(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    with pytest.raises(WeightsError, match="Find it"):
        run(tmp_path / "out", 2, scan, load=load_without_weights)
    with refused(OutputError, r"ended before it was ready \(exit code 3\)", "loads", "--jobs"):
        run(tmp_path / "out", 2, scan, load=load_and_die)
    assert list(tmp_path.iterdir()) == []


ENDED = """
import os, signal, sys
from pathlib import Path
from lungsight.cohort.options import Options
from lungsight.cohort.run import diagnose_cohort, plan_cohort
from stub_system import load

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    number, out, *sources = sys.argv[1:]
    out, sources = Path(out), map(Path, sources)
    options = Options(page=False)
    def tell(outcome):
        print(outcome.study.folder.name, flush=True)
        os.kill(os.getpid(), int(number))
    diagnose_cohort(
        plan_cohort(sources, out, options), out, options, jobs=2, load=load, tell=tell, progress=lambda *_: None
    )
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_at_once_ends_the_processes_and_leaves_whole_results_only(
    tmp_path: Path, number: signal.Signals
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes need two cores")
    (tmp_path / "ended.py").write_text(ENDED)
    hangs, good = write_scan(tmp_path / "hangs", HANGS_HU), write_scan(tmp_path / "good")
    command = [sys.executable, *map(str, (tmp_path / "ended.py", int(number), tmp_path / "out", hangs, good))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    # It comes back only when all that hold its stdout have ended: the process that hangs too.
    ran = subprocess.run(  # noqa: S603 (our own code)
        command, check=False, capture_output=True, text=True, env=environment, timeout=300
    )
    assert (ran.returncode, ran.stdout) == (-number, "good\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good", "sources.json"]
