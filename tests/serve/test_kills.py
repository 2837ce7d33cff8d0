"""kill -9 at random moments. benchmarks/node_faults.py does the same a hundred times."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

from lungsight.serve.entry import State
from node_process import NodeProcess, send_until_acknowledged, sets_of_results
from orthanc import Orthanc
from small_studies import wait_until, write_study

KILLS = 3
STUDIES = 3


def test_a_killed_node_loses_and_doubles_nothing(pacs: Orthanc, tmp_path: Path) -> None:
    moments = random.Random(0)  # noqa: S311 (no secret)
    studies = [write_study(tmp_path, f"killed {number}") for number in range(STUDIES)]
    node = NodeProcess(tmp_path / "store", pacs, quiet_s=4.0)
    sender = threading.Thread(target=lambda: [send_until_acknowledged(node.port, study) for study in studies])
    node.start()
    sender.start()
    for _ in range(KILLS):
        node.wait_ready()
        time.sleep(moments.uniform(0, 2))
        node.kill()
        node.start()
    sender.join()
    wait_until(
        lambda: Counter(one.state for one in node.entries()) == {State.SENT: STUDIES}, "not all is sent", timeout_s=120
    )
    node.kill()
    for study in studies:
        assert sets_of_results(pacs, study) == Counter({"SEG": 1, "SR": 1, "OT": 1})
