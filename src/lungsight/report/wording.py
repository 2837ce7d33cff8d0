"""What the reports call things: each system has its own word for what it found and its own meaning of a score."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Wording", "wording_of"]


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of one system.

    Attributes
    ----------
    found, found_many
        What it finds, one and many.
    region
        The voxels it gives to each, which are drawn in red.
    drawn
        What the two colours of the pictures show.
    note
        What the region is, and what was measured.
    score
        How its scores come to be.
    threshold
        Table and setting of the score from which a patient is malignant.
    """

    found: str
    found_many: str
    region: str
    drawn: str
    note: str
    score: str
    threshold: tuple[str, str]

    @property
    def heading(self) -> str:
        """The region at the beginning of a line."""
        return self.region[0].upper() + self.region[1:]


_WINDOWS = Wording(
    found="region of interest (ROI)",
    found_many="regions of interest (ROI)",
    region="ROI",
    drawn="ROI in red, nodule in yellow",
    note="The ROI (red) is the detected region; what is measured is the nodule itself (outlined in yellow): long "
    "and short axis in one axial slice, volume, density class by HU. A measurement is made wherever something "
    "dense lies in a ROI; it does not make the ROI a nodule. The detection score says how surely there is one, by the "
    "windows, the slices beside and the shape of what lies there; nobody has confirmed it.",
    score="The score is the share of the ROI's windows that the network labelled malignant; the patient's score is "
    "that share over all ROIs.",
    threshold=("windows", "vote_threshold"),
)
_SEGMENTS = Wording(
    found="nodule",
    found_many="nodules",
    region="mask",
    drawn="mask in red, outlined in yellow",
    note="The mask (red, outlined in yellow) is what the U-Net marked, and what is measured: long and short axis in "
    "one axial slice, volume, density class by HU. The detection score says how surely a second network takes the "
    "place for a nodule; nobody has confirmed it.",
    score="A nodule's score says how malignant readers are expected to rate it, by what a network sees and by the "
    "diameter of the mask; the patient's score is a noisy-or over the strongest nodules, each its malignancy score "
    "times its detection score.",
    threshold=("segments", "malignancy_threshold"),
)
_BOTH = replace(
    _SEGMENTS,
    score="A nodule's score is made of those of the two systems, `windows` and `segments`; the patient's score is a "
    "noisy-or over the strongest nodules, each its malignancy score times its detection score.",
)
_WORDING = {"windows": _WINDOWS, "segments": _SEGMENTS, "both": _BOTH}


def wording_of(system: str) -> Wording:
    """The words of a system.

    Examples
    --------
    >>> wording_of("windows").region, wording_of("segments").heading
    ('ROI', 'Mask')
    """
    return _WORDING[system]
