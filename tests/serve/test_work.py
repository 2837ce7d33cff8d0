from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest

from lungsight.errors import OutputError, WeightsError
from lungsight.serve.work import ClosedError, Job, Worker
from small_studies import wait_until, write_study
from stub_diagnosis import DIES_HU, HANGS_HU, RAISES_HU, load, load_without_weights

TIMEOUT_S = 6


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One for all tests: each must leave it fit for the next."""
    one = Worker(load, timeout_s=TIMEOUT_S)
    one.start()
    one.wait()
    yield one
    one.close()


def job(tmp_path: Path, word: str, first_hu: int | None = None) -> Job:
    study = write_study(tmp_path / "ct", word, first_hu)
    return Job(study.paths[0].parent, tmp_path / "results" / word, 1)


def test_a_study_becomes_files(worker: Worker, tmp_path: Path) -> None:
    assert worker.run(job(tmp_path, "good")).error == ""
    modalities = {pydicom.dcmread(path).Modality for path in (tmp_path / "results" / "good").iterdir()}
    assert {"SEG", "SR"} < modalities


@pytest.mark.parametrize(
    ("first_hu", "said"),
    [
        (RAISES_HU, "KeyError: 'a study nobody thought of'"),
        (DIES_HU, r"died \(exit code -9\)"),
        (HANGS_HU, f"not diagnosed in {TIMEOUT_S} s"),
    ],
    ids=["raises", "dies", "hangs"],
)
def test_a_bad_study_is_told_and_the_next_goes_on(worker: Worker, tmp_path: Path, first_hu: int, said: str) -> None:
    outcome = worker.run(job(tmp_path, "bad", first_hu))
    assert not outcome.again
    assert re.search(said, outcome.error)
    assert worker.run(job(tmp_path, "good")).error == ""


def test_what_cannot_be_read_is_told(worker: Worker, tmp_path: Path) -> None:
    bad = job(tmp_path, "gap")
    next(bad.source.glob("*3.dcm")).unlink()
    outcome = worker.run(bad)
    assert (outcome.again, "Remedy" in outcome.error) == (False, True)


def test_when_the_place_for_results_fails_it_is_tried_again(worker: Worker, tmp_path: Path) -> None:
    one = job(tmp_path, "good")
    outcome = worker.run(dataclasses.replace(one, out=Path("/proc/no/such/place")))
    assert outcome.again, outcome


def test_who_waits_for_a_worker_that_is_closed_is_told_nothing_of_the_study(tmp_path: Path) -> None:
    worker = Worker(load, timeout_s=600)
    worker.start()
    worker.wait()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(worker.run, job(tmp_path, "hangs", HANGS_HU))
        time.sleep(0.5)  # time to be sent
        worker.close()
        assert isinstance(waiting.exception(timeout=20), ClosedError)
    with pytest.raises(ClosedError):
        worker.run(job(tmp_path / "later", "good"))


def test_a_worker_without_weights_does_not_start() -> None:
    worker = Worker(load_without_weights, timeout_s=1)
    worker.start()
    with pytest.raises(WeightsError, match="no network"):
        worker.wait()


def test_a_worker_that_ends_at_once_is_told() -> None:
    worker = Worker(os.abort, timeout_s=1)
    worker.start()
    with pytest.raises(OutputError, match="ended before it was ready"):
        worker.wait()


def test_a_worker_ends_with_its_node() -> None:
    node = (
        "import stub_diagnosis, time\nfrom lungsight.serve.work import Worker\n"
        "if __name__ == '__main__':\n"
        " worker = Worker(stub_diagnosis.load, 1)\n worker.start()\n print(worker._process.pid, flush=True)\n"
        " time.sleep(60)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    with subprocess.Popen(  # noqa: S603 (our own words)
        [sys.executable, "-c", node], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        time.sleep(0.1)
        parent.send_signal(signal.SIGKILL)

    def ended() -> bool:
        try:
            return "Z" in Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True

    wait_until(ended, "the worker goes on without its node", 20)
