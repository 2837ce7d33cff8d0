"""Scores for a contest: what is clipped, what is made up, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from lungsight.cohort.options import Failure, Options, Outcome
from lungsight.cohort.submission import LEAST_SCORE, UNKNOWN_SCORE, Plan, plan_submission, score_patients
from lungsight.errors import InputError, OutputError
from refusals import refused

FAILED = Failure("CorruptFileError", "half a file", "a whole one", "Send it again.")
SCORES = {"b": 0.5, "a": 0.999, "e": 0.001, "c": None, "d": "INDETERMINATE", "ct": "failed"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in SCORES:
        (tmp_path / "stage1" / name).mkdir(parents=True)
    (tmp_path / "stage1" / ".cache").mkdir()
    (tmp_path / "stage1" / "stage1_labels.csv").write_text("id,cancer\n")
    return tmp_path / "stage1"


def planned(root: Path) -> Plan:
    return plan_submission(root, root.parent / "submission.csv", Options(page=False, resume=True), overwrite=False)


def outcomes_of(plan: Plan, scores: Mapping[str, object]) -> list[Outcome]:
    """Write the diagnoses as the cohort would."""
    outcomes = []
    for study in plan.studies:
        said = scores[study.source.name]
        if said == "failed":
            outcomes.append(Outcome(study, failure=FAILED))
            continue
        verdict = said if isinstance(said, str) else "NO_NODULE" if said is None else "MALIGNANT"
        record = {"verdict": verdict, "nodules": [], "provenance": {}, "malignancy_score": said}
        study.folder.mkdir(parents=True)
        (study.folder / "diagnosis.json").write_text(json.dumps(record))
        outcomes.append(Outcome(study))
    return outcomes


def test_the_studies_are_the_folders_in_their_order(root: Path) -> None:
    plan = planned(root)
    assert [study.source.name for study in plan.studies] == ["a", "b", "c", "ct", "d", "e"]
    assert {study.folder.parent for study in plan.studies} == {root.parent / "submission.csv.diagnoses"}
    assert plan.failed_file == root.parent / "submission.csv.failed.json"


def test_scores_are_clipped_and_who_was_not_judged_has_the_mean(root: Path) -> None:
    plan = planned(root)
    submission = score_patients(plan, outcomes_of(plan, dict(SCORES)))
    # (0.98 + 0.5 + 0.02 + 0.02) / 4
    assert submission.score == pytest.approx({"a": 0.98, "b": 0.5, "c": 0.02, "ct": 0.38, "d": 0.38, "e": 0.02})
    assert list(submission.score) == ["a", "b", "c", "ct", "d", "e"]
    assert LEAST_SCORE == 0.02
    assert {name: failure.error for name, failure in submission.failures.items()} == {
        "ct": "CorruptFileError",
        "d": "NoLung",
    }


def test_an_older_diagnosis_of_a_ct_that_now_fails_is_not_taken(root: Path) -> None:
    plan = planned(root)
    outcomes = outcomes_of(plan, dict.fromkeys(SCORES, 0.9) | {"a": 0.5})
    outcomes[0] = Outcome(plan.studies[0], failure=FAILED)
    assert score_patients(plan, outcomes).score["a"] == pytest.approx(0.9)


def test_if_nobody_could_be_judged_all_are_unknown(root: Path) -> None:
    plan = planned(root)
    submission = score_patients(plan, outcomes_of(plan, dict.fromkeys(SCORES, "failed")))
    assert set(submission.score.values()) == {UNKNOWN_SCORE}
    assert list(submission.failures) == list(submission.score)


def test_what_cannot_be_planned_is_refused(root: Path) -> None:
    table, options = root.parent / "submission.csv", Options(page=False, resume=True)
    with refused(InputError, "nowhere, which is no folder", "patient_id", "Unpack"):
        plan_submission(root / "nowhere", table, options, overwrite=False)
    with refused(InputError, "no patient's folder", "patient_id", "Name the folder"):
        plan_submission(root / "a", table, options, overwrite=False)
    with refused(OutputError, "which lies in", "another place", "elsewhere"):
        plan_submission(root, root / "submission.csv", options, overwrite=False)
    table.write_text("id,cancer\n")
    with refused(OutputError, "which exists", "does not exist", "--overwrite"):
        plan_submission(root, table, options, overwrite=False)
    plan_submission(root, table, options, overwrite=True)
