"""What a run writes down: each network's measure by its own name, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from lungsight.train.fit import Told
from lungsight.train.journal import Journal


def test_each_measure_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    monkeypatch.setattr(Axes, "set_ylabel", lambda _axes, label: labels.append(label))
    lines: list[str] = []
    journal = Journal(tmp_path, (2, 1), lines.append)
    journal.stage(0)(Told(1, 2, 0.5, 0.25, "Dice", 100.0))
    journal.stage(0)(Told(2, 2, 0.4, 0.5, "Dice", 0.0, (0.6, 0.125), checkpoint=True))
    assert labels == ["loss", "Dice"]
    labels.clear()
    journal.stage(1)(Told(1, 1, 0.3, 0.75, "accuracy", 0.0, checkpoint=True))
    assert labels == ["loss", "Dice", "accuracy"]
    assert lines == [
        "stage 1/2: batch 1/2, loss 0.500, Dice 0.250, 2 min left in this stage",
        "stage 1/2: batch 2/2, loss 0.400, Dice 0.500, validation loss 0.600, Dice 0.125, 0 s left in this stage",
        "stage 2/2: batch 1/1, loss 0.300, accuracy 0.750, 0 s left in this stage",
    ]
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert written[1] == {
        "stage": 1,
        "batch": 2,
        "at": 2,
        "loss": 0.4,
        "Dice": 0.5,
        "validation_loss": 0.6,
        "validation_Dice": 0.125,
    }
    assert [record["at"] for record in written] == [1, 2, 3]
    # The lines of one network do not go on to the next one's.
    lengths: list[int] = []
    monkeypatch.setattr(Axes, "plot", lambda _axes, x, _y, **_: lengths.append(len(x)))
    monkeypatch.setattr(Axes, "legend", lambda _axes: None)
    journal.close()
    assert lengths == [2, 1, 1, 2, 1, 1]  # loss of both networks and aside, Dice and aside, accuracy
    # A resumed run tells again what it did since its checkpoint.
    Journal(tmp_path, (2, 1), lines.append).stage(1)(Told(1, 1, 0.3, 0.75, "accuracy", 0.0))
    assert len((tmp_path / "log.jsonl").read_text("utf-8").splitlines()) == 3
