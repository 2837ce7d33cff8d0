"""Rows 4 and 6: the program itself, from files to diagnosis.json, in a new process and in one that is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from benchmarks.speed.samples import Sample

HERE = Path(__file__).parent


class NotAvailableError(Exception):
    """The command line refuses; the message is its own."""


def diagnose(source: Path, out: Path, system: str = "windows") -> Sample:
    """``lungsight diagnose``, report off: seconds of the whole process and of each step, and its peak memory.

    Raises
    ------
    NotAvailableError
        If it exits with another code than 0.
    """
    program = Path(sys.executable).with_name("lungsight")
    asked = ["diagnose", str(source), "-o", str(out), "--system", system, "--no-report", "--overwrite"]
    command = [sys.executable, "-S", str(HERE / "launch.py"), str(program), *asked]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    measured = json.loads(done.stdout)
    if measured["exit"] != 0:
        raise NotAvailableError(" ".join(done.stderr.split()))
    steps = json.loads((out / "diagnosis.json").read_text("utf-8"))["provenance"]["seconds"]
    rest = measured["seconds"] - sum(steps.values())
    return {"seconds": measured["seconds"], "peak_mb": measured["peak_mb"], **steps, "start and write": rest}


def engine_of(out: Path) -> str:
    """What ran the network of the last diagnosis in a folder."""
    return str(json.loads((out / "diagnosis.json").read_text("utf-8"))["provenance"]["engine"])


class WarmProcess:
    """A process that has its network loaded and diagnoses one CT after the other."""

    def __init__(self, out: Path, system: str = "windows") -> None:
        command = [sys.executable, str(HERE / "warm.py"), str(out), system]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603

    def __enter__(self) -> WarmProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(timeout=60)

    def diagnose(self, source: Path) -> Sample:
        """Seconds from the files to diagnosis.json, and of each step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{source}\n")
        self._process.stdin.flush()
        sample: dict[str, float] = json.loads(self._process.stdout.readline())
        return sample
