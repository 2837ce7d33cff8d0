"""Predictions against the truth, an evaluation out; with a door for files of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lungsight.errors import InputError
from lungsight.evaluate.diagnoses import read_diagnosis_marks, read_diagnosis_scores
from lungsight.evaluate.froc import Froc, froc
from lungsight.evaluate.intervals import Bootstrap, Proportion, ignore_progress
from lungsight.evaluate.match import Finding, Matches, match_marks
from lungsight.evaluate.overlap import SIZE_CLASSES, LesionOverlap, size_class
from lungsight.evaluate.patients import PatientEvaluation, evaluate_patients
from lungsight.evaluate.tables import (
    PatientLabels,
    PatientScores,
    ScanFindings,
    ScanMarks,
    header_of,
    is_of_patients,
    read_luna16_findings,
    read_luna16_marks,
    read_patient_labels,
    read_patient_scores,
)

__all__ = [
    "DetectionEvaluation",
    "Evaluation",
    "OverlapEvaluation",
    "evaluate_files",
    "evaluate_marks",
    "evaluate_scores",
    "found_by_size",
    "read_marks",
    "read_scores",
]

_NAMED_IN_WARNINGS = 5


@dataclass(frozen=True, slots=True, eq=False)
class DetectionEvaluation:
    """How well nodules are found.

    Attributes
    ----------
    matches
        Marks and findings, matched.
    froc
        What comes of them.
    """

    matches: Matches
    froc: Froc


@dataclass(frozen=True, slots=True, eq=False)
class OverlapEvaluation:
    """How well the regions that were found cover the lesions.

    Attributes
    ----------
    findings
        The nodules whose voxels are known, of all scans; those of a scan without diagnosis included.
    lesions
        What each shares with the regions, as many.
    """

    findings: tuple[Finding, ...]
    lesions: tuple[LesionOverlap, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What predictions are worth, in the parts that the truth allows: of patients, detection or both.

    Attributes
    ----------
    patients
        How they are told apart; None without labels.
    detection
        How nodules are found; None if nobody marked any.
    overlap
        How regions cover them; None without regions on both sides.
    warnings
        What was missing or ignored, a sentence each.
    """

    patients: PatientEvaluation | None = None
    detection: DetectionEvaluation | None = None
    overlap: OverlapEvaluation | None = None
    warnings: tuple[str, ...] = ()

    @property
    def bootstrap(self) -> Bootstrap:
        """What the intervals were made with, the same in all parts."""
        if self.patients is not None:
            return self.patients.bootstrap
        return Bootstrap() if self.detection is None else self.detection.froc.bootstrap


def found_by_size(matches: Matches) -> dict[str, Proportion]:
    """Nodules that a mark of any score hits, of all, by size class; those of unknown size are ``"unknown"``.

    Examples
    --------
    >>> from lungsight.evaluate.match import Finding
    >>> missed = match_marks([], [Finding("1.2", (0.0, 0.0, 0.0), 8.0)], ["1.2"])
    >>> found_by_size(missed)["6-10 mm"]
    Proportion(hits=0, of=1)
    """
    names = ["unknown" if n.diameter_mm is None else size_class(n.diameter_mm).name for n in matches.nodules]
    found = (matches.nodule_score > float("-inf")).tolist()
    total = Counter(names)
    hits = Counter(name for name, hit in zip(names, found, strict=True) if hit)
    return {name: Proportion(hits[name], total[name]) for name in (*(c.name for c in SIZE_CLASSES), "unknown")}


def evaluate_files(
    predictions: Path,
    truth: Path,
    threshold: float,
    bootstrap: Bootstrap | None = None,
    progress: Callable[[str, float], None] = ignore_progress,
) -> Evaluation:
    """Measure predictions against the truth.

    Parameters
    ----------
    predictions
        A folder of diagnoses (``<patient_id>/diagnosis.json``), a CSV ``patient_id,score`` (or the contest's
        ``id,cancer``), or LUNA16's CSV.
    truth
        A CSV ``patient_id,label`` (or ``id,cancer``), or a folder with LUNA16's annotations and list of scans.
    threshold
        Of the patients' 2 x 2 table.
    bootstrap
        None takes its defaults.
    progress
        Told of the steps ``"read"`` and ``"bootstrap"``.

    Returns
    -------
    Evaluation
        A patient without prediction is wrong, the nodules of a scan without marks are missed; the warnings tell.

    Raises
    ------
    InputError
        If a file cannot be used, predictions are not of the kind the truth asks for, a patient is not in the truth, or
        no mark lies in a listed scan.
    """
    progress("read", 0.0)
    if truth.is_dir():
        findings = read_luna16_findings(truth)
        return evaluate_marks(read_marks(predictions, progress), findings, bootstrap, progress)
    labels = read_patient_labels(truth)
    return evaluate_scores(read_scores(predictions, progress), labels, threshold, bootstrap, progress)


def read_scores(predictions: Path, progress: Callable[[str, float], None] = ignore_progress) -> PatientScores:
    """The score of each patient: of a folder of diagnoses, or of a CSV ``patient_id,score``.

    Raises
    ------
    InputError
        If it cannot be used, or it is a table of marks.
    """
    if predictions.is_dir():
        scores = read_diagnosis_scores(predictions, progress)
    elif "seriesuid" in header_of(predictions):
        remedy = "Give scores of patients, or a truth in which nodules are marked."
        raise InputError(f"{predictions}: marks in scans", "scores of patients, as the truth is of patients", remedy)
    else:
        scores = read_patient_scores(predictions)
    progress("read", 1.0)
    return scores


def read_marks(predictions: Path, progress: Callable[[str, float], None] = ignore_progress) -> ScanMarks:
    """The marks in each scan: of a folder of diagnoses, or of LUNA16's CSV.

    Raises
    ------
    InputError
        If it cannot be used, or it is a table of patients.
    """
    if predictions.is_dir():
        marks = read_diagnosis_marks(predictions, progress)
    elif is_of_patients(header_of(predictions)):
        remedy = "Give marks in scans, or a truth with labels of patients."
        raise InputError(f"{predictions}: scores of patients", "marks in scans, as the truth is of nodules", remedy)
    else:
        marks = read_luna16_marks(predictions)
    progress("read", 1.0)
    return marks


def evaluate_scores(
    scores: PatientScores,
    truth: PatientLabels,
    threshold: float,
    bootstrap: Bootstrap | None = None,
    progress: Callable[[str, float], None] = ignore_progress,
) -> Evaluation:
    """Measure the scores of patients; arguments and result as in :func:`evaluate_files`.

    Raises
    ------
    InputError
        If a patient is not in the truth.
    """
    unknown = [patient for patient in scores.score if patient not in truth.label]
    if unknown:
        found = f"{len(unknown)} predictions are of patients who are not in the truth: {_some(unknown)}"
        remedy = "Add their labels to the truth, or take them out of the predictions."
        raise InputError(found, f"predictions for the {len(truth.label)} patients of the truth", remedy)
    result = evaluate_patients(truth.label, scores.score, threshold, bootstrap, progress)
    warnings = scores.warnings
    if result.missing:
        warnings += (
            f"{len(result.missing)} of {len(truth.label)} patients have no prediction and count as wrong: "
            f"{_some(result.missing)}.",
        )
    for kind, of in (("malignant", result.table.sensitivity.of), ("benign", result.table.specificity.of)):
        if not of:
            warnings += (f"No patient is {kind}: what needs both kinds is not defined.",)
    return Evaluation(patients=result, warnings=warnings)


def evaluate_marks(
    marks: ScanMarks,
    truth: ScanFindings,
    bootstrap: Bootstrap | None = None,
    progress: Callable[[str, float], None] = ignore_progress,
) -> Evaluation:
    """Measure marks in scans; arguments and result as in :func:`evaluate_files`.

    Raises
    ------
    InputError
        If no mark lies in a listed scan.
    """
    listed = set(truth.series_uids)
    strange = sorted({mark.series_uid for mark in marks.marks} - listed)
    if strange and not any(mark.series_uid in listed for mark in marks.marks):
        found = f"all marks lie in scans that the truth does not list: {_some(strange)}"
        raise InputError(found, f"marks in the {len(listed)} listed scans", "Check that both name the same series.")
    result = match_marks(marks.marks, truth.findings, truth.series_uids)
    warnings = truth.warnings + marks.warnings
    if strange:
        warnings += (f"The truth does not list {len(strange)} scans with marks; they are ignored: {_some(strange)}.",)
    absent = [] if marks.series_uids is None else [uid for uid in truth.series_uids if uid not in marks.series_uids]
    if absent:
        warnings += (f"{len(absent)} of {len(listed)} scans have no diagnosis, all is missed there: {_some(absent)}.",)
    if not result.nodules:
        warnings += ("There is no nodule in the listed scans: sensitivity and CPM are not defined.",)
    if result.n_over_limit:
        warnings += (f"{result.n_over_limit} marks were dropped in scans with more than the rules allow.",)
    return Evaluation(detection=DetectionEvaluation(result, froc(result, bootstrap, progress)), warnings=warnings)


def _some(names: tuple[str, ...] | list[str]) -> str:
    more = ", ..." if len(names) > _NAMED_IN_WARNINGS else ""
    return ", ".join(names[:_NAMED_IN_WARNINGS]) + more
