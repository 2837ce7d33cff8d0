"""The majority vote: shares worked out by hand, and what each threshold makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.diagnose.vote import malignant_share, verdict_of
from lungsight.findings import Verdict


def labels(text: str) -> NDArray[np.uint8]:
    return np.array([int(digit) for digit in text], np.uint8)


@pytest.mark.parametrize(
    ("rois", "share"),
    [
        (["2"], 1.0),
        (["1"], 0.0),
        (["1112"], 0.25),  # an inverted vote would say 3/4
        (["0001", "0222"], 0.75),  # zeros are no votes: 3 of 4
        (["1", "2222"], 0.8),  # windows are counted, not ROIs: their mean would be 1/2
        (["12"], 0.5),
        (["000"], None),
        ([""], None),
        ([], None),
    ],
)
def test_the_share_is_windows_labelled_2_over_those_labelled_1_or_2(rois: list[str], share: float | None) -> None:
    assert malignant_share([labels(roi) for roi in rois]) == share


def test_labels_of_any_shape_are_counted() -> None:
    assert malignant_share([np.array([[[1, 2], [2, 0]]], np.uint8)]) == 2 / 3


@pytest.mark.parametrize(
    ("score", "threshold", "verdict"),
    [
        (0.5, 0.5, Verdict.MALIGNANT),  # a tie is malignant
        (np.nextafter(0.5, 0), 0.5, Verdict.BENIGN),
        (0.25, 0.25, Verdict.MALIGNANT),
        (0.25, 0.26, Verdict.BENIGN),
        (0.0, 0.0, Verdict.MALIGNANT),
        (0.0, 0.5, Verdict.BENIGN),
        (1.0, 1.0, Verdict.MALIGNANT),
        (0.99, 1.0, Verdict.BENIGN),
        (None, 0.0, Verdict.NO_NODULE),
        (None, 1.0, Verdict.NO_NODULE),
    ],
)
def test_the_threshold_or_more_is_malignant(score: float | None, threshold: float, verdict: Verdict) -> None:
    assert verdict_of(score, threshold, searched=True) is verdict


def test_what_was_not_searched_is_indeterminate() -> None:
    assert verdict_of(None, 0.5, searched=False) is Verdict.INDETERMINATE
