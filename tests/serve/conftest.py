"""A PACS for all tests of the node, and nodes that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lungsight.serve.node import Node
from lungsight.serve.settings import NodeSettings
from lungsight.serve.work import Diagnose
from orthanc import Orthanc
from stub_diagnosis import load

QUIET_S = 0.5


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield orthanc
    orthanc.stop()


@pytest.fixture
def start(pacs: Orthanc, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Starts a node with the stub diagnosis; settings may be given by name."""
    nodes = []

    def start_node(load: Callable[[], Diagnose] = load, **settings: Any) -> Node:
        given: dict[str, Any] = {
            "send_to": pacs.peer,
            "port": 0,
            "host": "localhost",
            "quiet_s": QUIET_S,
            "health_port": None,
        }
        given |= {"reserve_mb": 1, "first_pause_s": 0.2, "longest_pause_s": 1.0}
        if "web" in settings:
            given["send_to"] = None
        node = Node(NodeSettings(tmp_path / "store", **given | settings), load)
        nodes.append(node)
        return node

    yield start_node
    for node in nodes:
        node.close()
