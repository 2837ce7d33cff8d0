"""README says what is so: its commands, options, links and examples."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from typer.main import get_group
from typer.testing import CliRunner

import lungsight
from lungsight import cli
from phantom import thorax, write_series

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/dicom.md")
]
README = PAGES[0].read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands_of_program() -> dict[str, str]:
    """Name -> help of each command, from the program itself."""
    found = {}
    for name, command in get_group(cli.app).commands.items():
        ways = [[name], *([name, inner] for inner in getattr(command, "commands", ()))]
        helps = [CliRunner().invoke(cli.app, [*way, "--help"], env={"COLUMNS": "200"}).output for way in ways]
        found[name] = "\n".join(helps)
    return found


def test_quick_start_is_two_commands_that_make_knows() -> None:
    _, quick_start = re.split(r"(?m)^#+ .*quick start.*$", README, flags=re.IGNORECASE)
    assert re.findall(r"```(\w*)\n(.*?)```", quick_start, flags=re.DOTALL)[:2] == [
        ("sh", "make demo\n"),
        ("sh", "make test\n"),
    ]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("demo", "test"):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_continuous_integration_runs_readmes_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("make test ")]


def test_every_make_target_named_in_a_page_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?m)(?:`|^)make (\w+)", page.read_text("utf-8"))}
    assert {"demo", "test", "check", "lock"} <= named <= targets


def test_every_command_and_option_in_readme_exists() -> None:
    known = commands_of_program()
    lines = [line.split("#")[0].split() for block in blocks(README, "sh") for line in block.splitlines()]
    used = [line[1:] for line in lines if line and line[0] == "lungsight"]
    assert {name for name, *_ in used} >= {"info", "diagnose"}
    for name, *arguments in used:
        assert name in known
        for option in (argument for argument in arguments if argument.startswith("-")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", known[name]), f"{name} {option}"


def test_every_command_that_a_message_recommends_exists() -> None:
    known = commands_of_program()
    sources = (ROOT / "src").rglob("*.py")
    named = {name for source in sources for name in re.findall(r"`lungsight (\w+)", source.read_text("utf-8"))}
    assert named
    assert named <= set(known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


def test_the_example_keeps_to_the_schema() -> None:
    (example,) = map(json.loads, blocks(README, "json"))
    schema = json.loads(resources.files("lungsight.report").joinpath("diagnosis.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(example)


def test_the_python_example_uses_public_names_only() -> None:
    (example,) = blocks(README, "python")
    used = set(re.findall(r"lungsight\.(\w+)", example))
    assert used == {"read_ct", "load_pipeline", "write_report", "write_sr"}
    assert used <= set(lungsight.__all__)


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "scan", thorax(shape=(24, 256, 256)))
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(README, "python")
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text("utf-8"))["system"] == "windows"


def test_what_must_be_said_is_said() -> None:
    for said in ("Research use only", "10.1118/1.3528204", "10.1007/s10278-013-9622-7", "Apache-2.0", "MB on disk"):
        assert said in README
