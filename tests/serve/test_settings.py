from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lungsight.errors import InputError
from lungsight.serve.settings import NodeSettings, Peer, Web, peer_from_text
from refusals import refused

PEER = Peer("PACS", "pacs.example", 104)


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("ORTHANC@localhost:4242", Peer("ORTHANC", "localhost", 4242)),
        ("A B@[::1]:1", Peer("A B", "::1", 1)),
        ("SIXTEENCHARACTER@h:65535", Peer("SIXTEENCHARACTER", "h", 65535)),
    ],
)
def test_a_peer_is_read(text: str, peer: Peer) -> None:
    assert peer_from_text(text) == peer


@pytest.mark.parametrize(
    "text",
    ["", "PACS", "PACS@host", "host:104", "@host:104", "P@h:0", "P@h:65536", "SEVENTEENCHARACTR@h:1", "A\\B@h:1"],
)
def test_another_form_is_no_peer(text: str) -> None:
    with refused(InputError, repr(text).replace("\\", r"\\"), "AET@HOST:PORT", "that form"):
        peer_from_text(text)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"send_to": PEER, "web": Web("http://localhost")},
        {"send_to": PEER, "aet": ""},
        {"send_to": PEER, "aet": "SEVENTEENCHARACTR"},
        {"send_to": PEER, "allowed_aets": ("OK", " ")},
        {"send_to": PEER, "quiet_s": 0},
        {"send_to": PEER, "first_pause_s": 10, "longest_pause_s": 5},
        {"send_to": PEER, "max_associations": 0},
        {"send_to": PEER, "reserve_mb": -1},
    ],
)
def test_settings_that_make_no_node_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"either|AE title|above 0|or more"):
        NodeSettings(Path("store"), **settings)


def test_pauses_grow_up_to_the_longest() -> None:
    settings = NodeSettings(Path("store"), PEER, first_pause_s=3, longest_pause_s=20)
    assert [settings.pause_s(attempts) for attempts in (1, 2, 3, 4, 5, 5000)] == [3, 6, 12, 20, 20, 20]


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Web("http://localhost", user="ann", password="secret"))  # noqa: S106
