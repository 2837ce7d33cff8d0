"""The recipe of `segments`: TOML out and in, mistakes named."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from lungsight.errors import InputError
from lungsight.train.segments_recipe import (
    BlockDraw,
    DetectionRecipe,
    MalignancyRecipe,
    SegmentsRecipe,
    SheafDraw,
    load_segments_recipe,
    segments_recipe_from_toml,
    segments_recipe_to_toml,
)
from refusals import refused


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def test_toml_goes_out_and_in_without_loss(tmp_path: Path) -> None:
    recipe = SegmentsRecipe(seed=3, detection=DetectionRecipe("vgg", BlockDraw(alarms=2)))
    text = segments_recipe_to_toml(recipe)
    assert segments_recipe_from_toml(written(tmp_path, text)) == recipe != SegmentsRecipe()
    # tomllib, not our reader, is the judge of what was written.
    tables = tomllib.loads(text)
    assert set(tables) == {field.name for field in dataclasses.fields(SegmentsRecipe)}
    assert tables["unet"]["draw"]["mining"]["share_of_slices"] == 0.12
    assert tables["detection"]["kind"] == "vgg"


def test_what_a_file_leaves_out_is_the_default(tmp_path: Path) -> None:
    assert segments_recipe_from_toml(written(tmp_path, "")) == SegmentsRecipe() == load_segments_recipe("default")
    text = 'labels = "hard"\n[malignancy]\nkind = "efficientnet-lite0"\n[malignancy.fit]\nbatches = 7\n'
    found = load_segments_recipe(str(written(tmp_path, text)))
    plain = MalignancyRecipe()
    fit = dataclasses.replace(plain.fit, batches=7)
    changed = dataclasses.replace(plain, kind="efficientnet-lite0", fit=fit)
    assert found == SegmentsRecipe(labels="hard", malignancy=changed)
    assert [fit.batches for fit in found.fits] == [2400, 900, 7]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('labels = "firm"', "labels is 'firm', expected one of soft, hard"),
        ("validation = 1.0", "validation is 1.0"),
        ("validation_batches = -1", "validation_batches is -1"),
        ('pixel = "native"', "pixel"),
        ("[unet.draw]\nkind = 1", "unet.draw.kind"),
        ("[unet.draw]\nside_px = 50", "unet.draw.side_px is 50"),
        ("[detection]\nkind = 'efficientnet-lite0'", "detection.kind is 'efficientnet-lite0', expected one of vgg"),
        ("[malignancy]\nkind = 'alexnet'", "malignancy.kind is 'alexnet'"),
        ("[detection.draw]\nnodules = 0\nalarms = 0\nbright = 0", r"are \[0, 0, 0\]"),
        ("[detection.draw]\nnodules = 1.5", "nodules = 1.5"),
        ("[detection.draw]\nalarm_score = 0.0", "alarm_score is 0.0"),
        ("[detection.draw]\nthick_mm = -1.0", "thick_mm -1.0"),
        ("[malignancy.draw]\nbenign = -1", r"\[-1, 14, 4\]"),
        ("[malignancy.draw]\nslices = 0", "slices is 0"),
        ("[malignancy.draw]\nthick = 2.0", "thick 2.0"),
    ],
)
def test_mistakes_are_named(text: str, found: str, tmp_path: Path) -> None:
    with refused(InputError, found, ".", "Give what shall differ"):
        segments_recipe_from_toml(written(tmp_path, text))


def test_a_recipe_that_is_not_there_is_refused() -> None:
    with refused(InputError, "recipe 'asan'", "default, or a file .toml", "Name one"):
        load_segments_recipe("asan")


def test_a_batch_needs_a_cut() -> None:
    with pytest.raises(ValueError, match="a cut in a batch"):
        SheafDraw(benign=0, malignant=0, between=0)
