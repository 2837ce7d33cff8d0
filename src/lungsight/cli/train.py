"""The commands that make networks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.program import app
from lungsight.errors import LungsightError
from lungsight.terminal import progress_bars

__all__ = ["train", "train_windows_command"]

train = typer.Typer(help="Train a network on CTs of your own.", no_args_is_help=True)
app.add_typer(train, name="train")
_DEFAULT_RECIPE = "default"


@train.callback()
def _train() -> None:
    """Train a network on CTs of your own."""


@train.command(name="windows")
def train_windows_command(
    truth: Annotated[
        Path,
        typer.Argument(metavar="TRUTH", help="A dataset with outlined nodules: CTs and masks, or LIDC-IDRI."),
    ],
    run: Annotated[Path, typer.Option("-o", "--out", metavar="RUN", help="Folder of the run; should not exist.")],
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="default, asan (as published), or a file.", show_default="default"),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Keep the K-th of N parts of the patients aside, not the recipe's share."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
) -> None:
    """Train the network of the `windows` system on TRUTH; `diagnose --weights RUN` then uses it."""
    absent = [name for name in ("torch", "onnx", "matplotlib") if find_spec(name) is None]
    if absent:
        raise LungsightError(
            f"no {', '.join(absent)} is installed",
            "the libraries of the extra `train`",
            "Install it: pip install 'lungsight[train]', or pip install '.[train]' in its folder.",
        )
    from lungsight.train.recipes import load_recipe
    from lungsight.train.run import parse_fold, train_windows

    try:
        kept_aside = parse_fold(fold) if fold else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fold") from error
    chosen = load_recipe(recipe or _DEFAULT_RECIPE) if recipe or not resume else None
    with progress_bars() as progress:
        train_windows(
            truth,
            run,
            chosen,
            kept_aside,
            resume=resume,
            say=lambda line: typer.echo(line, err=True),
            progress=progress,
        )
    typer.echo(f"Network: {run / 'model.onnx'}\nUse it: lungsight diagnose SCAN -o OUT --weights {run}")
