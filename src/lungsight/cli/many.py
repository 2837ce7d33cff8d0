"""Many CTs on a terminal: a line for each as it is done, a bar over all."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lungsight.terminal import progress_bars

if TYPE_CHECKING:
    from lungsight.cohort.options import Options, Outcome, Study

__all__ = ["diagnose_many"]


def diagnose_many(studies: Sequence[Study], out: Path, options: Options, jobs: int) -> tuple[Outcome, ...]:
    """What :func:`~lungsight.cohort.run.diagnose_cohort` gives, told on stderr."""
    from lungsight.cohort.run import diagnose_cohort
    from lungsight.cohort.workers import count_jobs

    used = count_jobs(jobs, len(studies))
    if used < jobs:
        typer.echo(f"warning: {used} jobs: there are no more cores, or CTs.", err=True)
    told = itertools.count(1)

    def tell_outcome(outcome: Outcome) -> None:
        said = f"FAILED. {outcome.failure}" if outcome.failure else outcome.line or "was done before"
        typer.echo(f"[{next(told)}/{len(studies)}] {outcome.study.folder.name}: {said}", err=True)

    with progress_bars() as progress:
        return diagnose_cohort(studies, out, options, jobs=used, tell=tell_outcome, progress=progress)
