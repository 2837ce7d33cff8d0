"""Diagnosing, in a process of its own: a study that kills it, or hangs, takes nothing else with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from lungsight.ct.volume import CTVolume
from lungsight.errors import LungsightError, OutputError
from lungsight.findings import Diagnosis
from lungsight.orphans import end_with_parent

__all__ = ["ClosedError", "Diagnose", "Job", "Outcome", "Worker"]

Diagnose = Callable[[CTVolume], Diagnosis]
_DYING_S = 5.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """A version of a study to be diagnosed.

    Attributes
    ----------
    source
        Folder with its slices and nothing else.
    out
        Folder for the DICOM results; does not exist.
    version
        From 1.
    predecessor
        The structured report of the version before; None if there is none.
    """

    source: Path
    out: Path
    version: int
    predecessor: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    error
        Empty if all went well.
    again
        Whether it may go well another time: the place for the results failed, not the study.
    """

    error: str = ""
    again: bool = False


class ClosedError(Exception):
    """The worker was closed before it was done with a job: of the study nothing can be said."""


class Worker:
    """A process that diagnoses one study at a time, started when it is needed and again when it has died.

    Parameters
    ----------
    load
        Called once in the process; gives what takes a CT to its diagnosis. Must be importable from there.
    timeout_s
        A study that takes longer is given up.
    """

    def __init__(self, load: Callable[[], Diagnose], timeout_s: float) -> None:
        self._load = load
        self._timeout_s = timeout_s
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._in_use = threading.RLock()  # pipe and process belong to who has it
        self._closed = False

    def start(self) -> None:
        """Start the process, without waiting for it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self._load, theirs), name="diagnose", daemon=True)
        process.start()
        self._process = process
        theirs.close()  # or the end of the process would not be seen at ours

    def wait(self) -> None:
        """Wait until the process can diagnose.

        Raises
        ------
        LungsightError
            What `load` raises.
        """
        assert self._pipe is not None  # noqa: S101 (it is started)
        try:
            ready = self._pipe.recv()
        except EOFError:
            self._end()
            what = "the process that diagnoses ended before it was ready"
            raise OutputError(what, "that it starts", "See the messages before this one.") from None
        if isinstance(ready, LungsightError):
            self._end()
            raise ready

    def run(self, job: Job) -> Outcome:
        """Have a job done, and wait for it.

        Raises
        ------
        ClosedError
            If another thread closes the worker meanwhile, or has.
        """
        with self._in_use:
            if self._closed:
                raise ClosedError
            try:
                return self._run(job)
            finally:
                if self._closed:
                    raise ClosedError  # that it died, or whatever came of it, is not the study's doing

    def _run(self, job: Job) -> Outcome:
        if self._process is None or not self._process.is_alive():
            self._end()
            self.start()
            self.wait()
        process, pipe = self._process, self._pipe
        assert process is not None  # noqa: S101 (both are there once it is started)
        assert pipe is not None  # noqa: S101
        try:
            pipe.send(job)
            if pipe.poll(self._timeout_s):
                outcome: Outcome = pipe.recv()
                return outcome
        except (EOFError, BrokenPipeError, ConnectionResetError):
            process.join(_DYING_S)
            code = process.exitcode
            self._end()
            return Outcome(f"The process that diagnosed it died (exit code {code}), out of memory perhaps.")
        self._end()
        return Outcome(f"It was not diagnosed in {self._timeout_s:g} s.")

    def close(self) -> None:
        """End the process, whatever it is doing, and what waits for it."""
        self._closed = True
        while not self._in_use.acquire(timeout=_LOOK_S):
            process = self._process
            if process is not None:
                process.kill()  # whoever waits for it learns that it has ended
        try:
            self._end()
        finally:
            self._in_use.release()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _work(load: Callable[[], Diagnose], pipe: Connection) -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node decides when to end
    end_with_parent()
    try:
        diagnose = load()
    except LungsightError as error:
        pipe.send(error)
        return
    _import_doors()  # takes seconds, which are not the first study's
    pipe.send(None)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(_do(pipe.recv(), diagnose))


def _import_doors() -> tuple[Callable[[Path], CTVolume], Callable[..., tuple[Path, ...]]]:
    """What reads and writes, which only the process that diagnoses needs."""
    from lungsight.ct.read import read_ct  # noqa: PLC0415
    from lungsight.report.dicom import write_dicom  # noqa: PLC0415

    return read_ct, write_dicom


def _do(job: Job, diagnose: Diagnose) -> Outcome:
    read_ct, write_dicom = _import_doors()
    try:
        ct = read_ct(job.source)
        diagnosis = diagnose(ct)
        write_dicom(diagnosis, ct, job.source, job.out, version=job.version, predecessor=job.predecessor)
    except OSError as error:
        return Outcome(str(error), again=True)
    except LungsightError as error:
        return Outcome(str(error), again=isinstance(error, OutputError) and isinstance(error.__cause__, OSError))
    except Exception as error:  # a bug, or a study nobody thought of: the next one must go on
        return Outcome(f"{type(error).__name__}: {error}")
    return Outcome()
