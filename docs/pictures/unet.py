"""Draws docs/unet.md: the U-Net as it is in the code, level by level.

Usage: ``python docs/pictures/unet.py [FOLDER]``; without a folder the picture beside this file is renewed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from lungsight.train.unet import UNet

PLAIN, DROPPED = "#56b4e9", "#cc79a7"  # to be told apart by all eyes
GREY = "#666666"
BOX_PX = (320, 448)  # a lung box; rows and columns
DOWN_X, UP_X, LEVEL_Y = 0.0, 6.0, 1.6
STEP_X = 0.75  # so much to the inside a level
ENDS_X = (-1.6, 7.7)  # slice and scores


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


def main(folder: Path) -> None:
    """Write the picture as PNG.

    Parameters
    ----------
    folder
        Where it goes; it exists.
    """
    draw_unet().savefig(folder / "unet.png", dpi=90, pil_kwargs={"optimize": True})


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
