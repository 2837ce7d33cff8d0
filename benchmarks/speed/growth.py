"""Seconds and peak memory of `lungsight diagnose` as the CT grows: measured, fitted, drawn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from benchmarks.speed.cts import with_slices, write_dicom
from benchmarks.speed.ours import diagnose
from benchmarks.speed.samples import Figure, Measure, figure_of, in_turns

from lungsight.ct.volume import CTVolume

mpl.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through the medians, by least squares.

    Attributes
    ----------
    slope, at_0
        Per slice, and where it begins.
    explained
        Share of the variance that it explains; 1 is a line.
    """

    slope: float
    at_0: float
    explained: float


@dataclass(frozen=True, slots=True)
class Growth:
    """What was measured for each number of slices."""

    slices: tuple[int, ...]
    seconds: tuple[Figure, ...]
    peak_mb: tuple[Figure, ...]
    lines: tuple[Line, Line]


def line_of(slices: Sequence[int], figures: Sequence[Figure]) -> Line:
    """The line through some figures; two or more."""
    x, y = np.array(slices, np.float64), np.array([figure.median for figure in figures])
    slope, at_0 = np.polyfit(x, y, 1)
    spread = ((y - y.mean()) ** 2).sum()
    return Line(float(slope), float(at_0), float(1 - ((y - slope * x - at_0) ** 2).sum() / spread))


def measure_growth(ct: CTVolume, counts: Sequence[int], rounds: int, tell: Callable[[str], None]) -> Growth:
    """Diagnose the same body in more and more slices, in turns, as DICOM in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures: dict[str, Measure] = {}
        for count in counts:
            source = write_dicom(with_slices(ct, count), folder / str(count))
            measures[f"{count} slices"] = partial(diagnose, source, folder / "out")
        samples = [*in_turns(measures, rounds, tell).values()]
    seconds = tuple(figure_of(each) for each in samples)
    peak_mb = tuple(figure_of(each, "peak_mb") for each in samples)
    return Growth(tuple(counts), seconds, peak_mb, (line_of(counts, seconds), line_of(counts, peak_mb)))


def draw_growth(growth: Growth, path: Path) -> None:
    """The two lines side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    shown = ((growth.seconds, "seconds", "s"), (growth.peak_mb, "peak memory, MB", "MB"))
    for axis, line, (figures, label, unit) in zip(axes, growth.lines, shown, strict=True):
        medians = np.array([each.median for each in figures])
        spread = [medians - [each.least for each in figures], [each.most for each in figures] - medians]
        ends = np.array([0, max(growth.slices)])
        axis.plot(ends, line.at_0 + line.slope * ends, color="0.6")
        axis.errorbar(growth.slices, medians, spread, fmt="o", color="black", capsize=3)
        axis.set(xlabel="slices of 512 x 512", ylabel=label, xlim=(0, 1.05 * ends[1]))
        axis.set_ylim(0, 1.1 * max(each.most for each in figures))
        axis.set_title(f"{line.slope:.3g} {unit} a slice", fontsize="medium")
    figure.savefig(path, dpi=120)
    plt.close(figure)
