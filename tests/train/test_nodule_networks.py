"""The nodule networks: sizes, what a sheaf may and a block may not do, and the loss by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from lungsight.train.nodule_networks import KINDS, NoduleNetwork


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network_of(kind: str, slices: int | None, outputs: int = 1) -> NoduleNetwork:
    """In float64: a network that has learned nothing gives answers that hardly differ."""
    torch.manual_seed(5)
    return NoduleNetwork(kind, slices, outputs).double().eval()


def cuts(n: int, slices: int) -> Tensor:
    return torch.rand(n, slices, 64, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def judged(network: NoduleNetwork, given: Tensor) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = network(given)
    return answer


@pytest.mark.parametrize("kind", ["vgg", "googlenet", "resnet"])
@pytest.mark.parametrize(("slices", "outputs"), [(9, 1), (None, 3)])
def test_each_kind_gives_its_logits(kind: str, slices: int | None, outputs: int) -> None:
    network = network_of(kind, slices, outputs)
    given = cuts(3, slices or 5)
    assert judged(network, given).shape == (3, outputs)
    with torch.inference_mode():
        assert network.features(given).shape == (3, 128)
    # A cut is judged by itself, whatever else is in the batch.
    torch.testing.assert_close(judged(network, given[1:2]), judged(network, given)[1:2], atol=1e-12, rtol=1e-9)
    assert float(judged(network, given).std(0).min()) > 1e-8
    assert set(KINDS) == {"vgg", "googlenet", "resnet"}


@pytest.mark.parametrize("kind", ["vgg", "googlenet", "resnet"])
def test_a_sheaf_is_a_set_and_a_block_is_not(kind: str) -> None:
    sheaf, block = network_of(kind, None), network_of(kind, 5)
    given = cuts(2, 5)
    orders = {"as it is": given, "turned": given.flip(1), "each twice": given.repeat_interleave(2, 1)}
    plain = judged(sheaf, given)
    for other in orders.values():
        torch.testing.assert_close(judged(sheaf, other), plain, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(
        judged(sheaf, given[:, :1].expand(-1, 5, -1, -1)), judged(sheaf, given[:, :1]), atol=1e-12, rtol=1e-9
    )
    # Which slices there are does count.
    assert float((judged(sheaf, given[:, :2]) - plain).abs().max()) > 1e-8
    assert float((judged(block, orders["turned"]) - judged(block, given)).abs().max()) > 1e-8
    with pytest.raises(RuntimeError, match="channels"):
        block(orders["each twice"])


def test_features_of_a_sheaf_are_the_mean_of_those_of_its_slices() -> None:
    network, given = network_of("resnet", None), cuts(2, 3)
    with torch.inference_mode():
        each = torch.stack([network.features(given[:, k : k + 1]) for k in range(3)])
        torch.testing.assert_close(network.features(given), each.mean(0), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("kind", ["vgg", "googlenet", "resnet"])
def test_every_weight_learns(kind: str) -> None:
    network = network_of(kind, 9, 2).train()
    loss, _, _ = network.losses(cuts(2, 9), torch.tensor([[1.0, 0], [0, 1]]), torch.ones(2, 2))
    loss.backward()  # type: ignore[no-untyped-call]
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
    assert sum(p.numel() for p in network.parameters()) < 1_000_000


def test_features_are_dropped_while_training_alone() -> None:
    network = NoduleNetwork("resnet", None, dropout=0.5)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.5]
    assert not [m for m in network.trunk.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]


class Said(NoduleNetwork):
    """Answers with logits it was given."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__("resnet", None)
        self.logits = torch.tensor(logits)

    def forward(self, cuts: Tensor) -> Tensor:
        return self.logits[: len(cuts)]


def test_the_loss_worked_out_by_hand() -> None:
    # Rows: right, wrong, not learned from, right of a soft target. The second output helps, and is not counted.
    said = Said([[0.0 + math.log(3), 0.0], [math.log(3), 5.0], [9.0, math.log(3)], [-math.log(3), -1.0]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.25, 0.0]])
    weight = torch.tensor([[1.0, 1.0], [0.5, 0.0], [0.0, 2.0], [1.0, 0.0]])
    loss, right, seen = said.losses(torch.zeros(4, 5, 64, 64), target, weight)
    first = -math.log(0.75) - 0.5 * math.log(0.25) - (0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    second = math.log(2) - 2 * math.log(0.75)
    assert float(loss) == pytest.approx(first + second, rel=1e-5)
    assert (float(right), float(seen)) == (2, 3)
