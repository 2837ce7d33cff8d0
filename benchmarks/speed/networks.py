"""Rows 1 to 3: the shipped network on whole slices with PyTorch, and how much there is to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lungsight.config import Config
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.windows import FIELD_PX, STEP_PX, field_of_windows, score_windows, window_counts
from lungsight.detect.working import working_slice
from lungsight.runtime import shipped_weights
from lungsight.train.networks import PatchCNN

BATCH = 256


def shipped_network() -> PatchCNN:
    """The shipped weights in PyTorch: float32, channels last, ready for use."""
    model = onnx.load(str(shipped_weights("windows") / "model.onnx"))
    stored = {i.name.removesuffix("_stored"): numpy_helper.to_array(i) for i in model.graph.initializer}
    network = PatchCNN().eval()
    layers = {f"conv{k}": layer for k, layer in enumerate(network.convolutions, 1)}
    layers |= {"hidden": network.hidden, "output": network.output}
    with torch.no_grad():
        for name, layer in layers.items():
            for kind, parameter in layer.named_parameters():
                values = torch.from_numpy(stored[f"{name}_{kind}"].astype(np.float32))
                parameter.copy_(values.reshape(parameter.shape))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def whole_field(ct: CTVolume, z: int) -> Tensor:
    """What the network must see for all windows of a slice, ``(h, w)``; 2,209 windows of 512 x 512 px of 0.7 mm."""
    spacing_mm = ct.spacing_zyx_mm[1:]
    rows, columns = window_counts(ct.shape[1:], spacing_mm)
    return torch.from_numpy(field_of_windows(working_slice(ct.hu[z], spacing_mm), slice(0, rows), slice(0, columns)))


def by_window(network: PatchCNN, seen: Tensor) -> Tensor:
    """Scores ``(3, rows, columns)``: each window by itself, in batches of 256."""
    cuts = seen.unfold(0, FIELD_PX, STEP_PX).unfold(1, FIELD_PX, STEP_PX)
    rows, columns = cuts.shape[:2]
    windows = cuts.reshape(-1, 1, FIELD_PX, FIELD_PX)
    with torch.inference_mode():
        scores = [
            network(batch.contiguous(memory_format=torch.channels_last)).softmax(1)
            for batch in torch.split(windows, BATCH)
        ]
    return torch.cat(scores).T.reshape(3, rows, columns)


def dense(network: PatchCNN, seen: Tensor) -> Tensor:
    """The same scores from one pass over the slice."""
    with torch.inference_mode():
        logits: Tensor = network.dense(seen[None, None].contiguous(memory_format=torch.channels_last))
    return logits.softmax(1)[0]


def monai_sliding_window(network: PatchCNN) -> Callable[[Tensor], Tensor] | None:
    """MONAI's sliding windows over a slice, in the same steps and batches; None if MONAI is not installed.

    It merges by pixel, so each window's scores are spread over its pixels.
    """
    try:
        sliding_window_inference = import_module("monai.inferers").sliding_window_inference
    except ImportError:
        return None

    def scores(windows: Tensor) -> Tensor:
        found: Tensor = network(windows.contiguous(memory_format=torch.channels_last)).softmax(1)
        return found[:, :, None, None].expand(-1, -1, FIELD_PX, FIELD_PX).contiguous()

    # It rounds the step down: half a pixel keeps 10 from becoming 9.
    overlap = 1 - (STEP_PX + 0.5) / FIELD_PX

    def run(seen: Tensor) -> Tensor:
        with torch.inference_mode():
            merged: Tensor = sliding_window_inference(seen[None, None], (FIELD_PX, FIELD_PX), BATCH, scores, overlap)
        return merged[0]

    return run


def check_agreement(network: PatchCNN, seen: Tensor) -> None:
    """Rows 1 to 3 compute the same, or comparing their times would say nothing."""
    each, together = by_window(network, seen), dense(network, seen)
    assert float((each - together).abs().max()) < 1e-4, "dense and window by window differ"
    merge = monai_sliding_window(network)
    if merge is not None:
        # Only one window holds the first pixel.
        assert float((merge(seen)[:, 0, 0] - each[:, 0, 0]).abs().max()) < 1e-4, "MONAI's windows are others"


@dataclass(slots=True)
class Work:
    """What a CT asks of the network.

    Attributes
    ----------
    slices, windows
        Slices that show lung, and windows that touch it.
    flop
        Of the network's passes; a product and a sum are two.
    """

    slices: int = 0
    windows: int = 0
    flop: int = 0


@dataclass(frozen=True, slots=True)
class _Counting:
    """A network that computes nothing and counts what it would cost."""

    work: Work
    sha256: str = ""
    engine: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def __call__(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = seen.shape
        self.work.slices += 1
        self.work.flop += dense_flop(height, width)
        rows, columns = ((side - FIELD_PX) // STEP_PX + 1 for side in seen.shape)
        return np.broadcast_to(np.array([1, 0, 0], np.float32)[:, None, None], (3, rows, columns))


def work_of(ct: CTVolume) -> Work:
    """What the `windows` system computes for an upright CT."""
    work = Work()
    windows = score_windows(ct, segment_lungs(ct, Config().lungs), _Counting(work))
    work.windows = int(windows.evaluated.sum())
    return work


@cache
def dense_flop(height: int, width: int) -> int:
    """FLOP of a dense pass over a field of that size."""
    with torch.device("meta"):
        network, seen = PatchCNN().eval(), torch.empty(1, 1, height, width)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.dense(seen)
    return int(counter.get_total_flops())
