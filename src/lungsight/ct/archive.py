"""A zip becomes a temporary folder that is removed again, whatever happens."""

from __future__ import annotations

import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lungsight.errors import CorruptFileError, InputError

__all__ = ["is_zip", "unpacked"]

MAX_RATIO = 100
"""A zip may unpack to this many times its own size; CT packs to about a half."""

MAX_BYTES = 32 * 2**30
"""And to this much at all: some sixty thousand slices."""

MAX_MEMBERS = 100_000

_CHUNK_BYTES = 2**20


def is_zip(path: Path) -> bool:
    """Whether a file begins like a zip."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder a zip was unpacked to, as long as the context lasts. Zips inside the zip stay as they are.

    Parameters
    ----------
    path
        A zip file.

    Raises
    ------
    InputError
        If it is encrypted, packed in an unknown way, or refused: a member would lie outside the folder or is a link, or
        it holds more than 100 times its size, 32 GiB or 100,000 files. Sizes are counted while unpacking; what the
        zip's own directory says of them is not believed.
    CorruptFileError
        If it is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="lungsight-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, Path(folder), path)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise CorruptFileError(
                f"{path} is damaged: {error}", "a whole zip", "Copy or download it again."
            ) from error
        except (NotImplementedError, RuntimeError) as error:
            raise InputError(f"{path}: {error}", "a zip packed with deflate", "Pack it again.") from error
        yield Path(folder)


def _unpack(archive: zipfile.ZipFile, folder: Path, path: Path) -> None:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MAX_MEMBERS:
        raise _refusal(path, f"holds {len(members)} files", f"at most {MAX_MEMBERS}")
    limit = min(MAX_RATIO * path.stat().st_size, MAX_BYTES)
    total = 0
    for member in members:
        target = folder / _safe_name(member, path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("xb") as file:
                while chunk := source.read(_CHUNK_BYTES):
                    total += len(chunk)
                    if total > limit:
                        raise _refusal(
                            path, f"unpacks to more than {limit} bytes", f"at most {MAX_RATIO} times its size"
                        )
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise _refusal(path, f"holds {member.filename!r} twice", "each name once") from error


def _safe_name(member: zipfile.ZipInfo, path: Path) -> PurePosixPath:
    """The member's name below the folder."""
    if member.flag_bits & 0x1:
        raise InputError(f"{path} is encrypted", "a zip without a password", "Unpack it and give the folder.")
    name = PurePosixPath(member.filename.replace("\\", "/"))
    inside = "only files inside the folder it is unpacked to"
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", member.filename):
        raise _refusal(path, f"holds {member.filename!r}, which lies outside", inside)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _refusal(path, f"holds {member.filename!r}, a symbolic link", inside)
    return name


def _refusal(path: Path, found: str, expected: str) -> InputError:
    return InputError(f"{path} {found}", expected, "If you trust it, unpack it yourself and give the folder.")
