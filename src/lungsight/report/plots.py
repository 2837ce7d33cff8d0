"""Line plots as SVG, drawn from numbers alone; for pages that ask the network for nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike

__all__ = ["Axis", "Band", "Line", "Plot", "plot_svg"]

_WIDTH, _HEIGHT = 460, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 50
_LEGEND_STEP = 18


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes
    ----------
    label
        What it measures, with its unit.
    ticks
        Ascending, at least two: the axis goes from the first to the last.
    tick_labels
        As many; empty takes the numbers.
    log
        Steps are factors; ticks are then above 0.
    """

    label: str
    ticks: tuple[float, ...]
    tick_labels: tuple[str, ...] = ()
    log: bool = False

    def share(self, values: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Where values lie: 0 at the axis's start, 1 at its end, clipped to it; NaN stays."""
        ends = np.array([self.ticks[0], self.ticks[-1]], np.float64)
        clipped = np.clip(np.asarray(values, np.float64), *ends)
        if self.log:
            clipped, ends = np.log(clipped), np.log(ends)
        shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = (clipped - ends[0]) / (ends[1] - ends[0])
        return shares


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line or row of points.

    Attributes
    ----------
    name
        Of the legend; empty leaves it out.
    x, y
        Shape ``(n,)``; points that are not finite numbers are left out.
    style
        A class of the page's style sheet: ``"main"``, ``"second"``, ``"third"`` or ``"guide"``.
    points
        Draw a dot at each point.
    joined
        Draw the line between them.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    style: str = "main"
    points: bool = False
    joined: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """The area between two lines, of shape ``(n,)`` all three."""

    x: ArrayLike
    low: ArrayLike
    high: ArrayLike


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A plot: axes, and what is drawn between them."""

    title: str
    x_axis: Axis
    y_axis: Axis
    lines: Sequence[Line]
    band: Band | None = None


def plot_svg(plot: Plot) -> Markup:
    """The plot as an ``svg`` element; texts are escaped.

    Examples
    --------
    >>> unit = Axis("share", (0.0, 0.5, 1.0))
    >>> svg = plot_svg(Plot("A & B", unit, unit, [Line("line", [0, 1], [0, 1])]))
    >>> 'aria-label="A &amp; B"' in svg, 'points="58.0,310.0 446.0,12.0"' in svg
    (True, True)
    """
    parts = [*_grid(plot.x_axis, plot.y_axis)]
    if plot.band is not None:
        outline = _places(
            plot,
            np.concatenate([np.asarray(plot.band.x), np.asarray(plot.band.x)[::-1]]),
            np.concatenate([np.asarray(plot.band.low), np.asarray(plot.band.high)[::-1]]),
        )
        parts.append(Markup('<polygon class="band" points="{}"/>').format(_joined(outline)))
    for line in plot.lines:
        places = _places(plot, line.x, line.y)
        if line.joined:
            parts.append(Markup('<polyline class="line {}" points="{}"/>').format(line.style, _joined(places)))
        if line.points:
            dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>')
            parts += [dot.format(line.style, x, y) for x, y in places]
    parts += _legend([line for line in plot.lines if line.name])
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return head.format(_WIDTH, _HEIGHT, plot.title) + Markup("\n").join(parts) + Markup("</svg>")


def _grid(x_axis: Axis, y_axis: Axis) -> list[Markup]:
    parts = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for tick, label in _labelled(x_axis):
        x = _LEFT + float(x_axis.share(tick)) * (right - _LEFT)
        parts.append(Markup('<path class="grid" d="M{0:.1f} {1}V{2}"/>').format(x, _TOP, bottom))
        parts.append(_text(label, (x, bottom + 18), "middle"))
    for tick, label in _labelled(y_axis):
        y = bottom - float(y_axis.share(tick)) * (bottom - _TOP)
        parts.append(Markup('<path class="grid" d="M{0} {1:.1f}H{2}"/>').format(_LEFT, y, right))
        parts.append(_text(label, (_LEFT - 8, y + 4), "end"))
    parts.append(_text(x_axis.label, ((_LEFT + right) / 2, _HEIGHT - 10), "middle", "axis"))
    turned = Markup('<g transform="translate(16 {:.1f}) rotate(-90)">').format((_TOP + bottom) / 2)
    parts.append(turned + _text(y_axis.label, (0, 0), "middle", "axis") + Markup("</g>"))
    return parts


def _labelled(axis: Axis) -> list[tuple[float, str]]:
    labels = axis.tick_labels or tuple(f"{tick:g}" for tick in axis.ticks)
    return list(zip(axis.ticks, labels, strict=True))


def _legend(lines: Sequence[Line]) -> list[Markup]:
    """In the lower right corner, where curves of rates leave room."""
    parts = []
    for k, line in enumerate(lines):
        x, y = _WIDTH - _RIGHT - 190, _HEIGHT - _BOTTOM - 14 - _LEGEND_STEP * (len(lines) - 1 - k)
        parts.append(Markup('<path class="line {}" d="M{} {}h26"/>').format(line.style, x, y - 4))
        parts.append(_text(line.name, (x + 33, y), "start"))
    return parts


def _text(text: str, place: tuple[float, float], anchor: str, kind: str = "tick") -> Markup:
    tag = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return tag.format(kind, *place, anchor, escape(text))


def _places(plot: Plot, x: ArrayLike, y: ArrayLike) -> list[tuple[float, float]]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    across = _LEFT + plot.x_axis.share(x) * (right - _LEFT)
    up = bottom - plot.y_axis.share(y) * (bottom - _TOP)
    return [(a, b) for a, b in zip(across.tolist(), up.tolist(), strict=True) if math.isfinite(a) and math.isfinite(b)]


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
