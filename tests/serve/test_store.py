from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lungsight.errors import InputError, OutputError
from lungsight.serve.store import Store, Stored, is_uid
from refusals import refused


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


def test_what_is_written_is_there_whole(store: Store) -> None:
    stored = store.write("1.2", "1.2.3", b"meta", memoryview(b"data"))
    assert store.path_of(stored).read_bytes() == b"metadata"
    assert list(store.instances()) == [stored]
    assert (stored.study_uid, stored.sop_uid) == ("1.2", "1.2.3")


def test_file_and_folders_are_synchronised_before_it_returns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synchronised.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.name, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    stored = store.write("1.2", "1.2.3", b"", b"data")
    # The study's new folder in its parent; the file before it gets its name; its name in the folder.
    assert [(is_folder, name) for is_folder, name, _ in synchronised if is_folder] == [
        (True, "instances"),
        (True, "1.2"),
    ]
    assert [is_folder for is_folder, *_ in synchronised] == [True, False, True]
    synchronised.clear()
    assert store.write("1.2", "1.2.3", b"", b"data") == stored
    assert [name for _, name, _ in synchronised] == ["1.2"], "who sent it first may not have been answered yet"


def test_other_content_of_an_instance_is_another_file(store: Store) -> None:
    first, second = (store.write("1.2", "1.2.3", b"", content) for content in (b"one", b"two"))
    assert first.sop_uid == second.sop_uid
    assert [store.path_of(one).read_bytes() for one in (first, second)] == [b"one", b"two"]


@pytest.mark.parametrize("uid", ["", "..", ".", "1..2", "1.2/..", "../1", "1" * 65, "1.2\n", "１.2", "a"])
def test_no_path_is_made_of_what_is_no_uid(store: Store, uid: str) -> None:
    assert not is_uid(uid)
    for study_uid, sop_uid in ((uid, "1.2"), ("1.2", uid)):
        with pytest.raises(ValueError, match="no UIDs"):
            store.write(study_uid, sop_uid, b"", b"data")
    assert list(store.instances()) == []


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.1.1", "2.25." + "9" * 39, "1.02.3"])
def test_uids_are_recognised(uid: str) -> None:
    assert is_uid(uid)


def test_a_full_disk_leaves_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.write("1.2", "1.2.3", b"", b"data")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.write("1.2", "1.2.4", b"", b"data")
    assert list(store.instances()) == [kept]
    assert list((store.folder / "tmp").iterdir()) == []


def test_what_was_half_written_is_gone_after_a_start(store: Store) -> None:
    stored = store.write("1.2", "1.2.3", b"", b"data")
    (store.folder / "tmp" / "half").write_bytes(b"da")
    (store.folder / "tmp" / "work").mkdir()
    (store.folder / "tmp" / "work" / "half").write_bytes(b"da")
    store.close()
    again = Store(store.folder)
    assert list((store.folder / "tmp").iterdir()) == []
    assert list(again.instances()) == [stored]
    again.close()


def test_a_store_has_one_node(store: Store) -> None:
    with refused(InputError, f"another node works in {store.folder}", "a folder of its own", "Stop it"):
        Store(store.folder)
    store.close()
    Store(store.folder).close()


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with refused(OutputError, "store cannot be used: Not a directory", "may be written to", "--store"):
        Store(tmp_path / "file" / "store")


def test_a_work_folder_holds_these_slices_and_vanishes(store: Store) -> None:
    one = store.write("1.2", "1.2.3", b"", b"one")
    store.write("1.2", "1.2.4", b"", b"not of this version")
    with store.work_folders([one]) as (source, out):
        assert {path.name: path.read_bytes() for path in source.iterdir()} == {"1.2.3.dcm": b"one"}
        assert not out.exists()
        out.mkdir()
        (out / "sr.dcm").write_bytes(b"result")
        store.keep_results(out, "1.2", 1)
    assert not source.exists()
    assert [path.read_bytes() for path in store.results("1.2", 1)] == [b"result"]
    assert store.results("1.2", 2) == ()


def test_results_that_are_there_stay(store: Store, tmp_path: Path) -> None:
    for word in ("first", "second"):
        (tmp_path / word).mkdir()
        (tmp_path / word / "sr.dcm").write_text(word, "utf-8")
        store.keep_results(tmp_path / word, "1.2", 1)
    assert [path.read_text("utf-8") for path in store.results("1.2", 1)] == ["first"]


def test_deleted_slices_are_told(store: Store) -> None:
    slices = [store.write("1.2", f"1.2.{number}", b"", b"data") for number in range(3)]
    store.remove([slices[1], Stored("1.2", "1.2.9", "0" * 16)])
    with (
        refused(InputError, "1 of 3 slices are no longer", "all slices", "send the whole study again"),
        store.work_folders(slices),
    ):
        pass
