from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from lungsight import cli
from lungsight.serve.entry import State
from lungsight.serve.queue import QUEUE_FILE, Queue
from lungsight.serve.store import Stored
from orthanc import free_port, told_by
from small_studies import wait_until

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(word) for word in words])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run_it


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a study that was set aside and one that is being received."""
    queue = Queue(tmp_path / QUEUE_FILE)
    queue.record(Stored("1.2", "1.2.1", "a" * 16), 10.0)
    queue.complete_quiet(10.0, 11.0)
    entry = queue.next_due(State.COMPLETE, 12.0)
    assert entry is not None
    queue.advance(entry, State.SET_ASIDE, 12.0, "Found: a gap.")
    queue.record(Stored("1.3", "1.3.1", "a" * 16), time.time())
    queue.close()
    return tmp_path


def states(run: Run, store: Path) -> dict[str, str]:
    code, out, _ = run("queue", "--store", store, "--json")
    assert code == 0
    return {entry["study_uid"]: entry["state"] for entry in json.loads(out)}


def test_the_queue_lists_studies_and_errors(run: Run, store: Path) -> None:
    code, out, _ = run("queue", "--store", store)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["SET_ASIDE", "Found:", "RECEIVING"]
    assert "1.2, version 1" in out


def test_studies_are_retried_and_dropped(run: Run, store: Path) -> None:
    run("queue", "--store", store, "--retry", "1.2", "--drop", "1.3")
    assert states(run, store) == {"1.2": "COMPLETE", "1.3": "DROPPED"}


@pytest.mark.parametrize("verb", ["--retry", "--drop"])
def test_a_study_that_is_not_there_is_told(run: Run, store: Path, verb: str) -> None:
    code, _, err = run("queue", "--store", store, verb, "1.9")
    assert (code, f"nothing to {verb[2:]} of study 1.9" in err) == (2, True)


def test_a_folder_without_a_queue_is_told(run: Run, tmp_path: Path) -> None:
    code, _, err = run("queue", "--store", tmp_path)
    assert (code, f"no queue.sqlite in {tmp_path}" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "either send_to or web"),
        (("--send-to", "PACS"), "'PACS' as a DICOM peer"),
        (("--send-to", "A@h:1", "--dicomweb", "http://h"), "either send_to or web"),
        (("--send-to", "A@h:1", "--aet", "SEVENTEENCHARACTR"), "no AE title"),
        (("--send-to", "A@h:1", "--tls-cert", "c.pem"), "some of --tls-cert, --tls-key and --tls-ca"),
        (("--send-to", "A@h:1", "--quiet", "0"), "quiet_s"),
    ],
)
def test_options_that_do_not_fit_are_told(run: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    code, _, err = run("serve", "--store", tmp_path / "store", *options)
    assert (code, said in err) == (2, True), err
    assert not (tmp_path / "store").exists()


def test_without_the_extra_it_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lungsight.serve.")]:
        if name.rsplit(".", 1)[1] in ("node", "receive", "send"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    code, _, err = run("serve", "--store", tmp_path, "--send-to", "A@h:1")
    assert (code, "pip install 'lungsight[serve]'" in err) == (2, True), err


def test_the_program_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    port, health_port = free_port(), free_port()
    command = [
        sys.executable,
        "-c",
        "from lungsight.cli import main; main()",
        "serve",
        "--store",
        str(tmp_path / "store"),
    ]
    options = [
        "--host",
        "localhost",
        "--port",
        str(port),
        "--send-to",
        "PACS@localhost:1",
        "--health-port",
        str(health_port),
    ]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as serving:  # noqa: S603 (our own words)

        def healthy() -> bool:
            try:
                with urllib.request.urlopen(f"http://localhost:{health_port}/health") as answer:
                    return bool(json.load(answer)["status"] == "ok")
            except OSError:
                return False

        wait_until(healthy, "it does not come up", 120)
        assert "Success" in told_by("echoscu", "-v", "-aec", "LUNGSIGHT", "localhost", str(port))
        os.kill(serving.pid, signal.SIGTERM)
        assert serving.wait(30) == 0
        assert serving.stderr is not None
        said = serving.stderr.read()
    assert f"LUNGSIGHT listens on port {port} and sends to PACS@localhost:1" in said
    assert "Traceback" not in said
