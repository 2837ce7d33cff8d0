"""A node with the stub diagnosis in a process of its own, which can be killed; run as a script it is that node."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lungsight.serve.entry import Entry
from lungsight.serve.node import Node
from lungsight.serve.queue import QUEUE_FILE, Queue
from lungsight.serve.settings import NodeSettings, peer_from_text
from orthanc import Orthanc, free_port
from small_studies import Study, storescu

_START_S = 120


class NodeProcess:
    """A node that sends to a PACS; `kill` is SIGKILL, and `start` goes on with what is in its store."""

    def __init__(self, store: Path, orthanc: Orthanc, **settings: Any) -> None:
        self.store = store
        self.port = free_port()
        self._settings = json.dumps({"port": self.port, "send_to": str(orthanc.peer), "store": str(store), **settings})
        self._process: subprocess.Popen[bytes] | None = None
        self._log = store.with_name("node.log")

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, __file__, self._settings]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 (our own words)

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text("utf-8")[-3000:]
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("localhost", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the node does not listen: {self._log.read_text('utf-8')[-3000:]}")

    def entries(self) -> list[Entry]:
        queue = Queue(self.store / QUEUE_FILE)
        try:
            return queue.entries()
        finally:
            queue.close()


def send_until_acknowledged(port: int, study: Study, attempts: int = 1000) -> int:
    """Send a whole study again and again, as a PACS does, until each slice is acknowledged; return how often."""
    for attempt in range(1, attempts + 1):
        if storescu(port, study.paths).returncode == 0:
            return attempt
        time.sleep(0.2)
    raise AssertionError(f"study {study.uid} is not taken")


def sets_of_results(orthanc: Orthanc, study: Study) -> Counter[str]:
    """Modalities of what came back."""
    found = orthanc.modalities(study.uid)
    found.pop("CT", None)
    return found


def _main(settings: dict[str, Any]) -> None:
    from stub_diagnosis import load  # noqa: PLC0415 (this is the script)

    given = {"host": "localhost", "health_port": None, "reserve_mb": 1, "first_pause_s": 0.2, "longest_pause_s": 2.0}
    store, send_to = Path(settings.pop("store")), peer_from_text(settings.pop("send_to"))
    Node(NodeSettings(store, send_to, **given | settings), load)
    threading.Event().wait()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
