"""An evaluation as figures: a record for machines, tables for a paper and a page, plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lungsight.evaluate.evaluation import DetectionEvaluation, Evaluation, OverlapEvaluation, found_by_size
from lungsight.evaluate.froc import FP_RATES
from lungsight.evaluate.intervals import Estimate, Proportion
from lungsight.evaluate.match import MAX_MARKS_PER_SCAN, UNKNOWN_DIAMETER_MM
from lungsight.evaluate.overlap import pool
from lungsight.evaluate.patients import PatientEvaluation
from lungsight.evaluate.roc import Table
from lungsight.report.plots import Axis, Band, Line, Plot

__all__ = ["FigureTable", "evaluation_plots", "evaluation_record", "evaluation_tables"]

_UNIT_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_RATE_NAMES = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


@dataclass(frozen=True, slots=True)
class FigureTable:
    """A table of text: a title, the names of the columns, and rows of as many cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def evaluation_record(evaluation: Evaluation, version: str) -> dict[str, Any]:
    """Every number of an evaluation as plain dicts, lists, strings and numbers; None where one is not defined."""
    patients, detection, overlap = evaluation.patients, evaluation.detection, evaluation.overlap
    return {
        "version": version,
        "patients": None if patients is None else _patient_record(patients),
        "detection": None if detection is None else _detection_record(detection),
        "overlap": None if overlap is None else _overlap_record(overlap),
        "warnings": list(evaluation.warnings),
    }


def evaluation_tables(evaluation: Evaluation) -> tuple[FigureTable, ...]:
    """The figures as a paper prints them: three decimals and 95 % intervals; a dash where one is not defined."""
    return (
        *(_patient_tables(evaluation.patients) if evaluation.patients else ()),
        *(_detection_tables(evaluation.detection) if evaluation.detection else ()),
        *((_overlap_table(evaluation.overlap),) if evaluation.overlap else ()),
    )


def evaluation_plots(evaluation: Evaluation) -> tuple[Plot, ...]:
    """ROC, operating points and reliability of patients; FROC of detection. Empty if there is nothing to draw."""
    return (
        *(_patient_plots(evaluation.patients) if evaluation.patients else ()),
        *(_detection_plots(evaluation.detection) if evaluation.detection else ()),
    )


def _patient_record(result: PatientEvaluation) -> dict[str, Any]:
    curve = result.curve
    return {
        "n_patients": len(result.patient_ids),
        "n_malignant": int(result.label.sum()),
        "missing": list(result.missing),
        "bootstrap": asdict(result.bootstrap),
        "at_threshold": {"threshold": result.threshold, **_table_record(result.table)},
        "auc": asdict(result.auc),
        "roc": {
            "thresholds": _finite(curve.thresholds),
            "sensitivity": _finite(curve.sensitivity),
            "false_positive_rate": _finite(curve.false_positive_rate),
        },
        "operating_points": [
            {"threshold": point.threshold, **_table_record(point.table)} for point in result.operating_points
        ],
        "calibration": asdict(result.calibration),
        "cases": [
            {"patient_id": patient, "label": int(label), "score": score}
            for patient, label, score in zip(
                result.patient_ids, result.label.tolist(), _finite(result.score), strict=True
            )
        ],
    }


def _detection_record(result: DetectionEvaluation) -> dict[str, Any]:
    matches, froc = result.matches, result.froc
    return {
        "rules": {"max_marks_per_scan": MAX_MARKS_PER_SCAN, "unknown_diameter_mm": UNKNOWN_DIAMETER_MM},
        "n_scans": len(matches.series_uids),
        "n_nodules": len(matches.nodules),
        "n_found": int(np.isfinite(matches.nodule_score).sum()),
        "n_marks": matches.n_marks,
        "n_false": len(matches.false_score),
        "n_on_excluded": matches.n_on_excluded,
        "n_repeated": matches.n_repeated,
        "n_over_limit": matches.n_over_limit,
        "bootstrap": asdict(froc.bootstrap),
        "cpm": asdict(froc.cpm),
        "sensitivity_at": [
            {"fp_per_scan": rate, **asdict(estimate)}
            for rate, estimate in zip(FP_RATES, froc.sensitivity_at, strict=True)
        ],
        "found_by_size": {name: _share_record(share) for name, share in found_by_size(matches).items()},
        "froc": {
            "thresholds": _finite(froc.curve.thresholds),
            "fp_per_scan": _finite(froc.curve.fp_per_scan),
            "sensitivity": _finite(froc.curve.sensitivity),
        },
        "nodules": [
            {
                "series_uid": nodule.series_uid,
                "centre_lps_mm": list(nodule.centre_lps_mm),
                "diameter_mm": nodule.diameter_mm,
                "score": score,
            }
            for nodule, score in zip(matches.nodules, _finite(matches.nodule_score), strict=True)
        ],
    }


def _overlap_record(result: OverlapEvaluation) -> dict[str, Any]:
    return {
        "by_size": {name: asdict(pooled) for name, pooled in pool(result.lesions).items()},
        "lesions": [
            {
                "series_uid": finding.series_uid,
                "centre_lps_mm": list(finding.centre_lps_mm),
                **asdict(lesion),
                "dice": lesion.dice,
            }
            for finding, lesion in zip(result.findings, result.lesions, strict=True)
        ],
    }


def _table_record(table: Table) -> dict[str, Any]:
    shares = {name: _share_record(share) for name, share in _shares(table).items()}
    return {**asdict(table), **shares}


def _share_record(share: Proportion) -> dict[str, Any]:
    return {**asdict(share.wilson()), "hits": share.hits, "of": share.of}


def _shares(table: Table) -> Mapping[str, Proportion]:
    return {"accuracy": table.accuracy, "sensitivity": table.sensitivity, "specificity": table.specificity}


def _finite(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _patient_tables(result: PatientEvaluation) -> tuple[FigureTable, ...]:
    table, calibration = result.table, result.calibration
    n = f"{len(result.patient_ids)} patients"
    figures = [("AUC", *_cells(result.auc), n)]
    figures += [
        (name.capitalize(), *_cells(share.wilson()), f"{share.hits} of {share.of}")
        for name, share in _shares(table).items()
    ]
    figures += [
        ("Brier score", _cell(calibration.brier_score), "", n),
        ("Expected calibration error", _cell(calibration.expected_calibration_error), "", n),
        ("Log-loss", _cell(calibration.log_loss), "", n),
    ]
    points = [
        (f"{point.threshold:.2f}", *(_cell(share.value) for share in _shares(point.table).values()))
        for point in result.operating_points
    ]
    return (
        FigureTable(f"Patients, at a threshold of {result.threshold:g}", _FIGURE_COLUMNS, tuple(figures)),
        FigureTable(
            "What was called against what is",
            ("", "Malignant", "Benign"),
            (
                ("Called malignant", str(table.true_positives), str(table.false_positives)),
                ("Not called malignant", str(table.false_negatives), str(table.true_negatives)),
            ),
        ),
        FigureTable("As the threshold moves", ("Threshold", "Accuracy", "Sensitivity", "Specificity"), tuple(points)),
    )


_FIGURE_COLUMNS = ("Figure", "Value", "95 % interval", "Cases")


def _detection_tables(result: DetectionEvaluation) -> tuple[FigureTable, ...]:
    matches, froc = result.matches, result.froc
    n = f"{len(matches.nodules)} nodules, {len(matches.series_uids)} scans"
    figures = [("CPM", *_cells(froc.cpm), n)]
    figures += [
        (f"Sensitivity at {name} false positives per scan", *_cells(estimate), n)
        for name, estimate in zip(_RATE_NAMES, froc.sensitivity_at, strict=True)
    ]
    sizes = [
        (name, *_cells(share.wilson()), f"{share.hits} of {share.of}")
        for name, share in found_by_size(matches).items()
        if share.of
    ]
    marks = [
        ("Nodules hit", str(int(np.isfinite(matches.nodule_score).sum()))),
        ("Nodules missed", str(int(np.isinf(matches.nodule_score).sum()))),
        ("Marks", str(matches.n_marks)),
        ("Marks on nothing (false)", str(len(matches.false_score))),
        ("Marks on excluded findings (dropped)", str(matches.n_on_excluded)),
        ("Marks on a nodule that a better one hits (dropped)", str(matches.n_repeated)),
        (f"Marks beyond {MAX_MARKS_PER_SCAN} in a scan (dropped)", str(matches.n_over_limit)),
    ]
    return (
        FigureTable("Detection, by the rules of LUNA16", _FIGURE_COLUMNS, tuple(figures)),
        FigureTable("Nodules hit by any mark, by size", _FIGURE_COLUMNS, tuple(sizes)),
        FigureTable("Marks", ("What", "Number"), tuple(marks)),
    )


def _overlap_table(result: OverlapEvaluation) -> FigureTable:
    rows = [
        (name, str(of.n_lesions), str(of.n_touched), _cell(of.mean_dice), _cell(of.dice))
        for name, of in pool(result.lesions).items()
        if of.n_lesions or name == "all"
    ]
    columns = ("Size", "Lesions", "Touched by a ROI", "Mean Dice per lesion", "Dice of the summed volumes")
    return FigureTable("Overlap of ROI and lesion, by size", columns, tuple(rows))


def _patient_plots(result: PatientEvaluation) -> tuple[Plot, ...]:
    thresholds = [point.threshold for point in result.operating_points]
    styles = ("third", "main", "second")
    moved = [
        Line(name, thresholds, _values([_shares(point.table)[name] for point in result.operating_points]), style)
        for style, name in zip(styles, ("accuracy", "sensitivity", "specificity"), strict=True)
    ]
    bins = np.array([(b.mean_score, b.malignant_share) for b in result.calibration.bins if b.n]).reshape(-1, 2)
    curve = Line("ROC", result.curve.false_positive_rate, result.curve.sensitivity)
    reliability = Line("patients", bins[:, 0], bins[:, 1], points=True)
    share = Axis("Share that is malignant", _UNIT_TICKS)
    return (
        Plot("ROC curve", Axis("1 - specificity", _UNIT_TICKS), Axis("Sensitivity", _UNIT_TICKS), [_CHANCE, curve]),
        Plot("As the threshold moves", Axis("Threshold", _UNIT_TICKS), Axis("Share", _UNIT_TICKS), moved),
        Plot("Reliability", Axis("Mean score of the bin", _UNIT_TICKS), share, [_DIAGONAL, reliability]),
    )


_CHANCE = Line("chance", (0.0, 1.0), (0.0, 1.0), "guide")
_DIAGONAL = Line("calibrated", (0.0, 1.0), (0.0, 1.0), "guide")


def _detection_plots(result: DetectionEvaluation) -> tuple[Plot, ...]:
    froc = result.froc
    if froc.cpm.value is None:
        return ()
    rates = froc.band_fp_per_scan
    low, high = (np.array([getattr(e, end) for e in froc.band], np.float64) for end in ("low", "high"))
    x_axis = Axis("False positives per scan", FP_RATES, _RATE_NAMES, log=True)
    curve = Line("FROC", rates, froc.curve.at(rates))
    at = Line("", FP_RATES, froc.curve.at(np.array(FP_RATES)), points=True, joined=False)
    return (Plot("FROC curve", x_axis, Axis("Sensitivity", _UNIT_TICKS), [curve, at], Band(rates, low, high)),)


def _values(shares: Sequence[Proportion]) -> list[float]:
    return [math.nan if share.value is None else share.value for share in shares]


def _cells(estimate: Estimate) -> tuple[str, str]:
    if estimate.low is None or estimate.high is None:
        return _cell(estimate.value), ""
    return _cell(estimate.value), f"{estimate.low:.3f} to {estimate.high:.3f}"


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
