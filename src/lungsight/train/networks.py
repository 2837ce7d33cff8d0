"""The networks as pure torch modules: arrays in, arrays out, no files."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lungsight.detect.windows import FIELD_PX, MARGIN_PX, STEP_PX, WINDOW_PX

__all__ = ["VGG16", "Learner", "PatchCNN", "WindowModule", "network_of"]


class Learner(nn.Module):
    """A network that knows what it learns.

    Attributes
    ----------
    measured
        Name of what :meth:`losses` measures beside the loss.
    """

    measured: str

    @abstractmethod
    def losses(self, *batch: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over a batch (a field first): the loss, what is measured, and over how many cases."""


class WindowModule(Learner):
    """A network that says of each window: not ROI, benign ROI or malignant ROI.

    It is given fields with a margin of 9 px, whether it sees that margin or not: 68 px for one window, 10 px more for
    each window more. One that pads with zeros cuts its windows out and sees each by itself.

    Attributes
    ----------
    padding
        ``"context"`` or ``"zero"``.
    convolutions
        In order.
    pooled_after
        Numbers of the convolutions, from 1, after which 2 x 2 pixels become one.
    hidden, output
        The head: dense layers, with dropout before each.
    """

    padding: Literal["context", "zero"]
    convolutions: nn.ModuleList
    pooled_after: tuple[int, ...]
    hidden: nn.Linear
    output: nn.Linear
    measured = "accuracy"

    @abstractmethod
    def forward(self, field: Tensor) -> Tensor:
        """Logits ``(n, 3)`` of what the network sees of one window each."""

    def losses(self, field: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy and right answers, summed over the windows learned from.

        Parameters
        ----------
        field
            Shape ``(n, 1, h, w)``.
        target
            Shape ``(n, 3, rows, columns)``, sums to 1 over the classes.
        weight
            Shape ``(n, rows, columns)``: 1, or 0 where a window is not learned from.

        Returns
        -------
        tuple of Tensor
            Loss, right answers, windows.
        """
        logits = self.windows(field).float()
        each = -(target * functional.log_softmax(logits, 1)).sum(1)
        right = (logits.argmax(1) == target.argmax(1)) * weight
        return (each * weight).sum(), right.sum(), weight.sum()

    def windows(self, field: Tensor) -> Tensor:
        """Logits of all windows of larger fields, for training.

        Parameters
        ----------
        field
            Shape ``(n, 1, h, w)``, ``h`` and ``w`` 68 px and multiples of 10 px more.

        Returns
        -------
        Tensor
            Shape ``(n, 3, rows, columns)``.
        """
        cuts = field[..., MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        cuts = cuts.unfold(2, WINDOW_PX, STEP_PX).unfold(3, WINDOW_PX, STEP_PX)[:, 0]
        n, rows, columns = cuts.shape[:3]
        logits: Tensor = self(cuts.reshape(n * rows * columns, 1, WINDOW_PX, WINDOW_PX))
        return logits.view(n, rows, columns, 3).permute(0, 3, 1, 2)

    def dense(self, field: Tensor) -> Tensor:
        """Logits of all windows of whole slices, for use: as :meth:`windows`, in as little memory as a row of windows.

        Parameters
        ----------
        field
            Shape ``(n, 1, h, w)``, at least 68 px.

        Returns
        -------
        Tensor
            Shape ``(n, 3, (h - 68) // 10 + 1, (w - 68) // 10 + 1)``.
        """
        starts = range(0, field.shape[2] - FIELD_PX + 1, STEP_PX)
        return torch.cat([self.windows(field[:, :, at : at + FIELD_PX]) for at in starts], 2)


def network_of(name: str, padding: str) -> WindowModule:
    """A new network of a recipe: ``"patch_cnn"`` with that padding, or ``"vgg16"``."""
    if name == "vgg16":
        return VGG16()
    return PatchCNN("zero" if padding == "zero" else "context")


class PatchCNN(WindowModule):
    """The window network of the Asan contest system: not ROI, benign ROI or malignant ROI.

    Conv 54-54, max-pool, conv 108-108-108, max-pool -> 13 x 13 x 108, dense 432, softmax 3; 3 x 3 kernels, ReLU,
    dropout 30 % at the pools and 50 % at the dense layer.

    Parameters
    ----------
    padding
        ``"context"``: the convolutions see the pixels around the window instead of zeros. A window of 50 px then needs
        a field of 68 px, and the trunk can be shared between the windows of a slice: :meth:`dense` gives exactly what
        :meth:`forward` gives window by window. ``"zero"``: the published network, which sees 50 px padded with zeros;
        its second pooling rounds up, for 25 px to become 13.

    Notes
    -----
    ``forward`` takes ``(n, 1, 68, 68)`` (``(n, 1, 50, 50)`` with zero padding) and gives logits ``(n, 3)``.
    """

    def __init__(self, padding: Literal["context", "zero"] = "context") -> None:
        super().__init__()
        self.padding = padding
        self.pooled_after = (2, 5)
        around = 1 if padding == "zero" else 0
        widths = (1, 54, 54, 108, 108, 108)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=around) for before, after in pairwise(widths)
        )
        self.hidden = nn.Linear(13 * 13 * 108, 432)
        self.output = nn.Linear(432, 3)
        self.drop_pool = nn.Dropout(0.3)
        self.drop_hidden = nn.Dropout(0.5)
        for layer in (*self.convolutions, self.hidden):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, field: Tensor) -> Tensor:
        """Logits ``(n, 3)`` of one window each."""
        features = self._trunk(field)
        pooled = functional.max_pool2d(features, 2, ceil_mode=self.padding == "zero")
        return self._head(self.drop_pool(pooled))

    def windows(self, field: Tensor) -> Tensor:
        """Logits of all windows of larger fields; with context padding the trunk runs once, the head once a window.

        Parameters
        ----------
        field
            Shape ``(n, 1, h, w)``, ``h`` and ``w`` 68 px and multiples of 10 px more.

        Returns
        -------
        Tensor
            Shape ``(n, 3, rows, columns)``.
        """
        if self.padding == "zero":
            return super().windows(field)
        pooled = functional.max_pool2d(self._trunk(field), 2, stride=1)
        # Every second pixel of 25 x 25, in steps of 5: what pooling at stride 2 gives inside each window.
        cuts = pooled.unfold(2, 25, 5).unfold(3, 25, 5)[..., ::2, ::2]
        n, _, rows, columns = cuts.shape[:4]
        cuts = cuts.permute(0, 2, 3, 1, 4, 5).reshape(n * rows * columns, 108, 13, 13)
        logits = self._head(self.drop_pool(cuts))
        return logits.view(n, rows, columns, 3).permute(0, 3, 1, 2)

    def dense(self, field: Tensor) -> Tensor:
        """Logits of all windows of whole slices; with context padding as convolutions: what is exported for use.

        The second pooling runs at stride 1 and the dense layer becomes a 13 x 13 convolution with dilation 2 and stride
        5 on that grid, which is 10 px. Same weights, same numbers as :meth:`forward`.

        Parameters
        ----------
        field
            Shape ``(n, 1, h, w)``, at least 68 px.

        Returns
        -------
        Tensor
            Shape ``(n, 3, (h - 68) // 10 + 1, (w - 68) // 10 + 1)``.
        """
        if self.padding == "zero":
            return super().dense(field)
        pooled = functional.max_pool2d(self._trunk(field), 2, stride=1)
        kernel = self.hidden.weight.view(-1, 108, 13, 13)
        hidden = functional.relu(functional.conv2d(pooled, kernel, self.hidden.bias, stride=5, dilation=2))
        return functional.conv2d(hidden, self.output.weight[:, :, None, None], self.output.bias)

    def _trunk(self, field: Tensor) -> Tensor:
        features = field
        for number, convolution in enumerate(self.convolutions):
            features = functional.relu(convolution(features))
            if number == 1:
                features = self.drop_pool(functional.max_pool2d(features, 2))
        return features

    def _head(self, pooled: Tensor) -> Tensor:
        hidden = functional.relu(self.hidden(pooled.flatten(1)))
        logits: Tensor = self.output(self.drop_hidden(hidden))
        return logits


class VGG16(WindowModule):
    """VGG16's 13 convolutions with the published head: the paper's comparison, which failed.

    Conv 64-64, 128-128, 256-256-256, 512-512-512, 512-512-512, each followed by max-pooling (rounding up: 50 px become
    25, 13, 7, 4, 2), dense 432, softmax 3; 3 x 3 kernels, zero padding, ReLU, dropout 50 % at the dense layer.

    Notes
    -----
    ``forward`` takes ``(n, 1, 50, 50)``, the window without its margin, and gives logits ``(n, 3)``.

    Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2014, configuration D. No
    weights of other images are loaded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.padding = "zero"
        self.pooled_after = (2, 4, 7, 10, 13)
        widths = (1, 64, 64, 128, 128, 256, 256, 256, *[512] * 6)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.hidden = nn.Linear(2 * 2 * 512, 432)
        self.output = nn.Linear(432, 3)
        self.drop_hidden = nn.Dropout(0.5)
        for layer in (*self.convolutions, self.hidden):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, field: Tensor) -> Tensor:
        """Logits ``(n, 3)`` of one window each."""
        features = field
        for number, convolution in enumerate(self.convolutions, 1):
            features = functional.relu(convolution(features))
            if number in self.pooled_after:
                features = functional.max_pool2d(features, 2, ceil_mode=True)
        logits: Tensor = self.output(self.drop_hidden(functional.relu(self.hidden(features.flatten(1)))))
        return logits
