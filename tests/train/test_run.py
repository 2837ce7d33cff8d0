"""A training run from the command line, killed, resumed, and used: on a small dataset in the contest's layout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contest_phantom import MALIGNANT_HU, SHAPE, SPACING_MM, nodules_of, write_contest
from lungsight import cli
from lungsight.errors import InputError, OutputError
from lungsight.runtime import load_network
from lungsight.train import fit as fit_module
from lungsight.train import run as run_module
from lungsight.train.build import build_cases
from lungsight.train.networks import PatchCNN, WindowModule
from lungsight.train.patient import PatientTruth
from lungsight.train.recipe import Recipe
from lungsight.train.recipes import recipe_from_toml, recipe_to_toml
from lungsight.train.run import train_windows
from lungsight.train.run_folder import Fold, begin_run, parse_fold
from lungsight.train.run_segments import train_segments
from lungsight.train.store import Cases
from phantom import thorax, write_series
from refusals import refused

# Two epochs, as `asan` but for their number and size: it draws, learns and is saved as the published recipe.
ASAN = """
base = "asan"
validation = 0.0
[[stages]]
[stages.windows]
epoch_windows = 30
batch_windows = 12
[stages.fit]
batches = 6
tell_every = 2
checkpoint_every = 3
"""
ASAN_2000 = ASAN.replace("= 30", "= 2000").replace("= 12", "= 400").replace("= 6", "= 10").replace("= 3", "= 5")
# As `default` but for the numbers; it mines twice, before and after the checkpoint.
PATCHES = """
validation = 0.25
validation_batches = 1
[[stages]]
[stages.patches]
benign = 2
malignant = 2
lungs = 2
far = 2
[stages.patches.mining]
first = 1
every = 2
share_of_slices = 0.02
score = 0.0
[stages.fit]
batches = 4
tell_every = 1
checkpoint_every = 2
keep_every = 1
bfloat16 = false
[[stages]]
[stages.patches]
side_px = 68
benign = 2
malignant = 1
lungs = 1
far = 1
[stages.patches.mining]
first = 0
share_of_slices = 0.02
score = 0.0
[stages.fit]
batches = 2
bfloat16 = false
"""


class NarrowNetwork(PatchCNN):
    """The window network with few channels, to be trained in seconds."""

    def __init__(self, padding: Any = "context") -> None:
        super().__init__(padding)
        around = 1 if padding == "zero" else 0
        widths = (1, 2, 2, 4, 4, 108)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=around) for a, b in pairwise(widths))
        self.hidden = nn.Linear(13 * 13 * 108, 8)
        self.output = nn.Linear(8, 3)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_contest(tmp_path_factory.mktemp("contest"), 4)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture
def cases_made_once(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    """Runs of one recipe share their cases: reading CTs is tested elsewhere."""

    def build(patients: Sequence[PatientTruth], recipe: Recipe, _folder: Path, *_: object) -> Cases:
        return build_cases(patients, recipe, shared / recipe.pixel)

    monkeypatch.setattr(run_module, "build_cases", build)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "network_of", lambda _name, padding: NarrowNetwork(padding))


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


def run_cli(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(word) for word in words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def weights(run: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(run / "weights.pt", weights_only=True)
    return loaded


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


def kill_at(monkeypatch: pytest.MonkeyPatch, step_number: int) -> None:
    """Raise at the so many-th step from now, in whatever stage it is."""
    step: Callable[..., Tensor] = fit_module._step  # what is broken is inside
    taken = 0

    def killed(*arguments: Any) -> Tensor:
        nonlocal taken
        taken += 1
        if taken == step_number:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(fit_module, "_step", killed)


@pytest.mark.usefixtures("narrow", "cases_made_once")
@pytest.mark.parametrize(("text", "at"), [(ASAN, 5), (PATCHES, 4)], ids=["asan", "default"])
def test_killed_and_resumed_it_ends_with_the_same_weights(
    text: str, at: int, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_from_toml(recipe_file(tmp_path, text))
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train_windows(dataset, unbroken, recipe)
    with monkeypatch.context() as patch:
        kill_at(patch, at)
        with pytest.raises(KeyboardInterrupt):
            train_windows(dataset, broken, recipe)
    assert not (broken / "weights.pt").exists()
    torch.manual_seed(77)  # another process draws from elsewhere
    train_windows(dataset, broken, resume=True)
    assert_same(weights(broken), weights(unbroken))
    assert (broken / "log.jsonl").read_bytes() == (unbroken / "log.jsonl").read_bytes()


@pytest.mark.skipif("LUNGSIGHT_SLOW" not in os.environ, reason="minutes: set LUNGSIGHT_SLOW=1")
def test_asan_killed_with_signal_9_ends_with_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, ASAN_2000)
    program = "from lungsight.cli import main; main()"
    begin = [sys.executable, "-c", program, "train", "windows", str(dataset), "--recipe", str(recipe), "-o"]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    subprocess.run([*begin, str(unbroken)], check=True)  # noqa: S603
    process = subprocess.Popen([*begin, str(broken)])  # noqa: S603
    log = broken / "log.jsonl"
    while not log.exists() or '"batch": 6' not in log.read_text("utf-8"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*begin, str(broken), "--resume"], check=True)  # noqa: S603
    assert_same(weights(broken), weights(unbroken))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("text", [PATCHES, ASAN.replace("batches = 6", "batches = 1")])
def test_from_ct_and_masks_to_a_diagnosis(
    text: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert run_cli("train", "windows", dataset, "-o", run, "--recipe", recipe_file(tmp_path, text)) == 0
    out, err = capsys.readouterr()
    assert str(run) in out
    assert "accuracy" in err
    assert "left" in err
    patches = text == PATCHES
    wanted = {"recipe.toml", "run.json", "cases", "stage1", "log.jsonl", "curves.png", "model.onnx", "card.json"}
    assert wanted <= {path.name for path in run.iterdir()}
    assert list(run.rglob("*.part*")) == []
    card = json.loads((run / "card.json").read_text("utf-8"))
    assert (card["padding"], card["form"]) == (("context", "dense") if patches else ("zero", "window by window"))
    assert card["input"]["pixel_mm"] == (0.7 if patches else None)
    assert card["data"]["patients"] == (3 if patches else 4)
    assert "patient0" not in json.dumps(card)
    if patches:
        assert (run / "stage1" / "weights-000002.pt").exists()
        assert card["validation"]["validation_loss"] > 0
    if (run / "tensorboard").exists():
        assert next((run / "tensorboard").iterdir()).stat().st_size > 100
    assert set(card["networks"]) == ({"model", "model-int8"} if patches else {"model"})
    # What was exported says what was trained.
    network = NarrowNetwork(card["padding"]).eval()
    network.load_state_dict(weights(run))
    field = np.random.default_rng(1).random((78, 98), np.float32)
    with torch.no_grad():
        expected = network.dense(torch.from_numpy(field)[None, None]).softmax(1)[0].numpy()
    np.testing.assert_allclose(load_network(run, precision="float32")(field), expected, atol=1e-3)
    scan = tmp_path / "scan"
    write_series(scan, thorax(nodules_of(0), SHAPE, SPACING_MM))
    assert run_cli("diagnose", scan, "-o", tmp_path / "out", "--weights", run) == 0
    diagnosis = json.loads((tmp_path / "out" / "diagnosis.json").read_text("utf-8"))
    assert diagnosis["provenance"]["weights_sha256"] == card["networks"]["model"]
    # Again without --resume: refused, and nothing is touched.
    before = (run / "model.onnx").stat().st_mtime_ns
    assert run_cli("train", "windows", dataset, "-o", run) == 2
    assert "--resume" in capsys.readouterr().err
    assert (run / "model.onnx").stat().st_mtime_ns == before


def test_what_is_resumed_must_be_what_was_begun(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with refused(OutputError, "run holds no training run", "a run that was begun", "Leave out --resume"):
        train_windows(dataset, run, resume=True)
    recipe = recipe_from_toml(recipe_file(tmp_path, PATCHES))
    with pytest.raises(ValueError, match="a new run needs a recipe"):
        train_windows(dataset, run)
    with begin_run(run, "windows", recipe_to_toml(recipe), Fold(1, 3)):
        pass
    with refused(OutputError, "another recipe", r"recipe\.toml says", "Leave out"):
        train_windows(dataset, run, recipe_from_toml(recipe_file(tmp_path, ASAN)), resume=True)
    with refused(OutputError, "fold 2/3", "number=1, count=3", "Leave out"):
        train_windows(dataset, run, fold=Fold(2, 3), resume=True)
    with refused(OutputError, "a run of `windows`", "a run of `segments`", "Name another"):
        train_segments(dataset, run, resume=True)
    (run / "run.json").write_text((run / "run.json").read_text("utf-8").replace('"count": 3', '"count": 5'), "utf-8")
    with refused(InputError, "4 patients", "at least 5", "fewer folds"):
        train_windows(dataset, run, resume=True)
    assert (run / "run.json").exists()  # what was begun stays


def test_a_dataset_without_a_class_is_refused(dataset: Path, tmp_path: Path) -> None:
    malignant = tmp_path / "malignant"
    malignant.mkdir()
    for name in ("patient0", "patient2"):
        (malignant / name).symlink_to(dataset / name)
    (malignant / "labels.csv").write_text("patient_id,label\npatient0,1\npatient2,1\n", "utf-8")
    recipe = recipe_from_toml(recipe_file(tmp_path, PATCHES))
    with refused(InputError, "2 patches a batch of a benign nodule", "benign and malignant nodules", "Add patients"):
        train_windows(malignant, tmp_path / "run", recipe)
    with refused(InputError, "2 patients", "at least 3", "fewer folds"):
        train_windows(malignant, tmp_path / "folds", recipe, Fold(1, 3))
    assert not (tmp_path / "folds").exists()
    (malignant / "labels.csv").write_text("patient_id,label\npatient0,\npatient2,\n", "utf-8")
    with refused(InputError, "2 CTs and no nodule whose kind is known", "ratings, or a label", "Fill in"):
        train_windows(malignant, tmp_path / "unlabelled", recipe)
    assert not (tmp_path / "unlabelled").exists()  # nothing was made of it


def test_without_its_libraries_the_command_says_so(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lungsight.cli.train.find_spec", lambda name: None if name == "torch" else object())
    assert run_cli("train", "windows", dataset, "-o", tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert "Found:    no torch is installed" in told
    assert "pip install" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/1", "1", "a/b", "-1/3", "1/3/5"])
def test_what_is_no_fold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected K/N"):
        parse_fold(text)


def test_the_phantoms_differ_in_kind() -> None:
    assert nodules_of(0)[0].hu == MALIGNANT_HU != nodules_of(1)[0].hu
    assert isinstance(NarrowNetwork(), WindowModule)
