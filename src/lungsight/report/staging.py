"""A folder that appears whole or not at all, and never swallows a file that is not its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from lungsight.errors import OutputError

__all__ = ["check_folder", "remove_leftovers", "staged_folder"]

_NAMED_IN_ERRORS = 3
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>partial|old)", re.DOTALL)


def check_folder(folder: Path, overwrite: bool, owned: re.Pattern[str]) -> None:
    """Refuse a folder that a result may not be written to; for asking before a long computation.

    Parameters
    ----------
    folder
        Where the result shall be. It should not exist; its parents may be absent.
    overwrite
        An existing folder is accepted if all its files are of an earlier result.
    owned
        Matches (from start to end) the path, relative to the folder and with ``/``, of each file of a result.

    Raises
    ------
    OutputError
        If the folder exists and `overwrite` is False, if it holds other files, is itself a file or under one, or may
        not be written.
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            break
        if place.is_symlink() or place.exists():
            raise OutputError(f"{place} is a file", "a folder that does not exist yet", "Choose another folder.")
    holder = next((parent for parent in folder.absolute().parents if parent.is_dir()), folder)
    if not os.access(holder, os.W_OK | os.X_OK):
        raise OutputError(f"nothing may be written to {holder}", "the right to write there", "Choose another folder.")
    if not folder.exists():
        return
    if not overwrite:
        raise OutputError(
            f"the folder {folder} exists", "one that does not", "Choose another folder, or say --overwrite."
        )
    foreign = _foreign_files(folder, owned)
    if foreign:
        names = ", ".join(foreign[:_NAMED_IN_ERRORS]) + (", ..." if len(foreign) > _NAMED_IN_ERRORS else "")
        raise OutputError(
            f"the folder {folder} holds {len(foreign)} files that are not of a report: {names}",
            "an earlier report and nothing else",
            "Choose another folder: nothing was overwritten.",
        )


@contextlib.contextmanager
def staged_folder(folder: Path, overwrite: bool, owned: re.Pattern[str]) -> Iterator[Path]:
    """A temporary sibling to write to, which becomes `folder` when the block ends well and vanishes when it does not.

    Parameters
    ----------
    folder, overwrite, owned
        As in :func:`check_folder`. An earlier result goes only after the new one is complete.

    Yields
    ------
    Path
        An empty folder beside `folder`.

    Raises
    ------
    OutputError
        As :func:`check_folder`, or if the disk refuses.
    """
    folder = folder.resolve()
    check_folder(folder, overwrite, owned)
    absent = [parent for parent in folder.parents if not parent.exists()]
    staged = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir()
        yield staged
        # Someone may have put files there in the meantime.
        check_folder(folder, overwrite, owned)
        _swap(staged, folder)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        for parent in absent:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise OutputError(
                f"{folder} cannot be written: {error.strerror or error}",
                "a place with room and the right to write",
                "Choose another folder, or free some space.",
            ) from error
        raise


def remove_leftovers(parent: Path, names: Collection[str]) -> None:
    """Clear what :func:`staged_folder` left beside its folders when its process was killed.

    Parameters
    ----------
    parent
        Holds the folders; may be absent.
    names
        Of the folders, and of files written in the same way. Nobody may be writing to them. An earlier result that was
        just being replaced stands again.
    """
    if not parent.is_dir():
        return
    for path in sorted(parent.iterdir()):
        left = _LEFTOVER.fullmatch(path.name)
        if left is None or left["name"] not in names:
            continue
        folder = path.with_name(left["name"])
        if left["kind"] == "old" and not folder.exists():
            path.rename(folder)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _swap(staged: Path, folder: Path) -> None:
    if not folder.exists():
        staged.rename(folder)
        return
    old = staged.with_suffix(".old")
    folder.rename(old)
    try:
        staged.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _foreign_files(folder: Path, owned: re.Pattern[str]) -> list[str]:
    inside = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = [path.relative_to(folder).as_posix() for path in inside]
    return [name for name, path in zip(names, inside, strict=True) if path.is_symlink() or not owned.fullmatch(name)]
