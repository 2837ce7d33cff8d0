from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lungsight.cohort import study as of_study
from lungsight.cohort.ahead import reading_ahead
from lungsight.cohort.options import Options, Outcome, Study
from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError
from lungsight.findings import Diagnosis
from samples import sample_ct
from stub_system import StubSystem

WAIT_S = 20


class Reader:
    """Reads CTs that are not there: the folder's name says what becomes of it."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.alive: list[weakref.ref[CTVolume]] = []
        self.most_alive = 0
        self.gate = threading.Event()

    def __call__(self, source: Path, _series_uid: str | None) -> CTVolume:
        self.began.append(source.name)
        if source.name == "held":
            assert self.gate.wait(WAIT_S)
        if source.name == "bad":
            raise InputError("a bad one", "a good one", "Throw it away.")
        ct = sample_ct()
        self.alive = [each for each in self.alive if each() is not None] + [weakref.ref(ct)]
        self.most_alive = max(self.most_alive, len(self.alive))
        return ct


class System(StubSystem):
    """Is slow: it takes until the reader has gone as far as it goes, `during` looks at it."""

    during: Callable[[], None] = staticmethod(lambda: None)

    def __call__(self, ct: CTVolume, *, progress: Callable[[str, float], None]) -> Diagnosis:
        self.during()
        return super().__call__(ct, progress=progress)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    one = Reader()
    monkeypatch.setattr(of_study, "read_ct", one)
    return one


def ignore(_step: str, _share: float) -> None: ...


def begin(
    system: Any, out: Path, *names: str, resume: bool = False, progress: Callable[[str, float], None] = ignore
) -> Iterator[Outcome]:
    with reading_ahead(system, Options(page=False, resume=resume), progress) as run:
        yield from run([Study(Path(name), out / f"{k}-{name}") for k, name in enumerate(names)])


def wait_until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(WAIT_S * 100):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it never came")


def test_while_a_ct_is_diagnosed_the_next_is_read_and_no_more(reader: Reader, tmp_path: Path) -> None:
    system = System()
    seen: list[tuple[str, ...]] = []

    def look() -> None:
        wait_until(lambda: len(reader.began) >= min(system.asked + 2, 4))  # what is diagnosed and the next
        threading.Event().wait(0.05)  # for one more, if that were read too
        seen.append(tuple(reader.began))

    system.during = look
    outcomes = list(begin(system, tmp_path, "a", "b", "c", "d"))
    assert [outcome.failure for outcome in outcomes] == [None] * 4
    assert [outcome.study.folder.name for outcome in outcomes] == ["0-a", "1-b", "2-c", "3-d"]
    assert seen == [("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d"), ("a", "b", "c", "d")]
    assert reader.most_alive == 2


def test_what_the_next_ct_fails_of_is_told_when_it_is_its_turn(reader: Reader, tmp_path: Path) -> None:
    system = System()
    system.during = lambda: wait_until(lambda: len(reader.began) >= min(system.asked + 2, 3))
    told = begin(system, tmp_path, "a", "bad", "c")
    first = next(told)
    assert (reader.began[:2], first.study.source.name, first.failure) == (["a", "bad"], "a", None)
    bad, last = told
    assert bad.failure is not None
    assert (bad.failure.error, bad.failure.found) == ("InputError", "a bad one")
    assert last.failure is None


def test_what_is_done_is_not_read(reader: Reader, tmp_path: Path) -> None:
    list(begin(StubSystem(), tmp_path, "a", "b"))
    reader.began.clear()
    outcomes = list(begin(StubSystem(), tmp_path, "a", "b", "c", resume=True))
    assert reader.began == ["c"]
    assert [bool(outcome.line) for outcome in outcomes] == [False, False, True]


@pytest.mark.parametrize("names", [("held", "a"), ("a", "held", "b")], ids=["reading", "diagnosing"])
def test_an_interrupt_waits_for_what_is_being_read_and_reads_no_more(
    reader: Reader, tmp_path: Path, names: tuple[str, ...]
) -> None:
    def interrupt(step: str, _share: float) -> None:
        if step == ("read" if names[0] == "held" else "detect"):
            wait_until(lambda: "held" in reader.began)
            threading.Timer(0.1, reader.gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(begin(StubSystem(), tmp_path, *names, progress=interrupt))
    assert reader.gate.is_set()
    assert reader.began == list(names[: names.index("held") + 1])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read")]
    assert list(tmp_path.iterdir()) == []


def test_filters_of_warnings_are_afterwards_what_they_were(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that each change them for a while, the one within the other and out before it."""
    inside, leave = threading.Event(), threading.Event()

    def read(source: Path, series_uid: str | None) -> CTVolume:
        if source.name == "a":
            return reader(source, series_uid)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inside.set()
            assert leave.wait(WAIT_S)
        return reader(source, series_uid)

    def write() -> None:
        if not leave.is_set():
            assert inside.wait(WAIT_S)
            with warnings.catch_warnings():
                leave.set()
                wait_until(lambda: "b" in reader.began)
                warnings.warn("an odd value in a header", stacklevel=1)

    monkeypatch.setattr(of_study, "read_ct", read)
    system = System()
    system.during = write
    before = list(warnings.filters)
    assert [outcome.failure for outcome in begin(system, tmp_path, "a", "b")] == [None, None]
    assert list(warnings.filters) == before
