"""What is to be done, in SQLite: it survives whatever a file survives.

A study has versions. The first takes the slices that come until it is quiet; slices that come later make the next,
which takes them and all before. Each version goes its way by itself:

.. code-block:: text

    RECEIVING ──quiet──> COMPLETE ──diagnosed──> DIAGNOSED ──PACS has it──> SENT
                            │                        │
                            └──error──> SET_ASIDE    └──PACS away──> DIAGNOSED, later
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from lungsight.errors import InputError
from lungsight.serve.entry import Entry, State
from lungsight.serve.store import Stored

__all__ = ["QUEUE_FILE", "Queue"]

QUEUE_FILE = "queue.sqlite"

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS versions (
    study_uid TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    arrived_at REAL NOT NULL,
    due_at REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT '',
    changed_at REAL NOT NULL,
    PRIMARY KEY (study_uid, version)
);
CREATE INDEX IF NOT EXISTS by_state ON versions (state, due_at);
CREATE TABLE IF NOT EXISTS instances (
    arrival INTEGER PRIMARY KEY,
    study_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    sha TEXT NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (study_uid, sop_uid, sha)
);
"""
_COLUMNS = "study_uid, version, state, arrived_at, due_at, attempts, note, changed_at"
_BUSY_S = 30.0  # `lungsight queue` writes to the same file


class Queue:
    """The queue of a node; may be used by several threads, and beside it by `lungsight queue`.

    Parameters
    ----------
    path
        The file; made if absent.

    Raises
    ------
    InputError
        If it is of a later Lungsight, or no queue.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # a commit has reached the disk when it returns
            (found,) = self._database.execute("PRAGMA user_version").fetchone()
            if found <= _SCHEMA_VERSION:
                self._database.executescript(f"{_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION};")
                return
            reason = f"it has version {found}"
        except sqlite3.DatabaseError as error:
            reason = str(error)
        self._database.close()
        raise InputError(
            f"{path}: {reason}", f"a queue of version {_SCHEMA_VERSION}", "Use the Lungsight that made it."
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def record(self, stored: Stored, now: float) -> bool:
        """Note, durably, that an instance has come.

        Returns
        -------
        bool
            False if the very same had come before, which changes nothing but that a study still receiving is not quiet.
        """
        with self._transaction() as database:
            newest = database.execute(
                "SELECT version, state FROM versions WHERE study_uid = ? ORDER BY version DESC LIMIT 1",
                (stored.study_uid,),
            ).fetchone()
            open_version = newest[0] if newest and newest[1] == State.RECEIVING else None
            if open_version is not None:
                database.execute(
                    "UPDATE versions SET arrived_at = ? WHERE study_uid = ? AND version = ?",
                    (now, stored.study_uid, open_version),
                )
            if self.knows(stored):
                return False
            if open_version is None:
                open_version = newest[0] + 1 if newest else 1
                database.execute(
                    "INSERT INTO versions (study_uid, version, state, arrived_at, changed_at) VALUES (?, ?, ?, ?, ?)",
                    (stored.study_uid, open_version, State.RECEIVING, now, now),
                )
            database.execute(
                "INSERT INTO instances (study_uid, sop_uid, sha, version) VALUES (?, ?, ?, ?)",
                (stored.study_uid, stored.sop_uid, stored.sha, open_version),
            )
            return True

    def complete_quiet(self, quiet_since: float, now: float) -> int:
        """Close the versions of which nothing has come after `quiet_since`; return how many."""
        with self._transaction() as database:
            return database.execute(
                "UPDATE versions SET state = ?, changed_at = ? WHERE state = ? AND arrived_at <= ?",
                (State.COMPLETE, now, State.RECEIVING, quiet_since),
            ).rowcount

    def listen_again(self, now: float) -> None:
        """Start the quiet time of all open versions anew: after a pause of the node, silence says nothing."""
        with self._transaction() as database:
            database.execute("UPDATE versions SET arrived_at = ? WHERE state = ?", (now, State.RECEIVING))

    def next_due(self, state: State, now: float) -> Entry | None:
        """The version of that state that has waited longest and is due; None if there is none."""
        found = self._entries("WHERE state = ? AND due_at <= ? ORDER BY changed_at, version LIMIT 1", (state, now))
        return found[0] if found else None

    def advance(self, entry: Entry, state: State, now: float, note: str = "") -> bool:
        """Put a version into its next state; False if someone has changed its state meanwhile."""
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE versions SET state = ?, due_at = 0, attempts = 0, note = ?, changed_at = ?"
                " WHERE study_uid = ? AND version = ? AND state = ?",
                (state, note, now, entry.study_uid, entry.version, entry.state),
            )
            return changed.rowcount == 1

    def postpone(self, entry: Entry, due_at: float, note: str) -> None:
        """Leave a version in its state and try again later."""
        with self._transaction() as database:
            database.execute(
                "UPDATE versions SET due_at = ?, attempts = attempts + 1, note = ?"
                " WHERE study_uid = ? AND version = ? AND state = ?",
                (due_at, note, entry.study_uid, entry.version, entry.state),
            )

    def hurry(self, state: State) -> None:
        """Make every version of that state due."""
        with self._transaction() as database:
            database.execute("UPDATE versions SET due_at = 0 WHERE state = ?", (state,))

    def slices(self, study_uid: str, version: int) -> list[Stored]:
        """The slices of a version: its own and all before, of each instance the latest content."""
        with self._lock:
            rows = self._database.execute(
                "SELECT study_uid, sop_uid, sha FROM instances WHERE study_uid = ? AND version <= ? ORDER BY arrival",
                (study_uid, version),
            ).fetchall()
        return list({row[1]: Stored(*row) for row in rows}.values())

    def entries(self) -> list[Entry]:
        """Every version of every study, the latest change last."""
        return self._entries("ORDER BY changed_at", ())

    def counts(self) -> dict[State, int]:
        """How many versions are in each state."""
        with self._lock:
            rows = dict(self._database.execute("SELECT state, COUNT(*) FROM versions GROUP BY state").fetchall())
        return {state: int(rows.get(state, 0)) for state in State}

    def finished_before(self, when: float) -> list[str]:
        """Studies whose every version was sent or dropped before a time."""
        with self._lock:
            rows = self._database.execute(
                "SELECT study_uid FROM versions GROUP BY study_uid"
                " HAVING MAX(changed_at) < ? AND SUM(state NOT IN (?, ?)) = 0",
                (when, State.SENT, State.DROPPED),
            )
            return [row[0] for row in rows]

    def dropped(self, study_uid: str) -> bool:
        """Whether the newest version of a study was dropped."""
        newest = self._entries("WHERE study_uid = ? ORDER BY version DESC LIMIT 1", (study_uid,))
        return bool(newest) and newest[0].state == State.DROPPED

    def knows(self, stored: Stored) -> bool:
        """Whether this instance with this content has come."""
        with self._lock:
            found = self._database.execute(
                "SELECT 1 FROM instances WHERE study_uid = ? AND sop_uid = ? AND sha = ?",
                (stored.study_uid, stored.sop_uid, stored.sha),
            )
            return found.fetchone() is not None

    def every_slice(self, study_uid: str) -> list[Stored]:
        """All that has come of a study, each content of each instance."""
        with self._lock:
            rows = self._database.execute(
                "SELECT study_uid, sop_uid, sha FROM instances WHERE study_uid = ?", (study_uid,)
            )
            return [Stored(*row) for row in rows]

    def retry(self, study_uid: str, now: float) -> int:
        """Try a study again now: what was set aside is to be diagnosed, what waits to be sent is due."""
        with self._transaction() as database:
            due = database.execute(
                "UPDATE versions SET due_at = 0 WHERE study_uid = ? AND state IN (?, ?)",
                (study_uid, State.COMPLETE, State.DIAGNOSED),
            ).rowcount
            again = database.execute(
                "UPDATE versions SET state = ?, due_at = 0, attempts = 0, changed_at = ?"
                " WHERE study_uid = ? AND state = ?",
                (State.COMPLETE, now, study_uid, State.SET_ASIDE),
            ).rowcount
            return due + again

    def drop(self, study_uid: str, now: float) -> int:
        """Give up what is not sent of a study, so that sending it again starts it anew; return how many versions."""
        with self._transaction() as database:
            dropped = database.execute(
                "UPDATE versions SET state = ?, changed_at = ? WHERE study_uid = ? AND state NOT IN (?, ?)",
                (State.DROPPED, now, study_uid, State.SENT, State.DROPPED),
            ).rowcount
            database.execute(
                "DELETE FROM instances WHERE study_uid = ? AND version > (SELECT COALESCE(MAX(version), 0)"
                " FROM versions WHERE study_uid = ? AND state = ?)",
                (study_uid, study_uid, State.SENT),
            )
            return dropped

    def _entries(self, condition: str, values: tuple[object, ...]) -> list[Entry]:
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM versions {condition}", values).fetchall()  # noqa: S608 (our own words)
        return [Entry(row[0], row[1], State(row[2]), *row[3:]) for row in rows]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
