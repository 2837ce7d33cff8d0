"""Windows scored again: which, by how many passes, and that all else stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.config import Config, WindowsConfig
from lungsight.ct.volume import CTVolume
from lungsight.detect.exact import likely_rois, score_again
from lungsight.detect.windows import WindowMap, score_windows
from lungsight.pipeline import WindowsPipeline
from phantom import affine_of
from stub_network import CoreNetwork, Field, UnaskedNetwork, brightest_in_window

AFFINE = affine_of((2.5, 0.7, 0.7), (0.0, 0.0, 0.0))


def map_of(roi_score: list[float]) -> WindowMap:
    """A window a slice, of this ROI score; the last slice was not evaluated."""
    scores = np.zeros((len(roi_score), 3, 1, 1), np.float32)
    scores[:, 1, 0, 0] = roi_score
    evaluated = np.ones((len(roi_score), 1, 1), bool)
    evaluated[-1] = False
    return WindowMap(scores, evaluated, (0.7, 0.7))


@pytest.mark.parametrize(
    ("reach_mm", "expected"),
    [
        (0.0, [False, False, True, False, True, False, False]),
        # The mean of slices 2 to 4 is 0.85, weighed 1, 2, 1; slices 1 to 3 and 3 to 5 have less.
        (5.0, [False, False, True, True, True, False, False]),
    ],
)
def test_what_may_be_a_roi_is_scored_again(reach_mm: float, expected: list[bool]) -> None:
    windows = map_of([0.0, 0.0, 0.87, 0.84, 0.87, 0.0, 0.0])
    config = WindowsConfig(roi_score=0.9, slice_reach_mm=reach_mm)
    assert likely_rois(windows, 2.5, config)[:, 0, 0].tolist() == expected


def test_what_was_not_evaluated_is_not_scored() -> None:
    windows = map_of([0.0, 0.95, 1.0])
    assert likely_rois(windows, 2.5, WindowsConfig())[:, 0, 0].tolist() == [False, True, False]


def test_those_scored_again_have_the_exact_score_and_others_keep_theirs() -> None:
    drawn = np.random.default_rng(3)
    ct = CTVolume(drawn.integers(-1000, 400, (2, 200, 170)).astype(np.int16), AFFINE)
    exact = score_windows(ct, np.ones(ct.shape, bool), brightest_in_window)
    rough = WindowMap(np.full_like(exact.scores, 0.3), exact.evaluated, exact.pixel_mm)
    again = np.zeros(exact.evaluated.shape, bool)
    again[1, 0, 0] = again[1, 1, 1] = True  # they touch at a corner: one pass
    again[1, 5, 3:6] = True
    seen: list[tuple[int, ...]] = []

    def network(field: Field) -> Field:
        seen.append(field.shape)
        return brightest_in_window(field)

    settled = score_again(ct, rough, again, network)
    everywhere = np.broadcast_to(again[:, None], settled.scores.shape)
    np.testing.assert_array_equal(settled.scores[everywhere], exact.scores[everywhere])
    np.testing.assert_array_equal(settled.scores[~everywhere], np.float32(0.3))
    assert sorted(seen) == [(68, 88), (78, 78)]
    np.testing.assert_array_equal(rough.scores, np.float32(0.3), "the map that was given was changed")


class RoughNetwork(CoreNetwork):
    """A twentieth off in a slice: upwards, and benign and malignant taken for each other."""

    def __call__(self, field: Field) -> Field:
        exact = super().__call__(field)
        worse: Field = np.clip(exact[[0, 2, 1]] + np.array([-0.02, 0.01, 0.01], np.float32)[:, None, None], 0, 1)
        return np.where(exact[1:].sum(0) > 0, worse, exact)


def nodules() -> tuple[CTVolume, NDArray[np.bool_]]:
    hu = np.full((4, 200, 200), -850, np.int16)
    hu[1:3, 60:90, 60:90] = 200
    hu[1:3, 130:150, 60:75] = -300
    return CTVolume(hu, AFFINE), np.ones(hu.shape, bool)


def test_the_label_map_is_that_of_the_exact_network() -> None:
    ct, lungs = nodules()
    config = Config(windows=WindowsConfig(roi_score=0.6))

    def look(pipeline: WindowsPipeline) -> WindowMap:
        return pipeline.look(ct, lungs, lambda _: None)

    exact, rough = look(WindowsPipeline(CoreNetwork(), config)), look(WindowsPipeline(RoughNetwork(), config))
    both = look(WindowsPipeline(RoughNetwork(), config, CoreNetwork()))
    is_roi = exact.roi_score >= 0.6
    assert is_roi.sum() > 20
    assert not np.allclose(rough.scores[:, 2][is_roi], exact.scores[:, 2][is_roi], atol=0.1)
    for label in (1, 2):
        np.testing.assert_array_equal(both.scores[:, label][is_roi], exact.scores[:, label][is_roi])
    assert not ((both.roi_score >= 0.6) & ~is_roi).any()


def test_points_are_judged_by_the_exact_network_alone() -> None:
    ct, _ = nodules()
    (nodule,) = WindowsPipeline(UnaskedNetwork(), exact=CoreNetwork()).classify(ct, ct.to_lps([(1, 75, 75)]))
    assert nodule.malignancy_score > 0.9
