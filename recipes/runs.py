"""The runs of a recipe: one a fold, whose patients it does not learn from, and one on everything, which ships."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from recipes.windows.collection import FOLDS

__all__ = ["add_runs", "learned_from", "runs_of"]

RUNS = (*map(str, range(FOLDS)), "all")


def add_runs(parser: argparse.ArgumentParser, out: Path) -> None:
    """Options of a command line: where the runs lie, and which are asked for, all by default."""
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--only", choices=RUNS, nargs="*")


def runs_of(asked: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """The folder of each run that is asked for, and the fold it holds out, or ``"all"``."""
    for held_out in asked.only or RUNS:
        yield asked.out / (held_out if held_out == "all" else f"fold{held_out}"), held_out


def learned_from(fold_of: Mapping[str, int], held_out: str) -> set[str]:
    """The patients of all folds but one; of all for ``"all"``."""
    return {patient for patient, fold in fold_of.items() if str(fold) != held_out}
