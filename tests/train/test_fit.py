"""The training loop on a tiny problem: it learns, and a killed run ends where an unbroken one does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lungsight.errors import CorruptFileError
from lungsight.train.fit import FitConfig, Told, fit
from lungsight.train.networks import Learner, PatchCNN, WindowModule
from refusals import refused

Batch = tuple[Tensor, Tensor, Tensor]
CONFIG = FitConfig(
    batches=6, learning_rate=1e-3, warm_up=2, averaging=0.5, dropout_ramp=3, bfloat16=False, checkpoint_every=2
)


class SmallNetwork(PatchCNN):
    """The window network with fewer channels, to be trained in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3) for before, after in pairwise((1, 8, 8, 16, 16, 108))
        )
        self.hidden = nn.Linear(13 * 13 * 108, 16)
        self.output = nn.Linear(16, 3)
        for layer in (*self.convolutions, self.hidden):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring for so small a network, and most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def new_network() -> SmallNetwork:
    torch.manual_seed(11)
    return SmallNetwork()


def separable(number: int, _averaged: WindowModule) -> Batch:
    """Six windows of one field each: dark, grey or bright in the middle tells the class. Same number, same batch."""
    generator = torch.Generator().manual_seed(number)
    kind = torch.arange(6) % 3
    field = 0.1 * torch.rand(6, 1, 68, 68, generator=generator)
    field[:, :, 24:44, 24:44] += 0.4 * kind[:, None, None, None]
    return field, nn.functional.one_hot(kind, 3).float()[:, :, None, None], torch.ones(6, 1, 1)


def quiet(_told: Told) -> None:
    pass


unlearned = SmallNetwork()


def weights_of(network: WindowModule) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


def killed_at(batch: int, next_batch: Callable[[int, WindowModule], Batch]) -> Callable[[int, WindowModule], Batch]:
    def until(number: int, averaged: WindowModule) -> Batch:
        if number == batch:
            raise KeyboardInterrupt
        return next_batch(number, averaged)

    return until


def test_the_loss_falls_on_what_can_be_told_apart(tmp_path: Path) -> None:
    config = FitConfig(batches=40, learning_rate=3e-3, warm_up=10, averaging=0.8, dropout_ramp=10_000, bfloat16=False)
    told: list[Told] = []
    network = fit(
        new_network(), separable, config, tmp_path, told.append, validation=lambda: [separable(7, unlearned)] * 2
    )
    first, last = told
    assert [(one.batch, one.batches) for one in told] == [(20, 40), (40, 40)]
    assert last.loss < 0.5 * first.loss < 0.5 * 1.1  # guessing is log 3
    assert last.measured > 0.9
    assert last.measure == "accuracy"
    assert first.left_s > last.left_s == 0
    assert first.validation is None  # scored at checkpoints only
    assert last.validation is not None
    assert last.validation[0] < 0.5
    assert last.validation[1] == 1
    assert not network.training
    field, target, _ = separable(1000, network)
    with torch.no_grad():
        assert torch.equal(network(field).argmax(1), target[:, :, 0, 0].argmax(1))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return weights_of(fit(new_network(), separable, CONFIG, tmp_path_factory.mktemp("unbroken"), quiet))


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_a_killed_run_goes_on_to_the_same_weights(batch: int, tmp_path: Path, unbroken: dict[str, Tensor]) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(new_network(), killed_at(batch, separable), CONFIG, tmp_path, quiet)
    asked: list[int] = []

    def watched(number: int, averaged: WindowModule) -> Batch:
        asked.append(number)
        return separable(number, averaged)

    torch.manual_seed(99)  # another process draws from elsewhere
    resumed = fit(SmallNetwork(), watched, CONFIG, tmp_path, quiet) if batch > 1 else None
    if resumed is None:  # nothing was saved yet: the run starts anew
        resumed = fit(new_network(), watched, CONFIG, tmp_path, quiet)
    assert asked == list(range(batch - batch % 2, 6))
    assert_same(weights_of(resumed), unbroken)


def test_other_dropout_would_show(tmp_path: Path, unbroken: dict[str, Tensor]) -> None:
    other = fit(new_network(), separable, dataclasses.replace(CONFIG, seed=2), tmp_path, quiet)
    assert (other.hidden.weight - unbroken["hidden.weight"]).abs().max() > 1e-4


def test_a_finished_run_is_not_run_again(tmp_path: Path, unbroken: dict[str, Tensor]) -> None:
    fit(new_network(), separable, CONFIG, tmp_path, quiet)
    again = fit(SmallNetwork(), killed_at(0, separable), CONFIG, tmp_path, quiet)
    assert_same(weights_of(again), unbroken)


def test_a_checkpoint_is_data_alone(tmp_path: Path) -> None:
    fit(new_network(), separable, FitConfig(batches=1, bfloat16=False), tmp_path, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["done"] == 1
    assert saved["config"]["batches"] == 1
    assert set(saved) == {"done", "config", "random", "network", "averaged", "optimizer", "schedule"}


def test_what_batches_are_drawn_from_is_kept(tmp_path: Path) -> None:
    class Counter:
        """Draws other batches the more often it was asked: a run that forgets its count ends elsewhere."""

        def __init__(self) -> None:
            self.asked = 0

        def __call__(self, _number: int, averaged: WindowModule) -> Batch:
            self.asked += 1
            return separable(self.asked, averaged)

        def state_dict(self) -> dict[str, Any]:
            return {"asked": self.asked}

        def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
            self.asked = state_dict["asked"]

    counter = Counter()
    unbroken = weights_of(fit(new_network(), counter, CONFIG, tmp_path / "unbroken", quiet, keep={"counter": counter}))
    counter = Counter()
    with pytest.raises(KeyboardInterrupt):
        fit(new_network(), killed_at(5, counter), CONFIG, tmp_path / "run", quiet, keep={"counter": counter})
    counter = Counter()
    resumed = fit(SmallNetwork(), counter, CONFIG, tmp_path / "run", quiet, keep={"counter": counter})
    assert counter.asked == 6
    assert_same(weights_of(resumed), unbroken)


def test_weights_of_some_checkpoints_remain(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, batches=7, checkpoint_every=1, keep_every=3)
    last = fit(new_network(), separable, config, tmp_path, quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.pt",
        "weights-000003.pt",
        "weights-000006.pt",
    ]
    kept = torch.load(tmp_path / "weights-000003.pt", weights_only=True)
    SmallNetwork().load_state_dict(kept)
    assert not torch.equal(kept["hidden.weight"], last.hidden.weight)


def test_the_papers_optimizer_keeps_its_rate(tmp_path: Path) -> None:
    # Adam's first step is the rate itself, whatever the gradient.
    config = FitConfig(
        batches=1, optimizer="adam", schedule="constant", warm_up=0, weight_decay=0.0, averaging=0.0, learning_rate=1e-3
    )
    network = without_dropout()
    before = network.output.bias.detach().clone()
    after = fit(network, separable, config, tmp_path, quiet).output.bias
    torch.testing.assert_close((after - before).abs(), torch.full((3,), 1e-3), atol=1e-6, rtol=0)


class Climber(Learner):
    """One weight that rises by the rate with every batch, and batch normalisation of what it is shown."""

    measured = "nothing"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(1)

    def losses(self, *batch: Any, **_named: Any) -> tuple[Tensor, Tensor, Tensor]:
        (field,) = batch
        return 0 * self.norm(field).sum() - self.weight.sum(), torch.zeros(()), torch.ones(())


def climb(folder: Path, batches: int, averaging: float) -> tuple[list[float], Learner, list[tuple[float, float]]]:
    """The mean of each batch, the averaged network, and after each batch the network's weight and running mean."""
    config = FitConfig(
        batches=batches, optimizer="adam", schedule="constant", warm_up=0, weight_decay=0.0, averaging=averaging,
        learning_rate=1.0, bfloat16=False,
    )  # fmt: skip
    network, seen = Climber(), []
    shown = [float(number % 5) for number in range(batches)]

    def next_batch(number: int, _averaged: Climber) -> tuple[Tensor]:
        seen.append((float(network.weight.detach()), float(network.norm.get_buffer("running_mean"))))
        return (torch.tensor([[-1.0], [1.0]]) + shown[number],)

    averaged = fit(network, next_batch, config, folder, quiet)
    next_batch(0, averaged)  # how it stands after the last
    return shown, averaged, seen[1:]


@pytest.mark.parametrize("averaging", [0.0, 0.5, 0.999])
def test_weights_and_batch_statistics_are_averaged_less_at_first(averaging: float, tmp_path: Path) -> None:
    shown, averaged, seen = climb(tmp_path, 12, averaging)
    statistics, weights, running = 0.0, 0.0, 0.0
    for k, (weight, running_mean) in enumerate(seen):
        statistics = 0.9 * statistics + 0.1 * shown[k]  # torch's momentum
        assert weight == pytest.approx(k + 1, rel=1e-4)
        assert running_mean == pytest.approx(statistics, rel=1e-5)
        kept = 0.0 if k == 0 else min(averaging, (1 + k) / (10 + k))
        weights, running = kept * weights + (1 - kept) * weight, kept * running + (1 - kept) * statistics
    state = averaged.state_dict()
    assert float(state["weight"]) == pytest.approx(weights, rel=1e-4)
    assert float(state["norm.running_mean"]) == pytest.approx(running, rel=1e-5)
    # Of 12 batches the last ones rule, not the first, even where 0.999 is kept (a plain mean would be 1.06).
    assert float(state["weight"]) > 10


def test_batch_statistics_and_the_mean_of_weights_go_on_after_a_kill(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, averaging=0.999)

    def rising(number: int, _averaged: Climber) -> tuple[Tensor]:
        return (torch.tensor([[-1.0], [2.0]]) * (1 + number),)

    def until_5(number: int, averaged: Climber) -> tuple[Tensor]:
        if number == 5:
            raise KeyboardInterrupt
        return rising(number, averaged)

    unbroken = fit(Climber(), rising, config, tmp_path / "unbroken", quiet).state_dict()
    with pytest.raises(KeyboardInterrupt):
        fit(Climber(), until_5, config, tmp_path / "run", quiet)
    resumed = fit(Climber(), rising, config, tmp_path / "run", quiet).state_dict()
    assert_same(resumed, unbroken)
    assert float(resumed["norm.running_var"]) > 1
    saved = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("run", "unbroken")]
    assert_same(saved[0]["averaged"], saved[1]["averaged"])
    assert int(saved[0]["averaged"]["n_averaged"]) == 6


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with refused(CorruptFileError, r"checkpoint\.pt", "a checkpoint of this network", "Delete"):
        fit(new_network(), separable, CONFIG, tmp_path, quiet)


def test_a_writer_killed_midway_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(new_network(), separable, FitConfig(batches=1, bfloat16=False), tmp_path, quiet)
    before = (tmp_path / "checkpoint.pt").stat()

    def killed(_state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(new_network(), separable, FitConfig(batches=2, bfloat16=False), tmp_path, quiet)
    after = (tmp_path / "checkpoint.pt").stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


def test_windows_of_weight_0_teach_nothing(tmp_path: Path) -> None:
    def half_wrong(number: int, averaged: WindowModule) -> Batch:
        field, target, weight = separable(number, averaged)
        lies = target.roll(1, 1)
        lies[3:] = target[3:]
        weight[:3] = 0
        return field, lies, weight

    def last_three(number: int, averaged: WindowModule) -> Batch:
        field, target, weight = separable(number, averaged)
        return field[3:], target[3:], weight[3:]

    config = FitConfig(batches=2, dropout_ramp=1000, bfloat16=False)
    found = [
        weights_of(fit(without_dropout(), batches, config, tmp_path / batches.__name__, quiet))
        for batches in (half_wrong, last_three)
    ]
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=1e-5, rtol=1e-3)


def without_dropout() -> SmallNetwork:
    network = new_network()
    network.drop_pool.p = network.drop_hidden.p = 0
    return network
