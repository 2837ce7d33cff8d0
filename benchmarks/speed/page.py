"""The measurements as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.speed.growth import Growth
from benchmarks.speed.networks import Work
from benchmarks.speed.samples import Figure, Sample, figure_of

MATRIX_FLOP = 2 * 2048**3
STEPS_OF = {"windows": ("end to end", "warm"), "segments": ("segments",)}
"""Under which names each system's seconds are, step by step."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the first table.

    Attributes
    ----------
    name
        What was measured.
    keys
        Under which name the samples of each CT are; they are the same for both where a piece of a CT was measured.
    factors
        How many such pieces each CT has.
    absent
        Why there are no samples; empty if there are.
    """

    name: str
    keys: tuple[str, str]
    factors: tuple[float, float] = (1.0, 1.0)
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """All of a run.

    Attributes
    ----------
    rows
        The first is what the others are compared with.
    slices
        Of the two CTs.
    samples
        By name.
    work
        Of the `windows` system on the two CTs.
    detector_flop
        Of row 5 on the two CTs.
    machine
        What it was measured on, and with.
    growth
        None if it was not measured.
    """

    rows: Sequence[Row]
    slices: tuple[int, int]
    samples: Mapping[str, Sequence[Sample]]
    work: tuple[Work, Work]
    detector_flop: tuple[float, float]
    machine: Mapping[str, str]
    growth: Growth | None = None

    def figure(self, name: str, of: str = "seconds") -> Figure:
        """Of the samples with that name."""
        return figure_of(list(self.samples[name]), of)

    @property
    def rounds(self) -> int:
        """How often each was measured."""
        return min(len(each) for each in self.samples.values())


def page(measured: Measured) -> str:
    """All tables."""
    told = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    parts = [
        f"Medians (least to most) of {measured.rounds} rounds, in which each row was measured once, in turns. {told}.",
        "\n".join(_rows(measured)),
        *("\n".join(_steps(measured, system, kinds)) for system, kinds in STEPS_OF.items()),
        "\n".join(_arithmetic(measured)),
        "\n".join(_training(measured)),
        *(["\n".join(_growth(measured.growth))] if measured.growth else []),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(measured: Measured) -> list[str]:
    first, second = measured.slices
    lines = [
        f"| seconds for one CT | {first} slices | times faster | {second} slices | times faster |",
        "|---|--:|--:|--:|--:|",
    ]
    base = [_scaled(measured, measured.rows[0], k).median for k in (0, 1)]
    for row in measured.rows:
        if row.absent:
            lines.append(f"| {row.name} | {row.absent} | | | |")
            continue
        figures = [_scaled(measured, row, k) for k in (0, 1)]
        cells = [f"{figure} | {_ratio(one / figure.median)}" for one, figure in zip(base, figures, strict=True)]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return lines


def _scaled(measured: Measured, row: Row, k: int) -> Figure:
    return measured.figure(row.keys[k]).times(row.factors[k])


def _ratio(times: float) -> str:
    return f"{times:.0f}" if times >= 10 else f"{times:.2g}"


def _steps(measured: Measured, system: str, kinds: Sequence[str]) -> list[str]:
    """Where the program's time goes; nothing of a system that was not measured."""
    names = [f"{kind}, {count} slices" for kind in kinds for count in measured.slices]
    named = [name for name in names if name in measured.samples]
    if not named:
        return []
    steps = [step for step in measured.samples[named[0]][0] if step not in {"seconds", "peak_mb"}]
    lines = [
        f"| `{system}`, seconds | {' | '.join(steps)} | together | peak MB |",
        f"|---|{'--:|' * (len(steps) + 2)}",
    ]
    for name in named:
        samples = measured.samples[name]
        cells = [
            f"{statistics.median(s[step] for s in samples):.2f}" if step in samples[0] else ""
            for step in (*steps, "seconds")
        ]
        peak = f"{statistics.median(s['peak_mb'] for s in samples):.0f}" if "peak_mb" in samples[0] else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {peak} |")
    return lines


def _arithmetic(measured: Measured) -> list[str]:
    """FLOP, and how fast they were done, beside what the machine can do."""
    lines = ["| | slices with lung | windows | TFLOP | GFLOP/s |", "|---|--:|--:|--:|--:|"]
    for precision in ("float32", "bfloat16"):
        gflop_s = MATRIX_FLOP / measured.figure(f"2048 x 2048 product, {precision}").median / 1e9
        lines.append(f"| 2048 x 2048 matrix product, {precision} | | | {MATRIX_FLOP / 1e12:.3f} | {gflop_s:.0f} |")
    for count, work in zip(measured.slices, measured.work, strict=True):
        gflop_s = work.flop / measured.figure(f"warm, {count} slices", "detect").median / 1e9
        cells = f"{work.slices} | {work.windows} | {work.flop / 1e12:.2f} | {gflop_s:.0f}"
        lines.append(f"| `windows`, {count} slices, while detecting (warm) | {cells} |")
    for count, work in zip(measured.slices, measured.work, strict=True):
        if f"segments, {count} slices" in measured.samples:
            ms = 1000 * measured.figure(f"segments, {count} slices", "segment").median / work.slices
            lines.append(f"| `segments`, {count} slices: U-Net, {ms:.0f} ms a slice | {work.slices} | | | |")
    for count, flop in zip(measured.slices, measured.detector_flop, strict=True):
        lines.append(f"| the 3D detector, {count} slices | | | {flop / 1e12:.1f} | |")
    return lines


def _training(measured: Measured) -> list[str]:
    ours, plain = (measured.figure(f"training, {kind}", "windows_per_s") for kind in ("ours", "plain"))
    return [
        "| training | windows per second |",
        "|---|--:|",
        f"| `lungsight train`, first stage: patches of nine windows, bfloat16 if the processor has it | {ours} |",
        f"| a plain loop: a patch a window, float32 | {plain} |",
        f"| times faster | {_ratio(ours.median / plain.median)} |",
    ]


def _growth(growth: Growth) -> list[str]:
    lines = ["| slices | seconds | peak MB |", "|--:|--:|--:|"]
    shown = zip(growth.slices, growth.seconds, growth.peak_mb, strict=True)
    lines += [f"| {count} | {seconds} | {peak_mb} |" for count, seconds, peak_mb in shown]
    time, memory = growth.lines
    return [
        *lines,
        "",
        f"{1000 * time.slope:.1f} ms a slice after {time.at_0:.2f} s (a line explains {100 * time.explained:.1f} %), "
        f"{memory.slope:.2f} MB a slice after {memory.at_0:.0f} MB ({100 * memory.explained:.1f} %).",
    ]
