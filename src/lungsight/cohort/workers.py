"""Processes that diagnose, each with a system of its own that stays warm; one that dies takes nothing else with it."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from lungsight.cohort.options import Failure, Options, Outcome, Study
from lungsight.errors import LungsightError, OutputError
from lungsight.orphans import end_with_parent
from lungsight.report.staging import remove_leftovers

if TYPE_CHECKING:
    from lungsight.pipeline import Pipeline

__all__ = ["Load", "Run", "count_jobs", "share_cores", "worker_processes"]

Load = Callable[[Options], "Pipeline"]
Run = Callable[[Sequence[Study]], Iterator[Outcome]]
"""Takes the CTs, gives what became of each as soon as it is known."""


def count_jobs(wanted: int, studies: int) -> int:
    """How many processes are worth starting: no more than there are cores, or CTs; at least one."""
    return max(1, min(wanted, len(_usable_cores()), studies))


def share_cores(cores: Sequence[int], jobs: int) -> list[frozenset[int]]:
    """Share the cores out: to each job its own, as evenly as it goes.

    Parameters
    ----------
    cores
        Their numbers.
    jobs
        From 1 to as many as there are cores.

    Examples
    --------
    >>> [sorted(share) for share in share_cores([0, 1, 2, 3, 6], 2)]
    [[0, 1], [2, 3, 6]]
    """
    bounds = [k * len(cores) // jobs for k in range(jobs + 1)]
    return [frozenset(cores[start:stop]) for start, stop in itertools.pairwise(bounds)]


@contextlib.contextmanager
def worker_processes(load: Load, options: Options, jobs: int) -> Iterator[Run]:
    """Processes that have loaded their system, until the block ends; then they end too, whatever they are doing.

    Parameters
    ----------
    load
        Gives the system in each process; importable there by its name.
    options
        See there.
    jobs
        How many, at most one a core. Where the operating system can (Linux), each computes on cores of its own.

    Raises
    ------
    LungsightError
        If a system cannot be loaded.
    """
    workers = [_Worker(load, options, cores) for cores in share_cores(_usable_cores(), jobs)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_until_loaded()
        yield partial(_run, workers)
    finally:
        for worker in workers:
            worker.end()


def _run(workers: Sequence[_Worker], studies: Sequence[Study]) -> Iterator[Outcome]:
    waiting, idle, busy = deque(studies), list(workers), dict[Connection, _Worker]()
    while waiting or busy:
        while waiting and idle:
            worker = idle.pop(0)
            busy[worker.begin(waiting.popleft())] = worker
        for pipe in wait(list(busy)):
            worker = busy.pop(pipe)  # type: ignore[call-overload]  # of what was waited for
            yield worker.outcome()
            idle.append(worker)


class _Worker:
    """One process and the CT it has."""

    def __init__(self, load: Load, options: Options, cores: frozenset[int]) -> None:
        self._load, self._options, self._cores = load, options, cores
        self._study: Study | None = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._cores), name="diagnose", daemon=True)
        self._process.start()
        theirs.close()  # or the end of the process would not be seen at ours
        with contextlib.suppress(OSError):  # it died at once: the pipe tells
            self._pipe.send((self._load, self._options))

    def wait_until_loaded(self) -> None:
        try:
            refused = self._pipe.recv()
        except (EOFError, OSError):
            found = f"a process that diagnoses ended before it was ready ({self._how_it_ended()})"
            remedy = "If memory is short, give a smaller --jobs. See the messages before this one."
            raise OutputError(found, "that it loads its network", remedy) from None
        if refused is not None:
            raise refused

    def begin(self, study: Study) -> Connection:
        """Give it a CT; the pipe tells when there is an outcome. One that died is started again first."""
        if not self._process.is_alive():
            self.end()
            self.start()
            self.wait_until_loaded()
        self._study = study
        with contextlib.suppress(OSError):  # it died just now: the pipe tells
            self._pipe.send(study)
        return self._pipe

    def outcome(self) -> Outcome:
        study = self._study
        assert study is not None  # noqa: S101 (it has begun one)
        try:
            outcome: Outcome = self._pipe.recv()
        except (EOFError, OSError):
            found = f"the process that diagnosed it died ({self._how_it_ended()})"
            remedy = "If memory is short, give a smaller --jobs; try it again with --resume."
            self.end()
            return Outcome(study, failure=Failure("WorkerDied", found, "that it ends with a result", remedy))
        self._study = None
        return outcome

    def end(self) -> None:
        """End the process, and clear what it had begun to write."""
        if not hasattr(self, "_process"):
            return
        self._process.kill()
        self._process.join()
        self._pipe.close()
        if self._study is not None:
            remove_leftovers(self._study.folder.parent, {self._study.folder.name})
            self._study = None

    def _how_it_ended(self) -> str:
        self._process.join()
        code = self._process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _usable_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _work(pipe: Connection, cores: frozenset[int]) -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when to end
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # before the libraries are imported that count the cores
    end_with_parent()
    with contextlib.suppress(EOFError, OSError):  # the first process is gone
        load, options = pipe.recv()
        from lungsight.cohort.study import attempt_study, begin_study  # noqa: PLC0415 (see above)

        try:
            pipeline = load(options)
        except LungsightError as error:
            pipe.send(error)
            return
        pipe.send(None)
        while True:
            study = pipe.recv()
            pipe.send(attempt_study(study, partial(begin_study, study, pipeline, options), pipeline, options, _silent))


def _silent(_step: str, _share: float) -> None:
    """Bars are for one CT at a time."""
