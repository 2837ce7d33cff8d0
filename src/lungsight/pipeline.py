"""The systems, each on one screen. Read this file first."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight import __version__
from lungsight.config import Config
from lungsight.ct.upright import Turn, turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import find_candidates
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.rois import agree_across_slices, find_rois
from lungsight.detect.segment import SliceNetwork, score_slices
from lungsight.detect.windows import label_windows, score_windows
from lungsight.diagnose.classify import Judges, judge_candidate, patient_score
from lungsight.diagnose.measured import measure_nodules
from lungsight.diagnose.places import judge_place
from lungsight.diagnose.points import judge_point
from lungsight.diagnose.scaling import PlattScaling, scaling_of
from lungsight.diagnose.vote import malignant_share, patient_share, verdict_of
from lungsight.errors import InputError
from lungsight.findings import Diagnosis, Nodule, Provenance
from lungsight.runtime import Network, load_network, open_networks, shipped_weights, takes_own_pixels
from lungsight.timing import Progress, StepClock

__all__ = ["SYSTEMS", "Pipeline", "SegmentsPipeline", "WindowsPipeline", "load_pipeline"]


class Pipeline(Protocol):
    """A system with its networks; made by :func:`load_pipeline`, may be used for many CTs."""

    @property
    def system(self) -> str:
        """Its name."""

    @property
    def config(self) -> Config:
        """Every setting."""

    @property
    def weights_sha256(self) -> str:
        """Of its networks."""

    def __call__(self, ct: CTVolume, *, progress: Progress | None = None) -> Diagnosis:
        """Diagnose one CT.

        Parameters
        ----------
        ct
            In any orientation; resampling to what the networks see happens inside.
        progress
            Told the step's name and its share done, 0 to 1.

        Returns
        -------
        Diagnosis
            On the CT's own grid. Without lungs it is INDETERMINATE and says so in its warnings.
        """

    def classify(self, ct: CTVolume, points_lps: ArrayLike) -> tuple[Nodule, ...]:
        """Score given points, without lungs or detection.

        Parameters
        ----------
        ct
            In any orientation; from 64 x 64 pixels and one slice up.
        points_lps
            Shape ``(n, 3)``, patient LPS mm, inside the CT.

        Returns
        -------
        tuple of Nodule
            In the order of the points; ``candidate.detection_score`` is the nodule score. Empty in, empty out.

        Raises
        ------
        ValueError
            If a point is outside the CT, or the points are not ``(n, 3)``.
        """


@dataclass(frozen=True, slots=True)
class WindowsPipeline:
    """The `windows` system (Asan Medical Center contest): windows -> label map -> ROIs -> vote -> masks.

    Attributes
    ----------
    network
        Says of each window: not ROI, benign ROI, malignant ROI.
    config
        Every setting.
    """

    network: Network
    config: Config = field(default_factory=Config)
    system: str = "windows"

    @property
    def weights_sha256(self) -> str:
        """Of the network."""
        return self.network.sha256

    def __call__(self, ct: CTVolume, *, progress: Progress | None = None) -> Diagnosis:
        """Diagnose one CT, see :class:`Pipeline`."""
        tell = progress or (lambda _step, _share: None)
        seconds: dict[str, float] = {}
        settings = self.config.windows
        turn = turn_upright(ct)
        upright = turn.volume(ct)

        with StepClock("lungs", seconds, tell):
            lungs = segment_lungs(upright, self.config.lungs)
        with StepClock("detect", seconds, tell):
            own_pixels = takes_own_pixels(self.network)
            windows = score_windows(
                upright, lungs, self.network, lambda share: tell("detect", share), own_pixels=own_pixels
            )
            windows = agree_across_slices(windows, upright.spacing_zyx_mm[0], settings.slice_reach_mm)
            rois = find_rois(upright, windows, label_windows(windows, settings.roi_score), settings)
        with StepClock("vote", seconds, tell):
            judged = tuple(Nodule(roi.candidate, malignant_share([roi.labels]) or 0.0) for roi in rois)
            score = patient_share(rois, settings.vote_roi_score)
        with StepClock("measure", seconds, tell):
            measured = measure_nodules(judged, upright, lungs, self.config)
            nodules = tuple(_on_source(nodule, ct, turn) for nodule in measured)

        verdict = verdict_of(score, settings.vote_threshold, searched=bool(lungs.any()))
        provenance = _provenance(self, ct, self.network.engine, seconds)
        return Diagnosis(verdict, score, self.system, nodules, provenance, _warnings(ct, lungs))

    def classify(self, ct: CTVolume, points_lps: ArrayLike) -> tuple[Nodule, ...]:
        """Score given points, see :class:`Pipeline`."""
        turn = turn_upright(ct)
        upright = turn.volume(ct)
        scaling, own_pixels = scaling_of(self.network.card), takes_own_pixels(self.network)
        nodules = (
            judge_point(upright, point, self.network, scaling=scaling, own_pixels=own_pixels)
            for point in _voxels(upright, points_lps)
        )
        return tuple(_on_source(nodule, ct, turn) for nodule in nodules)


@dataclass(frozen=True, slots=True)
class SegmentsPipeline:
    """The `segments` system (Pugliese, Data Science Bowl 2017): U-Net -> merging -> nodule networks -> noisy-or.

    Attributes
    ----------
    slices
        The U-Net: says of each pixel how surely it is of a nodule.
    judges
        Say of a candidate whether it is a nodule, and how malignant.
    weights_sha256
        Of all networks.
    engine
        What runs them.
    config
        Every setting.
    patient_scaling
        Of the patient's score.
    """

    slices: SliceNetwork
    judges: Judges
    weights_sha256: str
    engine: str
    config: Config = field(default_factory=Config)
    patient_scaling: PlattScaling | None = None
    system: str = "segments"

    def __call__(self, ct: CTVolume, *, progress: Progress | None = None) -> Diagnosis:
        """Diagnose one CT, see :class:`Pipeline`."""
        tell = progress or (lambda _step, _share: None)
        seconds: dict[str, float] = {}
        settings = self.config.segments
        turn = turn_upright(ct)
        upright = turn.volume(ct)

        with StepClock("lungs", seconds, tell):
            lungs = segment_lungs(upright, self.config.lungs)
        with StepClock("detect", seconds, tell):
            found = score_slices(upright, lungs, self.slices, lambda share: tell("detect", share))
            candidates = find_candidates(upright, lungs, found, settings)
        with StepClock("classify", seconds, tell):
            asked = (judge_candidate(upright, each, self.judges, settings.nodule_score) for each in candidates)
            judged = sorted((n for n in asked if n is not None), key=lambda n: -n.candidate.detection_score)
            score = patient_score(judged, settings.strongest, self.patient_scaling)
        with StepClock("measure", seconds, tell):
            measured = measure_nodules(tuple(judged), upright, lungs, self.config)
            nodules = tuple(_on_source(nodule, ct, turn) for nodule in measured)

        verdict = verdict_of(score, settings.malignancy_threshold, searched=bool(lungs.any()))
        provenance = _provenance(self, ct, self.engine, seconds)
        return Diagnosis(verdict, score, self.system, nodules, provenance, _warnings(ct, lungs))

    def classify(self, ct: CTVolume, points_lps: ArrayLike) -> tuple[Nodule, ...]:
        """Score given points, see :class:`Pipeline`."""
        turn = turn_upright(ct)
        upright = turn.volume(ct)
        nodules = (
            judge_place(upright, point, self.slices, self.judges, self.config.segments)
            for point in _voxels(upright, points_lps)
        )
        return tuple(_on_source(nodule, ct, turn) for nodule in nodules)


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
        ``"windows"`` or ``"segments"``.
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
    folder, config = weights or shipped_weights(system), config or Config()
    if system == "windows":
        return WindowsPipeline(load_network(folder, engine=engine, precision=precision), config)
    networks = open_networks(folder, ("unet", "detection", "malignancy"), engine=engine, precision=precision)
    unet, detection, malignancy = networks.networks
    return SegmentsPipeline(
        unet.run,
        Judges(detection.run, malignancy.run, scaling_of(networks.card)),
        networks.sha256,
        unet.engine,
        config,
        scaling_of(networks.card, "patient_scaling"),
    )


SYSTEMS = ("windows", "segments")


def _voxels(upright: CTVolume, points_lps: ArrayLike) -> NDArray[np.float64]:
    """Points ``(n, 3)`` as voxel indices; refuses another shape."""
    points = np.asarray(points_lps, np.float64)
    if points.size == 0:
        return np.zeros((0, 3))
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points_lps has shape {points.shape}, expected (n, 3)")
    return upright.to_zyx(points)


def _provenance(pipeline: Pipeline, ct: CTVolume, engine: str, seconds: dict[str, float]) -> Provenance:
    return Provenance(
        series_uid=ct.series_uid,
        version=__version__,
        weights_sha256=pipeline.weights_sha256,
        engine=engine,
        config=MappingProxyType(asdict(pipeline.config)),
        seconds=MappingProxyType(seconds),
    )


def _warnings(ct: CTVolume, lungs: NDArray[np.bool_]) -> tuple[str, ...]:
    return ct.warnings if lungs.any() else (*ct.warnings, "No lung was found in the CT, so nothing was searched.")


def _on_source(nodule: Nodule, ct: CTVolume, turn: Turn) -> Nodule:
    """A nodule of the upright CT on the grid of the source."""
    candidate = nodule.candidate
    centre_zyx = turn.volume(ct).to_zyx(candidate.location.lps_mm)
    candidate = replace(
        candidate,
        location=ct.locate(turn.to_source(centre_zyx)),
        region=turn.region_to_source(candidate.region),
    )
    return replace(nodule, candidate=candidate, mask=nodule.mask and turn.region_to_source(nodule.mask))
