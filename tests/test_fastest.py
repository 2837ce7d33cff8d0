"""Choosing the fastest engine: what is measured, when it is not, and what the cache may hold. The engines are stubs."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from numpy.typing import NDArray

from lungsight import fastest
from lungsight.engines import EngineChoice, OpenedNetwork
from lungsight.fastest import open_fastest, other_work

EXACT = EngineChoice("openvino", "float32")
OTHER = EngineChoice("onnxruntime", "float32")
ROUGH = EngineChoice("openvino", "bfloat16")
ROUGHEST = EngineChoice("openvino", "int8")


def busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@dataclasses.dataclass
class Machine:
    """Its choices, how each spends its time, and what each answers. What was opened and run is written down."""

    work: dict[EngineChoice, Callable[[], None]]
    answers: dict[EngineChoice, float] = dataclasses.field(default_factory=dict)
    shape: tuple[int | None, ...] = (None, 1, 8, 8)
    opened: list[EngineChoice] = dataclasses.field(default_factory=list)
    asked: list[tuple[str | None, str | None]] = dataclasses.field(default_factory=list)
    batches: list[NDArray[np.float32]] = dataclasses.field(default_factory=list)

    def available_choices(
        self, engine: str | None, precision: str | None, *, int8: bool = False
    ) -> tuple[EngineChoice, ...]:
        self.asked.append((engine, precision))
        there = (choice for choice in self.work if int8 or choice.precision != "int8")
        return tuple(choice for choice in there if engine in {None, choice.engine})

    def open_onnx(self, content: bytes, choice: EngineChoice) -> OpenedNetwork:
        assert (content == b"whole numbers") == (choice.precision == "int8")
        self.opened.append(choice)

        def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            self.batches.append(batch)
            self.work[choice]()
            return np.full((1, 3), self.answers.get(choice, 0.5), np.float32)

        return OpenedNetwork(run, str(choice), self.shape, choice)


Install = Callable[[Machine], Machine]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Install:
    def install_it(machine: Machine) -> Machine:
        monkeypatch.setattr(fastest, "available_choices", machine.available_choices)
        monkeypatch.setattr(fastest, "open_onnx", machine.open_onnx)
        monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: cache)
        return machine

    return install_it


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def works(seconds: float) -> Callable[[], None]:
    return lambda: busy(seconds)


def two(exact_s: float = 0.004, rough_s: float = 0.001) -> Machine:
    return Machine({EXACT: works(exact_s), ROUGH: works(rough_s)})


def entries(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_the_fastest_is_measured_once_and_then_remembered(install: Install, cache: Path) -> None:
    machine = install(Machine({EXACT: works(0.004), OTHER: works(0.001), ROUGH: works(0.003)}))
    assert open_fastest(b"network").engine == "onnxruntime float32"
    assert machine.opened == [EXACT, OTHER, ROUGH]
    # One run each to warm up, then in turns.
    assert len(machine.batches) % 3 == 0
    assert len(machine.batches) >= 6
    assert len(entries(cache)) == 1

    for written in (machine.opened, machine.batches, machine.asked):
        written.clear()
    assert open_fastest(b"network").engine == "onnxruntime float32"
    assert (machine.opened, machine.batches, machine.asked) == ([OTHER], [], [])


def test_of_two_about_as_fast_the_more_exact_is_chosen(install: Install) -> None:
    install(two(0.0040, 0.0038))
    assert open_fastest(b"network").engine == str(EXACT)


def test_time_that_other_programs_took_does_not_count(install: Install) -> None:
    install(Machine({EXACT: lambda: time.sleep(0.15), OTHER: works(0.006)}))
    assert open_fastest(b"network").engine == str(EXACT)


@pytest.mark.parametrize(
    ("exact", "rough", "chosen"),
    [
        (0.5, 0.515, ROUGH),
        (0.5, 0.525, EXACT),
        (0.5, float("nan"), EXACT),
        (100.0, 101.5, ROUGH),  # 0.02 of the largest output is 2
        (100.0, 102.5, EXACT),
    ],
)
def test_bfloat16_must_agree_with_float32(install: Install, exact: float, rough: float, chosen: EngineChoice) -> None:
    machine = install(two())
    machine.answers = {EXACT: exact, ROUGH: rough}
    assert open_fastest(b"network").engine == str(chosen)


@pytest.mark.parametrize(("answer", "chosen"), [(0.54, ROUGHEST), (0.56, ROUGH)])
def test_int8_is_a_file_of_its_own_and_must_agree_with_float32(
    install: Install, cache: Path, answer: float, chosen: EngineChoice
) -> None:
    machine = install(Machine({EXACT: works(0.006), ROUGH: works(0.003), ROUGHEST: works(0.001)}, {ROUGHEST: answer}))
    assert open_fastest(b"network").engine == str(ROUGH)
    assert ROUGHEST not in machine.opened
    assert open_fastest(b"network", int8=b"whole numbers").engine == str(chosen)
    assert len(entries(cache)) == 2
    machine.opened.clear()
    assert open_fastest(b"network", int8=b"whole numbers").choice == chosen
    assert machine.opened == [chosen]


def test_with_one_choice_nothing_is_measured(install: Install, cache: Path) -> None:
    machine = install(Machine({EXACT: works(0.001), OTHER: works(0.0)}))
    assert open_fastest(b"network", "openvino", "float32").engine == str(EXACT)
    assert machine.asked == [("openvino", "float32")]
    assert (machine.opened, machine.batches, entries(cache)) == ([EXACT], [], [])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '"x"',
        "null",
        '{"engine": "openvino", "precision": "bfloat16"}',
        '{"key": {}, "engine": "openvino", "precision": "bfloat16"}',
        '{"key": KEY, "engine": "abacus", "precision": "float32"}',
        '{"key": KEY, "engine": ["openvino"], "precision": "float32"}',
        '{"key": KEY, "engine": "openvino"}',
    ],
)
def test_a_cache_that_cannot_be_used_is_written_anew(install: Install, cache: Path, content: str) -> None:
    machine = install(two())
    open_fastest(b"network")
    (place,) = entries(cache)
    good = json.loads(place.read_text("utf-8"))
    place.write_text(content.replace("KEY", json.dumps(good["key"])), "utf-8")
    machine.batches.clear()
    assert open_fastest(b"network").engine == str(ROUGH)
    assert machine.batches
    again = json.loads(place.read_text("utf-8"))
    assert {**again, "milliseconds": 0} == {**good, "milliseconds": 0}


def test_a_cache_of_bytes_is_no_error(install: Install, cache: Path) -> None:
    machine = install(two())
    open_fastest(b"network")
    (place,) = entries(cache)
    place.write_bytes(b"\xff\xfe\x00")
    machine.batches.clear()
    open_fastest(b"network")
    assert machine.batches


def changed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "99.0")


def changed_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(77), raising=False)


def changed_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def read_other(path: Path, encoding: str, errors: str | None = None) -> str:
        return "model name: other\nflags: fpu\n" if path == Path("/proc/cpuinfo") else read(path, encoding, errors)

    monkeypatch.setattr(Path, "read_text", read_other)


@pytest.mark.parametrize("change", [changed_version, changed_threads, changed_processor])
def test_another_machine_is_measured_anew(
    install: Install, cache: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    machine = install(two())
    open_fastest(b"network")
    change(monkeypatch)
    machine.batches.clear()
    open_fastest(b"network")
    assert machine.batches
    assert len(entries(cache)) == 2


def test_each_network_and_each_wish_is_measured_by_itself(install: Install, cache: Path) -> None:
    machine = install(two())
    for content, engine in ((b"network", None), (b"another", None), (b"network", "openvino")):
        machine.batches.clear()
        open_fastest(content, engine)
        assert machine.batches
    assert len(entries(cache)) == 3


def test_a_cache_that_cannot_be_written_is_no_error(install: Install, cache: Path) -> None:
    machine = install(two())
    cache.write_text("a file where the folder should be", "utf-8")
    for _ in range(2):
        machine.batches.clear()
        assert open_fastest(b"network").engine == str(ROUGH)
        assert machine.batches
    assert cache.read_text("utf-8").startswith("a file")


def test_without_a_home_nothing_is_written(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(two())
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: Path("~") / ".cache")
    monkeypatch.chdir(tmp_path)
    assert open_fastest(b"network").engine == str(ROUGH)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_leave_one_good_entry(install: Install, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = install(two(0.02, 0.0))
    both_written, replace, written = threading.Barrier(2, timeout=60), Path.replace, set[Path]()

    def replace_after_both(path: Path, target: Path) -> Path:
        both_written.wait()
        written.add(path)
        return replace(path, target)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(Path, "replace", replace_after_both)
        assert len(list(pool.map(open_fastest, [b"network"] * 2))) == 2
    assert len(written) == 2, "they wrote to one file"
    machine.batches.clear()
    open_fastest(b"network")
    assert machine.batches == []
    assert len(entries(cache)) == 1  # and no temporary file


@pytest.mark.parametrize(
    ("shape", "typical", "expected"),
    [
        ((None, 1, None, None), None, (1, 1, 256, 256)),
        ((None, 3, 64, 32), None, (32, 3, 64, 32)),
        ((4, 2, 512, 512), None, (4, 2, 512, 512)),
        ((None, 1, None, None), (5, 1, 68, 70), (5, 1, 68, 70)),
    ],
)
def test_the_probe_has_the_shape_of_a_usual_batch(
    install: Install, shape: tuple[int | None, ...], typical: tuple[int, ...] | None, expected: tuple[int, ...]
) -> None:
    machine = install(dataclasses.replace(two(), shape=shape))
    open_fastest(b"network", typical_shape=typical)
    assert {batch.shape for batch in machine.batches} == {expected}
    assert machine.batches[0].dtype == np.float32


def test_no_engine_is_timed_while_other_work_is_done(install: Install) -> None:
    machine = install(two())
    with ThreadPoolExecutor(1) as thread:
        with other_work():
            opening = thread.submit(open_fastest, b"network")
            while machine.opened != [EXACT, ROUGH]:
                time.sleep(0.001)
            time.sleep(0.05)
            assert machine.batches == []
        assert opening.result().engine == str(ROUGH)
