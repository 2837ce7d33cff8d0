"""Many CTs in one process: while one is diagnosed the next is read."""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from lungsight.cohort.options import Options, Outcome, Study
from lungsight.cohort.study import Progress, ReadStudy, attempt_study, begin_study
from lungsight.cohort.workers import Run
from lungsight.pipeline import Pipeline

__all__ = ["reading_ahead"]

_AHEAD = 1
"""So many CTs are read, or being read, beside the one that is diagnosed; each takes memory."""


@contextlib.contextmanager
def reading_ahead(pipeline: Pipeline, options: Options, progress: Progress) -> Iterator[Run]:
    """What diagnoses CTs here, one after the other, until the block ends; the end waits for the CT that is being read.

    Parameters
    ----------
    pipeline, options, progress
        See :func:`~lungsight.cohort.study.attempt_study`.

    Yields
    ------
    Run
        Gives the outcomes in order; what goes wrong in reading a CT is told when it is its turn.
    """
    # The list of filters belongs to all threads. Whoever changes it for a while (reading does, and writing DICOM or
    # NIfTI) puts back what it found, which by then may be the other's; so all find the same, and this puts it right.
    with warnings.catch_warnings(), ThreadPoolExecutor(1, "read") as thread:
        warnings.simplefilter("ignore")
        try:
            yield partial(_run, thread, pipeline, options, progress)
        finally:
            thread.shutdown(cancel_futures=True)


def _run(
    thread: ThreadPoolExecutor, pipeline: Pipeline, options: Options, progress: Progress, studies: Sequence[Study]
) -> Iterator[Outcome]:
    waiting, begun = deque(studies), deque[tuple[Study, Future[ReadStudy | None]]]()
    while waiting or begun:
        while waiting and len(begun) <= _AHEAD:
            study = waiting.popleft()
            begun.append((study, thread.submit(begin_study, study, pipeline, options)))
        yield _attempt(*begun.popleft(), pipeline, options, progress)


def _attempt(
    study: Study, begun: Future[ReadStudy | None], pipeline: Pipeline, options: Options, progress: Progress
) -> Outcome:
    """In a function of its own, so that nothing holds the CT when it is done and the next but one is read."""
    return attempt_study(study, begun.result, pipeline, options, progress)
