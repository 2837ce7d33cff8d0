"""The node: what comes is queued, what is quiet is diagnosed, what is diagnosed is sent."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lungsight import __version__
from lungsight.errors import InputError, LungsightError, OutputError
from lungsight.serve.entry import Entry, State
from lungsight.serve.health import HealthService, Meters
from lungsight.serve.intake import Intake
from lungsight.serve.queue import QUEUE_FILE, Queue
from lungsight.serve.receive import Receiver
from lungsight.serve.send import DimseSender, Sender
from lungsight.serve.settings import NodeSettings
from lungsight.serve.store import Store
from lungsight.serve.web import WebFetcher, WebSender
from lungsight.serve.work import Diagnose, Job, Outcome, Worker

__all__ = ["Node"]

_REPORT = "sr.dcm"
_TICK_S = 0.2
_AFTER_BUG_S = 5.0
_ENDING_S = 5.0
_TIDY_S = 3600.0
_DAY_S = 86_400.0
_log = logging.getLogger(__name__)


class Node:
    """Works from its making until it is closed.

    Parameters
    ----------
    settings
        Of the node.
    load
        Called in the process that diagnoses (so it must be importable there); gives what takes a CT to its diagnosis.

    Raises
    ------
    InputError
        If another node works in the same store, or a file that was named cannot be used.
    OutputError
        If the store cannot be written, or a port not be listened on.
    WeightsError
        If `load` raises it.
    """

    def __init__(self, settings: NodeSettings, load: Callable[[], Diagnose]) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._away = False
        self._tidied_at = float("-inf")
        self.meters = Meters()
        self._closing: list[Callable[[], None]] = []
        self._threads: list[threading.Thread] = []
        try:
            self._open(load)
        except BaseException:
            self.close()
            raise

    def _open(self, load: Callable[[], Diagnose]) -> None:
        settings = self._settings
        self.store = Store(settings.store)
        self._closing.append(self.store.close)
        self.queue = Queue(settings.store / QUEUE_FILE)
        self._closing.append(self.queue.close)
        self._closing.append(self._join)
        self._worker = Worker(load, settings.diagnose_timeout_s)
        self._worker.start()
        self._closing.append(self._worker.close)
        self._intake = Intake(self.store, self.queue, settings, self.meters)
        adopted = self._intake.adopt()
        self.queue.listen_again(time.time())
        if adopted:
            _log.info("%d instances were on the disk and not yet in the queue", adopted)
        self._sender = self._make_sender()
        self.receiver = None if settings.web else Receiver(settings, self._intake)
        if self.receiver:
            self._closing.append(self.receiver.close)
        loops = {"diagnose": self._diagnose_next, "send": self._send_next}
        if settings.web:
            self._fetcher = WebFetcher(settings.web, self._intake, self.queue)
            loops["fetch"] = self._fetch
        self._threads = [
            threading.Thread(target=self._loop, args=(step,), name=name, daemon=True) for name, step in loops.items()
        ]
        self.meters.watch(self.look)
        self.health = None
        if settings.health_port is not None:
            self.health = HealthService(settings.health_port, self.meters, self.look)
            self._closing.append(self.health.close)
        self._worker.wait()
        for thread in self._threads:
            thread.start()

    def _make_sender(self) -> Sender:
        if self._settings.web:
            return WebSender(self._settings.web)
        assert self._settings.send_to is not None  # noqa: S101 (the settings hold it)
        return DimseSender(self._settings, self._settings.send_to)

    def close(self) -> None:
        """Stop. What is under way is done again by the next node in the same store."""
        self._stop.set()
        for close in reversed(self._closing):
            close()
        self._closing.clear()

    def _join(self) -> None:
        """Let each thread tell the queue how far it came, if that is soon."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_ENDING_S)

    def look(self) -> dict[str, Any]:
        """How the node is: version, studies by state, free space, associations, and what is wrong, as sentences."""
        problems = [f"The thread {one.name} has ended." for one in self._threads if not one.is_alive()]
        counts: dict[str, int] = {}
        try:
            counts = {str(state): count for state, count in self.queue.counts().items()}
        except sqlite3.Error as error:
            problems.append(f"The queue cannot be read: {error}.")
        free_mb = self.store.free_mb()
        if free_mb < self._settings.reserve_mb:
            problems.append(f"{free_mb:.0f} MB are left on the disk: nothing is accepted.")
        return {
            "version": __version__,
            "studies": counts,
            "free_mb": round(free_mb),
            "associations": self.receiver.associations if self.receiver else 0,
            "pacs_away": self._away,
            "problems": problems,
        }

    def _loop(self, step: Callable[[], float]) -> None:
        """Take one step after the other; each says how long to pause after it."""
        while not self._stop.is_set():
            try:
                pause_s = step()
            except Exception:  # a full disk, or a bug: the next study may fare better
                if self._stop.is_set():
                    return
                _log.exception("the thread %s goes on after an error", threading.current_thread().name)
                pause_s = _AFTER_BUG_S
            self._stop.wait(pause_s)

    def _diagnose_next(self) -> float:
        now = time.time()
        self.queue.complete_quiet(now - self._settings.quiet_s, now)
        self._tidy()
        entry = self.queue.next_due(State.COMPLETE, now)
        if entry is None:
            return _TICK_S
        name = f"study {entry.study_uid}, version {entry.version}"
        began = time.monotonic()
        try:
            outcome = self._diagnose(entry)
        except InputError as error:
            outcome = Outcome(str(error))
        except (OutputError, OSError) as error:
            outcome = Outcome(str(error), again=True)
        if outcome.again:
            pause_s = self._postpone(entry, outcome.error)
            self.meters.diagnoses.labels("later").inc()
            _log.error("%s is diagnosed again in %g s: %s", name, pause_s, outcome.error)
        elif outcome.error:
            self.queue.advance(entry, State.SET_ASIDE, time.time(), outcome.error)
            self.meters.diagnoses.labels("set_aside").inc()
            _log.error("%s is set aside: %s", name, outcome.error)
        else:
            self.queue.advance(entry, State.DIAGNOSED, time.time())
            self.meters.diagnoses.labels("done").inc()
            self.meters.seconds.observe(time.monotonic() - began)
            _log.info("%s is diagnosed", name)
        return 0.0

    def _diagnose(self, entry: Entry) -> Outcome:
        study_uid, version = entry.study_uid, entry.version
        if self.store.results(study_uid, version):
            return Outcome()  # killed between the results and the queue
        with self.store.work_folders(self.queue.slices(study_uid, version)) as (source, out):
            outcome = self._worker.run(Job(source, out, version, self._predecessor(study_uid, version)))
            if not outcome.error:
                self.store.keep_results(out, study_uid, version)
            return outcome

    def _predecessor(self, study_uid: str, version: int) -> Path | None:
        """The report that this version replaces: the last one there is."""
        earlier = (self.store.results(study_uid, number) for number in range(version - 1, 0, -1))
        return next((path for files in earlier for path in files if path.name == _REPORT), None)

    def _send_next(self) -> float:
        entry = self.queue.next_due(State.DIAGNOSED, time.time())
        if entry is None:
            return _TICK_S
        name = f"study {entry.study_uid}, version {entry.version}"
        try:
            note = self._sender.send(self.store.results(entry.study_uid, entry.version))
        except LungsightError as error:
            pause_s = self._postpone(entry, str(error))
            self.meters.sends.labels("later").inc()
            self._away = True
            _log.warning("%s is sent again in %g s: %s", name, pause_s, error)
            return 0.0
        self.queue.advance(entry, State.SENT, time.time(), note)
        self.meters.sends.labels("done").inc()
        _log.info("%s is sent. %s", name, note)
        if self._away:
            self._away = False
            self.queue.hurry(State.DIAGNOSED)
        return 0.0

    def _postpone(self, entry: Entry, why: str) -> float:
        pause_s = self._settings.pause_s(entry.attempts + 1)
        self.queue.postpone(entry, time.time() + pause_s, why)
        return pause_s

    def _fetch(self) -> float:
        assert self._settings.web is not None  # noqa: S101 (or the loop is not started)
        try:
            came = self._fetcher.fetch()
        except OutputError as error:
            _log.warning("CTs cannot be fetched now: %s", error)
        else:
            if came:
                _log.info("%d instances were fetched", came)
        return self._settings.web.poll_s

    def _tidy(self) -> None:
        """Delete the slices of studies that were finished long ago."""
        if time.monotonic() - self._tidied_at < _TIDY_S:
            return
        self._tidied_at = time.monotonic()
        for study_uid in self.queue.finished_before(time.time() - self._settings.keep_days * _DAY_S):
            self.store.remove(self.queue.every_slice(study_uid))
