"""How the networks of `segments` are made: every number of a training run once, in frozen dataclasses.

The shipped networks are made with the same numbers (``recipes/segments``), from other data.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from lungsight.config import SegmentsConfig
from lungsight.diagnose.redraw import FIELD_PX
from lungsight.train.cut_draw import CUT_AUGMENT
from lungsight.train.nodule_networks import KINDS, PRETRAINED_KINDS
from lungsight.train.recipe import AugmentConfig, FitConfig, MiningConfig
from lungsight.train.slice_draw import SliceDraw

__all__ = [
    "BlockDraw",
    "DetectionRecipe",
    "MalignancyRecipe",
    "OutlineRecipe",
    "SegmentsRecipe",
    "SheafDraw",
    "UNetRecipe",
]

_NODULE_FIT = FitConfig(
    batches=900,
    learning_rate=1.5e-3,
    warm_up=50,
    weight_decay=0.02,
    averaging=0.995,
    dropout_ramp=0,
    checkpoint_every=150,
)


_UNET_MINING = MiningConfig(first=400, every=300, rounds=4, share_of_slices=0.12, score=0.2, share=0.7)
_UNET_AUGMENT = AugmentConfig(
    shift_px=26.0,
    angles_deg=(0.0, 15.0, 30.0, 45.0, 90.0),
    zoom=1.25,
    blur=0.15,
    noise_hu=40.0,
    shift_hu=12.0,
    bend_px=3.0,
)
_UNET_FIT = FitConfig(
    batches=2400,
    learning_rate=2e-3,
    warm_up=60,
    weight_decay=1e-4,
    averaging=0.995,
    dropout_ramp=0,
    checkpoint_every=200,
    seed=3,
)


def _check_counts(settings: object, *names: str) -> None:
    counts = [getattr(settings, name) for name in names]
    if min(counts) < 0 or not sum(counts):
        raise ValueError(f"{', '.join(names)} are {counts}, expected 0 or more each and a cut in a batch")


def _check_kind(kind: str, *kinds: str) -> None:
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(kinds)}")


@dataclass(frozen=True, slots=True)
class UNetRecipe:
    """The U-Net's first stage, which learns where nodules are: how its batches are drawn, changed, and learned.

    Attributes
    ----------
    draw, augment, fit
        As their classes tell.
    """

    draw: SliceDraw = field(default_factory=lambda: SliceDraw(mining=_UNET_MINING))
    augment: AugmentConfig = field(default_factory=lambda: _UNET_AUGMENT)
    fit: FitConfig = field(default_factory=lambda: _UNET_FIT)


@dataclass(frozen=True, slots=True)
class OutlineRecipe:
    """The U-Net's second stage, which learns how far they reach: nodules that all is sure of, in the middle of what it
    sees, as in use (:mod:`lungsight.diagnose.redraw`), and the slices next to their ends.

    Attributes
    ----------
    draw, augment, fit
        As their classes tell.
    entropy_share
        Weight of the cross-entropy beside Dice, see :class:`~lungsight.train.unet.UNet`; above 0.
    """

    draw: SliceDraw = field(
        default_factory=lambda: SliceDraw(side_px=FIELD_PX, nodules=32, lungs=0, least_sure=1.0, thick=0.1)
    )
    augment: AugmentConfig = field(
        default_factory=lambda: dataclasses.replace(
            _UNET_AUGMENT, shift_px=4.0, zoom=1.12, zoom_out=1.12, noise_hu=20.0, shift_hu=8.0, bend_px=2.0
        )
    )
    fit: FitConfig = field(default_factory=lambda: _UNET_FIT)
    entropy_share: float = 5.0

    def __post_init__(self) -> None:
        if self.entropy_share <= 0:
            raise ValueError(f"entropy_share is {self.entropy_share}, expected above 0")
        if self.draw.side_px != FIELD_PX:
            raise ValueError(f"draw.side_px is {self.draw.side_px}, expected {FIELD_PX}: the field it is used with")


@dataclass(frozen=True, slots=True)
class BlockDraw:
    """Which places of a CT the detection network learns from, and how many a batch.

    Attributes
    ----------
    nodules, alarms, bright
        Blocks a batch of nodules, of what the U-Net takes for nodules and is none, and of bright places in the lungs.
    alarm_score, most_alarms
        `pixel_score` and `most_candidates` of :class:`~lungsight.config.SegmentsConfig`, but more eager: the U-Net has
        seen the CTs it is asked about, or it would give too few of its errors.
    bright_places, bright_hu
        So many places of a CT's lungs that are denser than this.
    thick_mm
        Each CT is also shown in slices of this thickness, if its own are thinner; 0 for no.
    """

    nodules: int = 16
    alarms: int = 16
    bright: int = 3
    alarm_score: float = 0.08
    most_alarms: int = 400
    bright_places: int = 120
    bright_hu: float = -500.0
    thick_mm: float = 5.0

    def __post_init__(self) -> None:
        _check_counts(self, "nodules", "alarms", "bright")
        if not 0 < self.alarm_score <= 1 or self.most_alarms < 1:
            found = f"alarm_score is {self.alarm_score} and most_alarms {self.most_alarms}"
            raise ValueError(f"{found}, expected above 0 and at most 1, and 1 or more")
        if self.bright_places < 0 or self.thick_mm < 0:
            found = f"bright_places is {self.bright_places} and thick_mm {self.thick_mm}"
            raise ValueError(f"{found}, expected 0 or more")

    @property
    def eager(self) -> SegmentsConfig:
        """Settings of the search for candidates."""
        return SegmentsConfig(pixel_score=self.alarm_score, most_candidates=self.most_alarms)


@dataclass(frozen=True, slots=True)
class DetectionRecipe:
    """The network that tells nodules from what looks like them.

    Attributes
    ----------
    kind
        Of the network, see :data:`~lungsight.train.nodule_networks.KINDS`.
    draw, augment, fit
        As their classes tell.
    """

    kind: str = "resnet"
    draw: BlockDraw = field(default_factory=BlockDraw)
    augment: AugmentConfig = CUT_AUGMENT
    fit: FitConfig = field(default_factory=lambda: dataclasses.replace(_NODULE_FIT, seed=6))

    def __post_init__(self) -> None:
        _check_kind(self.kind, *KINDS)


@dataclass(frozen=True, slots=True)
class SheafDraw:
    """What the malignancy network is shown of a nodule, and how many nodules a batch.

    Attributes
    ----------
    benign, malignant, between
        Nodules a batch, those of a malignancy near one half being the third group.
    slices
        Slices of a sheaf while training; the mean of what is seen in them is judged, so their number may differ.
    thick
        Share of the sheaves whose slices are means over their neighbours, as in CTs of thick slices.
    beside
        Weight of each of the other outputs, which are learned beside malignancy.
    """

    benign: int = 14
    malignant: int = 14
    between: int = 4
    slices: int = 3
    thick: float = 0.25
    beside: float = 0.25

    def __post_init__(self) -> None:
        _check_counts(self, "benign", "malignant", "between")
        if self.slices < 1 or not 0 <= self.thick <= 1 or self.beside < 0:
            found = f"slices is {self.slices}, thick {self.thick} and beside {self.beside}"
            raise ValueError(f"{found}, expected 1 or more, 0 to 1, and 0 or more")


@dataclass(frozen=True, slots=True)
class MalignancyRecipe:
    """The network that says how malignant a nodule looks.

    Attributes
    ----------
    kind
        Of the network, see :data:`~lungsight.train.nodule_networks.KINDS`.
    init
        What its trunk begins with: ``"random"`` weights, or ``"imagenet"``, those of :mod:`lungsight.train.pretrained`.
        Unless they are frozen, these want a lower rate than others, see
        :func:`~lungsight.train.segments_recipes.transfer_recipe`.
    frozen
        The trunk keeps these weights, and only the layers behind it learn: its features are a bottleneck.
    draw, augment, fit
        As their classes tell.
    """

    kind: str = "resnet"
    init: str = "random"
    frozen: bool = False
    draw: SheafDraw = field(default_factory=SheafDraw)
    augment: AugmentConfig = CUT_AUGMENT
    fit: FitConfig = field(default_factory=lambda: dataclasses.replace(_NODULE_FIT, seed=5))

    def __post_init__(self) -> None:
        _check_kind(self.kind, *KINDS, *PRETRAINED_KINDS)
        if self.init not in ("random", "imagenet"):
            raise ValueError(f"init is {self.init!r}, expected one of random, imagenet")
        if self.pretrained and self.kind not in PRETRAINED_KINDS:
            known = ", ".join(PRETRAINED_KINDS)
            raise ValueError(f"init is {self.init!r}, expected random: there are no such weights but for kind {known}")
        if self.frozen and not self.pretrained:
            raise ValueError("frozen is true, expected false for init random: what knows nothing has to learn")

    @property
    def pretrained(self) -> bool:
        """Whether the trunk begins with weights of other images."""
        return self.init != "random"


@dataclass(frozen=True, slots=True)
class SegmentsRecipe:
    """Every number of a training run.

    Attributes
    ----------
    labels
        ``"soft"``: as malignant as the readers rated the nodule, as sure a nodule as readers outlined it; ``"hard"``:
        benign or malignant. Either falls back on the patient's label where there is no rating.
    validation
        Share of the patients that are kept aside, unless a fold is.
    validation_batches
        Batches of the patients kept aside that are scored at each checkpoint.
    seed
        Of the split of the patients and of what is drawn.
    unet, detection, malignancy
        Three networks, in this order: the second learns from the errors of the first.
    outline
        The U-Net's second stage, which begins with the first's weights and outlines what was found.
    """

    labels: str = "soft"
    validation: float = 0.1
    validation_batches: int = 12
    seed: int = 2026
    unet: UNetRecipe = field(default_factory=UNetRecipe)
    detection: DetectionRecipe = field(default_factory=DetectionRecipe)
    malignancy: MalignancyRecipe = field(default_factory=MalignancyRecipe)
    outline: OutlineRecipe = field(default_factory=OutlineRecipe)

    def __post_init__(self) -> None:
        if self.labels not in ("soft", "hard"):
            raise ValueError(f"labels is {self.labels!r}, expected one of soft, hard")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation is {self.validation}, expected 0 or more and under 1")
        for name in ("validation_batches", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")

    @property
    def pixel(self) -> str:
        """Always the working pixel."""
        return "working"

    @property
    def fits(self) -> tuple[FitConfig, FitConfig, FitConfig, FitConfig]:
        """How each stage is fitted."""
        return self.unet.fit, self.detection.fit, self.malignancy.fit, self.outline.fit
