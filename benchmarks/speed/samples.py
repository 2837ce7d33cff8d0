"""Measuring in turns: what is measured once a round, and what many rounds say."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

Sample = Mapping[str, float]
"""One measurement; ``seconds`` and whatever else was measured with it."""
Measure = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Figure:
    """What the rounds gave."""

    median: float
    least: float
    most: float

    def times(self, factor: float) -> Figure:
        """Scaled."""
        return Figure(self.median * factor, self.least * factor, self.most * factor)

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 1 if self.median >= 10 else 2
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f})"


def figure_of(samples: list[Sample], name: str = "seconds") -> Figure:
    """Median, least and most of one of the things measured."""
    values = [sample[name] for sample in samples]
    return Figure(statistics.median(values), min(values), max(values))


def timed(work: Callable[[], object]) -> Measure:
    """The seconds that a piece of work takes."""

    def measure() -> Sample:
        began = time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - began}

    return measure


def in_turns(measures: Mapping[str, Measure], rounds: int, tell: Callable[[str], None]) -> dict[str, list[Sample]]:
    """Measure each once a round, one after the other, after a round that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            sample = measure()
            tell(f"round {number} of {rounds}, {name}: {sample['seconds']:.3f} s{'' if number else ' (not counted)'}")
            if number:
                samples[name].append(sample)
    return samples


def machine() -> dict[str, str]:
    """What this was measured on."""
    cpu = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        cpu = names[0] if names else cpu
    libraries = ("lungsight", "torch", "monai", "openvino", "onnxruntime")
    told = {name: _version(name) for name in libraries}
    return {"processor": cpu, "cores": str(len(os.sched_getaffinity(0))), "load before": _load(), **told}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def write_json(path: Path, content: object) -> None:
    """Write what JSON can hold."""
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
