"""The pictures of docs/: drawn by the code as it is, small, and shown by a page."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = DOCS / "pictures"
LARGEST_KB = 60


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("merging.py", ["distance_merging.png", "z_merging.png"]),
        ("nodule_networks.py", ["block_and_sheaf.png", "nodule_kinds.png"]),
        ("unet.py", ["unet.png", "unet_scores.png"]),
    ],
)
def test_pictures_are_what_the_code_draws(script: str, names: list[str], tmp_path: Path) -> None:
    runpy.run_path(str(PICTURES / script))["main"](tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        drawn, committed = (Image.open(folder / name) for folder in (tmp_path, PICTURES))
        if drawn.info["Software"] != committed.info["Software"]:
            pytest.skip(f"drawn by {committed.info['Software']}, whose letters differ from this one's")
        assert drawn.size == committed.size
        apart = np.abs(np.asarray(drawn, np.float64) - np.asarray(committed, np.float64))
        # A dot that moved by half a mm makes 0.2.
        assert apart.mean() < 0.02, f"docs/pictures/{name} is old, renew it: python docs/pictures/{script}"


def test_every_picture_is_small_and_shown_and_every_shown_one_is_there() -> None:
    pictures = {path for path in PICTURES.iterdir() if path.suffix in {".png", ".svg", ".jpg"}}
    shown = {
        (page.parent / name).resolve()
        for page in DOCS.glob("*.md")
        for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text("utf-8"))
    }
    assert {path.resolve() for path in pictures} == shown
    assert len(shown) >= 2
    assert {path.name: path.stat().st_size for path in pictures if path.stat().st_size > LARGEST_KB * 1000} == {}
