import dataclasses
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest

from lungsight.ct.volume import CTVolume
from lungsight.findings import Density, Diagnosis, Growth, GuidelineResult, Nodule, Verdict
from lungsight.report.document import render_html, roi_slices
from lungsight.report.overlay import outline_path
from samples import (
    FOOT,
    MEASURED,
    SERIES_UID,
    START_ZYX,
    lopsided_mask,
    lopsided_region,
    malignant,
    sample_ct,
    without_nodule,
)

MADE = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
VOID = {"meta", "img", "input", "br", "link", "rect", "path", "fefuncr", "fefuncg", "fefuncb"}


class Page(HTMLParser):
    """The document as a parser sees it: elements with their attributes, the words, what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.data = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.data = self.data or data
        elif self.open[-1:] != ["style"]:
            self.words.append(data.strip())

    def all(self, tag: str, **having: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in having.items())]

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


def page_of(diagnosis: Diagnosis, ct: CTVolume) -> Page:
    return Page(render_html(diagnosis, ct, MADE))


@pytest.fixture(scope="module")
def html() -> str:
    ct = sample_ct()
    return render_html(malignant(ct, ("Slice 3 was <b>odd</b>.",)), ct, MADE)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_element_is_closed(page: Page) -> None:
    assert page.open == []


def test_the_page_asks_the_network_for_nothing(html: str, page: Page) -> None:
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", html) == []
    addresses = [
        value for _, a in page.elements for key, value in a.items() if key in ("src", "href", "data", "action")
    ]
    assert len(addresses) > 4
    assert [a[:40] for a in addresses if a is not None and not a.startswith(("data:", "#"))] == []
    assert page.all("link") == []
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert (policy[0]["content"] or "").startswith("default-src 'none';")


def test_verdict_score_and_threshold_are_told(page: Page) -> None:
    assert "Malignant" in page.text
    assert "0.97" in page.text
    assert (
        "1 region of interest (ROI) was found; the patient's score is at or above the threshold of 0.50." in page.text
    )
    assert "Research use only." in page.text
    assert "Not a medical device." in page.text
    assert "probability" not in page.text.lower()


def test_series_and_provenance_are_told(page: Page) -> None:
    for said in (
        SERIES_UID,
        "7 of 40 × 64",
        "2.50 mm",
        "0.700 × 0.700 mm",
        "2026-03-04 05:06",
        "0123456789abcdef" * 4,
        "windows.vote_threshold",
        "Seconds: detect",
        "3.10",
    ):
        assert said in page.text


def test_the_nodule_s_row_says_where_it_is(page: Page) -> None:
    for said in (
        "Slice 2, instance 5",
        "row 13.2, column 31.5",
        "LPS -78.5, 29.5, 305.0 mm",
        "4.1 mm",
        "4.2 × 3.5 mm",
        ", mean 3.9 mm",
        "45 mm³, part-solid (solid part 2.1 mm)",
        "mean -612 HU; right lung, upper third; 7 mm from the pleura",
        "0.94",
        "0.88",
    ):
        assert said in page.text
    assert len(page.all("img", **{"class": "thumb"})) == 2


def test_what_the_input_says_is_text_and_never_markup(html: str, page: Page) -> None:
    assert "Slice 3 was <b>odd</b>." in page.text
    assert page.all("b") == []
    assert "<b>odd" not in html


def test_every_picture_has_words(page: Page) -> None:
    assert [image for image in page.all("img") if not image.get("alt")] == []


def test_each_slice_is_in_the_page_once_and_those_with_a_roi_as_pictures(html: str, page: Page) -> None:
    slices = json.loads(page.data)["slices"]
    assert [entry["index"] for entry in slices] == list(range(7))
    assert [entry["instance"] for entry in slices] == [7, 6, 5, 4, 3, 2, 1]
    assert [entry["index"] for entry in slices if entry["uri"] is None] == [2, 4]
    shown = [image["data-slice"] for image in page.all("img") if "data-slice" in image]
    assert shown == ["2", "4"]
    assert len(re.findall("data:image/jpeg", html)) == 7 + 2


def test_the_viewer_knows_the_region_s_outline(page: Page) -> None:
    slices = json.loads(page.data)["slices"]
    own = {"d": outline_path(lopsided_mask().mask[0]), "x": START_ZYX[2], "y": START_ZYX[1] + 2}
    expected = {
        "number": 1,
        "path": {"d": outline_path(FOOT), "x": START_ZYX[2], "y": START_ZYX[1]},
        "nodule": own,
    }
    assert slices[2]["rois"] == [expected]
    assert slices[3]["rois"] == []
    drawn = [path for path in page.all("path") if path.get("d")]
    assert drawn[0]["d"] == outline_path(FOOT)
    assert drawn[0]["transform"] == "translate(30 11)"
    assert (drawn[1]["d"], drawn[1]["transform"]) == (own["d"], "translate(30 13)")
    # The mask lies in slice 2 only: the other slice of the ROI draws no nodule.
    assert slices[4]["rois"][0]["nodule"]["d"] == ""
    assert [path["class"] for path in drawn] == ["roi", "roi own", "roi"]
    assert slices[2]["position"] == "z = 305.0 mm"


@pytest.mark.parametrize(
    ("verdict", "headline", "meaning"),
    [
        (Verdict.NO_NODULE, "No nodule found", "The lungs were searched"),
        (Verdict.INDETERMINATE, "Indeterminate", "No lung was found in this CT, so nothing could be searched."),
    ],
)
def test_without_a_nodule_there_is_no_table_and_no_score(verdict: Verdict, headline: str, meaning: str) -> None:
    ct = sample_ct()
    page = page_of(without_nodule(ct, verdict), ct)
    assert headline in page.text
    assert meaning in page.text
    assert "Malignancy score" not in page.text
    assert page.all("table") == []
    assert page.all("input", id="roi-on") == []
    slider = page.all("input", id="slider")[0]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "6", "3")


def test_a_ct_that_is_not_dicom_says_so() -> None:
    ct = sample_ct(from_dicom=False)
    page = page_of(malignant(ct), ct)
    assert "none: not from DICOM" in page.text
    assert "instance" not in page.text.lower().replace("series instance uid", "")


def test_an_axial_series_shows_the_patient_s_right_on_the_left(html: str) -> None:
    edges = dict(re.findall(r'edge edge-(\w+)" aria-hidden="true">(\w)<', html))
    assert edges == {"top": "A", "bottom": "P", "left": "R", "right": "L"}


def test_a_coronal_series_has_its_own_edges_and_proportion() -> None:
    """Rows run to the feet every 2.5 mm, columns to the left every 0.5 mm, slices to the back."""
    affine = np.array([[0, 0, 0.5, 0], [4, 0, 0, 0], [0, -2.5, 0, 0], [0, 0, 0, 1]], float)
    ct = CTVolume(np.zeros((3, 20, 80), np.int16), affine)
    html = render_html(without_nodule(ct), ct, MADE)
    assert "--aspect: 40 / 50;" in html
    edges = dict(re.findall(r'edge edge-(\w+)" aria-hidden="true">(\w)<', html))
    assert edges == {"top": "H", "bottom": "F", "left": "R", "right": "L"}
    assert json.loads(Page(html).data)["slices"][2]["position"] == "y = 8.0 mm"


def test_a_threshold_that_is_not_known_is_not_told() -> None:
    ct = sample_ct()
    diagnosis = malignant(ct)
    bare = dataclasses.replace(diagnosis, provenance=dataclasses.replace(diagnosis.provenance, config={}))
    assert "threshold" not in page_of(bare, ct).text


def test_guidelines_and_growth_are_told() -> None:
    ct = sample_ct()
    nodule = malignant(ct).nodules[0]
    grown = dataclasses.replace(nodule, growth=Growth(MEASURED, 91, -1.25, -200.4))
    new = dataclasses.replace(nodule, growth=Growth(None, 91))
    said = GuidelineResult("Lung-RADS v2022", 2, "4A", "solid, new", ("risk <group>", "age"))
    diagnosis = dataclasses.replace(malignant(ct), nodules=(grown, new), guidelines=(said,))
    text = " ".join(page_of(diagnosis, ct).text.split())
    assert "was 4.2 × 3.5 mm 91 days before: mean diameter -1.2 mm, volume halves in 200 days" in text
    assert "new , not in the earlier CT" in text
    assert "2 Lung-RADS v2022 4A solid, new risk <group>; age" in text
    assert "This is no advice." in text
    assert "Guidelines" not in page_of(malignant(ct), ct).text


def test_a_nodule_that_was_not_outlined_says_so() -> None:
    ct = sample_ct()
    bare = dataclasses.replace(malignant(ct).nodules[0], mask=None, measurements=None)
    page = page_of(dataclasses.replace(malignant(ct), nodules=(bare,)), ct)
    assert "not measured" in page.text
    assert [path["class"] for path in page.all("path") if path.get("d")] == ["roi", "roi"]


def test_a_nodule_at_the_pleura_touches_it() -> None:
    ct = sample_ct()
    solid = dataclasses.replace(MEASURED, density=Density.SOLID, solid_diameter_mm=None, pleura_distance_mm=0.0)
    touching = dataclasses.replace(malignant(ct).nodules[0], measurements=solid)
    text = page_of(dataclasses.replace(malignant(ct), nodules=(touching,)), ct).text
    assert "45 mm³, solid mean" in " ".join(text.split())
    assert "touches the pleura" in text


def test_slices_that_only_the_mask_reaches_are_shown_too() -> None:
    ct = sample_ct()
    beyond = dataclasses.replace(lopsided_mask(), start_zyx=(5, 0, 0))
    nodule = dataclasses.replace(malignant(ct).nodules[0], mask=beyond)
    diagnosis = dataclasses.replace(malignant(ct), nodules=(nodule,))
    assert roi_slices(diagnosis) == {2: (1,), 4: (1,), 5: (1,)}
    rois = json.loads(page_of(diagnosis, ct).data)["slices"][5]["rois"]
    assert (rois[0]["path"]["d"], rois[0]["nodule"]["d"]) == ("", outline_path(beyond.mask[0]))


def test_roi_slices_name_the_nodules_of_each_slice() -> None:
    ct = sample_ct()
    first = malignant(ct).nodules[0]
    second_region = dataclasses.replace(lopsided_region(), start_zyx=(4, 0, 0))
    second = Nodule(dataclasses.replace(first.candidate, region=second_region), 0.1)
    both = dataclasses.replace(malignant(ct), nodules=(first, second))
    assert roi_slices(both) == {2: (1,), 4: (1, 2), 6: (2,)}
    assert roi_slices(without_nodule(ct)) == {}


def test_a_page_of_segments_speaks_of_nodules_and_their_masks() -> None:
    ct = sample_ct()
    of_windows = malignant(ct)
    nodule = dataclasses.replace(of_windows.nodules[0], mask=lopsided_region())
    config = {**of_windows.provenance.config, "segments": {"malignancy_threshold": 0.25}}
    how = dataclasses.replace(of_windows.provenance, config=config)
    diagnosis = dataclasses.replace(of_windows, system="segments", nodules=(nodule,), provenance=how)
    page = page_of(diagnosis, ct)
    assert "1 nodule was found; the patient's score is at or above the threshold of 0.25." in page.text
    for said in ("Mask diameter", "With mask", "Mask in red, outlined in yellow", "Slices with a mask", "noisy-or"):
        assert said in page.text
    told = page.text + "".join(image.get("alt") or "" for image in page.all("img"))
    assert [word for word in ("ROI", "region of interest") if word in told] == []
    assert json.loads(page.data)["region"] == "mask"
    nothing = dataclasses.replace(without_nodule(ct), system="segments")
    assert "The lungs were searched and no nodule was found." in page_of(nothing, ct).text
