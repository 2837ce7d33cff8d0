import os
import re
from pathlib import Path

import pytest

from lungsight.errors import OutputError
from lungsight.report.staging import check_folder, remove_leftovers, staged_folder

OWNED = re.compile(r"a\.txt|sub/\d+\.png")


def write(folder: Path, text: str, overwrite: bool = False) -> None:
    with staged_folder(folder, overwrite, OWNED) as staged:
        (staged / "a.txt").write_text(text)
        (staged / "sub").mkdir()
        (staged / "sub" / "1.png").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_folder_and_its_parents_appear_when_all_is_written(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "new" / "out", False, OWNED) as staged:
        assert staged.parent == tmp_path / "new"
        assert not (tmp_path / "new" / "out").exists()
        (staged / "a.txt").write_text("done")
    assert names(tmp_path) == ["new", "new/out", "new/out/a.txt"]
    assert (tmp_path / "new" / "out").stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777


def test_nothing_is_left_when_the_writing_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with staged_folder(tmp_path / "new" / "out", False, OWNED) as staged:
            (staged / "a.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == []


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="out exists") as caught:
        write(tmp_path / "out", "new")
    assert "--overwrite" in caught.value.remedy
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="empty exists"):
        check_folder(tmp_path / "empty", False, OWNED)


def test_an_earlier_result_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "sub" / "2.png").write_text("old")
    write(tmp_path / "out", "new", overwrite=True)
    assert names(tmp_path) == ["out", "out/a.txt", "out/sub", "out/sub/1.png"]
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


def test_the_earlier_result_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")

    def fail() -> None:
        with staged_folder(tmp_path / "out", True, OWNED):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device") as caught:
        fail()
    assert caught.value.expected
    assert "Choose another folder" in caught.value.remedy
    assert names(tmp_path) == ["out", "out/a.txt", "out/sub", "out/sub/1.png"]
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


def test_the_earlier_result_comes_back_when_the_renaming_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "out", "old")
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OutputError, match="Input/output error"):
        write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["out", "out/a.txt", "out/sub", "out/sub/1.png"]


@pytest.mark.parametrize("foreign", ["scan.dcm", "sub/notes.txt", "deep/er/a.txt"])
def test_files_that_are_not_ours_are_never_overwritten(tmp_path: Path, foreign: str) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out" / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / foreign).write_text("precious")
    with pytest.raises(OutputError, match="not of a report") as caught:
        write(tmp_path / "out", "new", overwrite=True)
    assert foreign in caught.value.found
    assert (tmp_path / "out" / foreign).read_text() == "precious"
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


def test_a_link_is_not_ours_even_under_our_name(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"a\.txt"):
        check_folder(tmp_path / "out", True, OWNED)


def test_a_file_put_there_meanwhile_is_not_lost(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")

    def meanwhile() -> None:
        with staged_folder(tmp_path / "out", True, OWNED):
            (tmp_path / "out" / "notes.txt").write_text("precious")

    with pytest.raises(OutputError, match=r"notes\.txt"):
        meanwhile()
    assert (tmp_path / "out" / "notes.txt").read_text() == "precious"


def test_a_folder_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match="file is a file"):
            check_folder(folder, True, OWNED)


def test_a_place_that_may_not_be_written_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def access(path: Path, mode: int) -> bool:
        asked.append((path, bool(mode & os.W_OK)))
        return False

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(OutputError, match="nothing may be written to"):
        check_folder(tmp_path / "new" / "out", False, OWNED)
    assert asked == [(tmp_path, True)]


def test_a_disk_that_refuses_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Path, *_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        write(tmp_path / "out", "new")


def test_what_a_killed_process_left_is_cleared_for_the_folders_named(tmp_path: Path) -> None:
    before = ["kept", ".a.0123abcd.partial", ".b.c.0123abcd.partial", ".a.note", ".other.0123abcd.partial"]
    for name in before:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    remove_leftovers(tmp_path, {"a", "b.c", "kept"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.note", ".other.0123abcd.partial", "kept"]
    remove_leftovers(tmp_path / "absent", {"a"})


def test_a_result_that_was_being_replaced_when_the_process_died_stands_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise SystemExit

    write(tmp_path / "out", "first")
    with monkeypatch.context() as killed:  # between the two renames, and without the cleaning up
        killed.setattr("shutil.rmtree", lambda *_, **__: None)
        rename = Path.rename
        killed.setattr(Path, "rename", lambda path, to: die() if path.suffix == ".partial" else rename(path, to))
        with pytest.raises(SystemExit):
            write(tmp_path / "out", "second", overwrite=True)
    assert not (tmp_path / "out").exists()
    remove_leftovers(tmp_path, {"out"})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "first"
    # Where the new one is there already, the old one goes.
    (tmp_path / ".out.0123abcd.old").mkdir()
    remove_leftovers(tmp_path, {"out"})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
