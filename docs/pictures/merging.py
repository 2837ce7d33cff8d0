"""Draws docs/merging.md: one slice, and a stack of slices, before and after the two mergings, which really run.

Usage: ``python docs/pictures/merging.py [FOLDER]``; without a folder the pictures beside this file are renewed.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from lungsight.detect.merge import merge_in_slice, merge_through_slices

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")  # to be told apart by all eyes
GREY = "#8a8a8a"

IN_SLICE_MM = 8.0
PIXEL_MM = 0.125
# The pieces a U-Net left in one slice, as ellipses: row and column of the middle, height and width, all in mm.
PIECES_MM = (
    (14.0, 5.0, 5.0, 5.0),
    (9.0, 10.5, 5.0, 5.5),
    (13.5, 16.5, 4.5, 5.5),
    (28.0, 9.0, 8.0, 8.0),
    (31.5, 15.0, 3.0, 3.5),
    (26.0, 30.5, 5.0, 6.0),
    (17.0, 33.0, 5.0, 5.5),
)

THROUGH_MM = 5.0
# Slice, counted from the top, and the columns of its centres in mm; all in one row, so that the picture can be flat.
STACK_MM = {
    1: (5.0,),
    2: (6.0,),
    3: (6.5, 10.5, 21.0),
    4: (7.0, 11.0, 21.5),
    5: (7.5, 11.5),
    6: (12.0, 21.5),
    7: (12.5, 22.5, 31.5),
}
GAP = (5, 26.0)  # slice and column where a centre is missing


def draw_distance_merging() -> Figure:
    """One slice: its pieces and how far apart they are; the groups that become of them."""
    pieces, centres_mm = _pieces()
    groups = merge_in_slice(centres_mm, IN_SLICE_MM)
    figure, before, after = _two_pictures(
        f"before: {len(centres_mm)} pieces, and the mm between their centres",
        f"after: {groups.max() + 1} groups",
    )
    for piece, group in enumerate(groups):
        _fill(before, pieces == piece + 1, GREY)
        _fill(after, pieces == piece + 1, COLOURS[group])
    for one, other in combinations(range(len(groups)), 2):
        ends_mm = centres_mm[[one, other]]
        apart_mm = float(np.linalg.norm(ends_mm[0] - ends_mm[1]))
        if apart_mm < IN_SLICE_MM:
            _line(before, ends_mm, "black", "-", f"{apart_mm:.1f}")
            _line(after, ends_mm, COLOURS[groups[one]], "-")
        elif apart_mm < 1.5 * IN_SLICE_MM:
            _line(before, ends_mm, GREY, ":", f"{apart_mm:.1f}")
    _dots(before, centres_mm, ["black"] * len(groups))
    _dots(after, centres_mm, [COLOURS[group] for group in groups])
    for group in range(groups.max() + 1):
        row, column = centres_mm[groups == group][0]
        _name(after, row - 4.5, column, f"group {group}", COLOURS[group])
    _explain(before, f"nearer than {IN_SLICE_MM:g} mm", "not nearer")
    before.set(xlim=(0, 40), ylim=(36, 2), ylabel="row (mm)")
    for axes in (before, after):
        axes.set(aspect="equal", xlabel="column (mm)")
    return figure


def draw_z_merging() -> Figure:
    """Slices from the side: their centres; the nodules that become of them, and the pairs that were not linked."""
    slices = np.array([z for z, columns_mm in STACK_MM.items() for _ in columns_mm], np.intp)
    columns_mm = np.concatenate([np.array(columns_mm) for columns_mm in STACK_MM.values()])
    nodules = merge_through_slices(slices, np.column_stack([np.zeros(len(slices)), columns_mm]), THROUGH_MM)
    places = np.column_stack([slices, columns_mm])
    figure, before, after = _two_pictures(
        f"before: {len(slices)} centres in {len(STACK_MM)} slices",
        f"after: {nodules.max() + 1} nodules",
    )
    for one, other in combinations(range(len(slices)), 2):
        apart_mm = abs(columns_mm[one] - columns_mm[other])
        if slices[other] - slices[one] == 1 and apart_mm < THROUGH_MM:
            ends = places[[one, other]]
            _line(before, ends, GREY, ":")
            linked = nodules[one] == nodules[other]
            _line(after, ends, COLOURS[nodules[one]] if linked else GREY, "-" if linked else ":")
    _dots(before, places, ["black"] * len(slices))
    _dots(after, places, [COLOURS[nodule] for nodule in nodules])
    for nodule in range(nodules.max() + 1):
        top, column_mm = places[nodules == nodule][0]
        _name(after, top - 0.3, column_mm, f"nodule {nodule}", COLOURS[nodule])
    _explain(before, "", f"neighbouring slices, nearer than {THROUGH_MM:g} mm")
    _explain(after, "linked", "not linked: one has a nearer partner")
    after.text(GAP[1], GAP[0], "a slice without it: two nodules", color=GREY, fontsize=9, ha="center", va="center")
    before.set(xlim=(0, 40), ylim=(max(STACK_MM) + 0.6, 0.2), ylabel="slice")
    for axes in (before, after):
        axes.set_yticks(list(STACK_MM))
        axes.grid(axis="y", color="#dddddd")
        axes.set_axisbelow(True)
        axes.set_xlabel("column (mm)")
    return figure


def main(folder: Path) -> None:
    """Write both pictures as PNG.

    Parameters
    ----------
    folder
        Where they go; it exists.
    """
    for name, figure in (("distance_merging", draw_distance_merging()), ("z_merging", draw_z_merging())):
        figure.savefig(folder / f"{name}.png", dpi=100, pil_kwargs={"optimize": True})


def _pieces() -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The drawn pieces as they come from a score map: labelled, and the centre of each in mm."""
    rows_mm, columns_mm = np.mgrid[0:320, 0:320] * PIXEL_MM
    mask = np.zeros(rows_mm.shape, np.bool_)
    for row_mm, column_mm, height_mm, width_mm in PIECES_MM:
        mask |= ((rows_mm - row_mm) / height_mm) ** 2 + ((columns_mm - column_mm) / width_mm) ** 2 < 0.25
    pieces, n = ndimage.label(mask)
    return pieces, np.array(ndimage.center_of_mass(mask, pieces, range(1, n + 1))) * PIXEL_MM


def _two_pictures(left: str, right: str) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(8.6, 4.4), layout="constrained")
    before, after = figure.subplots(1, 2, sharex=True, sharey=True)
    before.set_title(left, fontsize=10)
    after.set_title(right, fontsize=10)
    return figure, before, after


def _fill(axes: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    columns_mm, rows_mm = (np.arange(n) * PIXEL_MM for n in mask.shape[::-1])
    axes.contourf(columns_mm, rows_mm, mask, levels=[0.5, 1.5], colors=[colour], alpha=0.35)


def _line(axes: Axes, ends: NDArray[np.float64], colour: str, style: str, text: str = "") -> None:
    """A line between two places, each row (or slice) and column, with a text at its middle."""
    axes.plot(ends[:, 1], ends[:, 0], style, color=colour, linewidth=1.6)
    if text:
        row, column = ends.mean(0)
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        axes.text(column, row, text, color=colour, fontsize=8, ha="center", va="center", bbox=paper)


def _name(axes: Axes, row: float, column: float, name: str, colour: str) -> None:
    axes.text(column, row, name, color=colour, ha="left", weight="bold")


def _explain(axes: Axes, solid: str, dotted: str) -> None:
    """What the lines of a picture mean, where it has room."""
    for text, style, colour in ((solid, "-", "black"), (dotted, ":", GREY)):
        if text:
            axes.plot([], [], style, color=colour, linewidth=1.6, label=text)
    axes.legend(loc="upper right", fontsize=8, frameon=False)


def _dots(axes: Axes, places: NDArray[np.float64], colours: list[str]) -> None:
    axes.scatter(places[:, 1], places[:, 0], c=colours, s=28, zorder=3)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
