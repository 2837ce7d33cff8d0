"""A version of a study, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Entry", "State"]


class State(StrEnum):
    """How far a version of a study is."""

    RECEIVING = "RECEIVING"
    """Slices are coming."""
    COMPLETE = "COMPLETE"
    """It has been quiet; to be diagnosed."""
    DIAGNOSED = "DIAGNOSED"
    """The results are on the disk; to be sent."""
    SENT = "SENT"
    """The PACS has the results."""
    SET_ASIDE = "SET_ASIDE"
    """It cannot be diagnosed; its note says why."""
    DROPPED = "DROPPED"
    """Someone has said that it is not wanted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A version of a study.

    Attributes
    ----------
    study_uid, version
        Study Instance UID; the version, from 1.
    state
        How far it is.
    arrived_at
        When its last slice came; seconds since 1970, as all times here.
    due_at
        Not to be tried before.
    attempts
        How often its present step has failed.
    note
        The last error, or what should be known; empty without.
    changed_at
        When its state changed.
    """

    study_uid: str
    version: int
    state: State
    arrived_at: float
    due_at: float
    attempts: int
    note: str
    changed_at: float
