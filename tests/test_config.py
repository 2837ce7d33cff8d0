"""Settings: each default stands once, TOML goes out and in without loss, mistakes are named."""

from __future__ import annotations

import ast
import dataclasses
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lungsight
from lungsight.config import Config, SegmentsConfig, WindowsConfig, config_from_toml, config_to_toml
from lungsight.errors import InputError

SOURCE = Path(lungsight.__file__).parent
SECTIONS = [getattr(Config(), section.name) for section in dataclasses.fields(Config)]
SETTINGS = {setting.name for section in SECTIONS for setting in dataclasses.fields(section)}
WINDOWS = st.builds(
    WindowsConfig,
    roi_score=st.floats(0, 1, exclude_min=True),
    min_overlap=st.integers(1, 25),
    nodule_score=st.floats(0, 1),
    vote_threshold=st.floats(0, 1),
)


def near(default: float) -> st.SearchStrategy[float]:
    """Values of a default's type so near to it that every section takes them, whatever its ranges and orders are."""
    if isinstance(default, int):
        return st.integers(1, max(1, default))
    return st.floats(0.9, 1).map(lambda share: share * default)


def near_default(section: Any) -> st.SearchStrategy[Any]:
    return st.builds(type(section), **{f.name: near(getattr(section, f.name)) for f in dataclasses.fields(section)})


CONFIGS = st.builds(
    Config, **{f.name: near_default(section) for f, section in zip(dataclasses.fields(Config), SECTIONS, strict=True)}
)


def written(text: str, folder: Path) -> Path:
    path = folder / "lungsight.toml"
    path.write_text(text, "utf-8")
    return path


@given(CONFIGS | st.builds(Config, windows=WINDOWS))
def test_toml_goes_out_and_in_without_loss(config: Config) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert config_from_toml(written(config_to_toml(config), Path(folder))) == config


def test_toml_holds_every_setting_under_its_table() -> None:
    # tomllib, not our reader, is the judge of what was written.
    tables = tomllib.loads(config_to_toml(Config(windows=WindowsConfig(min_overlap=3, vote_threshold=0.625))))
    assert set(tables) == {field.name for field in dataclasses.fields(Config)}
    assert {name for table in tables.values() for name in table} == SETTINGS
    assert tables["windows"]["min_overlap"] == 3
    assert tables["windows"]["vote_threshold"] == 0.625


def test_what_a_file_leaves_out_keeps_its_default(tmp_path: Path) -> None:
    config = config_from_toml(written("[windows]\nmin_overlap = 25\n", tmp_path))
    assert config == Config(windows=WindowsConfig(min_overlap=25))
    assert config != Config()
    assert config_from_toml(written("", tmp_path)) == Config()


def test_a_whole_number_stands_for_a_float(tmp_path: Path) -> None:
    config = config_from_toml(written("[windows]\nvote_threshold = 1\n", tmp_path))
    assert config.windows.vote_threshold == 1.0


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("[window]\n", r"table \[window\]", "the tables "),
        ("windows = 3\n", r"table \[windows\]", "the tables "),
        ("[[windows]]\n", r"table \[windows\]", "the tables "),
        ("vote_threshold = 0.5\n", r"table \[vote_threshold\]", "the tables "),
        ("[windows]\nvote = 0.5\n", r"windows\.vote\.", "roi_score, min_overlap"),
        ("[windows]\nvote_threshold = '0.5'\n", r"windows\.vote_threshold = '0\.5'", "type float"),
        ("[windows]\nvote_threshold = true\n", r"windows\.vote_threshold = True", "type float"),
        ("[windows]\nmin_overlap = 8.0\n", r"windows\.min_overlap = 8\.0", "type int"),
        ("[windows]\nmin_overlap = false\n", r"windows\.min_overlap = False", "type int"),
        ("[windows]\nvote_threshold = nan\n", r"windows\.vote_threshold = nan", "a finite number"),
        ("[windows]\nroi_score = 0.0\n", r"roi_score is 0\.0", "in range"),
        ("[windows]\nroi_score = 1.01\n", r"roi_score is 1\.01", "in range"),
        ("[windows]\nmin_overlap = 0\n", "min_overlap is 0", "in range"),
        ("[windows]\nmin_overlap = 26\n", "min_overlap is 26", "in range"),
        ("[windows]\nnodule_score = -1\n", "nodule_score is -1", "in range"),
        ("[windows]\nvote_threshold = -0.1\n", r"vote_threshold is -0\.1", "in range"),
        ("[lungs]\nair_hu = -300.0\n", r"air_hu.* -300\.0", "in range"),
        ("[lungs]\ngrid_mm = 0\n", "grid_mm is 0", "in range"),
        ("[lungs]\nclosing_mm = nan\n", r"lungs\.closing_mm = nan", "a finite number"),
        ("[lungs]\nclosing_mm = inf\n", r"lungs\.closing_mm = inf", "a finite number"),
        ("[segments]\npixel_score = 0\n", r"pixel_score is 0", "in range"),
        ("[segments]\npixel_score = 1.01\n", r"pixel_score is 1\.01", "in range"),
        ("[segments]\nmerge_mm = -0.1\n", r"merge_mm is -0\.1", "in range"),
        ("[segments]\nz_merge_mm = -0.1\n", r"z_merge_mm is -0\.1", "in range"),
        ("[segments]\nz_merge_mm = inf\n", r"segments\.z_merge_mm = inf", "a finite number"),
        ("[segments]\nmost_candidates = 0\n", "most_candidates is 0", "in range"),
        ("[segments]\nmost_candidates = 10.0\n", r"segments\.most_candidates = 10\.0", "type int"),
        ("[segments]\nstrongest = 0\n", "strongest is 0", "in range"),
        ("[segments]\nnodule_score = -0.1\n", r"nodule_score is -0\.1", "in range"),
        ("[segments]\nnodule_score = 1.1\n", r"nodule_score is 1\.1", "in range"),
        ("[segments]\nmalignancy_threshold = 1.1\n", r"malignancy_threshold is 1\.1", "in range"),
        ("[windows\n", "lungsight.toml", "a TOML file"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, found: str, expected: str, tmp_path: Path) -> None:
    path = written(text, tmp_path)
    with pytest.raises(InputError) as refused:
        config_from_toml(path)
    assert refused.match(found)
    assert str(path) in refused.value.found
    assert expected in refused.value.expected
    assert "lungsight config" in refused.value.remedy


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml"):
        config_from_toml(tmp_path / "absent.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.toml"):
        config_from_toml(binary)


def test_a_number_that_is_none_is_refused_by_the_class_too() -> None:
    with pytest.raises(ValueError, match="vote_threshold is nan"):
        WindowsConfig(vote_threshold=float("nan"))
    with pytest.raises(ValueError, match="pixel_score is nan"):
        SegmentsConfig(pixel_score=float("nan"))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_borders_of_a_range_are_inside(value: float) -> None:
    assert WindowsConfig(vote_threshold=value).vote_threshold == value
    assert SegmentsConfig(nodule_score=value, malignancy_threshold=value).nodule_score == value
    assert SegmentsConfig(pixel_score=1.0, merge_mm=0.0, z_merge_mm=0.0, most_candidates=1, strongest=1).merge_mm == 0


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: type(section).__name__)
def test_each_setting_is_described(section: Any) -> None:
    for setting in dataclasses.fields(section):
        assert re.search(rf"^ +{setting.name}$", type(section).__doc__ or "", flags=re.MULTILINE), setting.name


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().windows.min_overlap = 1  # type: ignore[misc]


def numbers_repeated(source: str) -> list[str]:
    """Settings that a function's parameter or a class's field gives a number of its own."""
    repeated = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            positional = [*node.args.posonlyargs, *node.args.args]
            defaults = [*zip(positional[::-1], node.args.defaults[::-1], strict=False)]
            pairs = [
                (arg.arg, value)
                for arg, value in [*defaults, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
            ]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            pairs = [(node.target.id, node.value)]
        else:
            continue
        repeated += [name for name, value in pairs if name in SETTINGS and is_number(value)]
    return repeated


def is_number(node: ast.expr | None) -> bool:
    sign_off = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(sign_off, ast.Constant) and type(sign_off.value) in (int, float)


def test_a_default_stands_once() -> None:
    homes = {
        str(path.relative_to(SOURCE)): sorted(repeated)
        for path in SOURCE.rglob("*.py")
        if (repeated := numbers_repeated(path.read_text("utf-8")))
    }
    assert sorted(homes) == ["config.py", "nodule_config.py"]
    each = [setting.name for section in SECTIONS for setting in dataclasses.fields(section)]
    assert sorted(name for names in homes.values() for name in names) == sorted(each)
