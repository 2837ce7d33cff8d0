"""Every setting once, with its unit, in frozen dataclasses; read from and written to TOML.

A setting's default stands here and nowhere else: the command line, TOML files, the docs and each result's provenance
are made from these classes. What a network sees (window, clip, spacing) is no setting: it belongs to the network and
stands beside the code that feeds it.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from lungsight.errors import InputError
from lungsight.nodule_config import MeasureConfig, OutlineConfig

__all__ = [
    "Config",
    "LungsConfig",
    "MeasureConfig",
    "OutlineConfig",
    "SegmentsConfig",
    "WindowsConfig",
    "config_from_toml",
    "config_to_toml",
    "read_toml",
    "replace_settings",
]

Settings = TypeVar("Settings", bound=Any)
"""A frozen dataclass."""


@dataclass(frozen=True, slots=True)
class LungsConfig:
    """Settings of the lung mask.

    Attributes
    ----------
    border_hu
        Below it a voxel holds air or lung; between lung (-850) and soft tissue (50), nearer to the latter, as people
        draw the border around all that looks dark.
    air_hu
        A region whose median is below it holds air and no tissue: outside the body, bowel gas, trachea.
    tissue_hu
        A region whose median is above it is no lung, but stool or blurred edges.
    grid_mm
        Spacing of the coarse grid on which the lungs are found; their border is then drawn on the CT's own grid.
    min_area_mm2
        There is no lung if the largest region fills less of an axial plane than this, on average over the CT's height.
    min_share
        Regions smaller than this share of the largest one are no lung; 0 to 1.
    closing_mm
        Radius of the ball that closes the whole surface: vessels at the hilum, small nodules.
    costal_closing_mm
        Radius of the ball that closes the surface under the ribs, where a healthy lung has no hollows: nodules and
        masses that touch the pleura.
    rim_mm
        A hollow lies under the ribs if no lung, or only a rim thinner than twice this, lies on its one side.
    max_airways_ml
        Volume of trachea and bronchi at most; more has leaked into the lung.
    airway_radius_mm
        Airways whose dark lumen is thinner belong to the lung.
    airway_wall_mm
        Thickness of the wall and the lumen's blurred edge, which are left out with the airways.
    """

    border_hu: float = -300.0
    air_hu: float = -970.0
    tissue_hu: float = -500.0
    grid_mm: float = 2.0
    min_area_mm2: float = 400.0
    min_share: float = 0.03
    closing_mm: float = 5.0
    costal_closing_mm: float = 20.0
    rim_mm: float = 3.0
    max_airways_ml: float = 120.0
    airway_radius_mm: float = 2.5
    airway_wall_mm: float = 3.0

    def __post_init__(self) -> None:
        if not self.air_hu < self.tissue_hu <= self.border_hu:
            found = f"air_hu, tissue_hu and border_hu are {self.air_hu}, {self.tissue_hu} and {self.border_hu}"
            raise ValueError(f"{found}, expected to ascend")
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"min_share is {self.min_share}, expected 0 to 1")
        if self.grid_mm <= 0:
            raise ValueError(f"grid_mm is {self.grid_mm}, expected above 0")
        lengths = ("closing_mm", "costal_closing_mm", "rim_mm", "airway_radius_mm", "airway_wall_mm")
        for name in ("min_area_mm2", "max_airways_ml", *lengths):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True, slots=True)
class WindowsConfig:
    """Settings of the `windows` system.

    Attributes
    ----------
    slice_reach_mm
        Before windows are labelled, their scores are averaged with those of neighbouring slices, with a weight that
        falls to 0 at this distance; 0 takes each slice by itself, as the paper does. Averaging costs small nodules.
    roi_score
        A window is labelled 1 or 2 if the network's scores for *benign ROI* and *malignant ROI* sum to this or more;
        above 0, at most 1.
    min_overlap
        A pixel belongs to a ROI if at least this many windows labelled 1 or 2 overlap there; 1 to 25 (the windows that
        cover a pixel).
    nodule_score
        A ROI is a nodule, and votes on the patient, from this detection score on, which weighs the windows' scores with
        the shape of what lies there; 0 lets all vote, as in the paper: then every vessel counts as much as a nodule.
        0 to 1.
    vote_threshold
        A ROI or patient is malignant if this share or more of its windows is labelled 2; 0 to 1.
    """

    slice_reach_mm: float = 0.0
    roi_score: float = 0.8
    min_overlap: int = 2
    nodule_score: float = 0.5
    vote_threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.slice_reach_mm < 0:
            raise ValueError(f"slice_reach_mm is {self.slice_reach_mm}, expected 0 or more")
        if not 0 < self.roi_score <= 1:
            raise ValueError(f"roi_score is {self.roi_score}, expected above 0 and at most 1")
        if not 1 <= self.min_overlap <= 25:
            raise ValueError(f"min_overlap is {self.min_overlap}, expected 1 to 25")
        for name in ("nodule_score", "vote_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to 1")


@dataclass(frozen=True, slots=True)
class SegmentsConfig:
    """Settings of the `segments` system.

    Attributes
    ----------
    pixel_score
        A pixel is part of a candidate from this score of the U-Net on; above 0, at most 1.
    merge_mm
        Distance merging: centres of one slice that are nearer become one; 0 or more.
    z_merge_mm
        Z-merging: centres of neighbouring slices that are nearer become one nodule; 0 or more.
    most_candidates
        So many candidates of a CT are judged, those of the highest scores; 1 or more.
    nodule_score
        A candidate is a nodule from this score of the nodule network on; 0 to 1.
    strongest
        So many nodules, those most likely malignant, make the patient's score; 1 or more.
    malignancy_threshold
        A patient is malignant from this score on; 0 to 1.
    """

    pixel_score: float = 0.3
    merge_mm: float = 4.0
    z_merge_mm: float = 6.0
    most_candidates: int = 100
    nodule_score: float = 0.5
    strongest: int = 1
    malignancy_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.pixel_score <= 1:
            raise ValueError(f"pixel_score is {self.pixel_score}, expected above 0 and at most 1")
        for name in ("merge_mm", "z_merge_mm"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("most_candidates", "strongest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("nodule_score", "malignancy_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to 1")


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of Lungsight.

    Examples
    --------
    >>> Config().windows.vote_threshold
    0.5
    """

    lungs: LungsConfig = field(default_factory=LungsConfig)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    segments: SegmentsConfig = field(default_factory=SegmentsConfig)
    outline: OutlineConfig = field(default_factory=OutlineConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)


def config_to_toml(config: Config) -> str:
    """The settings as TOML, one table for each class.

    Examples
    --------
    >>> print(config_to_toml(Config()))  # doctest: +ELLIPSIS
    [lungs]
    border_hu = ...
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
    return replace_settings(Config(), read_toml(path, remedy), f"{path}: ", remedy)


def read_toml(path: Path, remedy: str) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}", "a TOML file", remedy) from error


def replace_settings(settings: Settings, table: Mapping[str, Any], place: str, remedy: str) -> Settings:
    """A frozen dataclass of settings with the values of a TOML table; a setting that is such a class has its own table.

    Parameters
    ----------
    settings
        What the table leaves out keeps its value; what it gives must have the same type. A tuple of floats is a list.
    table
        As TOML is read.
    place
        Begins each message: the file, and the tables that hold this one (``"run.toml: fit."``).
    remedy
        Ends each message.

    Raises
    ------
    InputError
        If the table names a setting that does not exist, or gives one of another type or out of range.
    """
    current = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    values = {}
    for key, value in table.items():
        values[key] = _setting(key, value, current, place, remedy)
    try:
        return dataclasses.replace(settings, **values)
    except ValueError as error:
        raise InputError(f"{place}{error}", "a value in range", remedy) from error


def _setting(key: str, value: Any, current: Mapping[str, Any], place: str, remedy: str) -> Any:
    tables = [name for name, default in current.items() if dataclasses.is_dataclass(default)]
    if key in tables and isinstance(value, dict):
        return replace_settings(current[key], value, f"{place}{key}.", remedy)
    if key in tables or len(tables) == len(current):
        raise InputError(f"{place}table [{key}]", f"the tables {', '.join(tables)}", remedy)
    if key not in current:
        raise InputError(f"{place}{key}", f"one of {', '.join(current)}", remedy)
    kind = type(current[key])
    if kind is tuple and isinstance(value, list):
        return tuple(_number(f"{place}{key}", each, float, remedy) for each in value)
    return _number(f"{place}{key}", value, kind, remedy)


def _number(name: str, value: Any, kind: type, remedy: str) -> Any:
    # TOML writes 1 where a float is meant; anything else must have the default's own type.
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise InputError(f"{name} = {value!r}", f"a value of type {kind.__name__}", remedy)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} = {value!r}", "a finite number", remedy)
    return value
