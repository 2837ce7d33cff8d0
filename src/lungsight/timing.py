"""The clock of a system's steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "StepClock"]

Progress = Callable[[str, float], None]
"""Told a step's name and its share done, 0 to 1."""


@dataclass(slots=True)
class StepClock:
    """Times a step, into `seconds`, and tells that it began and ended."""

    step: str
    seconds: dict[str, float]
    tell: Progress
    began: float = 0.0

    def __enter__(self) -> None:
        self.tell(self.step, 0.0)
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.step] = round(time.perf_counter() - self.began, 3)
        self.tell(self.step, 1.0)
