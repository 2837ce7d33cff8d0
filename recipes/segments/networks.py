"""The trained networks of a run as functions on arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.detect.segment import SliceNetwork
from lungsight.train.unet import UNet

__all__ = ["load_unet", "slice_network"]


def load_unet(run: Path) -> UNet:
    """The finished U-Net of a fold."""
    network = UNet()
    network.load_state_dict(torch.load(run / "unet" / "weights.pt", weights_only=True))
    return network.eval()


def slice_network(run: Path) -> SliceNetwork:
    """The same, as it is used: fields in, scores out."""
    network = load_unet(run).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scores(field: NDArray[np.float32]) -> NDArray[np.float32]:
        tensor = torch.from_numpy(field).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found: NDArray[np.float32] = network(tensor).float().sigmoid().numpy()
        return found

    return scores
