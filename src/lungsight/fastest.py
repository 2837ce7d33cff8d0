"""The fastest engine and precision for a network here: measured once a machine, remembered in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from lungsight.engines import ENGINES, EngineChoice, OpenedNetwork, available_choices, open_onnx

__all__ = ["TOLERANCE", "open_fastest", "other_work"]

TOLERANCE = {"float32": math.inf, "bfloat16": 0.02, "int8": 0.05}
"""A precision is chosen only if no output on the probe differs more from float32: as a share of the largest output, or
of 1 where that is larger."""

_WORTH = 0.9
"""Another choice than the first must take less than this share of its time: noise shall not decide."""

_ROUNDS, _BUDGET_S = 5, 0.3
"""Each choice is timed so often, but no round begins after this time."""

_PROBE_SIDE_PX = 256
"""The probe has about as many pixels as a square of this side, not far from the lungs of a slice. A multiple of powers
of 2 suits U-Nets."""

_CPU_LINES = {
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features",
}  # fmt: skip
"""What /proc/cpuinfo tells of a kind of processor, on x86-64 and on arm64. The flags count: of virtual machines with
one model name some have bfloat16 and some do not."""


_ALONE = threading.RLock()


@contextlib.contextmanager
def other_work() -> Iterator[None]:
    """Let no engine be timed while this block runs: what other threads spend would count as the engine's.

    Networks may be opened meanwhile; one whose engine is not known yet waits for the end of the block.
    """
    with _ALONE:
        yield


def open_fastest(
    content: bytes,
    engine: str | None = None,
    precision: str | None = None,
    typical_shape: tuple[int, ...] | None = None,
    int8: bytes | None = None,
) -> OpenedNetwork:
    """Open a network on what runs it fastest here.

    Parameters
    ----------
    content
        An ONNX file.
    engine, precision
        Choose only among these; None for any. With both given, or with only one choice on this machine, nothing is
        measured.
    typical_shape
        ``(n, c, h, w)`` of a usual batch, for the timing; None for that of the network's input, about 256 x 256 pixels
        where it takes any size.
    int8
        An ONNX file of the same network in int8, if there is one.

    Returns
    -------
    OpenedNetwork
        The choice is remembered for this network, processor, number of threads and version of the engines. A cache that
        cannot be read or written is no error; it is measured again then.

    Raises
    ------
    InputError
        If nothing here is what `engine` and `precision` ask for.
    Exception
        The engine's own, if it cannot open the network.
    """
    key = _key(content, int8, engine, precision)
    place = _cache_file(key)
    choice = _remembered(place, key)

    def open_as(choice: EngineChoice) -> OpenedNetwork:
        return open_onnx(int8 if int8 is not None and choice.precision == "int8" else content, choice)

    if choice is not None:
        return open_as(choice)
    choices = available_choices(engine, precision, int8=int8 is not None)
    if len(choices) == 1:
        return open_as(choices[0])
    opened = {choice: open_as(choice) for choice in choices}
    shape = typical_shape or _typical_shape(opened[choices[0]].input_shape)
    with _ALONE:
        seconds = _time_choices(opened, _probe(shape))
    choice = _best(seconds)
    _remember(place, key, choice, seconds)
    return opened[choice]


def _typical_shape(input_shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """A batch of about the probe's pixels.

    Examples
    --------
    >>> _typical_shape((None, 1, None, None)), _typical_shape((None, 3, 64, 64))
    ((1, 1, 256, 256), (16, 3, 64, 64))
    """
    count, channels, *sides = input_shape
    sides_px = [side or _PROBE_SIDE_PX for side in sides]
    return (count or max(1, _PROBE_SIDE_PX**2 // math.prod(sides_px)), channels or 1, *sides_px)


def _probe(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Squares of lung and of tissue with some noise, as normalised CTs show them; always the same."""
    drawn = np.random.default_rng(0)
    side_px = 12
    squares = drawn.choice([0.1, 0.7], (*shape[:-2], *(-(-size // side_px) for size in shape[-2:])))
    image = squares.repeat(side_px, -2).repeat(side_px, -1)[..., : shape[-2], : shape[-1]]
    return (image + drawn.normal(0, 0.03, shape)).astype(np.float32)


def _time_choices(
    opened: Mapping[EngineChoice, OpenedNetwork], probe: NDArray[np.float32]
) -> dict[EngineChoice, float]:
    """Seconds of the quickest run of each, in turns; what disagrees with the first, the most exact, is left out."""
    answers = {choice: network.run(probe) for choice, network in opened.items()}  # the first run also warms up
    first = next(iter(answers.values()))
    largest = max(1.0, float(np.abs(first).max(initial=0)))
    agreeing = {
        choice: math.inf
        for choice, answer in answers.items()
        if answer is first or float(np.abs(answer - first).max(initial=0)) <= TOLERANCE[choice.precision] * largest
    }
    begun = time.perf_counter()
    for _ in range(_ROUNDS):
        for choice, quickest in agreeing.items():
            agreeing[choice] = min(quickest, _undisturbed_seconds(opened[choice], probe))
        if time.perf_counter() - begun > _BUDGET_S:
            break
    return agreeing


def _undisturbed_seconds(network: OpenedNetwork, probe: NDArray[np.float32]) -> float:
    """What a run would take if no other program ran.

    A clock on the wall tells more of a busy machine than of the engine. What the processors spent on this process,
    shared among them, does not; nor what was spent on this thread, which is more where the others had nothing to do.
    """
    spent, spent_here = time.process_time(), time.thread_time()
    network.run(probe)
    return max((time.process_time() - spent) / _threads(), time.thread_time() - spent_here)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _best(seconds: Mapping[EngineChoice, float]) -> EngineChoice:
    """The fastest; of those about as fast the earliest, which is the most exact.

    Examples
    --------
    >>> exact, rough = EngineChoice("openvino", "float32"), EngineChoice("openvino", "bfloat16")
    >>> str(_best({exact: 0.020, rough: 0.011})), str(_best({exact: 0.020, rough: 0.019}))
    ('openvino bfloat16', 'openvino float32')
    """
    least = min(seconds.values())
    return next(choice for choice, needed in seconds.items() if needed * _WORTH <= least)


def _key(content: bytes, int8: bytes | None, engine: str | None, precision: str | None) -> dict[str, Any]:
    """What a choice is good for. Asked without importing an engine, so the one that is not chosen is never loaded."""
    return {
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "int8_sha256": None if int8 is None else hashlib.sha256(int8).hexdigest(),
        "among": [engine, precision],
        "versions": {name: _version(name) for name in ENGINES},
        "cpu": _cpu(),
        "threads": _threads(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    of_first = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    told = {name.strip(): value.strip() for name, _, value in of_first if name.strip() in _CPU_LINES}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"{told.get('model name', platform.machine())} {digest[:16]}"


def _cache_file(key: Mapping[str, Any]) -> Path | None:
    """A file for each key, so that processes that measure at the same time do not lose each other's results."""
    folder = platformdirs.user_cache_path("lungsight", appauthor=False)
    if not folder.is_absolute():  # no home directory: "~" stays as it is
        return None
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / "engines" / f"{name[:32]}.json"


def _remembered(place: Path | None, key: Mapping[str, Any]) -> EngineChoice | None:
    if place is None:
        return None
    try:
        entry = json.loads(place.read_text("utf-8"))
        return EngineChoice(entry["engine"], entry["precision"]) if entry["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _remember(
    place: Path | None, key: Mapping[str, Any], choice: EngineChoice, seconds: Mapping[EngineChoice, float]
) -> None:
    if place is None:
        return
    milliseconds = {str(timed): round(1000 * needed, 2) for timed, needed in seconds.items()}
    entry = {"key": key, "engine": choice.engine, "precision": choice.precision, "milliseconds": milliseconds}
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.partial")
    with contextlib.suppress(OSError):  # a home that is read-only or full: it is measured again next time
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(entry, indent=1) + "\n", "utf-8")
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
