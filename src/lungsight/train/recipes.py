"""The recipes that have a name, and recipes as TOML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from lungsight.config import read_toml, replace_settings
from lungsight.detect.windows import FIELD_PX
from lungsight.errors import InputError
from lungsight.train.recipe import AugmentConfig, FitConfig, MiningConfig, PatchDraw, Recipe, Stage, WindowDraw

__all__ = ["RECIPES", "load_recipe", "recipe_from_toml", "recipe_to_toml"]

_ASAN_DRAW = WindowDraw()
_ASAN_EPOCHS = 200
_ASAN = Recipe(
    padding="zero",
    pixel="native",
    labels="hard",
    stages=(
        Stage(
            _ASAN_DRAW,
            AugmentConfig(shift_px=0.0, angles_deg=(30.0, 45.0), noise_hu=0.0, shift_hu=0.0),
            FitConfig(
                batches=_ASAN_EPOCHS * _ASAN_DRAW.epoch_batches,
                optimizer="adam",
                learning_rate=5e-4,
                schedule="constant",
                warm_up=0,
                weight_decay=0.0,
                averaging=0.0,
                dropout_ramp=0,
                tell_every=10,
                checkpoint_every=_ASAN_DRAW.epoch_batches,
                keep_every=10,
            ),
        ),
    ),
)
_DEFAULT = Recipe(
    stages=(
        Stage(),
        # Windows stand 10 px apart, so a nodule is never farther than 5 px from the middle of one, each axis: there
        # malignancy is learned, with some nodules farther off for the windows around it.
        Stage(
            PatchDraw(
                side_px=FIELD_PX,
                benign=30,
                malignant=30,
                lungs=36,
                far=14,
                far_shift_px=22.0,
                mining=MiningConfig(first=0, every=150, rounds=4, share_of_slices=0.12, share=0.8),
            ),
            AugmentConfig(shift_px=6.0, noise_hu=25.0, shift_hu=8.0),
            FitConfig(batches=900, learning_rate=5e-4, weight_decay=1e-3, dropout_ramp=1200, keep_every=3, seed=2),
        ),
    )
)
RECIPES = MappingProxyType({"default": _DEFAULT, "asan": _ASAN})
"""`default` is how the shipped network is made; `asan` the published way (the paper does not tell the precision)."""

_DRAWS = {"patches": PatchDraw, "windows": WindowDraw}
_REMEDY = 'Begin with `base = "default"` or `base = "asan"` and give what shall differ.'


def load_recipe(name_or_path: str) -> Recipe:
    """The recipe of that name, or of that TOML file.

    Raises
    ------
    InputError
        If there is neither, or see :func:`recipe_from_toml`.

    Examples
    --------
    >>> load_recipe("asan").stages[0].fit.learning_rate
    0.0005
    """
    if name_or_path in RECIPES:
        return RECIPES[name_or_path]
    if not name_or_path.endswith(".toml"):
        raise InputError(f"recipe {name_or_path!r}", f"{', '.join(RECIPES)}, or a file .toml", "Name one of these.")
    return recipe_from_toml(Path(name_or_path))


def recipe_to_toml(recipe: Recipe) -> str:
    """The recipe as TOML; a stage's way to draw is its table ``patches`` or ``windows``.

    Examples
    --------
    >>> print(recipe_to_toml(RECIPES["asan"]))  # doctest: +ELLIPSIS
    network = "patch_cnn"
    padding = "zero"
    ...
    [stages.windows]
    epoch_windows = 60000
    ...
    """
    table = dataclasses.asdict(recipe)
    for stage, of in zip(table["stages"], recipe.stages, strict=True):
        name = next(name for name, kind in _DRAWS.items() if isinstance(of.draw, kind))
        stage[name] = stage.pop("draw")
    return tomli_w.dumps(table)


def recipe_from_toml(path: Path) -> Recipe:
    """The recipe of a TOML file.

    Parameters
    ----------
    path
        What it leaves out is that of the recipe it names as ``base`` (``default`` if it names none). If it has
        ``[[stages]]``, the run has as many; each begins as the base's stage of the same place, or its last one.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, names a setting that does not exist or gives a value out of range.
    """
    table = read_toml(path, _REMEDY)
    base = table.pop("base", "default")
    if base not in RECIPES:
        raise InputError(f"{path}: base = {base!r}", f"one of {', '.join(RECIPES)}", _REMEDY)
    recipe = RECIPES[base]
    stages = table.pop("stages", None)
    recipe = replace_settings(recipe, table, f"{path}: ", _REMEDY)
    if stages is None:
        return recipe
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise InputError(f"{path}: stages is no list of tables", "[[stages]] with [stages.fit]", _REMEDY)
    known = recipe.stages
    made = (_stage(known[min(k, len(known) - 1)], stage, f"{path}: stages.", _REMEDY) for k, stage in enumerate(stages))
    return dataclasses.replace(recipe, stages=tuple(made))


def _stage(stage: Stage, table: dict[str, Any], place: str, remedy: str) -> Stage:
    named = [name for name in table if name in _DRAWS]
    unknown = sorted(set(table) - {"augment", "fit", *_DRAWS})
    if unknown:
        raise InputError(f"{place}{unknown[0]}", f"one of augment, fit, {', '.join(_DRAWS)}", remedy)
    if len(named) > 1:
        raise InputError(f"{place}patches and {place}windows", "one of them", remedy)
    if named:
        kind = _DRAWS[named[0]]
        before = stage.draw if isinstance(stage.draw, kind) else kind()
        stage = dataclasses.replace(stage, draw=before)
        table = {("draw" if key in _DRAWS else key): value for key, value in table.items()}
    return replace_settings(stage, table, place, remedy)
