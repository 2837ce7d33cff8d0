"""`both`: what `segments` finds, judged by the two systems, with numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from drawn_networks import write_segments
from lungsight.ct.volume import CTVolume
from lungsight.diagnose.scaling import PlattScaling
from lungsight.diagnose.weighing import LogitSum, both_nodules_of
from lungsight.findings import Verdict
from lungsight.pipeline import BothPipelines, SegmentsPipeline, WindowsPipeline, load_pipeline
from phantom import Sphere, thorax
from stub_network import CoreNetwork

PLACE = (-80.0, 12.0, -36.0)
SEGMENTS_ODDS = 3.0  # the drawn network says 0.75


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> SegmentsPipeline:
    folder: Path = write_segments(tmp_path_factory.mktemp("weights") / "drawn")
    pipeline = load_pipeline("segments", folder, engine="onnxruntime")
    assert isinstance(pipeline, SegmentsPipeline)
    return pipeline


def odds(score: float) -> float:
    return score / (1 - score)


def ct_with(*nodules: Sphere) -> CTVolume:
    body = thorax(nodules, (32, 96, 96), (6.0, 3.7, 3.7))
    return CTVolume(body.hu, body.affine)


def test_a_nodule_is_judged_by_both_and_makes_the_patients_score(segments: SegmentsPipeline) -> None:
    ct = ct_with(Sphere(PLACE, 26, 200))
    windows = WindowsPipeline(CoreNetwork(malignant_hu=200))
    scaling = PlattScaling(2.0, -1.0)
    both = BothPipelines(windows, segments, LogitSum(0.25, 0.5, -0.125), scaling)
    diagnosis = both(ct)
    (nodule,) = diagnosis.nodules
    (alone,) = segments(ct).nodules
    assert nodule.candidate.location == alone.candidate.location
    (by_windows,) = windows.classify(ct, [nodule.candidate.location.lps_mm])
    expected = odds(by_windows.malignancy_score) ** 0.25 * SEGMENTS_ODDS**0.5 * 0.8824969  # the last is exp(-0.125)
    assert odds(nodule.malignancy_score) == pytest.approx(expected, rel=1e-3)
    of_patient = nodule.candidate.detection_score * nodule.malignancy_score
    assert diagnosis.malignancy_score == pytest.approx(float(scaling.apply(of_patient)))
    assert diagnosis.verdict is Verdict.MALIGNANT
    assert diagnosis.system == "both"
    assert list(diagnosis.provenance.seconds) == [
        "lungs",
        "segment",
        "merge",
        "classify",
        "outline",
        "judge",
        "measure",
    ]
    (at_point,) = both.classify(ct, [nodule.candidate.location.lps_mm])
    assert at_point.malignancy_score == pytest.approx(nodule.malignancy_score, abs=1e-3)


def test_what_windows_takes_for_benign_counts_less(segments: SegmentsPipeline) -> None:
    ct, half = ct_with(Sphere(PLACE, 26, 200)), LogitSum(0.5, 0.5, 0.0)
    scores = [
        BothPipelines(WindowsPipeline(network), segments, half)(ct).malignancy_score
        for network in (CoreNetwork(malignant_hu=200), CoreNetwork(benign_hu=200, malignant_hu=900))
    ]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0] > 20 * scores[1]


def test_without_nodule_there_is_no_score(segments: SegmentsPipeline) -> None:
    diagnosis = BothPipelines(WindowsPipeline(CoreNetwork()), segments, LogitSum(0.5, 0.5, 0.0))(ct_with())
    assert (diagnosis.verdict, diagnosis.malignancy_score, diagnosis.nodules) == (Verdict.NO_NODULE, None, ())


def test_a_card_tells_how_both_are_weighed() -> None:
    weights = {"windows": 0.25, "segments": 0.75, "intercept": 0.5}
    assert both_nodules_of({"both": {"nodules": weights}}) == LogitSum(0.25, 0.75, 0.5)
    assert both_nodules_of({}) == LogitSum(0.5, 0.5, 0.0)


def test_the_shipped_networks_are_loaded_for_both() -> None:
    both = load_pipeline("both", engine="onnxruntime", precision="float32")
    assert isinstance(both, BothPipelines)
    assert both.patient_scaling is not None
    assert both.weights_sha256 not in (both.windows.weights_sha256, both.segments.weights_sha256)
