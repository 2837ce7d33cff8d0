"""The systems, each on one screen. Read this file first; what they share stands in :mod:`lungsight.frame`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.config import Config
from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import find_candidates
from lungsight.detect.exact import likely_rois, score_again
from lungsight.detect.overlap import agree_across_slices
from lungsight.detect.rois import find_rois
from lungsight.detect.segment import SliceNetwork, score_slices
from lungsight.detect.windows import WindowMap, label_windows, score_windows
from lungsight.diagnose.classify import (
    Judges,
    MalignancyWeighing,
    judge_candidate,
    malignancy_weighing_of,
    nodule_weighing_of,
    patient_score,
)
from lungsight.diagnose.places import judge_place
from lungsight.diagnose.points import judge_point
from lungsight.diagnose.redraw import redraw
from lungsight.diagnose.roi_weighing import RoiWeighing, roi_weighing_of, see_rois, weigh_rois
from lungsight.diagnose.scaling import PlattScaling, scaling_of
from lungsight.diagnose.vote import malignant_share, verdict_of
from lungsight.diagnose.weighing import LogitSum, both_nodules_of
from lungsight.errors import InputError
from lungsight.findings import Diagnosis, Nodule
from lungsight.frame import Found, Pipeline, classify_with, diagnose_with
from lungsight.runtime import Network, load_network, open_networks, sha256_of, shipped_weights, takes_own_pixels
from lungsight.timing import Progress, StepClock

__all__ = ["SYSTEMS", "BothPipelines", "Pipeline", "SegmentsPipeline", "WindowsPipeline", "load_pipeline"]


SYSTEMS = ("windows", "segments", "both")


@dataclass(frozen=True, slots=True)
class WindowsPipeline:
    """The `windows` system (Asan Medical Center contest): windows -> label map -> ROIs -> shape -> vote -> masks.

    Attributes
    ----------
    network
        Says of each window: not ROI, benign ROI, malignant ROI.
    config
        Every setting.
    exact
        The network in float32, where `network` computes in less: it looks again at likely ROIs, and at given points.
    """

    network: Network
    config: Config = field(default_factory=Config)
    exact: Network | None = None
    system: str = "windows"

    @property
    def weights_sha256(self) -> str:
        """Of the network."""
        return self.network.sha256

    @property
    def weighing(self) -> RoiWeighing:
        """How the windows' scores and the shape become a ROI's detection score."""
        return roi_weighing_of(self.network.card)

    @property
    def engine(self) -> str:
        """What runs the network."""
        return self.network.engine + (", likely ROIs again in float32" if self.exact else "")

    def __call__(self, ct: CTVolume, *, progress: Progress | None = None) -> Diagnosis:
        """Diagnose one CT, see :class:`Pipeline`."""
        return diagnose_with(self, self.find, ct, progress)

    def find(self, upright: CTVolume, lungs: NDArray[np.bool_], clock: StepClock) -> Found:
        """The nodules of an upright CT and the patient's score; masks and measurements come later."""
        settings = self.config.windows
        with clock.step("detect"):
            windows = self.look(upright, lungs, clock.share)
            rois = find_rois(upright, windows, label_windows(windows, settings.roi_score), settings)
        with clock.step("weigh"):
            seen = list(see_rois(upright, lungs, rois, self.config.outline))
            rois = weigh_rois(upright, seen, self.weighing, settings.nodule_score)
        with clock.step("vote"):
            nodules = tuple(Nodule(roi.candidate, malignant_share([roi.labels]) or 0.0) for roi in rois)
            score = malignant_share([roi.labels for roi in rois])
        return Found(nodules, score, verdict_of(score, settings.vote_threshold, searched=bool(lungs.any())))

    def look(self, upright: CTVolume, lungs: NDArray[np.bool_], share: Callable[[float], None]) -> WindowMap:
        """Every window that touches the lungs, as it is labelled; `share` is told the share of slices done, 0 to 1."""
        own_pixels, settings = takes_own_pixels(self.network), self.config.windows
        slice_mm = upright.spacing_zyx_mm[0]
        windows = score_windows(upright, lungs, self.network, share, own_pixels=own_pixels)
        if self.exact is not None:
            again = likely_rois(windows, slice_mm, settings)
            windows = score_again(upright, windows, again, self.exact, own_pixels=own_pixels)
        return agree_across_slices(windows, slice_mm, settings.slice_reach_mm)

    def classify(self, ct: CTVolume, points_lps: ArrayLike) -> tuple[Nodule, ...]:
        """Score given points, see :class:`Pipeline`."""
        return classify_with(self.judge, ct, points_lps)

    def judge(self, upright: CTVolume, point_zyx: NDArray[np.float64]) -> Nodule:
        """The nodule at one point of an upright CT."""
        scaling, own_pixels = scaling_of(self.network.card), takes_own_pixels(self.network)
        return judge_point(upright, point_zyx, self.exact or self.network, scaling=scaling, own_pixels=own_pixels)


@dataclass(frozen=True, slots=True)
class SegmentsPipeline:
    """The `segments` system (Pugliese, Data Science Bowl 2017): U-Net -> merging -> nodule networks -> masks.

    Attributes
    ----------
    slices, outline
        The U-Net: says of each pixel how surely it is of a nodule. After its first stage it finds candidates, after its
        second it outlines nodules.
    judges
        Say of a candidate whether it is a nodule, and how malignant.
    weights_sha256
        Of all networks.
    engine
        What runs them.
    config
        Every setting.
    sized
        How the malignancy network's score and the outline's diameter become a nodule's malignancy score.
    patient_scaling
        Of the patient's score.
    """

    slices: SliceNetwork
    outline: SliceNetwork
    judges: Judges
    weights_sha256: str
    engine: str
    config: Config = field(default_factory=Config)
    sized: MalignancyWeighing = field(default_factory=MalignancyWeighing)
    patient_scaling: PlattScaling | None = None
    system: str = "segments"

    def __call__(self, ct: CTVolume, *, progress: Progress | None = None) -> Diagnosis:
        """Diagnose one CT, see :class:`Pipeline`."""
        return diagnose_with(self, self.find, ct, progress)

    def find(self, upright: CTVolume, lungs: NDArray[np.bool_], clock: StepClock) -> Found:
        """The nodules of an upright CT, with masks, and the patient's score; measurements come later."""
        settings = self.config.segments
        with clock.step("segment"):
            marked = score_slices(upright, lungs, self.slices, clock.share)
        with clock.step("merge"):
            candidates = find_candidates(upright, lungs, marked, settings)
        with clock.step("classify"):
            judged = (judge_candidate(upright, each, self.judges, settings.nodule_score) for each in candidates)
            nodules = sorted((n for n in judged if n is not None), key=lambda n: -n.candidate.detection_score)
        with clock.step("outline"):
            nodules = [self._outlined(nodule, upright) for nodule in nodules]
        score = patient_score(nodules, settings.strongest, self.patient_scaling)
        verdict = verdict_of(score, settings.malignancy_threshold, searched=bool(lungs.any()))
        return Found(tuple(nodules), score, verdict)

    def classify(self, ct: CTVolume, points_lps: ArrayLike) -> tuple[Nodule, ...]:
        """Score given points, see :class:`Pipeline`."""

        def judge(upright: CTVolume, point_zyx: NDArray[np.float64]) -> Nodule:
            nodule = judge_place(upright, point_zyx, self.slices, self.judges, self.config.segments)
            return self._outlined(nodule, upright)

        return classify_with(judge, ct, points_lps)

    def _outlined(self, nodule: Nodule, upright: CTVolume) -> Nodule:
        """A nodule with its final mask, and the malignancy score that its size is part of."""
        outlined = redraw(nodule, upright, self.outline)
        score = self.sized.apply(nodule.malignancy_score, outlined.candidate.roi_diameter_mm)
        return replace(outlined, malignancy_score=score)


@dataclass(frozen=True, slots=True)
class BothPipelines:
    """The nodules of `segments`, each judged by both systems; the strongest of them makes the patient's score.

    `windows` looks at the nodules only: its own ROIs are found by `segments` too, and its vote, weighed in, made the
    patient's score worse (benchmarks/segments.md).

    Attributes
    ----------
    windows, segments
        The two.
    of_nodules
        How the two malignancy scores of a nodule become one.
    patient_scaling
        Of the patient's score.
    """

    windows: WindowsPipeline
    segments: SegmentsPipeline
    of_nodules: LogitSum
    patient_scaling: PlattScaling | None = None
    system: str = "both"

    @property
    def config(self) -> Config:
        """Every setting."""
        return self.segments.config

    @property
    def weights_sha256(self) -> str:
        """Of both systems' hashes, a line each, `windows` first."""
        return sha256_of([self.windows.weights_sha256, self.segments.weights_sha256])

    @property
    def engine(self) -> str:
        """What runs the networks."""
        engines = dict.fromkeys((self.windows.engine, self.segments.engine))
        return "; ".join(engines)

    def __call__(self, ct: CTVolume, *, progress: Progress | None = None) -> Diagnosis:
        """Diagnose one CT, see :class:`Pipeline`."""
        return diagnose_with(self, self.find, ct, progress)

    def find(self, upright: CTVolume, lungs: NDArray[np.bool_], clock: StepClock) -> Found:
        """What `segments` finds, judged by both."""
        by_segments = self.segments.find(upright, lungs, clock)
        with clock.step("judge"):
            nodules = tuple(self._judged(upright, nodule) for nodule in by_segments.nodules)
        settings = self.config.segments
        score = patient_score(nodules, settings.strongest, self.patient_scaling)
        return Found(nodules, score, verdict_of(score, settings.malignancy_threshold, searched=bool(lungs.any())))

    def _judged(self, upright: CTVolume, nodule: Nodule) -> Nodule:
        centre = upright.to_zyx(np.array(nodule.candidate.location.lps_mm))
        other = self.windows.judge(upright, centre)
        return replace(nodule, malignancy_score=self.of_nodules.apply(other.malignancy_score, nodule.malignancy_score))

    def classify(self, ct: CTVolume, points_lps: ArrayLike) -> tuple[Nodule, ...]:
        """Score given points, see :class:`Pipeline`."""
        pairs = zip(self.windows.classify(ct, points_lps), self.segments.classify(ct, points_lps), strict=True)
        return tuple(
            replace(two, malignancy_score=self.of_nodules.apply(one.malignancy_score, two.malignancy_score))
            for one, two in pairs
        )


def load_pipeline(
    system: str = "windows",
    weights: Path | None = None,
    config: Config | None = None,
    *,
    engine: str | None = None,
    precision: str | None = None,
) -> Pipeline:
    """A system with its network, ready to be called with a CT.

    Parameters
    ----------
    system
        ``"windows"``, ``"segments"`` or ``"both"``.
    weights
        Folder of the networks and their ``card.json``; None for those that come with Lungsight.
    config
        Settings; None for those the network was calibrated with.
    engine, precision
        What runs the network, see :func:`~lungsight.runtime.open_network`; None for the fastest here.

    Returns
    -------
    Pipeline
        Call it with a :class:`~lungsight.ct.volume.CTVolume`; may be used for many.

    Raises
    ------
    InputError
        If there is no such system, engine or precision.
    WeightsError
        If the network cannot be loaded.
    """
    if system not in SYSTEMS:
        raise InputError(f"system {system!r}", f"one of {', '.join(SYSTEMS)}", "Name one of these.")
    config = config or Config()
    if system == "both":
        if weights is not None:
            remedy = "Leave out --weights, or name one of the two systems."
            raise InputError(f"weights in {weights} for both systems", "those that come with Lungsight", remedy)
        one = _load_windows(shipped_weights("windows"), config, engine, precision)
        two, card = _load_segments(shipped_weights("segments"), config, engine, precision)
        scaling = scaling_of(card.get("both", {}), "patient_scaling")
        return BothPipelines(one, two, both_nodules_of(card), scaling)
    if system == "segments":
        return _load_segments(weights or shipped_weights(system), config, engine, precision)[0]
    return _load_windows(weights or shipped_weights(system), config, engine, precision)


def _load_windows(folder: Path, config: Config, engine: str | None, precision: str | None) -> WindowsPipeline:
    network = load_network(folder, engine=engine, precision=precision)
    return WindowsPipeline(network, config, network.exact)


def _load_segments(
    folder: Path, config: Config, engine: str | None, precision: str | None
) -> tuple[SegmentsPipeline, Mapping[str, Any]]:
    names = ("unet", "detection", "malignancy", "outline")
    opened = open_networks(folder, names, engine=engine, precision=precision)
    unet, detection, malignancy, outline = opened.networks
    judges = Judges(detection.run, malignancy.run, nodule_weighing_of(opened.card))
    sized, scaling = malignancy_weighing_of(opened.card), scaling_of(opened.card, "patient_scaling")
    pipeline = SegmentsPipeline(unet.run, outline.run, judges, opened.sha256, unet.engine, config, sized, scaling)
    return pipeline, opened.card
