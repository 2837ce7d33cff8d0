"""A prediction for the Data Science Bowl 2017: a score for each patient's folder, as the contest's ``id,cancer``.

The contest is scored by log-loss, which punishes a sure mistake without bound: no score lies nearer to 0 or 1 than a
stated distance. Every patient needs one, so who could not be judged gets the mean of the others.
"""

from __future__ import annotations

import csv
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from lungsight.cohort.options import Failure, Options, Outcome, Study
from lungsight.cohort.run import plan_cohort
from lungsight.errors import OutputError
from lungsight.evaluate.diagnoses import read_diagnosis_scores
from lungsight.evaluate.tables import CONTEST_COLUMNS
from lungsight.train.dsb2017 import find_dsb2017_patients

__all__ = [
    "LEAST_SCORE",
    "UNKNOWN_SCORE",
    "Plan",
    "Submission",
    "plan_submission",
    "score_patients",
    "write_submission",
]

LEAST_SCORE = 0.02
"""The score of a patient in whom nothing was found, and the least of any; 1 less this is the greatest. A sure mistake
costs 3.9 of log-loss then (a score of 0 would cost 34.5), a sure hit 0.02."""
UNKNOWN_SCORE = 0.5
"""For those who could not be judged, if nobody could."""

_NO_LUNG = Failure(
    "NoLung", "a CT that shows no lung, so nothing was searched", "a chest CT", "Look at it with `lungsight info`."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be diagnosed, and where it goes.

    Attributes
    ----------
    table
        The prediction.
    folder
        Holds the diagnoses, so that a run that was broken off goes on there.
    studies
        The CTs, in the order of the table.
    """

    table: Path
    folder: Path
    studies: tuple[Study, ...]

    @property
    def failed_file(self) -> Path:
        """Tells whose scores are made up."""
        return self.table.with_name(f"{self.table.name}.failed.json")


@dataclass(frozen=True, slots=True)
class Submission:
    """A score for each patient.

    Attributes
    ----------
    score
        Patient -> 0 to 1, in the order of the folder.
    failures
        Those who could not be judged; their score is the mean of the others.
    """

    score: Mapping[str, float]
    failures: Mapping[str, Failure]


def plan_submission(root: Path, table: Path, options: Options, overwrite: bool) -> Plan:
    """Say which CTs are diagnosed, and refuse a table that may not be written.

    Parameters
    ----------
    root
        Holds ``<patient_id>/*.dcm``.
    table
        The prediction, not in `root`. Its diagnoses go to ``<table>.diagnoses`` beside it.
    options
        With `resume`: what that folder holds of the same system, weights and settings is used.
    overwrite
        Replace an earlier prediction.

    Raises
    ------
    InputError
        If `root` holds no patient's folder.
    OutputError
        If `table` exists and `overwrite` is False, lies in `root`, or the diagnoses cannot be written.
    """
    patients = find_dsb2017_patients(root)
    if table.exists() and not overwrite:
        raise OutputError(f"{table}, which exists", "a file that does not exist", "Add --overwrite or name another.")
    if table.resolve().is_relative_to(root.resolve()):
        found = f"{table}, which lies in {root}"
        raise OutputError(found, "another place: that folder holds patients", "Name a file elsewhere.")
    folder = table.with_name(f"{table.name}.diagnoses")
    planned = plan_cohort(list(patients.values()), folder, options)
    return Plan(table, folder, planned)


def score_patients(plan: Plan, outcomes: Sequence[Outcome]) -> Submission:
    """The scores of what was diagnosed.

    Parameters
    ----------
    plan
        Of :func:`plan_submission`.
    outcomes
        Of :func:`~lungsight.cohort.run.diagnose_cohort`, in the order of its studies.

    Returns
    -------
    Submission
        A patient without nodule has `LEAST_SCORE`. Whose CT could not be diagnosed, or shows no lung, has the mean
        score of the others, or if there are none `UNKNOWN_SCORE`.
    """
    failed = {each.study.folder.name: each.failure for each in outcomes if each.failure is not None}
    judged = read_diagnosis_scores(plan.folder).score if len(failed) < len(outcomes) else {}
    score, failures = dict[str, float](), dict[str, Failure]()
    for study in plan.studies:
        name = study.folder.name
        if name in failed or name not in judged:
            failures[study.source.name] = failed.get(name, _NO_LUNG)
        else:
            score[study.source.name] = min(max(judged[name], LEAST_SCORE), 1 - LEAST_SCORE)
    mean = sum(score.values()) / len(score) if score else UNKNOWN_SCORE
    in_order = {study.source.name: score.get(study.source.name, mean) for study in plan.studies}
    return Submission(in_order, failures)


def write_submission(plan: Plan, submission: Submission) -> None:
    """Write the table, and if somebody could not be judged ``<table>.failed.json``; each file whole or not at all.

    Raises
    ------
    OutputError
        If the disk refuses.
    """
    source_of = {study.source.name: str(study.source) for study in plan.studies}
    rows = [
        {"id": patient, "source": source_of[patient], "score": submission.score[patient], **asdict(failure)}
        for patient, failure in submission.failures.items()
    ]

    def write_table(file: IO[str]) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CONTEST_COLUMNS)
        writer.writerows((patient, f"{score:.6f}") for patient, score in submission.score.items())

    # The failures go first: a table whose made-up scores nobody tells of must not be there.
    if rows:
        _write(plan.failed_file, lambda file: json.dump(rows, file, indent=2))
    else:
        plan.failed_file.unlink(missing_ok=True)
    _write(plan.table, write_table)


def _write(path: Path, content: Callable[[IO[str]], None]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8", newline="") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        found = f"{path} cannot be written: {error.strerror or error}"
        raise OutputError(found, "a place with room and the right to write", "Free some space.") from error
