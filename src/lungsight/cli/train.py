"""The commands that make networks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight.cli.program import app
from lungsight.errors import LungsightError
from lungsight.terminal import progress_bars

if TYPE_CHECKING:
    from lungsight.train.run_folder import Fold

__all__ = ["train", "train_segments_command", "train_windows_command"]

train = typer.Typer(help="Train a network on CTs of your own.", no_args_is_help=True)
app.add_typer(train, name="train")
_DEFAULT_RECIPE = "default"

TruthArgument = Annotated[
    Path,
    typer.Argument(metavar="TRUTH", help="A dataset with outlined nodules: CTs and masks, or LIDC-IDRI."),
]
RunOption = Annotated[Path, typer.Option("-o", "--out", metavar="RUN", help="Folder of the run; should not exist.")]
FoldOption = Annotated[
    str | None,
    typer.Option(metavar="K/N", help="Keep the K-th of N parts of the patients aside, not the recipe's share."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")]


@train.callback()
def _train() -> None:
    """Train a network on CTs of your own."""


@train.command(name="windows")
def train_windows_command(
    truth: TruthArgument,
    run: RunOption,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="default, asan (as published), or a file.", show_default="default"),
    ] = None,
    fold: FoldOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train the network of the `windows` system on TRUTH; `diagnose --weights RUN` then uses it."""
    _check_libraries()
    from lungsight.train.recipes import load_recipe
    from lungsight.train.run import train_windows

    chosen = load_recipe(recipe or _DEFAULT_RECIPE) if recipe or not resume else None
    with progress_bars() as progress:
        train_windows(truth, run, chosen, _fold(fold), resume=resume, say=_say, progress=progress)
    typer.echo(f"Network: {run / 'model.onnx'}\nUse it: lungsight diagnose SCAN -o OUT --weights {run}")


@train.command(name="segments")
def train_segments_command(
    truth: TruthArgument,
    run: RunOption,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.toml", help="default, or a file.", show_default="default")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Begin the malignancy network with weights for ImageNet, and fine-tune them: efficientnet-lite0. "
            "Needs the extra `transfer`.",
        ),
    ] = None,
    bottleneck: Annotated[
        bool, typer.Option("--bottleneck", help="With --init: keep these weights, learn the last layers alone.")
    ] = False,
    fold: FoldOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train the networks of `segments` on TRUTH; `diagnose --system segments --weights RUN` then uses them."""
    _check_libraries()
    from lungsight.train.run_segments import train_segments
    from lungsight.train.segments_recipes import load_segments_recipe

    if bottleneck and init is None:
        raise typer.BadParameter("goes with --init", param_hint="--bottleneck")
    asked = recipe or init or not resume
    chosen = load_segments_recipe(recipe or _DEFAULT_RECIPE, init, bottleneck=bottleneck) if asked else None
    with progress_bars() as progress:
        train_segments(truth, run, chosen, _fold(fold), resume=resume, say=_say, progress=progress)
    use = f"lungsight diagnose SCAN -o OUT --system segments --weights {run}"
    typer.echo(f"Networks: {run}\nUse them: {use}")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _check_libraries() -> None:
    absent = [name for name in ("torch", "onnx", "matplotlib") if find_spec(name) is None]
    if absent:
        raise LungsightError(
            f"no {', '.join(absent)} is installed",
            "the libraries of the extra `train`",
            "Install it: pip install 'lungsight[train]', or pip install '.[train]' in its folder.",
        )


def _fold(text: str | None) -> Fold | None:
    from lungsight.train.run_folder import parse_fold

    try:
        return parse_fold(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fold") from error
