"""The HTML page: one text that holds its pictures, its style and its script, and asks the network for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.findings import Density, Diagnosis, Nodule, Region, Verdict
from lungsight.report.overlay import (
    LUNG,
    NODULE_YELLOW,
    ROI_RED,
    SOFT_TISSUE,
    outline_path,
    roi_picture,
    slice_mask,
)
from lungsight.report.pictures import crop_box, jpeg_uri, series_uris, window_table
from lungsight.report.wording import wording_of

__all__ = ["HEADLINES", "meaning_of", "render_html", "roi_slices"]

HEADLINES = {
    Verdict.MALIGNANT: "Malignant",
    Verdict.BENIGN: "Benign",
    Verdict.NO_NODULE: "No nodule found",
    Verdict.INDETERMINATE: "Indeterminate",
}
"""The verdict, as people are told it first."""

_DENSITIES = {Density.SOLID: "solid", Density.PART_SOLID: "part-solid", Density.GROUND_GLASS: "ground glass"}
_THUMBNAIL_PX = 224


def roi_slices(diagnosis: Diagnosis) -> dict[int, tuple[int, ...]]:
    """The slices that have a ROI or a nodule's mask, ascending, and the numbers (from 1) of the nodules in each."""
    slices: dict[int, list[int]] = {}
    for number, nodule in enumerate(diagnosis.nodules, start=1):
        indices = {
            region.start_zyx[0] + offset
            for region in (nodule.candidate.region, nodule.mask)
            if region is not None
            for offset in np.flatnonzero(region.mask.any(axis=(1, 2))).tolist()
        }
        for slice_index in indices:
            slices.setdefault(slice_index, []).append(number)
    return {slice_index: tuple(slices[slice_index]) for slice_index in sorted(slices)}


def render_html(diagnosis: Diagnosis, ct: CTVolume, made: datetime) -> str:
    """The report as HTML.

    Parameters
    ----------
    diagnosis
        Of `ct`; its regions lie on that grid. Without nodules there is no table and no ROI to see.
    ct
        Shown as stored: nothing is turned or mirrored. Pixels that are not square are shown in their proportion.
    made
        When the report is made.

    Returns
    -------
    str
        A whole document. It names the series, never the patient: it is given nothing that names one.
    """
    with_roi = roi_slices(diagnosis)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lungsight.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    slices = _slices(diagnosis, ct, with_roi)
    rows, columns = ct.shape[1:]
    _, row_spacing_mm, column_spacing_mm = ct.spacing_zyx_mm
    return environment.get_template("report.html").render(
        diagnosis=diagnosis,
        ct=ct,
        made=made,
        headline=HEADLINES[diagnosis.verdict],
        meaning=meaning_of(diagnosis),
        words=wording_of(diagnosis.system),
        threshold=_threshold(diagnosis),
        nodules=[_nodule(number, nodule, diagnosis, ct) for number, nodule in enumerate(diagnosis.nodules, start=1)],
        roi_slices=[slices[slice_index] for slice_index in with_roi],
        # A slice with a ROI stands in the page as a picture already; the viewer takes it from there.
        slices=[{**entry, "uri": None} if entry["index"] in with_roi else entry for entry in slices],
        aspect=f"{columns * column_spacing_mm:.6g} / {rows * row_spacing_mm:.6g}",
        edges=_edges(ct),
        first_shown=diagnosis.nodules[0].candidate.location.slice_index if diagnosis.nodules else len(ct.hu) // 2,
        window_tables={"lung": window_table(LUNG), "soft": window_table(SOFT_TISSUE)},
        windows={"lung": LUNG, "soft": SOFT_TISSUE},
        roi_red="rgb({} {} {})".format(*ROI_RED),
        nodule_yellow="rgb({} {} {})".format(*NODULE_YELLOW),
        densities=_DENSITIES,
        settings=_flat(diagnosis.provenance.config),
    )


def meaning_of(diagnosis: Diagnosis) -> str:
    """What the verdict means, as a sentence or two."""
    if diagnosis.verdict is Verdict.INDETERMINATE:
        return "No lung was found in this CT, so nothing could be searched. This is not a finding of health."
    words, count = wording_of(diagnosis.system), len(diagnosis.nodules)
    if diagnosis.verdict is Verdict.NO_NODULE:
        return f"The lungs were searched and no {words.found} was found."
    found = f"1 {words.found} was found" if count == 1 else f"{count} {words.found_many} were found"
    threshold = _threshold(diagnosis)
    if threshold is None:
        return f"{found}."
    side = "at or above" if diagnosis.verdict is Verdict.MALIGNANT else "under"
    return f"{found}; the patient's score is {side} the threshold of {threshold:.2f}."


def _threshold(diagnosis: Diagnosis) -> float | None:
    table, setting = wording_of(diagnosis.system).threshold
    section = diagnosis.provenance.config.get(table, {})
    threshold = section.get(setting) if isinstance(section, Mapping) else None
    return None if threshold is None else float(threshold)


def _nodule(number: int, nodule: Nodule, diagnosis: Diagnosis, ct: CTVolume) -> dict[str, Any]:
    candidate = nodule.candidate
    box = crop_box(ct, candidate.location, candidate.roi_diameter_mm)
    slice_index = candidate.location.slice_index
    mask = slice_mask([n.candidate.region for n in diagnosis.nodules], slice_index, ct.shape[1:])[box]
    own = slice_mask([n.mask for n in diagnosis.nodules if n.mask is not None], slice_index, ct.shape[1:])[box]
    hu = ct.hu[slice_index][box]
    spacing_mm = ct.spacing_zyx_mm[1:]
    return {
        "number": number,
        "nodule": nodule,
        "plain": jpeg_uri(roi_picture(hu, np.zeros_like(mask), spacing_mm, _THUMBNAIL_PX)),
        "marked": jpeg_uri(roi_picture(hu, mask, spacing_mm, _THUMBNAIL_PX, nodule=own)),
    }


def _slices(diagnosis: Diagnosis, ct: CTVolume, with_roi: Mapping[int, tuple[int, ...]]) -> list[dict[str, Any]]:
    middle = [(np.array(ct.shape[1:]) - 1) / 2] * len(ct.hu)
    centres_lps = ct.to_lps(np.column_stack([np.arange(len(ct.hu)), middle]))
    axis = int(np.argmax(np.abs(_normal(ct))))
    return [
        {
            "index": slice_index,
            "instance": ct.instances[slice_index].instance_number if ct.instances else None,
            "position": f"{'xyz'[axis]} = {centres_lps[slice_index, axis]:.1f} mm",
            "uri": uri,
            "rois": [
                _roi_paths(number, diagnosis.nodules[number - 1], slice_index)
                for number in with_roi.get(slice_index, ())
            ],
        }
        for slice_index, uri in enumerate(series_uris(ct, frozenset(with_roi)))
    ]


def _roi_paths(number: int, nodule: Nodule, slice_index: int) -> dict[str, Any]:
    return {
        "number": number,
        "path": _path(nodule.candidate.region, slice_index),
        "nodule": _path(nodule.mask, slice_index),
    }


def _path(region: Region | None, slice_index: int) -> dict[str, Any]:
    if region is None or not 0 <= slice_index - region.start_zyx[0] < len(region.mask):
        return {"d": "", "x": 0, "y": 0}
    start_slice, start_row, start_column = region.start_zyx
    return {"d": outline_path(region.mask[slice_index - start_slice]), "x": start_column, "y": start_row}


def _normal(ct: CTVolume) -> NDArray[np.float64]:
    return np.cross(ct.affine[:3, 2], ct.affine[:3, 1])


def _edges(ct: CTVolume) -> dict[str, str]:
    """Which side of the patient lies at each edge of a slice; letters of DICOM PS3.3 C.7.6.1.1.1."""

    def letter(direction: NDArray[np.float64]) -> str:
        axis = int(np.argmax(np.abs(direction)))
        return ("LPH" if direction[axis] > 0 else "RAF")[axis]

    down, right = ct.affine[:3, 1], ct.affine[:3, 2]
    return {"top": letter(-down), "bottom": letter(down), "left": letter(-right), "right": letter(right)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    settings: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        settings.extend(_flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)])
    return settings
