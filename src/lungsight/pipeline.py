"""Both systems, each on one screen. Read this file first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight import __version__
from lungsight.config import Config
from lungsight.ct.register import register_rigid
from lungsight.ct.upright import Turn, turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.rois import agree_across_slices, find_rois
from lungsight.detect.windows import label_windows, score_windows
from lungsight.diagnose.growth import EarlierCT, growth_since
from lungsight.diagnose.measure import find_landmarks, measure_nodule
from lungsight.diagnose.outline import outline_nodule
from lungsight.diagnose.points import judge_point
from lungsight.diagnose.scaling import scaling_of
from lungsight.diagnose.vote import malignant_share, patient_share, verdict_of
from lungsight.errors import InputError
from lungsight.findings import Diagnosis, Nodule, Provenance
from lungsight.runtime import Network, load_network, shipped_weights, takes_own_pixels

__all__ = ["SYSTEMS", "Pipeline", "compare_with_prior", "load_pipeline"]

SYSTEMS = ("windows",)
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Pipeline:
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

    def __call__(self, ct: CTVolume, *, progress: Progress | None = None) -> Diagnosis:
        """Diagnose one CT.

        Parameters
        ----------
        ct
            In any orientation; resampling to what the network sees happens inside.
        progress
            Told the step's name and its share done, 0 to 1.

        Returns
        -------
        Diagnosis
            On the CT's own grid. Without lungs it is INDETERMINATE and says so in its warnings.
        """
        tell = progress or (lambda _step, _share: None)
        seconds: dict[str, float] = {}
        settings = self.config.windows
        turn = turn_upright(ct)
        upright = turn.volume(ct)

        with _Clock("lungs", seconds, tell):
            lungs = segment_lungs(upright, self.config.lungs)
        with _Clock("detect", seconds, tell):
            windows = score_windows(
                upright,
                lungs,
                self.network,
                lambda share: tell("detect", share),
                own_pixels=takes_own_pixels(self.network),
            )
            windows = agree_across_slices(windows, upright.spacing_zyx_mm[0], settings.slice_reach_mm)
            labels = label_windows(windows, settings.roi_score)
            rois = find_rois(upright, windows, labels, settings)
        with _Clock("vote", seconds, tell):
            judged = tuple(Nodule(roi.candidate, malignant_share([roi.labels]) or 0.0) for roi in rois)
            score = patient_share(rois, settings.vote_roi_score)
        with _Clock("measure", seconds, tell):
            measured = _measured(judged, upright, lungs, self.config)
            nodules = tuple(_on_source(nodule, ct, turn) for nodule in measured)

        searched = bool(lungs.any())
        return Diagnosis(
            verdict=verdict_of(score, settings.vote_threshold, searched=searched),
            malignancy_score=score,
            system=self.system,
            nodules=nodules,
            provenance=Provenance(
                series_uid=ct.series_uid,
                version=__version__,
                weights_sha256=self.network.sha256,
                engine=self.network.engine,
                config=MappingProxyType(asdict(self.config)),
                seconds=MappingProxyType(seconds),
            ),
            warnings=(*ct.warnings, *(() if searched else ("No lung was found in the CT, so nothing was searched.",))),
        )

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
        points = np.asarray(points_lps, np.float64)
        if points.size == 0:
            return ()
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points_lps has shape {points.shape}, expected (n, 3)")
        turn = turn_upright(ct)
        upright = turn.volume(ct)
        scaling, own_pixels = scaling_of(self.network.card), takes_own_pixels(self.network)
        nodules = (
            judge_point(upright, point, self.network, scaling=scaling, own_pixels=own_pixels)
            for point in upright.to_zyx(points)
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
        ``"windows"``.
    weights
        Folder with ``model.onnx`` and ``card.json``; None for the network that comes with Lungsight.
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
    network = load_network(weights or shipped_weights(system), engine=engine, precision=precision)
    return Pipeline(network, config or Config(), system)


def compare_with_prior(
    diagnosis: Diagnosis, ct: CTVolume, prior: CTVolume, days: int | None = None, config: Config | None = None
) -> Diagnosis:
    """The diagnosis with what became of its nodules since an earlier CT.

    Parameters
    ----------
    diagnosis
        Of `ct`.
    ct
        In any orientation.
    prior
        An earlier CT of the same patient, on any grid.
    days
        Between the two; None if not known.
    config
        Settings; those of the diagnosis.

    Returns
    -------
    Diagnosis
        Each nodule with measurements has its `growth`. If the earlier CT shows no lung nothing is compared, and the
        warnings say so.

    Raises
    ------
    InputError
        If SimpleITK is not installed, or the two CTs do not show the same body.
    """
    config = config or Config()
    upright = turn_upright(prior).volume(prior)
    lungs = segment_lungs(upright, config.lungs)
    landmarks = find_landmarks(upright, lungs)
    if landmarks is None:
        warning = "No lung was found in the earlier CT, so nothing was compared with it."
        return replace(diagnosis, warnings=(*diagnosis.warnings, warning))
    earlier = EarlierCT(upright, lungs, landmarks, register_rigid(ct, upright))
    nodules = growth_since(diagnosis.nodules, ct, earlier, days, (config.outline, config.measure))
    unknown = () if days is not None else ("The days since the earlier CT are not known: no volume doubling time.",)
    return replace(diagnosis, nodules=nodules, warnings=(*diagnosis.warnings, *unknown))


def _measured(
    nodules: tuple[Nodule, ...], upright: CTVolume, lungs: NDArray[np.bool_], config: Config
) -> tuple[Nodule, ...]:
    """Each nodule with its own mask and measurements, where there is anything to outline."""
    landmarks = find_landmarks(upright, lungs) if nodules else None
    if landmarks is None:
        return nodules
    with_masks = []
    for nodule in nodules:
        mask = outline_nodule(upright, lungs, nodule.candidate, config.outline)
        measured = None if mask is None else measure_nodule(upright, mask, landmarks, config.measure)
        with_masks.append(replace(nodule, mask=mask, measurements=measured))
    return tuple(with_masks)


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


@dataclass(slots=True)
class _Clock:
    """Times a step and tells that it began and ended."""

    step: str
    seconds: dict[str, float]
    tell: Progress
    began: float = 0.0

    def __enter__(self) -> None:
        self.tell(self.step, 0.0)
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.step] = round(time.perf_counter() - self.began, 3)
        self.tell(self.step, 1.0)
