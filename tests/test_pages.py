"""The pages of docs/ that explain a step: settings they name have the values they tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lungsight.config import SegmentsConfig

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(("page", "count"), [("unet.md", 1), ("nodule-networks.md", 2)])
def test_settings_are_told_as_they_are(page: str, count: int) -> None:
    told = re.findall(r"`(\w+)` \(([\d.]+)\)", re.sub(r"\s+", " ", (DOCS / page).read_text("utf-8")))
    assert len(told) == count
    config = SegmentsConfig()
    assert {name: float(value) for name, value in told} == {name: getattr(config, name) for name, _ in told}
