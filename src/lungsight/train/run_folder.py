"""What any training run is as a folder: what was asked for, which patients are kept aside, how weights are kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from lungsight import __version__
from lungsight.errors import InputError, LungsightError, OutputError
from lungsight.train.precision import has_bfloat16
from lungsight.train.recipe import Recipe
from lungsight.train.segments_recipe import SegmentsRecipe
from lungsight.train.split import folds

__all__ = [
    "Fold",
    "begin_run",
    "parse_fold",
    "recipe_and_fold",
    "save_weights",
    "split_patients",
    "tell_of",
]

_RECIPE = "recipe.toml"
_RUN = "run.json"
_REMEDY = "Leave out what differs, or begin another run."
AnyRecipe = TypeVar("AnyRecipe", Recipe, SegmentsRecipe)


@dataclass(frozen=True, slots=True)
class Fold:
    """The patients that are kept aside: the `number`-th of `count` parts, counted from 1."""

    number: int
    count: int


def parse_fold(text: str) -> Fold:
    """A fold as it is typed.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> parse_fold("2/3")
    Fold(number=2, count=3)
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) and int(count) > 1):
        raise ValueError(f"{text!r} is no fold, expected K/N with K from 1 to N and N over 1")
    return Fold(int(number), int(count))


def recipe_and_fold(
    run: Path,
    system: str,
    recipe: AnyRecipe | None,
    fold: Fold | None,
    read: Callable[[Path], AnyRecipe],
    *,
    resume: bool,
) -> tuple[AnyRecipe, Fold | None]:
    """What a new run is asked for, or what the run that is resumed was begun with.

    Parameters
    ----------
    run
        Its folder.
    system
        Which it trains.
    recipe
        What is asked for; None only where a run is resumed.
    fold
        What is asked for; None takes that of the run that is resumed.
    read
        Reads a recipe of this system.
    resume
        Whether the run was begun already.

    Raises
    ------
    ValueError
        If a new run has no recipe.
    OutputError
        If the folder of a new run exists; or if what is resumed is no run, or was begun for another system, or with
        another recipe or fold than is asked for.
    """
    if not resume:
        if run.is_symlink() or run.exists():
            raise OutputError(
                f"{run} exists",
                "a folder that does not exist yet",
                "Say --resume to go on with that run, or choose another.",
            )
        if recipe is None:
            raise ValueError("a new run needs a recipe")
        return recipe, fold
    if not (run / _RUN).is_file():
        raise OutputError(f"{run} holds no training run", "a run that was begun", "Leave out --resume to begin it.")
    of_run = _resumed_fold(run, system, fold)
    begun = read(run / _RECIPE)
    if recipe is not None and recipe != begun:
        raise OutputError(f"another recipe than that of {run}", f"what {run / _RECIPE} says", _REMEDY)
    return begun, of_run


def _resumed_fold(run: Path, system: str, fold: Fold | None) -> Fold | None:
    asked: dict[str, Any] = json.loads((run / _RUN).read_text("utf-8"))
    if asked["system"] != system:
        raise OutputError(f"a run of `{asked['system']}` in {run}", f"a run of `{system}`", "Name another folder.")
    of_run = None if asked["fold"] is None else Fold(**asked["fold"])
    if fold is not None and fold != of_run:
        raise OutputError(f"fold {fold.number}/{fold.count}", f"{of_run}, as {run} was begun", _REMEDY)
    return of_run


@contextmanager
def begin_run(run: Path, system: str, recipe_toml: str, fold: Fold | None, *, resume: bool = False) -> Iterator[None]:
    """Make the folder, and write down what is asked for; remove it if what is done within is refused.

    The folder of a run that is resumed is there, and stays.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if resume:
        yield
        return
    asked = {"version": __version__, "system": system, "fold": None if fold is None else asdict(fold)}
    try:
        run.mkdir(parents=True)
        (run / _RECIPE).write_text(recipe_toml, "utf-8")
        (run / _RUN).write_text(json.dumps(asked, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(
            f"{run} cannot be written: {error.strerror or error}", "a place with room", "Choose another folder."
        ) from error
    try:
        yield
    except LungsightError:
        shutil.rmtree(run)
        raise


def split_patients(
    patient_ids: Sequence[str], fold: Fold | None, share: float, seed: int
) -> tuple[frozenset[str], frozenset[str]]:
    """The patients to learn from, and those kept aside: a fold, or a share of them.

    Raises
    ------
    InputError
        If there are fewer patients than folds.
    """
    everyone = frozenset(patient_ids)
    if fold is None and share == 0:
        return everyone, frozenset()
    count = len(everyone)
    if fold is None:
        # The first of as many parts as make the share, at least one patient.
        position = folds(patient_ids, count, seed)
        aside = {p for p, k in position.items() if k < max(1, round(share * count))}
    else:
        if count < fold.count:
            raise InputError(f"{count} patients", f"at least {fold.count}, one a fold", "Ask for fewer folds.")
        aside = {p for p, k in folds(patient_ids, fold.count, seed).items() if k == fold.number - 1}
    return everyone - aside, frozenset(aside)


def tell_of(warnings: Sequence[str], learned: Sized, aside: Sized, say: Callable[[str], None]) -> None:
    """What a run begins with: what was amiss in the dataset, its patients, and what it computes in."""
    for warning in warnings:
        say(f"warning: {warning}")
    say(f"{len(learned)} patients to learn from, {len(aside)} kept aside")
    if not has_bfloat16():
        say("float32 throughout: this processor has no instructions for bfloat16")


def save_weights(network: nn.Module, folder: Path) -> None:
    """Write ``weights.pt``, whole or not at all."""
    temporary = folder / "weights.part"
    torch.save(network.state_dict(), temporary)
    temporary.replace(folder / "weights.pt")
