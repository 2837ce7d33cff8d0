from __future__ import annotations

from pathlib import Path

import pytest

from lungsight.errors import CorruptFileError, InputError
from lungsight.train.truth import read_ct_truth, read_dsb2017, read_patient_ct, read_truth
from phantom import lopsided_body, series_uid, write_series
from refusals import refused

ANN, BEN, TEST = (
    "0015ceb851d7251b8f399e39779d1e7d",
    "0030a160d58723ff36d73f41b170ec21",
    "026470d51482c93efc18b9803159c960",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "stage1"
    for name in (BEN, TEST, ANN):
        write_series(root / name, lopsided_body(), series=name)
    return root


@pytest.mark.parametrize("place", [".", ".."])
def test_labels_lie_in_the_folder_or_beside_it(root: Path, place: str) -> None:
    (root / place / "stage1_labels.csv").write_text(f"id,cancer\n{ANN},1\n{BEN},0\n", "utf-8")
    patients = read_truth(root)
    assert [(p.patient_id, p.ct_path, p.label) for p in patients] == [
        (ANN, root / ANN, 1),
        (BEN, root / BEN, 0),
        (TEST, root / TEST, None),
    ]
    ct = read_patient_ct(patients[1])
    assert ct.series_uid == series_uid(BEN)
    assert read_ct_truth(patients[1], ct).nodules is None


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        (f"id,cancer\n{ANN},yes\n", CorruptFileError, "line 2: cancer is 'yes'"),
        ("id,cancer\nabc,1\n", InputError, "1 of 1 patients .* first abc"),
        ("id,label\n", InputError, "cancer is missing"),
        (None, InputError, "no stage1_labels.csv"),
    ],
)
def test_what_does_not_fit_is_refused(root: Path, text: str | None, kind: type[InputError], found: str) -> None:
    if text is not None:
        (root / "stage1_labels.csv").write_text(text, "utf-8")
    with refused(kind, found, ".", "."):
        read_dsb2017(root)
