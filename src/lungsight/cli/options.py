"""The options that several commands have, in the same words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from lungsight.config import Config, config_from_toml

__all__ = [
    "DEFAULT_SYSTEM",
    "EngineOption",
    "JobsOption",
    "PrecisionOption",
    "SettingsOption",
    "SystemOption",
    "WeightsOption",
    "refuse",
    "settings_of",
]

DEFAULT_SYSTEM = "windows"

SystemOption = Annotated[
    str,
    typer.Option(
        "--system",
        help="How nodules are found and judged: windows (sliding windows vote) or segments (a U-Net, then a network "
        "for each nodule).",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FOLDER",
        help="Networks of your own for the system: what `lungsight train` wrote.",
        show_default="shipped",
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="What runs the networks: openvino or onnxruntime.", show_default="the fastest here"),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="What it computes in: float32, bfloat16 or int8; `windows` scores likely ROIs again in float32.",
        show_default="the fastest here",
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings; `lungsight config` writes the defaults."),
]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="Many CTs: as many processes, which share the cores.")]

_THRESHOLDS = {"vote_threshold": "windows", "malignancy_threshold": "segments"}
"""The table that holds the setting."""


def settings_of(file: Path | None, system: str, thresholds: Mapping[str, float | None]) -> Config:
    """Those of the file; what an option says goes before them.

    Parameters
    ----------
    file
        TOML; None for the defaults.
    system
        Which will be run.
    thresholds
        ``vote_threshold`` of `windows`, ``malignancy_threshold`` of `segments`; None for what the file says.

    Raises
    ------
    InputError
        If the file cannot be used.
    BadParameter
        If a threshold is out of range or does not belong to the system.
    """
    config = config_from_toml(file) if file else Config()
    for name, value in thresholds.items():
        if value is None:
            continue
        option = "--" + name.replace("_", "-")
        refuse({option: _THRESHOLDS[name] == "windows" and system != "windows"}, "belongs to --system windows")
        refuse({option: _THRESHOLDS[name] == "segments" and system == "windows"}, "does not belong to --system windows")
        try:
            table = dataclasses.replace(getattr(config, _THRESHOLDS[name]), **{name: value})
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=option) from error
        config = dataclasses.replace(config, **{_THRESHOLDS[name]: table})
    return config


def refuse(options: Mapping[str, object], why: str) -> None:
    """Refuse the first option that was given."""
    for name, given in options.items():
        if given:
            raise typer.BadParameter(why, param_hint=name)
