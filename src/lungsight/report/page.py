"""The door to people and machines: a folder with the report as HTML, JSON and pictures."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from PIL import Image

from lungsight.ct.volume import CTVolume
from lungsight.findings import Diagnosis
from lungsight.regions import REGIONS_FILE, SavedRegions, write_regions
from lungsight.report.document import render_html, roi_slices
from lungsight.report.nodules import NODULE_FILES, NODULES_FOLDER, write_nodules
from lungsight.report.overlay import roi_picture, slice_mask
from lungsight.report.record import diagnosis_to_json
from lungsight.report.staging import check_folder, staged_folder

__all__ = ["DIAGNOSIS_FILE", "PAGE_FILE", "check_report_folder", "write_report"]

DIAGNOSIS_FILE, PAGE_FILE = "diagnosis.json", "report.html"
_OWNED = re.compile(
    r"diagnosis\.json|regions\.npz|report\.html|overlays/slice_\d+\.png|dicom/(?:seg|sr|page_\d+)\.dcm|" + NODULE_FILES
)
_PNG_LEVEL = 3  # a third of the default's time for a tenth more bytes


def check_report_folder(folder: str | Path, overwrite: bool = False) -> None:
    """Refuse a folder that :func:`write_report` would refuse; for asking before a long computation.

    Raises
    ------
    OutputError
        As :func:`write_report`.
    """
    check_folder(Path(folder), overwrite, _OWNED)


def write_report(
    diagnosis: Diagnosis,
    ct: CTVolume,
    folder: str | Path,
    overwrite: bool = False,
    dicom_source: str | Path | None = None,
    *,
    page: bool = True,
    save_nodules: bool = False,
) -> Path:
    """Write ``report.html`` and ``overlays/`` for people, ``diagnosis.json`` and ``regions.npz`` for machines.

    ``regions.npz`` holds the voxels (:mod:`lungsight.regions`), ``overlays/slice_NNN.png`` a slice that has a ROI. The
    folder appears when all of it is written, or not at all. Nothing in it names the patient or the folder the CT came
    from, except ``dicom/``, which is written if asked for (:func:`lungsight.report.dicom.write_dicom`).

    Parameters
    ----------
    diagnosis
        Of `ct`. One without nodules has an empty ``overlays``.
    ct
        The CT it was made from.
    folder
        Should not exist; its parents are made.
    overwrite
        Replace an earlier report. A folder that holds anything else is refused all the same.
    dicom_source
        The DICOM files that `ct` was read from: ``dicom/`` then holds SEG, SR and pages for a PACS. None writes none.
    page
        False leaves ``report.html`` and ``overlays/`` out.
    save_nodules
        Also write ``nodules/``: each nodule cut out of the CT (:func:`lungsight.report.nodules.write_nodules`).

    Returns
    -------
    Path
        Of ``report.html``, or without it of ``diagnosis.json``.

    Raises
    ------
    OutputError
        If the folder exists (and `overwrite` is False or it holds other files), or the disk refuses; with
        `dicom_source`, if it does not hold the CT.
    ValueError
        If the diagnosis is of another series, or a region lies outside the CT.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from lungsight.findings import Provenance, Verdict
    >>> ct = CTVolume(np.zeros((2, 32, 32), np.int16), np.diag([2.5, 0.7, 0.7, 1.0]))
    >>> how = Provenance(series_uid=None, version="1.0", weights_sha256="0" * 64, engine="", config={}, seconds={})
    >>> nothing = Diagnosis(Verdict.NO_NODULE, None, "windows", (), how)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     page = write_report(nothing, ct, Path(parent) / "report")
    ...     sorted(path.name for path in page.parent.iterdir())
    ['diagnosis.json', 'overlays', 'regions.npz', 'report.html']
    """
    if diagnosis.provenance.series_uid != ct.series_uid:
        raise ValueError(f"the diagnosis is of series {diagnosis.provenance.series_uid}, the CT is {ct.series_uid}")
    for nodule in diagnosis.nodules:
        for region in (nodule.candidate.region, nodule.mask or nodule.candidate.region):
            if min(region.start_zyx) < 0 or any(a > b for a, b in zip(region.stop_zyx, ct.shape, strict=True)):
                raise ValueError(f"a region from {region.start_zyx} to {region.stop_zyx} is not inside {ct.shape}")
    folder = Path(folder)
    with staged_folder(folder, overwrite, _OWNED) as staged:
        (staged / DIAGNOSIS_FILE).write_text(diagnosis_to_json(diagnosis), "utf-8")
        regions = tuple(nodule.candidate.region for nodule in diagnosis.nodules)
        write_regions(staged / REGIONS_FILE, SavedRegions(regions, ct.shape, ct.affine))
        if page:
            (staged / PAGE_FILE).write_text(render_html(diagnosis, ct, datetime.now().astimezone()), "utf-8")
            _write_overlays(diagnosis, ct, staged / "overlays")
        if save_nodules:
            write_nodules(diagnosis, ct, staged / NODULES_FOLDER)
        if dicom_source is not None:
            from lungsight.report.dicom import write_dicom  # noqa: PLC0415 - highdicom takes a second

            write_dicom(diagnosis, ct, Path(dicom_source), staged / "dicom")
    return folder / (PAGE_FILE if page else DIAGNOSIS_FILE)


def _write_overlays(diagnosis: Diagnosis, ct: CTVolume, folder: Path) -> None:
    folder.mkdir()
    regions = [nodule.candidate.region for nodule in diagnosis.nodules]
    masks = [nodule.mask for nodule in diagnosis.nodules if nodule.mask is not None]
    digits = max(3, len(str(len(ct.hu) - 1)))

    def write(slice_index: int) -> None:
        mask = slice_mask(regions, slice_index, ct.shape[1:])
        nodule = slice_mask(masks, slice_index, ct.shape[1:])
        picture = roi_picture(ct.hu[slice_index], mask, ct.spacing_zyx_mm[1:], nodule=nodule)
        Image.fromarray(picture).save(folder / f"slice_{slice_index:0{digits}d}.png", compress_level=_PNG_LEVEL)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, roi_slices(diagnosis)))
