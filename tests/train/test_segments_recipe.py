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
)
from lungsight.train.segments_recipes import (
    load_segments_recipe,
    segments_recipe_from_toml,
    segments_recipe_to_toml,
    transfer_recipe,
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
    assert [fit.batches for fit in found.fits] == [2400, 900, 7, 2400]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('labels = "firm"', "labels is 'firm', expected one of soft, hard"),
        ("validation = 1.0", "validation is 1.0"),
        ("validation_batches = -1", "validation_batches is -1"),
        ('pixel = "native"', "pixel"),
        ("[unet.draw]\nkind = 1", "unet.draw.kind"),
        ("[unet.draw]\nside_px = 50", "unet.draw.side_px is 50"),
        ("[outline]\nentropy_share = 0.0", "outline.entropy_share is 0.0, expected above 0"),
        ("[outline.draw]\nside_px = 96", "outline.draw.side_px is 96, expected 64: the field it is used with"),
        ("[detection]\nkind = 'efficientnet-lite0'", "detection.kind is 'efficientnet-lite0', expected one of vgg"),
        ("[malignancy]\nkind = 'alexnet'", "malignancy.kind is 'alexnet'"),
        ("[malignancy]\ninit = 'lidc'", "malignancy.init is 'lidc', expected one of random, imagenet"),
        ("[malignancy]\ninit = 'imagenet'", "init is 'imagenet', expected random: .* but for kind efficientnet-lite0"),
        ("[malignancy]\nkind = 'efficientnet-lite0'\nfrozen = true", "frozen is true, expected false for init random"),
        ("[malignancy]\nfrozen = 1", "frozen = 1"),
        ("[detection]\ninit = 'imagenet'", "detection.init"),
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


@pytest.mark.parametrize("bottleneck", [False, True])
def test_for_transfer_learning_a_file_says_what_else_shall_differ(bottleneck: bool, tmp_path: Path) -> None:
    plain = MalignancyRecipe()
    found = load_segments_recipe("default", "efficientnet-lite0", bottleneck=bottleneck)
    learned = found.malignancy
    assert (learned.kind, learned.init, learned.frozen) == ("efficientnet-lite0", "imagenet", bottleneck)
    assert learned.fit.learning_rate == pytest.approx(plain.fit.learning_rate / (1 if bottleneck else 5))
    assert learned.fit.bfloat16 is bottleneck
    assert (learned.draw, learned.augment) == (plain.draw, plain.augment)
    assert learned == transfer_recipe("efficientnet-lite0", bottleneck=bottleneck)
    assert dataclasses.replace(found, malignancy=plain) == SegmentsRecipe()
    # Out and in: the run's own file says all of it, with and without the words it was begun with.
    path = written(tmp_path, segments_recipe_to_toml(found))
    assert segments_recipe_from_toml(path) == found
    assert load_segments_recipe(str(path), "efficientnet-lite0", bottleneck=bottleneck) == found
    # What a file says goes before what comes with the words.
    file = str(written(tmp_path, "seed = 4\n[malignancy.fit]\nlearning_rate = 1e-4\n"))
    changed = load_segments_recipe(file, "efficientnet-lite0", bottleneck=bottleneck)
    fit = dataclasses.replace(learned.fit, learning_rate=1e-4)
    assert changed == dataclasses.replace(found, seed=4, malignancy=dataclasses.replace(learned, fit=fit))


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        (segments_recipe_to_toml(SegmentsRecipe()), "malignancy.kind = 'resnet'", "'efficientnet-lite0', as --init"),
        (
            "[malignancy]\ninit = 'random'",
            "malignancy.init = 'random'",
            "'imagenet', as --init efficientnet-lite0 --b",
        ),
        ("[malignancy]\nfrozen = false", "malignancy.frozen = False", "True, as --init .* --bottleneck says"),
    ],
    ids=["kind", "init", "frozen"],
)
def test_a_file_that_would_undo_what_was_asked_for_is_refused(
    text: str, found: str, expected: str, tmp_path: Path
) -> None:
    with refused(InputError, rf"mine\.toml: {found}", expected, "Leave it out of the file"):
        load_segments_recipe(str(written(tmp_path, text)), "efficientnet-lite0", bottleneck=True)


def test_only_what_has_weights_can_begin_with_them() -> None:
    with refused(InputError, "init 'resnet'", "weights of other images: efficientnet-lite0$", "Name one"):
        load_segments_recipe("default", "resnet")
    with pytest.raises(ValueError, match="there are no such weights but for kind efficientnet-lite0"):
        transfer_recipe("vgg")


def test_a_recipe_that_is_not_there_is_refused() -> None:
    with refused(InputError, "recipe 'asan'", "default, or a file .toml", "Name one"):
        load_segments_recipe("asan")


def test_a_batch_needs_a_cut() -> None:
    with pytest.raises(ValueError, match="a cut in a batch"):
        SheafDraw(benign=0, malignant=0, between=0)
