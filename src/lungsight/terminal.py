"""What the commands share on a terminal: bars while they work, lines when they are done.

Results go to stdout, everything else to stderr, so that a result can be piped.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator

import typer

__all__ = ["progress_bars", "setting_help", "tell"]


def setting_help(section: type, setting: str) -> str:
    """What the docstring of a class of settings says of one of them."""
    lines = iter((inspect.getdoc(section) or "").splitlines())
    for line in lines:
        if line == setting:
            break
    told = []
    for line in lines:
        if not line.startswith("    "):
            break
        told.append(line.strip())
    return " ".join(told)


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str, float], None]]:
    """A bar for each step on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:>9}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def tell(step: str, done: float) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=1.0)
            elif done == 0:
                bars.reset(tasks[step])  # the same step of the next CT
            bars.update(tasks[step], completed=done)

        yield tell


def tell(warnings: Iterable[str], *lines: str) -> None:
    """Warnings, then the lines of a result."""
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo("\n".join(lines))
