"""Row 5: the arithmetic of a 3D RetinaNet-ResNet50-FPN nodule detector, without its weights. Time only.

As configured for LUNA16 in MONAI's model zoo (lung_nodule_ct_detection): a 7 x 7 x 7 stem of stride (2, 2, 1) in
(x, y, z) and max-pooling, the residual layers 1 and 2 of a ResNet50 with bottlenecks (the pyramid takes these two, so
layers 3 and 4 are never computed), a pyramid of 256 channels with one further level by subsampling, and on each of the
three levels two heads of four 3 x 3 x 3 convolutions with group norm: 1 class and 6 coordinates for each of 3 anchors.
It is written in plain PyTorch since MONAI's own asks for torchvision.

Assumed: weights are random; the network is one of convolutions, so a block's time scales with the voxels. Left out,
which makes it faster than it is: reading, resampling, the overlap of a quarter between its blocks, boxes and their
suppression.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from lungsight.ct.volume import CTVolume

SPACING_XYZ_MM = (0.703125, 0.703125, 1.25)
DIVISIBLE_XYZ = (16, 16, 8)
BLOCK_XYZ = (128, 128, 64)
PYRAMID = 256
ANCHORS, CLASSES = 3, 1


class _Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.path = nn.Sequential(
            nn.Conv3d(before, width, 1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, after, 1, bias=False),
            nn.BatchNorm3d(after),
        )
        same = stride == 1 and before == after
        self.beside = (
            nn.Identity() if same else nn.Sequential(nn.Conv3d(before, after, 1, stride), nn.BatchNorm3d(after))
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.path(x) + self.beside(x))


def _head(outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv3d(PYRAMID, PYRAMID, 3, padding=1), nn.GroupNorm(8, PYRAMID), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv3d(PYRAMID, outputs, 3, padding=1))


class RetinaNet3D(nn.Module):
    """Backbone, pyramid and heads; axes are x, y, z."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(1, 64, 7, (2, 2, 1), 3, bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(3, 2, 1),
        )
        self.layer1 = nn.Sequential(_Bottleneck(64, 64, 1), *(_Bottleneck(256, 64, 1) for _ in range(2)))
        self.layer2 = nn.Sequential(_Bottleneck(256, 128, 2), *(_Bottleneck(512, 128, 1) for _ in range(3)))
        self.lateral = nn.ModuleList(nn.Conv3d(channels, PYRAMID, 1) for channels in (256, 512))
        self.smooth = nn.ModuleList(nn.Conv3d(PYRAMID, PYRAMID, 3, padding=1) for _ in range(2))
        self.classes, self.boxes = _head(ANCHORS * CLASSES), _head(ANCHORS * 6)

    def forward(self, volume: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Class logits and boxes of each level, from ``(n, 1, x, y, z)``."""
        fine = self.layer1(self.stem(volume))
        coarse = self.lateral[1](self.layer2(fine))
        below = self.lateral[0](fine) + functional.interpolate(coarse, fine.shape[2:], mode="nearest")
        levels = [self.smooth[0](below), self.smooth[1](coarse)]
        levels.append(levels[-1][..., ::2, ::2, ::2])
        return [(self.classes(level), self.boxes(level)) for level in levels]


def blocks_in(ct: CTVolume, block: tuple[int, int, int]) -> float:
    """How many blocks of voxels the CT is on the detector's grid, each side filled up to what its strides divide."""
    mm_zyx = ct.spacing_zyx_mm
    sides = [size * mm / to for size, mm, to in zip(ct.shape[::-1], mm_zyx[::-1], SPACING_XYZ_MM, strict=True)]
    filled = [math.ceil(round(side) / by) * by for side, by in zip(sides, DIVISIBLE_XYZ, strict=True)]
    return math.prod(filled) / math.prod(block)


def block_flop(block: tuple[int, int, int]) -> int:
    """FLOP of one block."""
    with torch.device("meta"):
        network, volume = RetinaNet3D().eval(), torch.empty(1, 1, *block)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(volume)
    return int(counter.get_total_flops())


def detect_block(block: tuple[int, int, int], precision: torch.dtype) -> Callable[[], object]:
    """One block; in bfloat16 by autocast, as the model zoo's inference does."""
    torch.manual_seed(0)
    network = RetinaNet3D().eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    volume = torch.rand(1, 1, *block).contiguous(memory_format=torch.channels_last_3d)

    def run() -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            return network(volume)

    return run
