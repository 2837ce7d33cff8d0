"""A diagnosis as the JSON that machines read, and its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from lungsight.findings import Diagnosis, Growth, Measurements, Nodule

__all__ = ["diagnosis_record", "diagnosis_schema", "diagnosis_to_json"]

_DECIMALS = 3
"""Of mm, pixels and seconds: a micrometre, a thousandth of a pixel, a millisecond."""


def diagnosis_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``diagnosis.json``, as shipped in the package.

    Examples
    --------
    >>> sorted(diagnosis_schema()["required"])
    ['guidelines', 'malignancy_score', 'nodules', 'provenance', 'system', 'verdict', 'warnings']
    """
    schema: dict[str, Any] = json.loads(files("lungsight.report").joinpath("diagnosis.schema.json").read_text("utf-8"))
    return schema


def diagnosis_record(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as plain dicts, lists, strings and numbers.

    Parameters
    ----------
    diagnosis
        Without nodules ``"nodules"`` is empty and the score None.

    Returns
    -------
    dict
        As described by :func:`diagnosis_schema`. Scores are exact, so that they stay on their side of a threshold;
        mm, pixels and seconds are rounded to three decimals. From anything but DICOM, the DICOM fields are None.
    """
    provenance = diagnosis.provenance
    return {
        "verdict": diagnosis.verdict.value,
        "malignancy_score": None if diagnosis.malignancy_score is None else float(diagnosis.malignancy_score),
        "system": diagnosis.system,
        "nodules": [_nodule_record(nodule) for nodule in diagnosis.nodules],
        "provenance": {
            "series_uid": provenance.series_uid,
            "version": provenance.version,
            "weights_sha256": provenance.weights_sha256,
            "engine": provenance.engine,
            "config": _plain(provenance.config),
            "seconds": {step: _rounded(seconds) for step, seconds in provenance.seconds.items()},
        },
        "warnings": list(diagnosis.warnings),
        "guidelines": [
            {
                "guideline": each.guideline,
                "nodule": each.nodule,
                "result": each.result,
                "because": each.because,
                "unknown": list(each.unknown),
            }
            for each in diagnosis.guidelines
        ],
    }


def diagnosis_to_json(diagnosis: Diagnosis) -> str:
    """The text of ``diagnosis.json``.

    Raises
    ------
    ValueError
        If a number is not finite: JSON has no word for it.
    """
    return json.dumps(diagnosis_record(diagnosis), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _nodule_record(nodule: Nodule) -> dict[str, Any]:
    candidate, location = nodule.candidate, nodule.candidate.location
    return {
        "centre_lps_mm": [_rounded(mm) for mm in location.lps_mm],
        "slice_index": int(location.slice_index),
        "instance_number": location.instance_number,
        "sop_instance_uid": location.sop_instance_uid,
        "row": _rounded(location.row),
        "column": _rounded(location.column),
        "roi_diameter_mm": _rounded(candidate.roi_diameter_mm),
        "detection_score": float(candidate.detection_score),
        "malignancy_score": float(nodule.malignancy_score),
        "measurements": None if nodule.measurements is None else _measurements_record(nodule.measurements),
        "growth": None if nodule.growth is None else _growth_record(nodule.growth),
    }


def _growth_record(growth: Growth) -> dict[str, Any]:
    change_mm, doubling = growth.mean_diameter_change_mm, growth.volume_doubling_days
    return {
        "is_new": growth.earlier is None,
        "days": growth.days,
        "mean_diameter_change_mm": None if change_mm is None else _rounded(change_mm),
        "volume_doubling_days": None if doubling is None else _rounded(doubling),
        "earlier": None if growth.earlier is None else _measurements_record(growth.earlier),
    }


def _measurements_record(measured: Measurements) -> dict[str, Any]:
    solid_mm = measured.solid_diameter_mm
    return {
        "long_axis_mm": _rounded(measured.long_axis_mm),
        "short_axis_mm": _rounded(measured.short_axis_mm),
        "mean_diameter_mm": _rounded(measured.mean_diameter_mm),
        "volume_mm3": _rounded(measured.volume_mm3),
        "mean_hu": _rounded(measured.mean_hu),
        "density": measured.density.value,
        "solid_diameter_mm": None if solid_mm is None else _rounded(solid_mm),
        "side": measured.side,
        "zone": measured.zone,
        "pleura_distance_mm": _rounded(measured.pleura_distance_mm),
    }


def _rounded(number: float) -> float:
    return round(float(number), _DECIMALS)


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
