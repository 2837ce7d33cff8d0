"""Studies small enough to be sent by the dozen, and DCMTK's programs to send them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydicom import uid
from pydicom.dataset import Dataset

from lungsight.serve.entry import Entry, State
from lungsight.serve.node import Node
from orthanc import program
from phantom import Body, Edit, thorax, write_series

SLICES = 6


@dataclass(frozen=True)
class Study:
    """A study on disk; `paths` in the order of the slices."""

    uid: str
    paths: tuple[Path, ...]


def study_uid(word: str) -> str:
    return str(uid.generate_uid(entropy_srcs=["small study", word]))


def write_study(folder: Path, word: str, first_hu: int | None = None, edit: Edit | None = None) -> Study:
    """A study of its own for each word; `first_hu` is what its first voxel shows (see stub_diagnosis)."""
    body = _body()
    if first_hu is not None:
        hu = body.hu.copy()
        hu[0, 0, 0] = first_hu
        body = Body(hu, body.affine)

    def of_this_study(dataset: Dataset, index: int) -> None:
        dataset.StudyInstanceUID = study_uid(word)
        dataset.PatientID = word
        if edit is not None:
            edit(dataset, index)

    return Study(study_uid(word), write_series(folder / word, body, series=word, edit=of_this_study))


def storescu(
    port: int, paths: Sequence[Path], *options: str, called: str = "LUNGSIGHT"
) -> subprocess.CompletedProcess[str]:
    """Send files as DCMTK's storescu does; it stops at the first that is refused."""
    command = [program("storescu"), "-v", "-aec", called, *options, "localhost", str(port), *map(str, paths)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)  # noqa: S603


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def wait_for(node: Node, study: str, state: State, version: int = 1) -> Entry:
    """The study's entry, as soon as it has that state."""

    def there() -> list[Entry]:
        return [
            one for one in node.queue.entries() if (one.study_uid, one.version, one.state) == (study, version, state)
        ]

    wait_until(lambda: bool(there()), f"version {version} never became {state}: {node.queue.entries()}")
    return there()[0]


@cache
def _body() -> Body:
    return thorax(shape=(SLICES, 64, 64), spacing_zyx_mm=(5.0, 5.6, 5.6))
