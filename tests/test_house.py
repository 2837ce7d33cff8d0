"""The house rules that a machine can hold: sizes, names, and what must never be committed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "lungsight"
MAX_LINES = 320
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
# Written in pieces, or this file would be its own first finding.
NEVER_COMMITTED = {
    "a path of some machine": r"(?<![\w.])/(?:home|root|work|Users|mnt|private|var/folders)/[\w.-]+",
    "a package registry's host": r"\b(?:[\w-]+\.)*(?:pypi|pythonhosted|jfrog|artifactory|nexus)\.(?:org|io|com|net)\b",
    "an address inside a network": r"\b(?:10|127|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}:\d+",
    "an internal tool": "|".join(["farm" + "-studio", "farm" + "-bench", "`" + "issues`", "`" + "duplicates`"]),
}
TOO_LARGE_MB = 25


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is tracked cannot be asked")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return "" if b"\0" in content[:8192] else content.decode("utf-8")


def findings(text: str) -> list[tuple[str, str]]:
    return [(what, hit[0]) for what, pattern in NEVER_COMMITTED.items() for hit in re.finditer(pattern, text)]


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text("utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert len(lengths) > 5
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_module_is_a_drawer_for_everything() -> None:
    folders = ("src", "tests", "recipes", "benchmarks", "docs")
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 20
    assert [path for path in modules if path.stem in BANNED_MODULES] == []


def test_nothing_committed_knows_this_machine() -> None:
    found = {str(path.relative_to(ROOT)): findings(text_of(path)) for path in tracked() if path != Path(__file__)}
    assert len(found) > 10
    assert {path: hits for path, hits in found.items() if hits} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "see /ho" + "me/ann/data",
        "cd /wo" + "rk/main",
        "--index-url https://py" + "pi.org/simple",
        "https://files.python" + "hosted.org/a.whl",
        "http://10.1.2.3" + ":8080/simple",
        "farm" + "-bench run",
    ],
)
def test_what_must_not_be_committed_is_recognised(planted: str) -> None:
    assert findings(planted)


@pytest.mark.parametrize(
    "harmless", ["../shared/data", "a/home/of", "the network issues a warning", "http://localhost"]
)
def test_what_is_harmless_is_let_through(harmless: str) -> None:
    assert not findings(harmless)


def test_the_locked_versions_are_plain() -> None:
    lines = (ROOT / "requirements" / "ci.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 50
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    assert "torch==2.13.0" in pins


def test_no_patients_image_and_nothing_huge_is_committed() -> None:
    files = tracked()
    assert [path for path in files if path.stat().st_size > TOO_LARGE_MB * 1e6] == []
    images = (".dcm", ".nii", ".nii.gz", ".mhd", ".raw", ".npy", ".npy.xz", ".nrrd")
    assert [path for path in files if path.name.endswith(images)] == []
    assert [path for path in files if path.is_file() and path.read_bytes()[128:132] == b"DICM"] == []


def test_the_licence_is_whole() -> None:
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "APPENDIX: How to apply the Apache License to your work." in licence
