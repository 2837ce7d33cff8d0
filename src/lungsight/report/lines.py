"""What the program says on a terminal: a few lines of text for a diagnosis, a series, an evaluation."""

from __future__ import annotations

from lungsight.ct.read import Inspection, SeriesInfo
from lungsight.evaluate.evaluation import Evaluation
from lungsight.evaluate.intervals import Estimate
from lungsight.evaluate.overlap import pool
from lungsight.findings import Diagnosis

__all__ = ["diagnosis_line", "evaluation_lines", "inspection_lines"]


def diagnosis_line(diagnosis: Diagnosis) -> str:
    """The verdict, the patient's score, how many nodules there are and where the best one lies."""
    parts = [] if diagnosis.malignancy_score is None else [f"score {diagnosis.malignancy_score:.2f}"]
    count = len(diagnosis.nodules)
    parts.append(f"{count or 'no'} nodule{'' if count == 1 else 's'}")
    if diagnosis.nodules:
        place = diagnosis.nodules[0].candidate.location
        instance = "" if place.instance_number is None else f" (instance {place.instance_number})"
        parts.append(f"best at slice {place.slice_index}{instance}, row {place.row:.1f}, column {place.column:.1f}")
    return f"{diagnosis.verdict.value}: {'; '.join(parts)}"


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """The one or two figures that matter most of each part, with their intervals; a line for each part."""
    lines = []
    if evaluation.patients is not None:
        accuracy, auc = evaluation.patients.table.accuracy, evaluation.patients.auc
        parts = f"accuracy {_figure(accuracy.wilson())}; AUC {_figure(auc)}"
        lines.append(f"{accuracy.hits} of {accuracy.of} patients right: {parts}")
    if evaluation.detection is not None:
        matches, cpm = evaluation.detection.matches, evaluation.detection.froc.cpm
        hit = sum(score > float("-inf") for score in matches.nodule_score.tolist())
        scans = len(matches.series_uids)
        lines.append(f"{hit} of {len(matches.nodules)} nodules hit in {scans} scans: CPM {_figure(cpm)}")
    if evaluation.overlap is not None:
        lesions = pool(evaluation.overlap.lesions)["all"]
        dice = _figure(Estimate(lesions.mean_dice))
        lines.append(f"{lesions.n_touched} of {lesions.n_lesions} lesions touched by a ROI: mean Dice {dice}")
    return lines


def inspection_lines(inspection: Inspection) -> list[str]:
    """Every series with its geometry, which would be diagnosed and why, and the warnings."""
    lines = []
    for series in inspection.series:
        mark = "*" if series == inspection.chosen else "-"
        lines += [f"{mark} {_series_line(series)}"]
        lines += [f"    {text}" for text in (series.uid, series.transfer_syntax) if text]
        lines += [] if series.usable else [f"    not a usable CT: {series.reason}"]
    chosen = inspection.chosen
    lines += [
        "",
        f"Would be diagnosed: {'none' if chosen is None else chosen.uid or 'the volume'}. {inspection.reason}",
    ]
    return lines + [f"warning: {warning}" for warning in inspection.warnings]


def _series_line(series: SeriesInfo) -> str:
    parts = [series.modality if series.series_number is None else f"{series.modality} series {series.series_number}"]
    if series.rows is not None and series.columns is not None:
        parts.append(f"{series.slices} slices of {series.rows} x {series.columns}")
    else:
        parts.append(f"{series.slices} files")
    spacing_mm = (series.slice_spacing_mm, series.row_spacing_mm, series.column_spacing_mm)
    if None not in spacing_mm:
        parts.append(" x ".join(f"{mm:.3f}" for mm in spacing_mm) + " mm")
    return ", ".join(parts + [text for text in (series.orientation, series.body_part) if text])


def _figure(estimate: Estimate) -> str:
    if estimate.value is None:
        return "not defined"
    interval = "" if estimate.low is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f}{interval}"
