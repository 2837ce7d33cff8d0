"""The codes of the structured report: those of the standards, and Lungsight's own where the standards have none."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lungsight.findings import Density, Verdict

__all__ = [
    "DENSITIES",
    "DETECTION_SCORE",
    "MALIGNANCY_SCORE",
    "NODULE_DENSITY",
    "NODULE_PRESENCE",
    "NODULE_VERDICT",
    "PRIVATE_SCHEME",
    "SIDES",
    "SOLID_DIAMETER",
    "VERDICTS",
    "private_scheme",
]

PRIVATE_SCHEME = "99LUNGSIGHT"
"""Coding Scheme Designator; those that begin with 99 are private (PS3.16, chapter 8)."""


def _own(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, PRIVATE_SCHEME, meaning)


MALIGNANCY_SCORE = _own("MALIGNANCY_SCORE", "Malignancy score, 0 to 1, not calibrated")
DETECTION_SCORE = _own("DETECTION_SCORE", "Detection score, 0 to 1, not calibrated")
SOLID_DIAMETER = _own("SOLID_DIAMETER", "Mean diameter of the solid component")
NODULE_DENSITY = _own("NODULE_DENSITY", "Nodule density")
NODULE_VERDICT = _own("VERDICT", "Verdict on the patient")

DENSITIES = {
    Density.SOLID: _own("SOLID", "Solid"),
    Density.PART_SOLID: _own("PART_SOLID", "Part-solid"),
    Density.GROUND_GLASS: _own("GROUND_GLASS", "Ground glass"),
}
VERDICTS = {
    Verdict.NO_NODULE: _own("NO_NODULE", "No nodule found"),
    Verdict.BENIGN: _own("BENIGN", "Looks benign"),
    Verdict.MALIGNANT: _own("MALIGNANT", "Looks malignant"),
    Verdict.INDETERMINATE: _own("INDETERMINATE", "Not searched: the CT shows no lung"),
}
NODULE_PRESENCE: dict[Verdict, Code] = {  # CID 240
    Verdict.NO_NODULE: codes.cid240.Absent,
    Verdict.BENIGN: codes.cid240.Present,
    Verdict.MALIGNANT: codes.cid240.Present,
    Verdict.INDETERMINATE: codes.cid240.Undetermined,
}
SIDES: dict[str, Code] = {"left": codes.cid244.Left, "right": codes.cid244.Right}  # CID 244


def private_scheme() -> CodingSchemeIdentificationItem:
    """What the private codes are, for the Coding Scheme Identification Sequence."""
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME, name="Lungsight", responsible_organization="Lungsight developers"
    )
