"""The trained networks of a run: from their weights to functions on arrays, and to ONNX."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from recipes.segments.sheaves import OUTPUTS

from lungsight.detect.segment import SliceNetwork
from lungsight.diagnose.cuts import BLOCK_SLICES
from lungsight.train import segments_stages
from lungsight.train.export import write_networks
from lungsight.train.export_segments import export_nodule_network, export_unet
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.unet import UNet

__all__ = ["export_fold", "load_nodule_network", "load_unet", "slice_network"]


def load_unet(fold: Path, stage: str) -> UNet:
    """The finished U-Net of a fold after its first stage, ``"unet"``, or its second, ``"outline"``."""
    network = UNet()
    network.load_state_dict(torch.load(fold / stage / "weights.pt", weights_only=True))
    return network.eval()


def load_nodule_network(fold: Path, task: str, kind: str) -> NoduleNetwork:
    """The finished network of a fold for ``"detection"`` or ``"malignancy"``."""
    slices, outputs = (BLOCK_SLICES, 1) if task == "detection" else (None, len(OUTPUTS))
    network = NoduleNetwork(kind, slices, outputs)
    network.load_state_dict(torch.load(fold / f"{task}-{kind}" / "weights.pt", weights_only=True))
    return network.eval()


def slice_network(fold: Path) -> SliceNetwork:
    """The U-Net of a fold that finds candidates: fields in, scores out."""
    return segments_stages.slice_network(load_unet(fold, "unet"))


def export_fold(fold: Path, card: dict[str, object], out: Path | None = None, kind: str = "resnet") -> None:
    """Write the four networks of a fold and their card, where none is named into the fold's own folder."""
    networks = {
        **{stage: export_unet(load_unet(fold, stage)) for stage in ("unet", "outline")},
        **{task: export_nodule_network(load_nodule_network(fold, task, kind)) for task in ("detection", "malignancy")},
    }
    write_networks(out or fold, networks, card)


def main() -> None:
    """Export the folds that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folds", type=Path, nargs="+", help="runs/segments/fold0 and so on")
    parser.add_argument("--kind", default="resnet")
    parser.add_argument("--fitted", type=Path, nargs="*", default=[], help="figures.json and patients.json, once there")
    arguments = parser.parse_args()
    told = {key: value for file in arguments.fitted for key, value in json.loads(file.read_text("utf-8")).items()}
    fitted = {key: told[key] for key in ("malignancy_weighing", "nodule_weighing", "patient_scaling") if key in told}
    for fold in arguments.folds:
        export_fold(fold, {"name": f"segments, {fold.name}", **fitted}, kind=arguments.kind)


if __name__ == "__main__":
    main()
