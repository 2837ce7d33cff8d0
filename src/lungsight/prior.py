"""A diagnosis against an earlier CT of the same patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lungsight.config import Config
from lungsight.ct.register import register_rigid
from lungsight.ct.upright import turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.diagnose.growth import EarlierCT, growth_since
from lungsight.diagnose.measure import find_landmarks
from lungsight.findings import Diagnosis

__all__ = ["compare_with_prior"]


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
    present = None if diagnosis.system == "windows" else _present(ct, config)
    nodules = growth_since(diagnosis.nodules, ct, earlier, days, (config.outline, config.measure), present=present)
    told = []
    if days is None:
        told.append("The days since the earlier CT are not known: no volume doubling time.")
    if present is not None:
        told.append("For growth, nodules were outlined again in both CTs, by a threshold: not the masks of the report.")
    return replace(diagnosis, nodules=nodules, warnings=(*diagnosis.warnings, *told))


def _present(ct: CTVolume, config: Config) -> EarlierCT | None:
    """The present CT as one to outline nodules in; None without lungs."""
    upright = turn_upright(ct).volume(ct)
    lungs = segment_lungs(upright, config.lungs)
    landmarks = find_landmarks(upright, lungs)
    return None if landmarks is None else EarlierCT(upright, lungs, landmarks, np.asarray)
