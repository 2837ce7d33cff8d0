from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import ImageDraw

from dicom_results import diagnosis_of, scanned, with_provenance
from lungsight.report.dicom import write_dicom
from lungsight.report.dicom.pages import PAGE_PX, draw_pages
from samples import malignant, sample_ct, without_nodule


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written on the pages."""
    written: list[str] = []
    plain, lines = ImageDraw.ImageDraw.text, ImageDraw.ImageDraw.multiline_text

    def note(self: ImageDraw.ImageDraw, place: tuple[float, float], text: str, *rest: object, **more: object) -> None:
        written.append(text)
        plain(self, place, text, *rest, **more)  # type: ignore[arg-type]

    def note_lines(
        self: ImageDraw.ImageDraw, place: tuple[float, float], text: str, *rest: object, **more: object
    ) -> None:
        written.append(text)
        lines(self, place, text, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    monkeypatch.setattr(ImageDraw.ImageDraw, "multiline_text", note_lines)
    return written


def red(page: NDArray[np.uint8]) -> NDArray[np.bool_]:
    coloured: NDArray[np.bool_] = page[..., 0] != page[..., 1]
    return coloured


def test_a_page_shows_the_nodule_and_tells_its_numbers(texts: list[str]) -> None:
    ct = sample_ct()
    (page,) = draw_pages(malignant(ct), ct)
    assert page.shape == (PAGE_PX, PAGE_PX, 3)
    told = "\n".join(texts)
    for words in ("Malignant, malignancy score 0.97", "research use only", "Nodule 1", "right lung, upper third",
                  "part solid", "4.2 x 3.5 mm, mean 3.9 mm", "45 mm3, mean -612 HU", "malignancy score 0.94",
                  "detection score 0.88", "slice 2 (instance 5), row 13, column 32"):  # fmt: skip
        assert words in told, words
    rows, columns = np.nonzero(red(page))
    # The mask is 2 x 3 pixels of a crop 64 wide, shown 240 px wide.
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == pytest.approx((2 * 240 / 64, 3 * 240 / 64), abs=1.5)


def test_without_a_nodule_the_page_says_so_over_the_ct(texts: list[str]) -> None:
    ct = sample_ct()
    (page,) = draw_pages(without_nodule(ct), ct)
    assert "No nodule found" in texts
    assert not red(page).any()
    assert np.ptp(page[300:700, 100:700]) > 20  # the CT's ramp


def test_nodules_go_on_over_pages_each_once(texts: list[str]) -> None:
    ct = sample_ct()
    one = malignant(ct)
    pages = draw_pages(dataclasses.replace(one, nodules=one.nodules * 7), ct)
    assert len(pages) == 3
    assert [text for text in texts if text.startswith("Nodule ")] == [f"Nodule {n}" for n in range(1, 8)]
    assert {"1 / 3", "2 / 3", "3 / 3"} <= set(texts)


def test_only_a_calibrated_score_is_called_a_probability(texts: list[str]) -> None:
    ct = sample_ct()
    draw_pages(with_provenance(malignant(ct), calibrated=True), ct)
    assert any("probability of cancer 0.97" in text for text in texts)
    assert not any("malignancy score" in text for text in texts)


def test_a_page_is_stored_pixel_for_pixel_and_names_no_patient(tmp_path: Path, texts: list[str]) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    *_, path = write_dicom(diagnosis, ct, source, tmp_path / "out")
    assert "Lovelace" not in "\n".join(texts)
    capture = pydicom.dcmread(path)
    (page,) = draw_pages(diagnosis, ct)
    assert np.array_equal(capture.pixel_array, page)
    assert (capture.BurnedInAnnotation, capture.ConversionType, capture.Modality) == ("NO", "SYN", "OT")
