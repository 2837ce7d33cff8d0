"""`lungsight diagnose --patient FILE --prior INPUT`, with a pipeline that finds the sample's nodule."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungsight import cli
from lungsight.config import Config
from lungsight.ct.volume import CTVolume
from lungsight.findings import Diagnosis, Growth
from phantom import Body, setting, write_series
from samples import MEASURED, malignant, sample_ct


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The days that the comparison was told; its answer is always the same growth."""
    told: list[int | None] = []

    def load(*_: object, **__: object) -> Any:
        return lambda ct, progress: malignant(ct)  # noqa: ARG005

    def compare(diagnosis: Diagnosis, _: CTVolume, __: CTVolume, days: int | None, config: Config) -> Diagnosis:
        assert config == Config()
        told.append(days)
        grown = dataclasses.replace(diagnosis.nodules[0], growth=Growth(MEASURED, days, 0.0, None))
        return dataclasses.replace(diagnosis, nodules=(grown,))

    monkeypatch.setattr("lungsight.pipeline.load_pipeline", load)
    monkeypatch.setattr("lungsight.prior.compare_with_prior", compare)
    return told


def scan(folder: Path, series: str, day: str) -> Path:
    ct = sample_ct()
    write_series(folder, Body(ct.hu.astype(np.int16), ct.affine), series=series, edit=setting(AcquisitionDate=day))
    return folder


def code_of(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["diagnose", *map(str, words)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def record(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "diagnosis.json").read_text("utf-8"))
    return read


def test_guidelines_are_applied_to_every_diagnosis(compared: list[int | None], tmp_path: Path) -> None:
    assert code_of(scan(tmp_path / "now", "1", "20260301"), "-o", tmp_path / "out") == 0
    guidelines = record(tmp_path / "out")["guidelines"]
    assert [each["guideline"] for each in guidelines] == [
        "Lung-RADS v2022",
        "Lung-RADS v2022",
        "Fleischner 2017",
        "Brock 2b (PanCan)",
    ]
    assert guidelines[-1]["result"] == "not computed"
    assert compared == []


def test_the_patient_s_file_is_used(compared: list[int | None], tmp_path: Path) -> None:
    patient = tmp_path / "patient.toml"
    patient.write_text(
        'age_years = 66\nsex = "male"\nfamily_history = false\nemphysema = true\n[nodules.1]\nspiculation = true\n'
    )
    assert code_of(scan(tmp_path / "now", "1", "20260301"), "--patient", patient, "-o", tmp_path / "out") == 0
    brock = record(tmp_path / "out")["guidelines"][-1]
    assert brock["result"].endswith(" %")
    assert brock["because"].endswith("spiculated, male, 66 years")
    assert compared == []


def test_a_patient_s_file_that_cannot_be_used_stops_before_the_computing(
    compared: list[int | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patient = tmp_path / "patient.toml"
    patient.write_text("shoe_size = 43\n")
    assert code_of(scan(tmp_path / "now", "1", "20260301"), "--patient", patient, "-o", tmp_path / "out") == 2
    assert "shoe_size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert compared == []


def test_the_days_since_the_earlier_ct_come_from_its_dates(compared: list[int | None], tmp_path: Path) -> None:
    now, then = scan(tmp_path / "now", "1", "20260301"), scan(tmp_path / "then", "2", "20251201")
    assert code_of(now, "--prior", then, "-o", tmp_path / "out") == 0
    assert compared == [90]
    told = record(tmp_path / "out")
    assert told["nodules"][0]["growth"]["days"] == 90
    assert "prior" in told["provenance"]["seconds"]
    assert told["guidelines"][1]["because"].endswith("stable")


@pytest.mark.parametrize(("day", "found"), [("20260302", "acquired 1 days after"), ("20260301", "two CTs of one day")])
def test_a_prior_that_is_not_earlier_is_refused(
    day: str, found: str, compared: list[int | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now, then = scan(tmp_path / "now", "1", "20260301"), scan(tmp_path / "then", "2", day)
    assert code_of(now, "--prior", then, "-o", tmp_path / "out") == 2
    assert found in capsys.readouterr().err
    assert compared == []
