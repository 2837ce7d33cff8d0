"""The recipes of `segments` that have a name, as TOML, and for transfer learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from lungsight.config import read_toml, replace_settings
from lungsight.errors import InputError
from lungsight.train.nodule_networks import PRETRAINED_KINDS
from lungsight.train.segments_recipe import MalignancyRecipe, SegmentsRecipe

__all__ = ["load_segments_recipe", "segments_recipe_from_toml", "segments_recipe_to_toml", "transfer_recipe"]

_FINE_TUNING_RATE = 3e-4
"""A fifth of the rate from scratch: what is known already shall be bent, not overwritten."""
_DEFAULT = "default"
_REMEDY = "Give what shall differ from the default; RUN/recipe.toml of any run shows every setting."


def transfer_recipe(kind: str, *, bottleneck: bool = False) -> MalignancyRecipe:
    """The default malignancy network's recipe, for one that begins with weights learned from photographs.

    Parameters
    ----------
    kind
        One of :data:`~lungsight.train.nodule_networks.PRETRAINED_KINDS`.
    bottleneck
        Keep these weights as they are, and learn the layers behind them alone; else they are fine-tuned.

    Raises
    ------
    ValueError
        If there is no such kind, or it has no such weights.

    Examples
    --------
    >>> transfer_recipe("efficientnet-lite0").fit.learning_rate
    0.0003
    """
    plain = MalignancyRecipe()
    # In bfloat16 the gradients of convolutions of single maps take longer than in float32; a frozen trunk has none.
    tuned = dataclasses.replace(plain.fit, learning_rate=_FINE_TUNING_RATE, bfloat16=False)
    fit = plain.fit if bottleneck else tuned
    return dataclasses.replace(plain, kind=kind, init="imagenet", frozen=bottleneck, fit=fit)


def load_segments_recipe(name_or_path: str, init: str | None = None, *, bottleneck: bool = False) -> SegmentsRecipe:
    """The recipe ``default``, or that of a TOML file.

    Parameters
    ----------
    name_or_path
        Which.
    init
        A kind of network: the malignancy network is one, and what the file leaves out of it is as
        :func:`transfer_recipe` tells. None: as the file says.
    bottleneck
        See :func:`transfer_recipe`; no more than that without `init`.

    Raises
    ------
    InputError
        If there is neither, or no such kind, or the file asks for another one; or see
        :func:`segments_recipe_from_toml`.

    Examples
    --------
    >>> load_segments_recipe("default").detection.kind
    'resnet'
    >>> load_segments_recipe("default", "efficientnet-lite0").malignancy.init
    'imagenet'
    """
    base = SegmentsRecipe()
    if init is not None:
        if init not in PRETRAINED_KINDS:
            expected = f"a kind of network with weights of other images: {', '.join(PRETRAINED_KINDS)}"
            raise InputError(f"init {init!r}", expected, "Name one of these.")
        base = dataclasses.replace(base, malignancy=transfer_recipe(init, bottleneck=bottleneck))
    if name_or_path == _DEFAULT:
        return base
    if not name_or_path.endswith(".toml"):
        raise InputError(f"recipe {name_or_path!r}", f"{_DEFAULT}, or a file .toml", "Name one of these.")
    path = Path(name_or_path)
    table = read_toml(path, _REMEDY)
    if init is not None:
        _check_agrees(path, table, base.malignancy, f"--init {init}{' --bottleneck' if bottleneck else ''}")
    return replace_settings(base, table, f"{path}: ", _REMEDY)


def _check_agrees(path: Path, table: Mapping[str, Any], wanted: MalignancyRecipe, words: str) -> None:
    """Refuse a file that would undo what was asked for beside it."""
    given = table.get("malignancy")
    for name in ("kind", "init", "frozen"):
        value = getattr(wanted, name)
        if isinstance(given, dict) and given.get(name, value) != value:
            found = f"{path}: malignancy.{name} = {given[name]!r}"
            raise InputError(found, f"{value!r}, as {words} says", "Leave it out of the file, or change these words.")


def segments_recipe_to_toml(recipe: SegmentsRecipe) -> str:
    """The recipe as TOML, a table for each network."""
    return tomli_w.dumps(dataclasses.asdict(recipe))


def segments_recipe_from_toml(path: Path) -> SegmentsRecipe:
    """The recipe of a TOML file; what it leaves out is the default's.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, names a setting that does not exist or gives a value out of range.
    """
    return replace_settings(SegmentsRecipe(), read_toml(path, _REMEDY), f"{path}: ", _REMEDY)
