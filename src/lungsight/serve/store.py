"""Files that survive: what `write` has returned from is on the disk, whole, under its name.

.. code-block:: text

    DIR/
    ├── queue.sqlite                            what is to be done (see queue.py)
    ├── instances/<study>/<instance>_<sha>.dcm  what was acknowledged; content never changes under a name
    ├── results/<study>/<version>/*.dcm         what is to be sent, or was
    ├── tmp/                                    what is being written; emptied at each start
    └── lock                                    held by the one node that works here
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lungsight.errors import InputError, OutputError

__all__ = ["Store", "Stored", "is_uid"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_INSTANCE = re.compile(r"(?P<sop_uid>[0-9.]+)_(?P<sha>[0-9a-f]{16})\.dcm")


def is_uid(text: str) -> bool:
    """Whether a text from outside is a UID (PS3.5, 9.1, leading zeros forgiven), and so may be part of a path."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance on disk.

    Attributes
    ----------
    study_uid, sop_uid
        Study Instance UID, SOP Instance UID.
    sha
        First 16 hexadecimal digits of the SHA-256 of its data set: the same instance with other content is another.
    """

    study_uid: str
    sop_uid: str
    sha: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.sop_uid}_{self.sha}.dcm"


class Store:
    """The folder of a node.

    Parameters
    ----------
    folder
        Made if absent.

    Raises
    ------
    InputError
        If another node works in it.
    OutputError
        If nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._instances = folder / "instances"
        self._results = folder / "results"
        self._tmp = folder / "tmp"
        self._making = threading.Lock()
        try:
            for place in (self._instances, self._results, self._tmp):
                place.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder / "lock")
            for left in self._tmp.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            for place in (self._instances, self._results, folder):
                _sync_folder(place)
        except OSError as error:
            what = f"the folder {folder} cannot be used: {error.strerror or error}"
            raise OutputError(what, "a folder that may be written to", "Choose another --store.") from error

    def close(self) -> None:
        """Let another node have the folder."""
        self._lock.close()

    def free_mb(self) -> float:
        """Space left on the disk, in units of a million bytes."""
        return shutil.disk_usage(self.folder).free / 1e6

    def write(self, study_uid: str, sop_uid: str, meta: bytes, dataset: bytes | memoryview) -> Stored:
        """Put an instance on the disk, and return when it is there: file and folder are synchronised.

        Parameters
        ----------
        study_uid, sop_uid
            Valid UIDs (see :func:`is_uid`).
        meta
            Preamble and file meta information.
        dataset
            The encoded data set.

        Raises
        ------
        ValueError
            If one is no UID.
        OSError
            If the disk refuses; nothing of it is left then.
        """
        if not (is_uid(study_uid) and is_uid(sop_uid)):
            raise ValueError(f"study {study_uid!r}, instance {sop_uid!r}: no UIDs")
        stored = Stored(study_uid, sop_uid, hashlib.sha256(dataset).hexdigest()[:16])
        path = self.path_of(stored)
        if path.exists():
            _sync_folder(path.parent)  # who sent it first may still be waiting for this
            return stored
        with self._making:
            _make_folder(path.parent)
        partial = self._tmp / uuid.uuid4().hex
        try:
            with partial.open("xb") as file:
                file.write(meta)
                file.write(dataset)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return stored

    def path_of(self, stored: Stored) -> Path:
        """Where an instance is, or would be."""
        return self._instances / stored.study_uid / stored.name

    def instances(self) -> Iterator[Stored]:
        """Every instance on the disk, as its name says."""
        for folder in self._instances.iterdir():
            for path in folder.iterdir():
                if match := _INSTANCE.fullmatch(path.name):
                    yield Stored(folder.name, match["sop_uid"], match["sha"])

    def remove(self, slices: Iterable[Stored]) -> None:
        """Delete instances; those that are gone already are passed over."""
        for stored in slices:
            self.path_of(stored).unlink(missing_ok=True)

    @contextlib.contextmanager
    def work_folders(self, slices: Sequence[Stored]) -> Iterator[tuple[Path, Path]]:
        """A folder with these slices and nothing else, and the name of one for results; both vanish afterwards.

        Raises
        ------
        InputError
            If a slice is no longer there.
        """
        work = self._tmp / uuid.uuid4().hex
        source = work / "ct"
        source.mkdir(parents=True)
        try:
            gone = 0
            for stored in slices:
                try:
                    (source / f"{stored.sop_uid}.dcm").hardlink_to(self.path_of(stored))
                except FileNotFoundError:
                    gone += 1
            if gone:
                raise InputError(
                    f"{gone} of {len(slices)} slices are no longer in the store",
                    "all slices of the study",
                    "They are deleted some days after the results were sent: send the whole study again, then retry.",
                )
            yield source, work / "results"
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def keep_results(self, written: Path, study_uid: str, version: int) -> None:
        """Move a folder of results to its place, durably; results that are there already stay."""
        for path in written.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(written)
        place = self._results / study_uid / str(version)
        if place.exists():
            return
        with self._making:
            _make_folder(place.parent)
        written.rename(place)
        _sync_folder(place.parent)

    def results(self, study_uid: str, version: int) -> tuple[Path, ...]:
        """The files of a version's results, by name; none if it has none."""
        place = self._results / study_uid / str(version)
        return tuple(sorted(place.glob("*.dcm"))) if place.is_dir() else ()


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir()
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk only after this (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> IO[str]:
    lock = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InputError(
            f"another node works in {path.parent}", "a folder of its own for each node", "Stop it, or name another."
        ) from error
    return lock
