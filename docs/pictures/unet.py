"""Draws docs/unet.md: the U-Net as it is in the code, level by level, and what the shipped one says of a drawn slice.

Usage: ``python docs/pictures/unet.py [FOLDER]``; without a folder the pictures beside this file are renewed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from lungsight.ct.volume import CTVolume
from lungsight.detect.segment import score_slices
from lungsight.detect.working import HU_RANGE, PIXEL_MM
from lungsight.runtime import open_network, shipped_weights
from lungsight.train.unet import UNet

PLAIN, DROPPED = "#56b4e9", "#cc79a7"  # to be told apart by all eyes
GREY = "#666666"
BOX_PX = (320, 448)  # a lung box; rows and columns
DOWN_X, UP_X, LEVEL_Y = 0.0, 6.0, 1.6
STEP_X = 0.75  # so much to the inside a level
ENDS_X = (-1.6, 7.7)  # slice and scores

SIDE_PX = 400
CHEST_MM, WALL_MM = (95.0, 130.0), (8.0, 10.0)  # half the height and width; thickness of fat
LUNG_MM, LUNG_X_MM, HEART_MM = (65.0, 42.0), 60.0, (44.0, 34.0)
FAT_HU, TISSUE_HU, LUNG_HU = -100.0, 40.0, -860.0
# Row and column of the middle in mm, and diameter: two nodules in the lung, one at the pleura, a vessel cut across.
NODULES_MM = ((-20.0, -62.0, 12.0), (25.0, 55.0, 6.0), (42.0, 89.0, 12.0))
ACROSS_MM = (20.0, -75.0, 7.0)
# Row and column of both ends in mm, and diameter: vessels cut along.
ALONG_MM = ((10.0, 25.0, -35.0, 75.0, 5.0), (15.0, -25.0, 45.0, -70.0, 5.0), (-5.0, 45.0, 0.0, 80.0, 3.0))


@dataclass(frozen=True)
class Block:
    """Convolutions of a level and what they give.

    Attributes
    ----------
    maps, size_px
        Feature maps, and rows and columns of each.
    convolutions
        How many, one after the other.
    dropped
        Whether feature maps are dropped while training.
    """

    maps: int
    size_px: tuple[int, int]
    convolutions: int
    dropped: bool


def run_network(network: UNet) -> tuple[list[Block], list[Block], Block]:
    """The blocks on the way down and up, from the whole slice down in both, and the last convolution."""
    seen: dict[nn.Module, Block] = {}

    def look(block: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        maps, rows, columns = output.shape[1:]
        convolutions = sum(isinstance(layer, nn.Conv2d) for layer in block.modules())
        dropped = any(isinstance(layer, nn.Dropout2d) for layer in block.modules())
        seen[block] = Block(maps, (rows, columns), convolutions, dropped)

    blocks = [*network.down, *network.up, network.score]
    for block in blocks:
        block.register_forward_hook(look)
    network.to("meta")(torch.zeros(1, 1, *BOX_PX, device="meta"))  # sizes only, nothing is computed
    return [seen[block] for block in network.down], [seen[block] for block in network.up][::-1], seen[network.score]


def draw_unet() -> Figure:
    """The blocks as boxes, what happens between them as arrows."""
    network = UNet()
    learned = sum(weight.numel() for weight in network.parameters())
    down, up, score = run_network(network)
    figure = Figure(figsize=(8.2, 4.9), layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{len(down)} levels, {learned / 1e3:.0f} thousand weights to learn", fontsize=10)
    for level, block in enumerate(down):
        x, y = DOWN_X + level * STEP_X, -level * LEVEL_Y
        _box(axes, x, y, block)
        if level:
            _arrow(axes, (x - STEP_X, y + LEVEL_Y - 0.52), (x - 0.1, y + 0.52))
    for level, block in enumerate(up):
        x, y = UP_X - level * STEP_X, -level * LEVEL_Y
        _box(axes, x, y, block)
        deepest = level + 1 == len(up)
        below = DOWN_X + (level + 1) * STEP_X + 0.62 if deepest else x - STEP_X
        _arrow(axes, (below, y - LEVEL_Y + (0.0 if deepest else 0.52)), (x - 0.1, y - 0.52))
        _arrow(axes, (DOWN_X + level * STEP_X + 0.62, y), (x - 0.62, y))
    _say(axes, (DOWN_X + UP_X) / 2, 0.14, "skip: kept, and put beside what comes up", "center")
    _say(axes, DOWN_X - 0.05, -LEVEL_Y / 2, "the largest of\n2 x 2 pixels", "right")
    _say(axes, UP_X + 0.05, -LEVEL_Y / 2, "each row and\ncolumn twice", "left")
    _end(axes, ENDS_X[0], "slice", BOX_PX)
    _end(axes, ENDS_X[1], "scores", score.size_px)
    _arrow(axes, (ENDS_X[0] + 0.5, 0), (DOWN_X - 0.62, 0))
    _arrow(axes, (UP_X + 0.62, 0), (ENDS_X[1] - 0.5, 0))
    _explain(axes)
    axes.set(xlim=(-2.2, 8.3), ylim=(-LEVEL_Y * (len(down) - 1) - 0.6, 0.6))
    axes.set_axis_off()
    return figure


def draw_scores() -> Figure:
    """A drawn slice, and the scores that the shipped network gives its pixels."""
    ct, lungs = _drawn_slice()
    shipped = open_network(shipped_weights("segments"), "unet", precision="float32")
    scores = score_slices(ct, lungs, shipped.run).scores[0]
    figure = Figure(figsize=(8.2, 3.4), layout="constrained")
    slice_axes, score_axes = figure.subplots(1, 2, sharex=True, sharey=True)
    half_mm = SIDE_PX * PIXEL_MM / 2
    extent = (-half_mm, half_mm, half_mm, -half_mm)
    low, high = HU_RANGE
    slice_axes.imshow(ct.hu[0], cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
    slice_axes.set_title("a drawn slice", fontsize=10)
    shown = score_axes.imshow(
        scores.astype(np.float32), cmap="magma", vmin=0, vmax=1, extent=extent, interpolation="nearest"
    )
    score_axes.contour(lungs[0], levels=[0.5], colors=[GREY], linewidths=0.8, extent=extent, origin="upper")
    score_axes.set_title("its scores, and the lungs' outline", fontsize=10)
    figure.colorbar(shown, ax=score_axes, shrink=0.8)
    for k, (row, column, diameter) in enumerate((*NODULES_MM, ACROSS_MM)):
        colour, name = (DROPPED, "vessel") if k == len(NODULES_MM) else (PLAIN, "nodule")
        for axes in (slice_axes, score_axes):
            axes.text(
                min(column, 80), row - diameter / 2 - 5, name, color=colour, fontsize=8, ha="center", weight="bold"
            )
    slice_axes.set(xlim=(-135, 135), ylim=(100, -100), ylabel="row (mm)")
    for axes in (slice_axes, score_axes):
        axes.set_xlabel("column (mm)")
    return figure


def main(folder: Path) -> None:
    """Write both pictures as PNG.

    Parameters
    ----------
    folder
        Where they go; it exists.
    """
    for name, figure in (("unet", draw_unet()), ("unet_scores", draw_scores())):
        figure.savefig(folder / f"{name}.png", dpi=90, pil_kwargs={"optimize": True})


def _drawn_slice() -> tuple[CTVolume, NDArray[np.bool_]]:
    """A chest of ellipses, blurred as by a CT, and its lungs."""
    line_mm = (np.arange(SIDE_PX) - (SIDE_PX - 1) / 2) * PIXEL_MM
    y_mm, x_mm = np.meshgrid(line_mm, line_mm, indexing="ij")

    def ellipse(row: float, column: float, half: tuple[float, float]) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = ((y_mm - row) / half[0]) ** 2 + ((x_mm - column) / half[1]) ** 2 < 1
        return inside

    hu = np.full((SIDE_PX, SIDE_PX), HU_RANGE[0])
    hu[ellipse(0, 0, CHEST_MM)] = FAT_HU
    hu[ellipse(0, 0, (CHEST_MM[0] - WALL_MM[0], CHEST_MM[1] - WALL_MM[1]))] = TISSUE_HU
    lungs = (ellipse(0, -LUNG_X_MM, LUNG_MM) | ellipse(0, LUNG_X_MM, LUNG_MM)) & ~ellipse(10, 0, HEART_MM)
    hu[lungs] = LUNG_HU
    for row, column, diameter in (*NODULES_MM, ACROSS_MM):
        hu[ellipse(row, column, (diameter / 2, diameter / 2))] = TISSUE_HU
    for row, column, to_row, to_column, diameter in ALONG_MM:
        run = np.array([to_row - row, to_column - column])
        share = (((y_mm - row) * run[0] + (x_mm - column) * run[1]) / (run @ run)).clip(0, 1)
        hu[np.hypot(y_mm - row - share * run[0], x_mm - column - share * run[1]) < diameter / 2] = TISSUE_HU
    blurred = np.rint(ndimage.gaussian_filter(hu, 0.7)).astype(np.int16)
    affine = np.diag([1.0, PIXEL_MM, PIXEL_MM, 1.0])[[2, 1, 0, 3]]
    return CTVolume(blurred[None], affine), lungs[None]


def _box(axes: Axes, x: float, y: float, block: Block) -> None:
    colour = DROPPED if block.dropped else PLAIN
    axes.add_patch(Rectangle((x - 0.6, y - 0.5), 1.2, 1.0, facecolor=colour, alpha=0.4, edgecolor=colour))
    convolutions = "1 convolution" if block.convolutions == 1 else f"{block.convolutions} convolutions"
    _write(axes, x, y, f"{block.maps} maps", block.size_px, convolutions)


def _end(axes: Axes, x: float, name: str, size_px: tuple[int, int]) -> None:
    axes.add_patch(Rectangle((x - 0.48, -0.5), 0.96, 1.0, facecolor="white", edgecolor="black"))
    _write(axes, x, 0, name, size_px, "0 to 1")


def _write(axes: Axes, x: float, y: float, name: str, size_px: tuple[int, int], below: str) -> None:
    axes.text(x, y + 0.27, name, fontsize=9, weight="bold", ha="center", va="center")
    axes.text(x, y - 0.02, "{} x {}".format(*size_px), fontsize=8, ha="center", va="center")
    axes.text(x, y - 0.31, below, fontsize=8, ha="center", va="center")


def _say(axes: Axes, x: float, y: float, text: str, side: str) -> None:
    axes.text(x, y, text, fontsize=8, color=GREY, ha=side, va="center")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY})


def _explain(axes: Axes) -> None:
    for colour, text in ((PLAIN, "all maps kept"), (DROPPED, "whole maps dropped while training")):
        axes.add_patch(Rectangle((0, 0), 0, 0, facecolor=colour, alpha=0.4, edgecolor=colour, label=text))
    axes.legend(loc="lower left", fontsize=8, frameon=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
