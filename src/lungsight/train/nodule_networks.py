"""The nodule networks of `segments` as pure torch modules: cuts in, logits out; three kinds, small enough for a CPU.

VGG: Simonyan K, Zisserman A. Very deep convolutional networks for large-scale image recognition. ICLR 2015. GoogLeNet:
Szegedy C et al. Going deeper with convolutions. CVPR 2015. ResNet: He K et al. Deep residual learning for image
recognition. CVPR 2016. Each is of the kind, not of the size: widths and depths are made for cuts of 64 x 64 px.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lungsight.train.networks import Learner
from lungsight.train.pretrained import WIDTH, EfficientNetLite0, GreyImages

__all__ = ["KINDS", "PRETRAINED_KINDS", "NoduleNetwork"]

FEATURES = 128
"""What each trunk gives."""


class NoduleNetwork(Learner):
    """Judges cuts round a place.

    Parameters
    ----------
    kind
        ``"vgg"``, ``"googlenet"`` or ``"resnet"``; ``"efficientnet-lite0"`` for the slices of a sheaf.
    slices
        Slices of a block that are seen together, as a picture has colours; None: each slice of a sheaf is seen by
        itself, and the mean of what is seen is judged, however many there are.
    outputs
        Logits; the first is what the network is for, the others help it learn.
    dropout
        Of the features, while training.

    Raises
    ------
    ValueError
        If there is no such kind, or it does not see blocks.
    """

    measured = "accuracy"

    def __init__(self, kind: str, slices: int | None, outputs: int = 1, dropout: float = 0.3) -> None:
        super().__init__()
        self.slices = slices
        self.trunk = _trunk(kind, slices)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, outputs)

    def forward(self, cuts: Tensor) -> Tensor:
        """Logits ``(n, outputs)`` of cuts ``(n, slices, 64, 64)``."""
        logits: Tensor = self.head(self.drop(self.features(cuts)))
        return logits

    def features(self, cuts: Tensor) -> Tensor:
        """What the trunk sees, ``(n, 128)``."""
        if self.slices is not None:
            seen: Tensor = self.trunk(cuts)
            return seen
        n, slices = cuts.shape[:2]
        each = self.trunk(cuts.reshape(n * slices, 1, *cuts.shape[2:]))
        return each.view(n, slices, FEATURES).mean(1)  # type: ignore[no-any-return]

    def losses(self, cuts: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy, and right answers of the first output.

        Parameters
        ----------
        cuts
            Shape ``(n, slices, 64, 64)``.
        target, weight
            Shape ``(n, outputs)``: 0 to 1, and how much each is learned from.

        Returns
        -------
        tuple of Tensor
            Sums over the cuts: loss, right answers, and their number.
        """
        logits = self(cuts).float()
        loss = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
        seen = weight[:, 0] > 0
        right = ((logits[:, 0] > 0) == (target[:, 0] > 0.5)) & seen
        return loss, right.sum(), seen.sum()


def _convolution(before: int, after: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, side, stride, side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class _Residual(nn.Module):
    """Two convolutions beside a path that leaves their input as it is, or fits it to their output."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.body = nn.Sequential(_convolution(before, after, 3, stride), second, nn.BatchNorm2d(after))
        same = before == after and stride == 1
        fitted = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.beside = nn.Identity() if same else fitted

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.body(features) + self.beside(features))


class _Inception(nn.Module):
    """Four ways of looking side by side: 1 x 1, 3 x 3, 5 x 5 (as twice 3 x 3), and the maximum around."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.ways = nn.ModuleList(
            [
                _convolution(before, quarter, 1),
                nn.Sequential(_convolution(before, quarter, 1), _convolution(quarter, quarter)),
                nn.Sequential(
                    _convolution(before, quarter, 1), _convolution(quarter, quarter), _convolution(quarter, quarter)
                ),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), _convolution(before, quarter, 1)),
            ]
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([way(features) for way in self.ways], 1)


class _Mean(nn.Module):
    """The mean over all places."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def _vgg(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = channels
    for width in (24, 48, 64, 96):
        layers += [_convolution(before, width), _convolution(width, width), nn.MaxPool2d(2)]
        before = width
    dense = [nn.Flatten(), nn.Linear(before * 4 * 4, FEATURES), nn.ReLU()]
    return nn.Sequential(*layers, *dense)


def _googlenet(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [_convolution(channels, 24), nn.MaxPool2d(2)]
    before = 24
    for width in (64, 96, FEATURES):
        layers += [_Inception(before, width), _Inception(width, width), nn.MaxPool2d(2)]
        before = width
    return nn.Sequential(*layers[:-1], _Mean())


def _resnet(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [_convolution(channels, 24), nn.MaxPool2d(2)]
    before = 24
    for width, stride in ((32, 1), (64, 2), (FEATURES, 2)):
        layers += [_Residual(before, width, stride), _Residual(width, width, 1)]
        before = width
    return nn.Sequential(*layers, _Mean())


KINDS: dict[str, Callable[[int], nn.Sequential]] = {"vgg": _vgg, "googlenet": _googlenet, "resnet": _resnet}
"""The trunks, each made for so many channels."""


def _efficientnet_lite0() -> nn.Sequential:
    return nn.Sequential(GreyImages(), EfficientNetLite0(), nn.Linear(WIDTH, FEATURES), nn.ReLU())


PRETRAINED_KINDS: dict[str, Callable[[], nn.Sequential]] = {"efficientnet-lite0": _efficientnet_lite0}
"""Trunks for single grey slices, whose second layer can be given weights of other images; see
:mod:`lungsight.train.pretrained`."""


def _trunk(kind: str, slices: int | None) -> nn.Sequential:
    if kind in KINDS:
        return KINDS[kind](slices or 1)
    if kind not in PRETRAINED_KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join((*KINDS, *PRETRAINED_KINDS))}")
    if slices is not None:
        raise ValueError(f"slices is {slices}, expected None: {kind} sees single slices")
    return PRETRAINED_KINDS[kind]()
