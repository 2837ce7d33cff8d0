"""The program itself: its options, its errors and its exit codes.

Exit codes: 0 done, whatever the verdict; 2 the input, the command or the place for the report cannot be used; 1 a bug.
Results go to stdout; progress, warnings and errors to stderr.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from lungsight import __version__
from lungsight.errors import InputError, LungsightError, OutputError, WeightsError

__all__ = ["app", "main"]

_REFUSED = {
    InputError: "the input cannot be used",
    OutputError: "the report cannot be written",
    WeightsError: "the network's weights cannot be used",
}

app = typer.Typer(
    help="Find lung nodules in a chest CT and say whether they look benign or malignant. "
    "Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclasses.dataclass
class _Session:
    """What `main` must know of the command it ran."""

    debug: bool = False


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lungsight {__version__}")
        raise typer.Exit


@app.callback()
def _lungsight(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="LUNGSIGHT_DEBUG", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[  # noqa: ARG001 (its callback does it)
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version and stop.")
    ] = False,
) -> None:
    context.ensure_object(_Session).debug = debug


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments
        Without the program's name; None takes those of the process.

    Raises
    ------
    SystemExit
        Always: with 0, 1 or 2 (see above).
    """
    session = _Session()
    try:
        app(list(sys.argv[1:] if arguments is None else arguments), prog_name="lungsight", obj=session)
    except LungsightError as error:
        what = next((words for kind, words in _REFUSED.items() if isinstance(error, kind)), "this cannot be done")
        if session.debug:
            traceback.print_exc()
        lines = [f"lungsight: {what}", f"  Found:    {error.found}", f"  Expected: {error.expected}"]
        typer.echo("\n".join([*lines, f"  Remedy:   {error.remedy}"]), err=True)
        sys.exit(2)
    except Exception as error:
        if session.debug:
            traceback.print_exc()
        typer.echo(
            f"lungsight: this is a bug in Lungsight {__version__}, not in what you gave it.\n"
            f"  {type(error).__name__}: {error}\n"
            "  Please report it to the developers with the output of the same command as `lungsight --debug ...`\n"
            "  (look through it first: names of your files may be in it).",
            err=True,
        )
        sys.exit(1)
