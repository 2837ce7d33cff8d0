"""The clock of a system's steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Progress", "StepClock"]

Progress = Callable[[str, float], None]
"""Told a step's name and its share done, 0 to 1."""


@dataclass(slots=True)
class StepClock:
    """Times a system's steps and tells that each began, how far it is, and that it ended.

    Attributes
    ----------
    tell
        None: nobody is told.
    seconds
        Of each step that ended; of a name that came twice, together.
    """

    tell: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _now: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        self._now = name
        self.share(0.0)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - began, 3)
        self.share(1.0)

    def share(self, done: float) -> None:
        """Tell how much of the step is done, 0 to 1."""
        if self.tell is not None:
            self.tell(self._now, done)
