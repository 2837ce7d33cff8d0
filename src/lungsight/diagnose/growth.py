"""How nodules changed since an earlier CT: outlined anew at the same place in it, with the same rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.config import MeasureConfig, OutlineConfig
from lungsight.ct.volume import CTVolume
from lungsight.diagnose.measure import Landmarks, measure_nodule
from lungsight.diagnose.outline import outline_nodule
from lungsight.findings import Candidate, Growth, Measurements, Nodule, Region

__all__ = ["EarlierCT", "growth_of", "growth_since"]

_REACH_MM = 8.0
"""How far a place may lie off after a rigid registration: breath."""


@dataclass(frozen=True, slots=True, eq=False)
class EarlierCT:
    """An earlier CT of the patient and the way into it.

    Attributes
    ----------
    ct
        Upright.
    lungs
        Its lung mask.
    landmarks
        Of it.
    to_earlier
        Takes LPS points of the present CT to LPS points of this one.
    """

    ct: CTVolume
    lungs: NDArray[np.bool_]
    landmarks: Landmarks
    to_earlier: Callable[[ArrayLike], NDArray[np.float64]]

    def measure_at(
        self, centre_lps: NDArray[np.float64], size_mm: float, outline: OutlineConfig, measure: MeasureConfig
    ) -> Measurements | None:
        """What lies at a place of the present CT, or near it; None if nothing does."""
        here = self.ct.to_zyx(self.to_earlier(centre_lps))
        if not all(-0.5 <= p <= n - 0.5 for p, n in zip(here, self.ct.shape, strict=True)):
            return None
        half = [int((_REACH_MM + size_mm / 2) / mm) for mm in self.ct.spacing_zyx_mm]
        middle = np.rint(here).astype(int)
        z, y, x = np.maximum(middle - half, 0).tolist()
        stop = np.minimum(middle + half + 1, self.ct.shape)
        roi = Region((z, y, x), np.ones(stop - (z, y, x), np.bool_))
        point = np.clip(here, 0, np.subtract(self.ct.shape, 1))
        mask = outline_nodule(self.ct, self.lungs, Candidate(self.ct.locate(point), size_mm, 1.0, roi), outline)
        if mask is None:
            return None
        found_lps = self.ct.to_lps(np.argwhere(mask.mask).mean(0) + mask.start_zyx)
        if np.linalg.norm(found_lps - self.to_earlier(centre_lps)) > _REACH_MM:
            return None
        return measure_nodule(self.ct, mask, self.landmarks, measure)


def growth_since(
    nodules: tuple[Nodule, ...],
    ct: CTVolume,
    earlier: EarlierCT,
    days: int | None,
    configs: tuple[OutlineConfig, MeasureConfig],
    *,
    present: EarlierCT | None = None,
) -> tuple[Nodule, ...]:
    """Each measured nodule with its growth.

    Parameters
    ----------
    nodules
        Of `ct`; those without a mask stay as they are.
    ct
        The present CT, on the grid of the masks.
    earlier
        The earlier one.
    days
        Between the two; None if not known.
    configs
        How nodules are outlined and measured, here as there.
    present
        `ct` itself, if its masks were not outlined so (those of a U-Net were not): each nodule is then outlined again
        at its place, since two ways of outlining differ by more than a nodule grows.

    Returns
    -------
    tuple of Nodule
        In their order. A nodule is new if nothing dense lies within 8 mm of its place in the earlier CT; a vessel that
        lies there is taken for it.
    """
    grown = []
    for nodule in nodules:
        mask, now = nodule.mask, nodule.measurements
        if mask is None or now is None:
            grown.append(nodule)
            continue
        centre_lps = ct.to_lps(np.argwhere(mask.mask).mean(0) + mask.start_zyx)
        then = earlier.measure_at(centre_lps, now.long_axis_mm, *configs)
        alike = now if present is None else present.measure_at(centre_lps, now.long_axis_mm, *configs)
        grown.append(replace(nodule, growth=growth_of(alike, then, days)) if alike else nodule)
    return tuple(grown)


def growth_of(now: Measurements, then: Measurements | None, days: int | None) -> Growth:
    """Growth in mm and the volume doubling time.

    Parameters
    ----------
    now, then
        What was measured; `then` is None for a new nodule.
    days
        Between the two; None if not known.

    Notes
    -----
    Volume doubling time = days x ln 2 / ln(V now / V then): Schwartz, *Cancer* 14:1272-1294, 1961.

    Examples
    --------
    >>> from lungsight.findings import Density
    >>> then = Measurements(8, 8, 250.0, 0, Density.SOLID, None, "left", "upper", 3)
    >>> growth_of(replace(then, volume_mm3=1000.0), then, 100).volume_doubling_days
    50.0
    """
    if then is None:
        return Growth(None, days)
    doublings = log(now.volume_mm3 / then.volume_mm3) / log(2)
    return Growth(
        earlier=then,
        days=days,
        mean_diameter_change_mm=now.mean_diameter_mm - then.mean_diameter_mm,
        volume_doubling_days=days / doublings if days and doublings else None,
    )
