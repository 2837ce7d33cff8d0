"""The U-Net: what goes in and comes out, where it forgets, and its loss worked out on single pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from lungsight.train.unet import WIDTHS, UNet

SMALL = (2, 3, 4, 5, 6)
SMOOTH = 1.0
ENTROPY_SHARE = 25.0


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Said(UNet):
    """Answers with logits it was given."""

    def __init__(self, *logits: float) -> None:
        super().__init__((2, 2))
        self.logits = torch.tensor(logits, dtype=torch.float32)

    def forward(self, field: Tensor) -> Tensor:
        return self.logits.view(field.shape)


def small(seed: int = 1) -> UNet:
    torch.manual_seed(seed)
    return UNet(SMALL)


@pytest.mark.parametrize("shape", [(16, 16), (32, 48), (96, 64)])
def test_the_answer_has_the_size_of_the_slice(shape: tuple[int, int]) -> None:
    network = small().eval()
    with torch.inference_mode():
        assert network(torch.rand(3, 1, *shape)).shape == (3, 1, *shape)


@pytest.mark.parametrize("shape", [(32, 40), (33, 32)])
def test_a_side_that_cannot_be_halved_four_times_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        small().eval()(torch.rand(1, 1, *shape))


def test_a_level_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="6 levels"):
        UNet((2, 2, 2, 2, 2, 2))


def test_whole_feature_maps_are_dropped_and_in_the_deep_levels_alone() -> None:
    network = UNet(SMALL, dropout=0.4)
    dropping = [[m for m in level.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)] for level in network.down]
    assert [len(level) for level in dropping] == [0, 0, 0, 1, 1]
    assert all(type(m) is nn.Dropout2d and m.p == 0.4 for level in dropping for m in level)
    assert not [m for m in network.up.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
    assert not [m for m in UNet(SMALL, dropout=0.0).modules() if isinstance(m, nn.Dropout2d)]


def test_each_level_halves_and_has_its_width() -> None:
    network, seen = small().eval(), []
    for block in (*network.down, *network.up):
        block.register_forward_hook(lambda _block, _given, gives: seen.append(tuple(gives.shape[1:])))
    network(torch.rand(1, 1, 32, 64))
    down = [(width, 32 >> level, 64 >> level) for level, width in enumerate(SMALL)]
    assert seen == [*down, *down[-2::-1]]
    assert len(WIDTHS) == 5


def test_it_begins_by_saying_that_there_is_nothing() -> None:
    with torch.inference_mode():
        assert float(small().eval()(torch.rand(2, 1, 32, 32)).sigmoid().max()) < 0.1


def test_a_place_sees_far_and_the_skips_see_near() -> None:
    network = small().eval()
    field = torch.rand(1, 1, 96, 96)
    other = field.clone()
    other[..., 48, 48] += 1
    with torch.inference_mode():
        changed = (network(other) - network(field)).abs()[0, 0]
    assert float(changed[40:56, 40:56].max()) > 0
    assert float(changed[0].max()) == float(changed[:, 0].max()) == 0  # batch statistics play no part in use


def losses_of(logits: list[float], target: list[float], weight: list[float], fields: int = 1) -> list[float]:
    """A row of pixels for each field."""
    shape = (fields, 1, 1, len(logits) // fields)
    known = (torch.tensor(values, dtype=torch.float32).view(shape) for values in (target, weight))
    return [float(part) for part in Said(*logits).losses(torch.zeros(shape), *known)]


def entropy(score: float, target: float) -> float:
    return -target * math.log(score) - (1 - target) * math.log(1 - score)


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def test_a_perfect_answer_costs_nothing() -> None:
    loss, dice, count = losses_of([40, 40, -40, -40], [1, 1, 0, 0], [1, 1, 1, 1])
    assert loss == pytest.approx(0, abs=1e-6)
    assert (dice, count) == (1, 1)


def test_a_nodule_missed_and_one_half_seen() -> None:
    loss, dice, _ = losses_of([-40, -40, -40, -40], [1, 1, 0, 0], [1, 1, 1, 1])
    assert dice == pytest.approx(SMOOTH / (2 + SMOOTH))
    assert loss == pytest.approx(ENTROPY_SHARE * (40 + 40) / 4 + 1 - SMOOTH / (2 + SMOOTH))
    loss, dice, _ = losses_of([logit(0.75)], [1], [1])
    assert dice == 1
    overlap = (2 * 0.75 + SMOOTH) / (1.75 + SMOOTH)
    assert loss == pytest.approx(ENTROPY_SHARE * entropy(0.75, 1) + 1 - overlap, rel=1e-5)


def test_the_share_of_entropy_can_be_set() -> None:
    network, field, outline = Said(0.0, 0.0), torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    before, _, _ = network.losses(field, outline, torch.ones_like(field))
    network.entropy_share = 5.0
    after, _, _ = network.losses(field, outline, torch.ones_like(field))
    assert (before - after).item() == pytest.approx((ENTROPY_SHARE - 5.0) * math.log(2))


def test_where_no_nodule_is_entropy_alone_counts() -> None:
    loss, dice, count = losses_of([logit(0.25), logit(0.1)], [0, 0], [1, 1])
    assert loss == pytest.approx(ENTROPY_SHARE * (entropy(0.25, 0) + entropy(0.1, 0)) / 2, rel=1e-5)
    assert (dice, count) == (0, 1)


def test_a_share_of_readers_is_learned_as_it_is() -> None:
    def of(score: float) -> float:
        return losses_of([logit(score)], [0.5], [1])[0]

    overlap = (2 * 0.5 * 0.75 + SMOOTH) / (1.25 + SMOOTH)
    assert of(0.75) == pytest.approx(ENTROPY_SHARE * entropy(0.75, 0.5) + 1 - overlap, rel=1e-5)
    assert of(0.5) < of(0.75)
    assert of(0.5) < of(0.25)


def test_pixels_of_weight_0_change_nothing() -> None:
    known = losses_of([0.3, -2.0], [1, 0], [1, 1])
    for logits, target in ((9.0, 0.0), (-9.0, 1.0), (9.0, 1.0)):
        ignored = losses_of([0.3, -2.0, logits], [1, 0, target], [1, 1, 0])
        assert ignored == pytest.approx(known, rel=1e-6)
    # A nodule that is not learned from is none.
    assert losses_of([5.0, -2.0], [1, 0], [0, 1])[1] == 0
    assert losses_of([5.0], [1], [0])[0] == 0


def test_dice_is_the_mean_of_the_fields_that_show_a_nodule_told_as_a_sum_over_all() -> None:
    # Three fields of two pixels: seen (Dice 1), missed (1 / 2), and one without nodule.
    loss, dice, count = losses_of([40, -40, -40, -40, -40, -40], [1, 0, 1, 0, 0, 0], [1] * 6, fields=3)
    assert count == 3
    assert dice / count == pytest.approx((1 + SMOOTH / (1 + SMOOTH)) / 2)
    assert loss / count == pytest.approx(ENTROPY_SHARE * 40 / 6 + 0.5 * (1 - SMOOTH / (1 + SMOOTH)))


def test_it_learns_to_find_what_is_bright() -> None:
    torch.manual_seed(3)
    network = UNet((4, 8), dropout=0.0)
    optimizer = torch.optim.Adam(network.parameters(), 0.03)
    field = 0.1 * torch.rand(4, 1, 16, 16)
    target = torch.zeros_like(field)
    for k in range(4):
        target[k, 0, 2 + k : 6 + k, 9 - k : 13 - k] = 1
    field += 0.5 * target
    for _ in range(25):
        loss, dice, count = network.losses(field, target, torch.ones_like(field))
        optimizer.zero_grad()
        (loss / count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(dice / count) > 0.95
