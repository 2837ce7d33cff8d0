"""The fallback for viewers that draw neither SEG nor SR: the diagnosis as pages of text and pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lungsight.ct.volume import CTVolume
from lungsight.findings import Diagnosis, Nodule
from lungsight.report.dicom.seg import nodule_label, nodule_region
from lungsight.report.document import HEADLINES, meaning_of
from lungsight.report.overlay import roi_picture, slice_mask
from lungsight.report.pictures import crop_box

__all__ = ["PAGE_PX", "draw_pages"]

PAGE_PX = 1024
"""Side of a page."""

_MARGIN = 32
_PICTURE = 240
_ROW = _PICTURE + 20
_TITLE, _HEADLINE, _TEXT, _SMALL = 22, 52, 22, 16
_TOP = 200  # where the first page's pictures begin; the others have no headline
_TOP_AGAIN = 72
_LETTERS = 84  # of the text's size in a line of the page
_WHITE, _GREY = (255, 255, 255), (170, 170, 170)


def draw_pages(diagnosis: Diagnosis, ct: CTVolume) -> list[NDArray[np.uint8]]:
    """The diagnosis as pictures.

    Parameters
    ----------
    diagnosis
        Of `ct`. Without nodules there is one page, which says so over the CT's middle slice.
    ct
        Shown in the lung window, rows and columns as stored.

    Returns
    -------
    list
        Pages, each ``(PAGE_PX, PAGE_PX, 3)``, RGB. Nothing in them names the patient.
    """
    pages = _paginate(diagnosis.nodules)
    return [
        _page(diagnosis, ct, numbers, f"{number} / {len(pages)}", first=number == 1)
        for number, numbers in enumerate(pages, start=1)
    ]


def _paginate(nodules: Sequence[Nodule]) -> list[list[int]]:
    """The numbers (from 1) of the nodules on each page."""
    room = [(PAGE_PX - top - _MARGIN) // _ROW for top in (_TOP, _TOP_AGAIN)]
    numbers = list(range(1, len(nodules) + 1))
    pages = [numbers[: room[0]]]
    rest = numbers[room[0] :]
    return pages + [rest[start : start + room[1]] for start in range(0, len(rest), room[1])]


def _page(diagnosis: Diagnosis, ct: CTVolume, numbers: Sequence[int], place: str, *, first: bool) -> NDArray[np.uint8]:
    page = Image.new("RGB", (PAGE_PX, PAGE_PX))
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 20), f"Lungsight {diagnosis.system}: research use only", _GREY, _font(_TITLE))
    draw.text((PAGE_PX - _MARGIN, 20), place, _GREY, _font(_TITLE), anchor="ra")
    if first:
        score = diagnosis.malignancy_score
        told = "" if score is None else f", {_score_name(diagnosis)} {score:.2f}"
        draw.text((_MARGIN, 54), HEADLINES[diagnosis.verdict] + told, _WHITE, _font(_HEADLINE))
        meaning = "\n".join(textwrap.wrap(meaning_of(diagnosis), _LETTERS))
        draw.multiline_text((_MARGIN, 128), meaning, _WHITE, _font(_TEXT))
    top = _TOP if first else _TOP_AGAIN
    for row, number in enumerate(numbers):
        _draw_nodule(page, diagnosis, ct, number, top + row * _ROW)
    if not numbers:
        _draw_middle(page, ct)
    provenance = diagnosis.provenance
    made = f"Lungsight {provenance.version}, weights {provenance.weights_sha256[:16]}, series {provenance.series_uid}"
    draw.text((_MARGIN, PAGE_PX - 10), made, _GREY, _font(_SMALL), anchor="ls")
    return np.asarray(page)


def _draw_nodule(page: Image.Image, diagnosis: Diagnosis, ct: CTVolume, number: int, top: int) -> None:
    """A row: the nodule without and with its outline, and what is said of it."""
    nodule = diagnosis.nodules[number - 1]
    candidate = nodule.candidate
    slice_index = candidate.location.slice_index
    box = crop_box(ct, candidate.location, candidate.roi_diameter_mm)
    mask = slice_mask([nodule_region(nodule)], slice_index, ct.shape[1:])[box]
    hu = ct.hu[slice_index][box]
    for column, shown in enumerate((np.zeros_like(mask), mask)):
        picture = roi_picture(hu, shown, ct.spacing_zyx_mm[1:], _PICTURE)
        page.paste(Image.fromarray(picture), (_MARGIN + column * (_PICTURE + 12), top))
    draw = ImageDraw.Draw(page)
    left = _MARGIN + 2 * (_PICTURE + 12) + 12
    draw.text((left, top), nodule_label(number), _WHITE, _font(_TEXT + 8))
    draw.multiline_text((left, top + 48), "\n".join(_lines(nodule, diagnosis)), _WHITE, _font(_TEXT - 2), spacing=8)


def _draw_middle(page: Image.Image, ct: CTVolume) -> None:
    size = PAGE_PX - _TOP - 2 * _MARGIN
    hu = ct.hu[len(ct.hu) // 2]
    picture = roi_picture(hu, np.zeros(hu.shape, np.bool_), ct.spacing_zyx_mm[1:], size)
    page.paste(Image.fromarray(picture), (_MARGIN, _TOP))


def _lines(nodule: Nodule, diagnosis: Diagnosis) -> Iterator[str]:
    place, measured = nodule.candidate.location, nodule.measurements
    instance = "" if place.instance_number is None else f" (instance {place.instance_number})"
    yield f"slice {place.slice_index}{instance}, row {place.row:.0f}, column {place.column:.0f}"
    if measured is None:
        yield f"region {nodule.candidate.roi_diameter_mm:.1f} mm; not measured"
    else:
        density = measured.density.value.lower().replace("_", " ")
        yield f"{measured.side} lung, {measured.zone} third; {density}"
        yield f"{measured.long_axis_mm:.1f} x {measured.short_axis_mm:.1f} mm, mean {measured.mean_diameter_mm:.1f} mm"
        yield f"{measured.volume_mm3:.0f} mm3, mean {measured.mean_hu:.0f} HU"
    yield f"{_score_name(diagnosis)} {nodule.malignancy_score:.2f}"
    yield f"detection score {nodule.candidate.detection_score:.2f}"


def _score_name(diagnosis: Diagnosis) -> str:
    return "probability of cancer" if diagnosis.provenance.calibrated else "malignancy score"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
