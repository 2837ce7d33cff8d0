"""One instance comes in, by whichever door: checked, on the disk, in the queue. Only then may it be acknowledged."""

from __future__ import annotations

import logging
import sqlite3
import time
from dataclasses import dataclass

from lungsight.errors import OutputError
from lungsight.serve.health import Meters
from lungsight.serve.queue import Queue
from lungsight.serve.settings import NodeSettings
from lungsight.serve.store import Store

__all__ = ["Intake"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes instances for a node; may be used by several threads."""

    store: Store
    queue: Queue
    settings: NodeSettings
    meters: Meters

    def take(self, study_uid: str, sop_uid: str, meta: bytes, dataset: bytes | memoryview) -> None:
        """Return when an instance is safe.

        Parameters
        ----------
        study_uid, sop_uid, meta, dataset
            As in :meth:`Store.write`.

        Raises
        ------
        OutputError
            If there is no room for it, or the disk refuses. What came before is untouched.
        """
        self.check_room()
        try:
            stored = self.store.write(study_uid, sop_uid, meta, dataset)
            new = self.queue.record(stored, time.time())
        except (OSError, sqlite3.Error) as error:
            self.meters.refused.labels("disk").inc()
            raise _out_of_resources(f"{getattr(error, 'strerror', None) or error}") from error
        self.meters.received.labels("new" if new else "again").inc()

    def check_room(self) -> None:
        """Refuse while the disk has less than the reserve left.

        Raises
        ------
        OutputError
            If so.
        """
        free_mb = self.store.free_mb()
        if free_mb < self.settings.reserve_mb:
            self.meters.refused.labels("disk").inc()
            raise _out_of_resources(f"{free_mb:.0f} MB are left, under the reserve of {self.settings.reserve_mb} MB")

    def adopt(self) -> int:
        """Queue what is on the disk and not in the queue, after a kill between the two; return how many instances."""
        adopted = 0
        for stored in self.store.instances():
            if self.queue.knows(stored):
                continue
            if self.queue.dropped(stored.study_uid):
                self.store.remove([stored])
                continue
            adopted += self.queue.record(stored, time.time())
        return adopted


def _out_of_resources(what: str) -> OutputError:
    remedy = "Free some space below the store; the sender may try again then."
    return OutputError(f"an instance cannot be stored: {what}", "room for it", remedy)
