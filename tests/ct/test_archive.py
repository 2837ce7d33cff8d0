"""Zips, also those made to harm."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lungsight import read_ct
from lungsight.ct import archive as module
from lungsight.errors import CorruptFileError, InputError, IrregularSeriesError
from phantom import lopsided_body, thorax, write_series
from refusals import refused


def test_nested_zip_stays_a_file(tmp_path: Path) -> None:
    body = thorax((), (3, 64, 64))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in write_series(tmp_path / "files", body):
            archive.write(path, path.name)
        archive.writestr("inner.zip", b"PK\x03\x04")
    assert read_ct(tmp_path / "a.zip").shape == body.hu.shape


def test_error_inside_names_the_member_and_leaves_nothing(tmp_path: Path, nothing_left_behind: Path) -> None:
    paths = write_series(tmp_path / "files", lopsided_body((5, 40, 44)), shuffle=False)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (*paths[:2], *paths[3:]):
            archive.write(path, f"scan/{path.name}")
    with refused(IrregularSeriesError, r"\(scan/IM0001.dcm, scan/IM0003.dcm\) are 5.00 mm", "2.50", "again"):
        read_ct(tmp_path / "a.zip")
    assert list(nothing_left_behind.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../out.dcm", "a/../../out.dcm", "/out.dcm", "..\\out.dcm", "C:\\out.dcm", "c:out.dcm", "a/b/../../../x"]
)
def test_member_that_lies_outside(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("fine.dcm", b"x")
        archive.writestr(zipfile.ZipInfo(name), b"x" * 10)
    with refused(InputError, "which lies outside", "only files inside the folder", "If you trust it"):
        read_ct(tmp_path / "a.zip")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip"]


def test_symbolic_link(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("scan")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc")
    with refused(InputError, "holds 'scan', a symbolic link", "inside the folder", "unpack it yourself"):
        read_ct(tmp_path / "a.zip")


def test_bomb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(20 * 2**20))
    with refused(InputError, r"unpacks to more than \d+ bytes", "at most 100 times its size", "If you trust it"):
        read_ct(tmp_path / "a.zip")


def test_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    """The sizes in the zip's own directory say 100 bytes; the content is 20 MB."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(20 * 2**20))
    content = path.read_bytes().replace(struct.pack("<I", 20 * 2**20), struct.pack("<I", 100))
    path.write_bytes(content)
    with pytest.raises((InputError, CorruptFileError)):
        read_ct(path)


def test_absolute_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", os.urandom(600))
        archive.writestr("b", os.urandom(600))
    with refused(InputError, "unpacks to more than 1000 bytes", "at most", "If you trust it"):
        read_ct(tmp_path / "a.zip")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in "abc":
            archive.writestr(name, b"x")
    with refused(InputError, "holds 3 files", "at most 2", "If you trust it"):
        read_ct(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.dcm", b"x")
        archive.writestr("a.dcm", b"y")
    with refused(InputError, "holds 'a.dcm' twice", "each name once", "If you trust it"):
        read_ct(tmp_path / "a.zip")


def test_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"secret")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(bytes(content))
    with refused(InputError, "a.zip is encrypted", "without a password", "Unpack it and give the folder"):
        read_ct(path)


def test_unknown_packing(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"x")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + offset] = 97
    path.write_bytes(bytes(content))
    with refused(InputError, "a.zip: ", "packed with deflate", "Pack it again"):
        read_ct(path)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def altered(data: bytes) -> bytes:
    return data.replace(b"abcabc", b"abcabd", 1)


@pytest.mark.parametrize("spoil", [cut, altered])
def test_damaged(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"abcabc" * 100)
    path.write_bytes(spoil(path.read_bytes()))
    with refused(CorruptFileError, "a.zip is damaged", "a whole zip", "Copy or download"):
        read_ct(path)


def test_no_zip_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not a zip, whatever it is called" * 9)
    with refused(CorruptFileError, "a.zip is not a zip", "a whole zip", "Copy or download"):
        read_ct(tmp_path / "a.zip")
