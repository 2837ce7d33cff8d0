"""Virtual patients: real nodules set into real lungs. The same seed and number give the same patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lungsight.errors import InputError
from lungsight.train.donors import Donor
from lungsight.train.paste import CONTEXT_PX, Host, find_place
from lungsight.train.stamp import Piece, cut_stamp
from lungsight.train.virtual import Canvas, Kind, VirtualPatient

__all__ = ["SimulationConfig", "cut_control", "host_of", "label_of", "simulate_patient"]

DRAWS = 40
"""Nodules drawn for one place to be found, before the host is given up."""

CONTROL_SOLID_HU = 40.0
"""What a block of lung is taken to be if it were filled: soft tissue, as a nodule is."""


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """How virtual patients are drawn.

    Attributes
    ----------
    seed
        Of everything that is drawn, with the number of the patient.
    malignant
        Share of patients with a malignant nodule, 0 to 1.
    none
        Share of patients without a nodule; they are among those labelled benign.
    slice_thickness_mm
        Slices are averaged to this thickness and spacing; None keeps those of the host.
    controls
        Blocks of lung set into each patient as controls.
    nodule_counts
        How likely one nodule, two, three and so on are in a patient who has any.
    """

    seed: int = 1
    malignant: float = 0.67
    none: float = 0.0
    slice_thickness_mm: float | None = 5.0
    controls: int = 0
    nodule_counts: tuple[float, ...] = (0.6, 0.25, 0.15)

    def __post_init__(self) -> None:
        if not (0 <= self.malignant <= 1 and 0 <= self.none <= 1 and self.malignant + self.none <= 1 + 1e-9):
            raise ValueError(f"malignant is {self.malignant} and none {self.none}, expected shares of 1 together")
        if self.slice_thickness_mm is not None and not self.slice_thickness_mm > 0:
            raise ValueError(f"slice_thickness_mm is {self.slice_thickness_mm}, expected over 0")
        if self.seed < 0 or self.controls < 0:
            raise ValueError(f"seed is {self.seed} and controls {self.controls}, expected 0 or more")
        if not self.nodule_counts or min(self.nodule_counts) < 0 or abs(sum(self.nodule_counts) - 1) > 1e-6:
            raise ValueError(f"nodule_counts are {self.nodule_counts}, expected shares that sum to 1")


def label_of(number: int, config: SimulationConfig) -> tuple[int, bool]:
    """Label of a patient, and whether the patient has nodules; of any number of patients the shares are kept.

    Examples
    --------
    >>> [label_of(n, SimulationConfig(malignant=0.5, none=0.25)) for n in range(1, 5)]
    [(0, True), (1, True), (0, False), (1, True)]
    """
    malignant = int(number * config.malignant + 1e-9)
    if malignant > int((number - 1) * config.malignant + 1e-9):
        return 1, True
    benign = number - malignant
    share = config.none / (1 - config.malignant)
    return 0, int(benign * share + 1e-9) == int((benign - 1) * share + 1e-9)


def host_of(number: int, hosts: int, seed: int) -> int:
    """Which of several hosts a patient gets; needed before the hosts are read."""
    return int(np.random.default_rng((seed, number, 0)).integers(hosts))


def simulate_patient(
    number: int, host: Host, donors: Sequence[Donor], config: SimulationConfig, other: Callable[[], Host] | None = None
) -> VirtualPatient:
    """One virtual patient.

    Parameters
    ----------
    number
        From 1.
    host
        The patient's lungs.
    donors
        Nodules to draw from. A patient labelled malignant gets one malignant nodule and may get others of either kind;
        one labelled benign gets benign ones only.
    config
        Settings.
    other
        Gives the CT that controls are cut from; None for the host itself.

    Returns
    -------
    VirtualPatient
        With as many nodules as were drawn, unless there is no place for all of them; at least one, if any.

    Raises
    ------
    InputError
        If no donor is of the kind that is needed, no place is found, or the host's slices are too thick.
    """
    rng = np.random.default_rng((config.seed, number, 1))
    label, has_nodules = label_of(number, config)
    canvas = Canvas.of(host, config.slice_thickness_mm)
    count = 1 + int(rng.choice(len(config.nodule_counts), p=config.nodule_counts)) if has_nodules else 0
    left = list(donors)
    for nth in range(count):
        wanted = [d for d in left if d.is_malignant] if label and nth == 0 else left
        wanted = wanted if label else [d for d in wanted if not d.is_malignant]
        used = _set_one(rng, canvas, wanted)
        if used is None and nth == 0:
            raise InputError(
                f"no place in {host.patient_id} for any of {len(wanted)} {'malignant' if label else 'benign'} nodules",
                "nodules of that kind, and lungs without lesions",
                "Give more nodules, or take that CT out of the hosts.",
            )
        left = [d for d in left if d is not used]
    block_host = host if other is None or not config.controls else other()
    for _ in range(config.controls):
        cut = cut_control(rng, block_host, donors[int(rng.integers(len(donors)))].piece())
        if cut is not None:
            canvas.set(rng, cut, Kind.CONTROL, ("lung", block_host.patient_id, None))
    return canvas.patient(number, label)


def cut_control(rng: np.random.Generator, host: Host, shape: Piece) -> Piece | None:
    """A block of lung where a nodule might be set, with the shape of that nodule as its mask; None if there is none."""
    stamp = cut_stamp(shape, host.ct.spacing_zyx_mm)
    box = find_place(rng, host, np.asarray(host.ct.hu, np.int16), host.closed, stamp)
    if box is None:
        return None
    start = [max(0, s.start - CONTEXT_PX * (axis > 0)) for axis, s in enumerate(box)]
    stop = [min(n, s.stop + CONTEXT_PX * (a > 0)) for a, (s, n) in enumerate(zip(box, host.ct.shape, strict=True))]
    pad = [(s.start - a, b - s.stop) for s, a, b in zip(box, start, stop, strict=True)]
    wide = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return Piece(host.ct.hu[wide].astype(np.float32), np.pad(stamp.mask, pad), host.ct.spacing_zyx_mm, CONTROL_SOLID_HU)


def _set_one(rng: np.random.Generator, canvas: Canvas, donors: Sequence[Donor]) -> Donor | None:
    for at in rng.permutation(len(donors))[:DRAWS]:
        donor = donors[int(at)]
        if canvas.set_nodule(rng, donor):
            return donor
    return None
