from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lungsight.errors import InputError
from lungsight.serve.entry import Entry, State
from lungsight.serve.queue import Queue
from lungsight.serve.store import Stored
from refusals import refused

SHA, OTHER_SHA = "a" * 16, "b" * 16


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue.sqlite")
    yield opened
    opened.close()


def stored(sop: int, sha: str = SHA, study: str = "1.2") -> Stored:
    return Stored(study, f"{study}.{sop}", sha)


def states(queue: Queue) -> list[tuple[int, State]]:
    return sorted((entry.version, entry.state) for entry in queue.entries())


def take(queue: Queue, state: State, now: float = 1e12) -> Entry:
    entry = queue.next_due(state, now)
    assert entry is not None
    return entry


def test_a_study_goes_its_way(queue: Queue) -> None:
    assert [queue.record(stored(sop), now) for sop, now in ((1, 10.0), (2, 11.0))] == [True, True]
    assert queue.complete_quiet(10.9, 20.0) == 0
    assert queue.complete_quiet(11.0, 20.0) == 1
    assert queue.advance(take(queue, State.COMPLETE), State.DIAGNOSED, 21.0)
    assert queue.advance(take(queue, State.DIAGNOSED), State.SENT, 22.0, "note")
    (entry,) = queue.entries()
    assert entry == Entry("1.2", 1, State.SENT, 11.0, 0.0, 0, "note", 22.0)
    assert queue.counts() == {state: int(state == State.SENT) for state in State}


def test_a_commit_reaches_the_disk(queue: Queue) -> None:
    assert queue._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert queue._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_it_survives_the_process(queue: Queue, tmp_path: Path) -> None:
    queue.record(stored(1), 10.0)
    # Not closed: another connection sees what was committed.
    again = Queue(tmp_path / "queue.sqlite")
    assert again.entries() == queue.entries()
    assert again.slices("1.2", 1) == [stored(1)]
    again.close()


def test_the_same_again_changes_nothing_but_keeps_it_open(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    assert not queue.record(stored(1), 15.0)
    assert queue.complete_quiet(14.0, 20.0) == 0
    assert queue.complete_quiet(15.0, 20.0) == 1
    assert not queue.record(stored(1), 30.0)
    assert states(queue) == [(1, State.COMPLETE)]


@pytest.mark.parametrize("late", [stored(2), stored(1, OTHER_SHA)], ids=["another slice", "other content"])
def test_what_comes_late_makes_a_version_of_all(queue: Queue, late: Stored) -> None:
    queue.record(stored(1), 10.0)
    queue.complete_quiet(10.0, 11.0)
    assert queue.record(late, 12.0)
    assert states(queue) == [(1, State.COMPLETE), (2, State.RECEIVING)]
    assert queue.slices("1.2", 1) == [stored(1)]
    expected = [stored(1), late] if late.sop_uid != stored(1).sop_uid else [late]
    assert queue.slices("1.2", 2) == expected


def test_versions_are_diagnosed_in_their_order(queue: Queue) -> None:
    for now, sop in ((10.0, 1), (20.0, 2)):
        queue.record(stored(sop), now)
        queue.complete_quiet(now, 50.0)
    assert take(queue, State.COMPLETE).version == 1


def test_what_is_postponed_is_not_due_before(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    queue.complete_quiet(10.0, 11.0)
    queue.postpone(take(queue, State.COMPLETE), 100.0, "away")
    assert queue.next_due(State.COMPLETE, 99.0) is None
    entry = take(queue, State.COMPLETE, 100.0)
    assert (entry.attempts, entry.note) == (1, "away")
    queue.postpone(entry, 200.0, "still away")
    assert queue.next_due(State.COMPLETE, 150.0) is None
    queue.hurry(State.DIAGNOSED)
    assert queue.next_due(State.COMPLETE, 150.0) is None, "another state"
    queue.hurry(State.COMPLETE)
    assert take(queue, State.COMPLETE, 150.0).attempts == 2


def test_after_a_start_the_quiet_time_begins_anew(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    queue.listen_again(100.0)
    assert queue.complete_quiet(99.0, 101.0) == 0


def test_who_comes_second_changes_nothing(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    queue.complete_quiet(10.0, 11.0)
    entry = take(queue, State.COMPLETE)
    assert queue.drop("1.2", 12.0) == 1
    assert not queue.advance(entry, State.DIAGNOSED, 13.0)
    assert states(queue) == [(1, State.DROPPED)]


def test_a_study_that_was_set_aside_is_tried_again(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    queue.complete_quiet(10.0, 11.0)
    queue.advance(take(queue, State.COMPLETE), State.SET_ASIDE, 12.0, "a gap")
    assert queue.next_due(State.COMPLETE, 1e12) is None
    assert queue.retry("1.2", 13.0) == 1
    assert take(queue, State.COMPLETE).version == 1
    assert queue.retry("1.3", 13.0) == 0


def test_what_waits_to_be_sent_is_tried_at_once(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    queue.complete_quiet(10.0, 11.0)
    queue.advance(take(queue, State.COMPLETE), State.DIAGNOSED, 12.0)
    queue.postpone(take(queue, State.DIAGNOSED), 1e6, "away")
    assert queue.retry("1.2", 13.0) == 1
    assert take(queue, State.DIAGNOSED, 14.0).attempts == 1


def test_a_dropped_study_begins_anew_when_it_is_sent_again(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    assert queue.drop("1.2", 12.0) == 1
    assert queue.dropped("1.2")
    assert queue.drop("1.2", 12.0) == 0
    assert queue.record(stored(1), 20.0)
    assert not queue.dropped("1.2")
    assert queue.slices("1.2", 2) == [stored(1)]


def test_dropping_keeps_what_was_sent(queue: Queue) -> None:
    queue.record(stored(1), 10.0)
    queue.complete_quiet(10.0, 11.0)
    queue.advance(take(queue, State.COMPLETE), State.SENT, 12.0)
    queue.record(stored(2), 13.0)
    assert queue.drop("1.2", 14.0) == 1
    assert states(queue) == [(1, State.SENT), (2, State.DROPPED)]
    assert queue.every_slice("1.2") == [stored(1)]


def test_only_what_is_finished_for_long_is_tidied(queue: Queue) -> None:
    for study in ("1.2", "1.3", "1.4"):
        queue.record(stored(1, study=study), 10.0)
    queue.complete_quiet(10.0, 10.0)
    for state, when in ((State.SENT, 20.0), (State.SENT, 40.0)):
        queue.advance(take(queue, State.COMPLETE), state, when)
    assert queue.finished_before(30.0) == ["1.2"]
    queue.record(stored(2, study="1.2"), 25.0)
    assert queue.finished_before(30.0) == []


def test_a_later_queue_or_another_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "later") as later:
        later.execute("PRAGMA user_version = 2")
    later.close()
    with refused(InputError, "later: it has version 2", "version 1", "the Lungsight that made it"):
        Queue(tmp_path / "later")
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 20, "utf-8")
    with refused(InputError, "text: file is not a database", "version 1", "the Lungsight that made it"):
        Queue(tmp_path / "text")
