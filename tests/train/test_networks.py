"""The window network's three ways to look: window by window, all windows of a patch, and densely."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lungsight.train.networks import VGG16, PatchCNN, WindowModule, network_of


@pytest.fixture(scope="module")
def network() -> PatchCNN:
    torch.manual_seed(5)
    network = PatchCNN().eval()
    for layer in (*network.convolutions, network.hidden, network.output):
        torch.nn.init.normal_(layer.bias, std=0.1)  # zeros would hide a forgotten bias
    return network


@pytest.fixture(scope="module")
def field() -> Tensor:
    return torch.rand(2, 1, 88, 98, generator=torch.Generator().manual_seed(6))


def window_by_window(network: PatchCNN, field: Tensor) -> Tensor:
    rows, columns = ((size - 68) // 10 + 1 for size in field.shape[2:])
    each = [
        network(field[:, :, 10 * i : 10 * i + 68, 10 * j : 10 * j + 68]) for i in range(rows) for j in range(columns)
    ]
    return torch.stack(each, -1).view(len(field), 3, rows, columns)


@torch.no_grad()
def test_all_three_ways_give_the_same_numbers(network: PatchCNN, field: Tensor) -> None:
    expected = window_by_window(network, field)
    assert expected.shape == (2, 3, 3, 4)
    assert expected.std((0, 2, 3)).min() > 1e-3  # windows differ, or agreement would say little
    torch.testing.assert_close(network.windows(field), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(network.dense(field), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("make", [lambda: PatchCNN("zero"), VGG16], ids=["zero", "vgg16"])
def test_a_zero_padded_network_sees_each_window_by_itself(make: Callable[[], WindowModule], field: Tensor) -> None:
    torch.manual_seed(5)
    network = make().eval()
    # The window's 50 px lie behind 9 px of the field.
    each = [
        network(field[:, :, 10 * i + 9 : 10 * i + 59, 10 * j + 9 : 10 * j + 59]) for i in range(3) for j in range(4)
    ]
    expected = torch.stack(each, -1).view(2, 3, 3, 4)
    torch.testing.assert_close(network.windows(field), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.dense(field[..., :87, :97]), expected[:, :, :2, :3], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_vgg16_is_vgg16_with_the_papers_head() -> None:
    network = VGG16().eval()
    assert network(torch.zeros(1, 1, 50, 50)).shape == (1, 3)
    # Configuration D has 14,714,688 in its convolutions with three channels in; here it is one.
    head = (4 * 512 + 1) * 432 + (432 + 1) * 3
    assert sum(p.numel() for p in network.parameters()) == 14_714_688 - 2 * 9 * 64 + head
    assert network.drop_hidden.p == 0.5
    assert isinstance(network_of("vgg16", "zero"), VGG16)
    assert network_of("patch_cnn", "zero").padding == "zero"


@torch.no_grad()
def test_pixels_behind_the_last_whole_window_are_left_out(network: PatchCNN, field: Tensor) -> None:
    torch.testing.assert_close(network.dense(field[..., :87, :97]), network.dense(field)[:, :, :2, :3])


@torch.no_grad()
@pytest.mark.parametrize(("padding", "side_px"), [("context", 68), ("zero", 50)])
def test_the_papers_widths_stand(padding: str, side_px: int) -> None:
    network = PatchCNN("zero" if padding == "zero" else "context").eval()
    seen: list[torch.Size] = []
    network.drop_pool.register_forward_hook(lambda _layer, _given, made: seen.append(made.shape[1:]))
    network.hidden.register_forward_hook(lambda _layer, _given, made: seen.append(made.shape[1:]))
    assert network(torch.zeros(1, 1, side_px, side_px)).shape == (1, 3)
    first = 32 if padding == "context" else 25
    assert seen == [(54, first, first), (108, 13, 13), (432,)]


def test_parameters_are_counted() -> None:
    convolutions = (9 * 1 + 1) * 54 + (9 * 54 + 1) * 54 + (9 * 54 + 1) * 108 + 2 * (9 * 108 + 1) * 108
    expected = convolutions + (13 * 13 * 108 + 1) * 432 + (432 + 1) * 3
    for padding in ("context", "zero"):
        network = PatchCNN("zero" if padding == "zero" else "context")
        assert sum(parameter.numel() for parameter in network.parameters()) == expected == 8_176_197


def test_dropout_is_the_papers() -> None:
    network = PatchCNN()
    assert (network.drop_pool.p, network.drop_hidden.p) == (0.3, 0.5)
    torch.manual_seed(1)
    field = torch.rand(1, 1, 68, 68)
    with torch.no_grad():
        assert not torch.equal(network.train()(field), network(field))
        assert torch.equal(network.eval()(field), network(field))
