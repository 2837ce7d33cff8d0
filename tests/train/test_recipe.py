"""Recipes: the published numbers, TOML out and in, mistakes named."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lungsight.errors import InputError
from lungsight.train import recipe as module
from lungsight.train.recipe import AugmentConfig, FitConfig, MiningConfig, PatchDraw, Recipe, Stage, WindowDraw
from lungsight.train.recipes import RECIPES, load_recipe, recipe_from_toml, recipe_to_toml
from refusals import refused


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def test_asan_is_the_paper() -> None:
    asan = RECIPES["asan"]
    (stage,) = asan.stages
    assert isinstance(stage.draw, WindowDraw)
    assert (asan.network, asan.padding, asan.pixel, asan.labels) == ("patch_cnn", "zero", "native", "hard")
    assert (stage.draw.epoch_windows, stage.draw.batch_windows) == (3 * 20_000, 400)
    assert stage.fit.batches == 200 * 150  # 200 epochs of 60,000 / 400
    assert (stage.fit.optimizer, stage.fit.learning_rate, stage.fit.schedule) == ("adam", 0.0005, "constant")
    assert (stage.fit.warm_up, stage.fit.weight_decay, stage.fit.averaging, stage.fit.dropout_ramp) == (0, 0, 0, 0)
    assert stage.augment.angles_deg == (30, 45)
    assert (stage.augment.noise_hu, stage.augment.shift_hu, stage.augment.shift_px) == (0, 0, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_toml_goes_out_and_in_without_loss(name: str, tmp_path: Path) -> None:
    text = recipe_to_toml(RECIPES[name])
    assert recipe_from_toml(written(tmp_path, text)) == RECIPES[name] == load_recipe(name)
    # tomllib, not our reader, is the judge of what was written.
    tables = tomllib.loads(text)
    assert set(tables) == {field.name for field in dataclasses.fields(Recipe)}
    assert len(tables["stages"]) == len(RECIPES[name].stages)
    assert set(tables["stages"][0]["fit"]) == {field.name for field in dataclasses.fields(FitConfig)}


def test_what_a_file_leaves_out_is_that_of_its_base(tmp_path: Path) -> None:
    assert recipe_from_toml(written(tmp_path, "")) == RECIPES["default"]
    found = recipe_from_toml(
        written(
            tmp_path, 'base = "asan"\nseed = 5\n[[stages]]\n[stages.augment]\nzoom = 2\n[stages.fit]\nbatches = 7\n'
        )
    )
    asan = RECIPES["asan"]
    assert found.seed == 5
    (stage,) = asan.stages
    augment, fit = dataclasses.replace(stage.augment, zoom=2.0), dataclasses.replace(stage.fit, batches=7)
    assert found.stages == (dataclasses.replace(stage, augment=augment, fit=fit),)


def test_stages_begin_as_those_of_the_base(tmp_path: Path) -> None:
    text = "[[stages]]\n[[stages]]\n[stages.patches]\nlungs = 1\n[[stages]]\n[stages.windows]\nepoch_windows = 30\n"
    first, second, third = recipe_from_toml(written(tmp_path, text)).stages
    default = RECIPES["default"].stages
    assert first == default[0]
    assert isinstance(default[1].draw, PatchDraw)
    assert second == dataclasses.replace(default[1], draw=dataclasses.replace(default[1].draw, lungs=1))
    assert third == Stage(WindowDraw(epoch_windows=30), default[1].augment, default[1].fit)


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("base = 'best'\n", "base = 'best'", "one of default, asan"),
        ("sed = 3\n", r"mine\.toml: sed", "one of network, padding"),
        ("seed = 3.5\n", r"seed = 3\.5", "type int"),
        ("network = 'unet'\n", "network is 'unet'", "in range"),
        ("[[stages]]\n[stages.augment]\nangles_deg = [30, true]\n", r"augment\.angles_deg = True", "type float"),
        ("[[stages]]\n[stages.augment]\nangles_deg = []\n", "angles_deg is empty", "in range"),
        ("stages = []\n", "stages is no list", r"\[\[stages\]\]"),
        ("stages = 3\n", "stages is no list", r"\[\[stages\]\]"),
        ("[[stages]]\n[stages.fit]\nbatch = 3\n", r"stages\.fit\.batch", "one of batches, optimizer"),
        ("[[stages]]\n[stages.fit]\nbatches = 0\n", "batches is 0", "in range"),
        ("[[stages]]\n[stages.patches]\n[stages.windows]\n", "patches and .*windows", "one of them"),
        ("[[stages]]\n[stages.patches]\nside_px = 70\n", "side_px is 70", "in range"),
        ("[[stages]]\n[stages.patches.mining]\nshare = 1.5\n", r"share is 1\.5", "in range"),
        ("[[stages]]\n[stages.draw]\n", r"stages\.draw", "one of augment, fit, patches, windows"),
        ("seed = \n", r"mine\.toml", "a TOML file"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, found: str, expected: str, tmp_path: Path) -> None:
    with refused(InputError, found, expected, r"base = \"default\""):
        recipe_from_toml(written(tmp_path, text))


def test_no_such_recipe() -> None:
    with refused(InputError, "recipe 'best'", r"default, asan, or a file \.toml", "Name one"):
        load_recipe("best")
    with refused(InputError, r"absent\.toml", "a TOML file", "base"):
        load_recipe("absent.toml")


@pytest.mark.parametrize(
    "change",
    [
        lambda: MiningConfig(every=0),
        lambda: PatchDraw(benign=0, malignant=0, lungs=0),
        lambda: PatchDraw(far=17),
        lambda: PatchDraw(lungs=-1),
        lambda: WindowDraw(epoch_windows=2),
        lambda: FitConfig(averaging=1.5),
        lambda: FitConfig(learning_rate=float("nan")),
        lambda: FitConfig(optimizer="sgd"),
        lambda: AugmentConfig(zoom=0.5),
        lambda: AugmentConfig(zoom_out=0.5),
        lambda: Recipe(validation=1.0),
        lambda: Recipe(stages=()),
    ],
)
def test_values_out_of_range_are_refused(change: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        change()


@pytest.mark.parametrize("kind", [getattr(module, name) for name in module.__all__], ids=lambda kind: kind.__name__)
def test_each_number_is_described(kind: Any) -> None:
    for setting in dataclasses.fields(kind):
        assert re.search(rf"^ +(\w+, )*{setting.name}(, \w+)*$", kind.__doc__ or "", re.MULTILINE), setting.name
