"""What all systems have in common: the CT upright, its lungs, what a system finds, measurements, the source's grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight import __version__
from lungsight.config import Config
from lungsight.ct.upright import Turn, turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.diagnose.measured import measure_nodules
from lungsight.findings import Diagnosis, Nodule, Provenance, Verdict
from lungsight.timing import Progress, StepClock

__all__ = ["Found", "Pipeline", "classify_with", "diagnose_with"]


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

    @property
    def engine(self) -> str:
        """What runs them, and in which precision."""

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
class Found:
    """What a system finds in an upright CT.

    Attributes
    ----------
    nodules
        Not yet measured, surest first.
    score
        How malignant the patient is, 0 to 1; None without nodule.
    verdict
        What that means.
    """

    nodules: tuple[Nodule, ...]
    score: float | None
    verdict: Verdict


def diagnose_with(
    pipeline: Pipeline,
    find: Callable[[CTVolume, NDArray[np.bool_], StepClock], Found],
    ct: CTVolume,
    progress: Progress | None,
) -> Diagnosis:
    """What all systems have in common: CT upright -> lungs -> what a system finds -> measurements -> source grid."""
    clock = StepClock(progress)
    turn = turn_upright(ct)
    upright = turn.volume(ct)
    with clock.step("lungs"):
        lungs = segment_lungs(upright, pipeline.config.lungs)
    found = find(upright, lungs, clock)
    with clock.step("measure"):
        measured = measure_nodules(found.nodules, upright, lungs, pipeline.config)
        nodules = tuple(_on_source(nodule, ct, turn) for nodule in measured)
    provenance = Provenance(
        series_uid=ct.series_uid,
        version=__version__,
        weights_sha256=pipeline.weights_sha256,
        engine=pipeline.engine,
        config=MappingProxyType(asdict(pipeline.config)),
        seconds=MappingProxyType(clock.seconds),
    )
    warnings = ct.warnings if lungs.any() else (*ct.warnings, "No lung was found in the CT, so nothing was searched.")
    return Diagnosis(found.verdict, found.score, pipeline.system, nodules, provenance, warnings)


def classify_with(
    judge: Callable[[CTVolume, NDArray[np.float64]], Nodule], ct: CTVolume, points_lps: ArrayLike
) -> tuple[Nodule, ...]:
    """Judge given points ``(n, 3)`` of a CT in any orientation; `judge` takes the upright CT and a voxel index."""
    points = np.asarray(points_lps, np.float64)
    if points.size == 0:
        return ()
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points_lps has shape {points.shape}, expected (n, 3)")
    turn = turn_upright(ct)
    upright = turn.volume(ct)
    return tuple(_on_source(judge(upright, point), ct, turn) for point in upright.to_zyx(points))


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
