"""The networks as pure torch modules: arrays in, arrays out, no files."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PatchCNN"]


class PatchCNN(nn.Module):
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
        """Logits of all windows of larger fields, for training: the trunk runs once, the head once a window.

        Parameters
        ----------
        field
            Shape ``(n, 1, h, w)``, ``h`` and ``w`` 68 px and multiples of 10 px more.

        Returns
        -------
        Tensor
            Shape ``(n, 3, rows, columns)``.
        """
        pooled = functional.max_pool2d(self._trunk(field), 2, stride=1)
        # Every second pixel of 25 x 25, in steps of 5: what pooling at stride 2 gives inside each window.
        cuts = pooled.unfold(2, 25, 5).unfold(3, 25, 5)[..., ::2, ::2]
        n, _, rows, columns = cuts.shape[:4]
        cuts = cuts.permute(0, 2, 3, 1, 4, 5).reshape(n * rows * columns, 108, 13, 13)
        logits = self._head(self.drop_pool(cuts))
        return logits.view(n, rows, columns, 3).permute(0, 3, 1, 2)

    def dense(self, field: Tensor) -> Tensor:
        """Logits of all windows of whole slices, as convolutions: what is exported for use.

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
        pooled = functional.max_pool2d(self._trunk(field), 2, stride=1)
        kernel = self.hidden.weight.view(432, 108, 13, 13)
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
