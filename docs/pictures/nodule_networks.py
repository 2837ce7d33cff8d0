"""Draws docs/nodule-networks.md: what block and sheaf show of a drawn nodule and a drawn vessel; the kinds' sizes.

Usage: ``python docs/pictures/nodule_networks.py [FOLDER]``; without a folder the pictures beside this file are renewed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from torch import Tensor, nn

from lungsight.ct.volume import CTVolume
from lungsight.detect.working import PIXEL_MM, normalise_hu
from lungsight.diagnose.cuts import BLOCK_SLICES, BLOCK_STEP_MM, CUT_PX, cut_block, cut_sheaf, sheaf_slices
from lungsight.train.nodule_networks import KINDS, NoduleNetwork

BLOCK_COLOUR, SHEAF_COLOUR = "#56b4e9", "#e69f00"  # to be told apart by all eyes, and on grey

LUNG_HU, TISSUE_HU = -850.0, 30.0
SLICE_MM = 1.25
SHAPE_ZYX = (33, 81, 81)
NODULE_MM = 10.0
VESSEL_MM = 8.0
VESSEL_ZYX = (0.85, 0.1, 0.5)  # where it runs


def draw_cuts() -> Figure:
    """A nodule and a vessel from the side, with the slices of block and sheaf; and both cuts of each."""
    figure = Figure(figsize=(8.6, 5.4))
    z_mm, y_mm, x_mm = _places_mm()
    along = np.array(VESSEL_ZYX) / np.linalg.norm(VESSEL_ZYX)
    from_middle = z_mm**2 + y_mm**2 + x_mm**2
    from_axis = from_middle - (z_mm * along[0] + y_mm * along[1] + x_mm * along[2]) ** 2
    bodies = {"a nodule": _body(from_middle, NODULE_MM), "a vessel": _body(from_axis, VESSEL_MM)}
    for half, (name, ct) in zip(figure.subfigures(2, 1, squeeze=False)[:, 0], bodies.items(), strict=True):
        _draw_body(half, name, ct)
    return figure


def draw_kinds() -> Figure:
    """What each kind of network has to learn, and to compute for a block."""
    figure = Figure(figsize=(8.6, 2.4), layout="constrained")
    learned, computed = figure.subplots(1, 2, sharey=True)
    names = list(KINDS)
    sizes = [_sizes(NoduleNetwork(name, BLOCK_SLICES)) for name in names]
    for axes, values, unit in ((learned, 0, 1e3), (computed, 1, 1e6)):
        start = np.zeros(len(names))
        for layer, colour, text in ((nn.Conv2d, BLOCK_COLOUR, "convolutions"), (nn.Linear, SHEAF_COLOUR, "dense")):
            each = np.array([size[layer][values] / unit for size in sizes])
            axes.barh(names, each, left=start, color=colour, label=text)
            start += each
        for row, total in enumerate(start):
            axes.text(total, row, f" {total:.0f}", va="center", fontsize=9)
        axes.set_xlim(0, 1.15 * start.max())
        axes.spines[["top", "right"]].set_visible(False)
    learned.invert_yaxis()
    learned.set_title("weights to learn, thousands", fontsize=10)
    computed.set_title("multiplications for one block, millions", fontsize=10)
    learned.legend(fontsize=8, frameon=False, loc="center right")
    return figure


def main(folder: Path) -> None:
    """Write both pictures as PNG.

    Parameters
    ----------
    folder
        Where they go; it exists.
    """
    for name, figure in (("block_and_sheaf", draw_cuts()), ("nodule_kinds", draw_kinds())):
        figure.savefig(folder / f"{name}.png", dpi=100, pil_kwargs={"optimize": True})


def _places_mm() -> list[NDArray[np.float64]]:
    """Distances of the voxels from the middle along slice, row and column."""
    spacing_mm = (SLICE_MM, PIXEL_MM, PIXEL_MM)
    lines = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE_ZYX, spacing_mm, strict=True)]
    return list(np.meshgrid(*lines, indexing="ij"))


def _body(squared_mm2: NDArray[np.float64], diameter_mm: float) -> CTVolume:
    """Tissue in lung, where the squared distance is small enough; blurred as by a CT."""
    inside = np.clip((diameter_mm / 2 - np.sqrt(squared_mm2.clip(0))) / PIXEL_MM + 0.5, 0, 1)
    hu = np.rint(LUNG_HU + (TISSUE_HU - LUNG_HU) * inside).astype(np.int16)
    return CTVolume(hu, np.diag([SLICE_MM, PIXEL_MM, PIXEL_MM, 1.0])[[2, 1, 0, 3]])


def _draw_body(figure: SubFigure, name: str, ct: CTVolume) -> None:
    """The side view on the left, the two cuts on the right; the mask is as high for either."""
    centre = (np.array(SHAPE_ZYX) - 1) / 2
    reach = NODULE_MM / 2 / SLICE_MM
    first, last = int(np.ceil(centre[0] - reach)), int(np.floor(centre[0] + reach))
    block_mm = (np.arange(BLOCK_SLICES) - (BLOCK_SLICES - 1) / 2) * BLOCK_STEP_MM
    sheaf_mm = (np.array(sheaf_slices(first, last)) - centre[0]) * SLICE_MM
    side = figure.add_axes((0.065, 0.18, 0.25, 0.7))
    _draw_side(side, ct, block_mm, sheaf_mm)
    side.set_title(f"{name}, from the side", fontsize=10)
    step = 0.66 / BLOCK_SLICES
    for bottom, cut, heights_mm, colour, title in (
        (0.55, cut_block(ct, centre), block_mm, BLOCK_COLOUR, "block"),
        (0.08, cut_sheaf(ct, centre[1:], first, last), sheaf_mm, SHEAF_COLOUR, "sheaf"),
    ):
        for k, (image, mm) in enumerate(zip(cut, heights_mm, strict=True)):
            axes = figure.add_axes((0.335 + k * step, bottom, step * 0.96, 0.3))
            _show(axes, image)
            axes.set_title(f"{mm:+g}" if mm else "0", fontsize=8, pad=2)
            axes.spines[:].set(color=colour, linewidth=2)
        figure.text(0.335, bottom + 0.36, f"its {title}: {len(cut)} slices, mm from its middle", fontsize=9)


def _draw_side(axes: Axes, ct: CTVolume, block_mm: NDArray[np.floating], sheaf_mm: NDArray[np.floating]) -> None:
    """The middle row of the CT, and the height of each slice of the cuts."""
    half_z, half_x = ((n * mm) / 2 for n, mm in ((SHAPE_ZYX[0], SLICE_MM), (SHAPE_ZYX[2], PIXEL_MM)))
    side = normalise_hu(ct.hu[:, SHAPE_ZYX[1] // 2])
    axes.imshow(side, cmap="gray", vmin=0, vmax=1, extent=(-half_x, half_x, half_z, -half_z), interpolation="nearest")
    reach = CUT_PX * PIXEL_MM / 2
    axes.hlines(block_mm, -reach, reach, color=BLOCK_COLOUR, linewidth=1)
    axes.hlines(sheaf_mm, -reach / 2, reach / 2, color=SHEAF_COLOUR, linewidth=1.5)
    axes.set_xlabel("column (mm)", fontsize=8)
    axes.set_ylabel("slice (mm)", fontsize=8)
    axes.tick_params(labelsize=8)


def _show(axes: Axes, image: NDArray[np.float32]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _sizes(network: NoduleNetwork) -> dict[type[nn.Module], tuple[int, int]]:
    """Weights, and multiplications for one block, of convolutions and dense layers."""
    sizes: dict[type[nn.Module], tuple[int, int]] = {nn.Conv2d: (0, 0), nn.Linear: (0, 0)}

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        weights = sum(weight.numel() for weight in layer.parameters())
        places = output[0, 0].numel() if output.dim() > 2 else 1
        learned, computed = sizes[type(layer)]
        sizes[type(layer)] = learned + weights, computed + weights * places

    for layer in network.modules():
        if type(layer) in sizes:
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, BLOCK_SLICES, CUT_PX, CUT_PX))
    return sizes


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
