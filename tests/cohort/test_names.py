from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungsight.cohort.names import name_studies


def names(*sources: str, **options: object) -> list[str]:
    return list(name_studies([Path(source) for source in sources], **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/LIDC-IDRI-0001", "LIDC-IDRI-0001"),
        ("/data/LIDC-IDRI-0001/", "LIDC-IDRI-0001"),
        ("/data/ann/CT", "ann"),
        ("/data/ann/ct.nii.gz", "ann"),
        ("/data/ann/dicom/ct", "ann"),
        ("/cd/DICOMDIR", "cd"),
        ("/data/1.2.840.113.nii", "1.2.840.113"),
        ("/data/1.2.840.113", "1.2.840.113"),
        ("/data/ann.mhd", "ann"),
        ("/data/ann.ZIP", "ann"),
        ("/data/x/../ann", "ann"),
        ("/data/.zip", ".zip"),
        ("/ct", "ct"),
        ("/", "ct"),
    ],
)
def test_a_name_is_the_last_part_that_says_whose_it_is(source: str, name: str) -> None:
    assert names(source) == [name]


def test_a_relative_path_is_named_like_the_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ann").mkdir()
    monkeypatch.chdir(tmp_path / "ann")
    assert name_studies([Path("ct")]) == {"ann": tmp_path / "ann" / "ct"}


def test_names_that_would_be_alike_get_what_stands_before_them() -> None:
    assert names("/d/a/s1", "/d/a/s2", "/d/b/s1") == ["a-s1", "s2", "b-s1"]
    # Two of these three are alike at two parts too.
    assert names("/x/a/s", "/y/a/s", "/x/b/s") == ["x-a-s", "y-a-s", "b-s"]
    # Upper and lower case are one name on some disks.
    assert names("/d/one/Ann", "/d/two/ann") == ["one-Ann", "two-ann"]
    # A longer name must not run into another input's own.
    assert names("/d/a/s", "/d/b/s", "/e/a-s") == ["d-a-s", "b-s", "e-a-s"]


def test_where_no_part_is_left_a_number_tells_them_apart() -> None:
    assert names("/ann", "/ann.zip", "/ann.nii") == ["ann", "ann-2", "ann-3"]


def test_the_same_input_twice_is_one() -> None:
    assert names("/d/ann", "/d/bob/../ann/", "/d/bob") == ["ann", "bob"]
    assert names() == []


def test_a_name_given_earlier_stays_with_its_input() -> None:
    known = {"scan": Path("/x/scan")}
    assert names("/y/scan", "/x/scan", known=known) == ["y-scan", "scan"]
    assert names("/y/scan", known=known) == ["y-scan"]
    assert names("/y/failed.json", "/failed.json", reserved=["failed.json"]) == ["y-failed.json", "failed.json-2"]


@given(st.lists(st.lists(st.sampled_from(["a", "A", "ct", "a-a", "b", "b.zip"]), min_size=1, max_size=4), max_size=8))
def test_no_two_inputs_ever_share_a_folder(paths: list[list[str]]) -> None:
    sources = [Path("/", *parts) for parts in paths]
    named = name_studies(sources)
    assert set(named.values()) == set(sources)
    assert len({name.casefold() for name in named}) == len(set(sources))
    assert all("/" not in name and name not in {"", ".", ".."} for name in named)
