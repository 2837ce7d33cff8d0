from __future__ import annotations

import threading
from typing import Any

import pytest

from lungsight.cohort import study as of_study
from lungsight.cohort.options import Options
from lungsight.cohort.study import load_while
from lungsight.errors import CorruptFileError, WeightsError
from lungsight.fastest import other_work
from stub_system import StubSystem, load_without_weights

WAIT_S = 20


def test_the_system_is_loaded_while_something_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    loads, reads = threading.Event(), threading.Event()

    def load(options: Options) -> Any:
        loads.set()
        assert reads.wait(WAIT_S)
        return StubSystem(options.config)

    def read() -> str:
        assert threading.current_thread() is threading.main_thread()
        assert loads.wait(WAIT_S)
        reads.set()
        return "a CT"

    monkeypatch.setattr(of_study, "load_system", load)
    system, read_one = load_while(Options(), read)
    assert isinstance(system, StubSystem)
    assert read_one == "a CT"


def test_the_error_of_reading_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise CorruptFileError("a torn file", "a whole one", "Mend it.")

    monkeypatch.setattr(of_study, "load_system", load_without_weights)
    with pytest.raises(CorruptFileError, match="torn"):
        load_while(Options(), refuse)
    with pytest.raises(WeightsError, match="no network"):
        load_while(Options(), lambda: None)


def test_no_engine_is_timed_while_something_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = threading.Event()

    def time_engine() -> None:
        with other_work():  # who times waits as this does
            timed.set()

    def read() -> bool:
        threading.Thread(target=time_engine, daemon=True).start()
        return timed.wait(0.2)

    monkeypatch.setattr(of_study, "load_system", lambda options: StubSystem(options.config))
    _, while_reading = load_while(Options(), read)
    assert not while_reading
    assert timed.wait(WAIT_S)
