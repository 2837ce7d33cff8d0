"""Every setting once, with its unit, in frozen dataclasses; read from and written to TOML.

A setting's default stands here and nowhere else: the command line, TOML files, the docs and each result's provenance
are made from these classes. What a network sees (window, clip, spacing) is no setting: it belongs to the network and
stands beside the code that feeds it.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from lungsight.errors import InputError

__all__ = ["Config", "WindowsConfig", "config_from_toml", "config_to_toml"]


@dataclass(frozen=True, slots=True)
class WindowsConfig:
    """Settings of the `windows` system.

    Attributes
    ----------
    roi_score
        A window is labelled 1 or 2 if the network's scores for *benign ROI* and *malignant ROI* sum to this or more;
        above 0, at most 1.
    min_overlap
        A pixel belongs to a ROI if at least this many windows labelled 1 or 2 overlap there; 1 to 25 (the windows that
        cover a pixel).
    min_slices
        A ROI that spans fewer slices is dropped, unless the CT itself has fewer.
    vote_threshold
        A ROI or patient is malignant if this share or more of its windows is labelled 2; 0 to 1.
    """

    roi_score: float = 0.5
    min_overlap: int = 8
    min_slices: int = 1
    vote_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.roi_score <= 1:
            raise ValueError(f"roi_score is {self.roi_score}, expected above 0 and at most 1")
        if not 1 <= self.min_overlap <= 25:
            raise ValueError(f"min_overlap is {self.min_overlap}, expected 1 to 25")
        if self.min_slices < 1:
            raise ValueError(f"min_slices is {self.min_slices}, expected 1 or more")
        if not 0 <= self.vote_threshold <= 1:
            raise ValueError(f"vote_threshold is {self.vote_threshold}, expected 0 to 1")


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of Lungsight.

    Examples
    --------
    >>> Config().windows.vote_threshold
    0.5
    """

    windows: WindowsConfig = field(default_factory=WindowsConfig)


def config_to_toml(config: Config) -> str:
    """The settings as TOML, one table for each class.

    Examples
    --------
    >>> print(config_to_toml(Config()))  # doctest: +ELLIPSIS
    [windows]
    roi_score = ...
    """
    return tomli_w.dumps(dataclasses.asdict(config))


def config_from_toml(path: Path) -> Config:
    """The settings of a TOML file; what it leaves out keeps its default.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, names a setting that does not exist or gives a value out of range.
    """
    remedy = "Write the defaults to a file with `lungsight config > lungsight.toml` and change that."
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}", "a TOML file", remedy) from error
    return Config(**{name: _section(name, table, path, remedy) for name, table in tables.items()})


def _section(name: str, table: Any, path: Path, remedy: str) -> Any:
    sections = {f.name: f.default_factory for f in dataclasses.fields(Config)}
    factory = sections.get(name)
    if factory is None or not isinstance(table, dict):
        raise InputError(f"{path}: table [{name}]", f"the tables {', '.join(sections)}", remedy)
    default = factory()  # type: ignore[operator, misc]
    known = {f.name: type(getattr(default, f.name)) for f in dataclasses.fields(default)}
    for key, value in table.items():
        if key not in known:
            raise InputError(f"{path}: {name}.{key}", f"one of {', '.join(known)}", remedy)
        # TOML writes 1 where a float is meant; anything else must have the default's own type.
        if type(value) is not known[key] and not (known[key] is float and type(value) is int):
            raise InputError(f"{path}: {name}.{key} = {value!r}", f"a value of type {known[key].__name__}", remedy)
    try:
        return dataclasses.replace(default, **table)
    except ValueError as error:
        raise InputError(f"{path}: {error}", "a value in range", remedy) from error
