"""A virtual patient, while nodules are set into the host's lungs and when it is complete."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.errors import InputError
from lungsight.train.donors import MIDDLE_RATING, Donor
from lungsight.train.paste import (
    Host,
    average_slabs,
    find_place,
    hu_step,
    kept_slices,
    paste,
    slab_weights,
    thicken,
)
from lungsight.train.stamp import Piece, Stamp, cut_stamp

__all__ = ["Canvas", "Insertion", "Kind", "VirtualPatient"]

GAP_PX = 3
"""Between two things set into one CT, in the plane; one slice along it."""


class Kind(StrEnum):
    """What was set into a lung."""

    NODULE = "nodule"
    CONTROL = "control"
    """A block of lung of another CT, set in as a nodule is: it shows nothing but the seam."""


@dataclass(frozen=True, slots=True)
class Insertion:
    """One thing that was set into a lung.

    Attributes
    ----------
    kind
        Nodule or control.
    nodule_id, patient_id
        The nodule, or the one whose shape a control has, and whose it is; for a control `patient_id` is the CT the
        lung comes from.
    malignancy
        The readers' rating; None for a control.
    centre_lps_mm
        Centroid of its mask before slices were made thick.
    diameter_mm
        Of the ball with the mask's volume.
    """

    kind: Kind
    nodule_id: str
    patient_id: str
    malignancy: float | None
    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float

    @property
    def is_malignant(self) -> bool:
        """Whether it is a nodule rated over the middle."""
        return self.malignancy is not None and self.malignancy > MIDDLE_RATING


@dataclass(frozen=True, slots=True, eq=False)
class VirtualPatient:
    """A CT with its truth.

    Attributes
    ----------
    number
        From 1.
    label
        1 malignant, 0 benign.
    host_patient_id
        Whose lungs.
    ct
        Axial slices, head up, int16.
    mask
        Shape of the CT: the nodules, without controls.
    lesions
        Shape of the CT: what the host brings along, with a margin. It counts neither as found nor as false.
    insertions
        What was set in; empty for a patient without nodules.
    """

    number: int
    label: int
    host_patient_id: str
    ct: CTVolume
    mask: NDArray[np.bool_]
    lesions: NDArray[np.bool_]
    insertions: tuple[Insertion, ...]


@dataclass(slots=True, eq=False)
class Canvas:
    """A host while things are set into it."""

    host: Host
    thickness_mm: float | None
    hu: NDArray[np.int16]
    closed: NDArray[np.bool_]
    step_hu: int
    placed: list[tuple[Insertion, tuple[slice, slice, slice], Stamp]]

    @classmethod
    def of(cls, host: Host, thickness_mm: float | None) -> Canvas:
        """A host as it is; refused if its slices are thicker than asked for."""
        spacing_mm = host.ct.spacing_zyx_mm[0]
        if thickness_mm is not None and thickness_mm < spacing_mm - 1e-3:
            raise InputError(
                f"slices of {host.patient_id} are {spacing_mm:g} mm apart",
                f"at most {thickness_mm:g} mm, the slice thickness asked for",
                "Ask for thicker slices, or take that CT out of the hosts.",
            )
        closed = host.closed.copy()
        if thickness_mm is not None:
            closed[kept_slices(len(closed), spacing_mm, thickness_mm) :] = True
        hu = np.array(host.ct.hu, np.int16)
        return cls(host, thickness_mm, hu, closed, hu_step(hu), [])

    def set(self, rng: np.random.Generator, piece: Piece, kind: Kind, source: tuple[str, str, float | None]) -> bool:
        """Set a piece at a random place, if there is one."""
        stamp = cut_stamp(piece, self.host.ct.spacing_zyx_mm)
        box = find_place(rng, self.host, self.hu, self.closed, stamp)
        if box is None:
            return False
        paste(self.hu, self.host.lungs, stamp, box, self.step_hu)
        self.closed[
            tuple(slice(max(0, s.start - gap), s.stop + gap) for s, gap in zip(box, (1, GAP_PX, GAP_PX), strict=True))
        ] = True
        centre_zyx = np.argwhere(stamp.mask).mean(0) + [s.start for s in box]
        x, y, z = self.host.ct.to_lps(centre_zyx).tolist()
        self.placed.append((Insertion(kind, *source, (x, y, z), piece.diameter_mm), box, stamp))
        return True

    def set_nodule(self, rng: np.random.Generator, donor: Donor) -> bool:
        """Set a nodule at a random place, if there is one."""
        return self.set(rng, donor.piece(), Kind.NODULE, (donor.nodule_id, donor.patient_id, donor.malignancy))

    def patient(self, number: int, label: int) -> VirtualPatient:
        """The patient, with slices as thick as they shall be."""
        ct = CTVolume(self.hu, self.host.ct.affine)
        weights = np.eye(len(self.hu))
        if self.thickness_mm is not None:
            weights = slab_weights(len(self.hu), ct.spacing_zyx_mm[0], self.thickness_mm)
            ct = thicken(ct, self.thickness_mm)
        mask = np.zeros(ct.shape, np.bool_)
        for insertion, (z, y, x), stamp in self.placed:
            if insertion.kind is Kind.NODULE:
                share = average_slabs(stamp.mask, weights[:, z])
                mask[:, y, x] |= (share > 0) & (share >= share.max() / 2)
        insertions = tuple(insertion for insertion, _, _ in self.placed)
        lesions = average_slabs(self.host.closed, weights) > 0
        return VirtualPatient(number, label, self.host.patient_id, ct, mask, lesions, insertions)
