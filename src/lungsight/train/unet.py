"""The U-Net of `segments` as a pure torch module: slices in, logits of *nodule* a pixel out.

Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image segmentation. MICCAI 2015,
LNCS 9351:234-241. As in Pugliese's system, up-sampling repeats rows and columns and dropout is spatial (whole feature
maps). Other than there, convolutions are padded, so that the answer has the size of the slice, each is followed by
batch normalisation, which export folds into it, and the way up has one convolution a level, since half of the time
goes into the upper two levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lungsight.detect.segment import MULTIPLE_PX
from lungsight.train.networks import Learner

__all__ = ["ENTROPY_SHARE", "WIDTHS", "UNet"]

WIDTHS = (16, 32, 64, 96, 128)
"""Feature maps of each level, from the whole slice down."""
ENTROPY_SHARE = 25.0
"""Weight of the cross-entropy beside Dice at first: it is a mean over pixels, nearly all of which are easy."""
_DEEP = 3
"""Level from which feature maps are dropped: those above hold edges, which all of the rest needs."""
_SMOOTH = 1.0
"""Added to both sides of the Dice's fraction, in pixels: a nodule of few pixels does not rule a batch."""


class UNet(Learner):
    """Contracting and expanding path with skips.

    Parameters
    ----------
    widths
        Feature maps a level; each level halves rows and columns.
    dropout
        Share of the feature maps dropped in the deep levels while training.

    Attributes
    ----------
    entropy_share
        Weight of the cross-entropy beside Dice in the loss; may be set between stages.
    """

    measured = "Dice"

    def __init__(self, widths: tuple[int, ...] = WIDTHS, dropout: float = 0.15) -> None:
        super().__init__()
        self.entropy_share = ENTROPY_SHARE
        if 2 ** (len(widths) - 1) > MULTIPLE_PX:
            raise ValueError(f"{len(widths)} levels, expected as many as {MULTIPLE_PX} px can be halved, and one")
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = 1
        for level, width in enumerate(widths):
            drop = dropout if level >= _DEEP else 0.0
            self.down.append(nn.Sequential(*_convolution(before, width), *_convolution(width, width, drop)))
            before = width
        for level in reversed(range(len(widths) - 1)):
            self.up.append(nn.Sequential(*_convolution(widths[level + 1] + widths[level], widths[level])))
        self.score = nn.Conv2d(widths[0], 1, 1)
        if self.score.bias is not None:
            nn.init.constant_(self.score.bias, -4.0)  # nodules are rare: the first batches need not learn that

    def forward(self, field: Tensor) -> Tensor:
        """Logits ``(n, 1, h, w)`` of fields ``(n, 1, h, w)``, `h` and `w` multiples of 16 px."""
        skips = []
        features = field
        for level, block in enumerate(self.down):
            features = block(functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            repeated = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([repeated, skip], 1))
        logits: Tensor = self.score(features)
        return logits

    def losses(self, field: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy and, where a nodule is, soft Dice; and the Dice that thresholding at 0.5 would have.

        Parameters
        ----------
        field, target, weight
            Shape ``(n, 1, h, w)``: the slice, the share of readers who enclosed a pixel, and 1 or 0 where a pixel is
            not learned from.

        Returns
        -------
        tuple of Tensor
            Sums over the fields: loss, Dice (of fields with a nodule, as if it were of all), and their number.
        """
        logits = self(field).float()
        each = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="none")
        entropy = each.sum() / weight.sum().clamp(min=1)
        shown = (target * weight).amax((1, 2, 3)) > 0
        overlap, hard = _dice(logits.sigmoid(), target, weight), _dice((logits > 0).float(), target.round(), weight)
        count = shown.sum().clamp(min=1)
        loss = entropy * self.entropy_share + ((1 - overlap) * shown).sum() / count
        n = torch.tensor(float(len(field)))
        return loss * n, (hard * shown).sum() / count * n, n


def _dice(score: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    both = (score * target * weight).sum((1, 2, 3))
    sizes = ((score + target) * weight).sum((1, 2, 3))
    dice: Tensor = (2 * both + _SMOOTH) / (sizes + _SMOOTH)
    return dice


def _convolution(before: int, after: int, dropout: float = 0.0) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return [*layers, nn.Dropout2d(dropout)] if dropout else layers
