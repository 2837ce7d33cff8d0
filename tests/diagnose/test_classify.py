"""The judgement of `segments`: what its networks say, weighed with the size of the outline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drawn_networks import write_segments
from lungsight.ct.volume import CTVolume
from lungsight.diagnose.classify import LEAST_MM, MalignancyWeighing
from lungsight.pipeline import load_pipeline
from phantom import Body, Sphere, thorax

PLACE = (-80.0, 12.0, -36.0)
WEIGHTS = {"network": 0.5, "size": 2.0, "intercept": -6.0}
NETWORK_ODDS = 3.0  # the drawn network says 0.75


def volume(body: Body) -> CTVolume:
    return CTVolume(body.hu, body.affine)


def odds(score: float) -> float:
    return score / (1 - score)


def test_a_malignancy_score_is_the_networks_weighed_with_the_diameter_as_outlined(tmp_path: Path) -> None:
    # Found is all of 150 HU and more, outlined its denser middle alone.
    ct = volume(thorax((Sphere(PLACE, 30, 150), Sphere(PLACE, 18, 220)), (32, 192, 192), (6.0, 1.85, 1.85)))
    folder = write_segments(tmp_path / "weights", 190, outline_hu=240, fitted={"malignancy_weighing": WEIGHTS})
    pipeline = load_pipeline("segments", folder, engine="onnxruntime")
    (nodule,) = pipeline(ct).nodules
    diameter_mm = nodule.candidate.roi_diameter_mm
    assert diameter_mm == pytest.approx(18, abs=2)
    expected = np.exp(-6) * NETWORK_ODDS**0.5 * diameter_mm**2
    assert odds(nodule.malignancy_score) == pytest.approx(expected, rel=1e-3)
    (at_point,) = pipeline.classify(ct, [nodule.candidate.location.lps_mm])
    assert at_point.malignancy_score == pytest.approx(nodule.malignancy_score, abs=1e-6)
    # Where nothing is marked the nodule counts as the least.
    (nothing,) = pipeline.classify(ct, [(72.0, 0.0, 30.0)])
    assert nothing.mask is None
    assert odds(nothing.malignancy_score) == pytest.approx(np.exp(-6) * NETWORK_ODDS**0.5 * LEAST_MM**2, rel=1e-3)


def test_the_patients_score_is_of_the_weighed_nodules(tmp_path: Path) -> None:
    ct = volume(thorax((Sphere(PLACE, 26, 200),), (32, 96, 96), (6.0, 3.7, 3.7)))
    plain, sized = (
        load_pipeline("segments", write_segments(tmp_path / name, fitted=fitted), engine="onnxruntime")(ct)
        for name, fitted in (("plain", None), ("sized", {"malignancy_weighing": WEIGHTS}))
    )
    (nodule,) = sized.nodules
    assert plain.nodules[0].malignancy_score == pytest.approx(0.75, abs=1e-3)
    assert sized.malignancy_score == pytest.approx(nodule.candidate.detection_score * nodule.malignancy_score)


def test_a_larger_nodule_is_not_less_malignant() -> None:
    weighing = MalignancyWeighing(1.0, 2.0, -5.0)
    scores = [weighing.apply(0.4, diameter_mm) for diameter_mm in (0.0, LEAST_MM, 5.0, 10.0, 30.0)]
    assert scores[0] == scores[1]
    assert scores == sorted(scores)
