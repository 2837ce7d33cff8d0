"""How a window network is made: every number of a training run once, in frozen dataclasses.

A recipe is a sequence of stages. Each stage draws its batches in one of two ways: *patches* round nodules and in whole
lungs, the hard ones mined again and again, or *windows* of the published grid, balanced by class. What a
network sees is no setting of a recipe but for the pixel: it stands beside the code that feeds it
(:mod:`lungsight.detect.windows`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lungsight.detect.windows import FIELD_PX, STEP_PX

__all__ = [
    "AugmentConfig",
    "FitConfig",
    "MiningConfig",
    "PatchDraw",
    "Recipe",
    "Stage",
    "WindowDraw",
]

_CHOICES = {
    "network": ("patch_cnn", "vgg16"),
    "padding": ("context", "zero"),
    "pixel": ("working", "native"),
    "labels": ("soft", "hard"),
    "optimizer": ("adamw", "adam"),
    "schedule": ("cosine", "constant"),
}


def _check_choices(settings: Any, *names: str) -> None:
    for name in names:
        if getattr(settings, name) not in _CHOICES[name]:
            raise ValueError(f"{name} is {getattr(settings, name)!r}, expected one of {', '.join(_CHOICES[name])}")


def _check_shares(settings: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} is {getattr(settings, name)}, expected 0 to 1")


def _check_least(settings: Any, least: int, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) >= least:
            raise ValueError(f"{name} is {getattr(settings, name)}, expected {least} or more")


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How a patch may differ from the CT it came from; the paper's five and what CT scanners add.

    Attributes
    ----------
    shift_px
        Greatest distance of the nodule from the patch's centre, each axis.
    angles_deg
        Rotations, one is drawn with either sign (the paper: 30 and 45).
    zoom, zoom_out
        Greatest zoom-in, and how many times smaller at most, both 1 or more; drawn evenly between the two.
    flip
        Chance of a horizontal flip.
    blur
        Chance of a 3 x 3 binomial blur.
    noise_hu
        Greatest standard deviation of added noise.
    shift_hu
        Standard deviation of an added constant: the calibration of scanners and of 8-bit crops differs.
    bend_px
        Elastic deformation: greatest displacement of points 24 px apart, each axis; in between it is smooth.
    """

    shift_px: float = 16.0
    angles_deg: tuple[float, ...] = (0.0, 0.0, 30.0, 45.0)
    zoom: float = 1.12
    zoom_out: float = 1.0
    flip: float = 0.5
    blur: float = 0.2
    noise_hu: float = 40.0
    shift_hu: float = 12.0
    bend_px: float = 0.0

    def __post_init__(self) -> None:
        _check_shares(self, "flip", "blur")
        _check_least(self, 0, "shift_px", "noise_hu", "shift_hu", "bend_px")
        _check_least(self, 1, "zoom", "zoom_out")
        if not self.angles_deg:
            raise ValueError("angles_deg is empty, expected one angle or more (0 for none)")


@dataclass(frozen=True, slots=True)
class MiningConfig:
    """How hard negatives are found: lung windows that the network takes for nodules.

    Attributes
    ----------
    first, every
        Batches at which lung windows are searched for false alarms.
    rounds
        Searches whose false alarms are drawn from.
    share_of_slices
        Slices searched each time.
    score
        ROI score from which a window is a false alarm.
    share
        Of the lung patches that are false alarms, once there are some.
    """

    first: int = 400
    every: int = 200
    rounds: int = 3
    share_of_slices: float = 0.1
    score: float = 0.2
    share: float = 0.6

    def __post_init__(self) -> None:
        _check_shares(self, "share_of_slices", "score", "share")
        _check_least(self, 0, "first")
        _check_least(self, 1, "every", "rounds")


@dataclass(frozen=True, slots=True)
class PatchDraw:
    """Batches of patches round nodules and in whole lungs, see :mod:`lungsight.train.cases`.

    Attributes
    ----------
    side_px
        Side of a patch in working pixels: 68 is one window, each 10 px more one window more a side.
    benign, malignant, lungs
        Patches of benign nodules, of malignant ones, and of whole lungs in a batch.
    far, far_shift_px
        So many of the nodules' patches are shifted by up to this instead, each axis: nodules that lie beside the core.
    mining
        Of the patches of whole lungs.
    """

    side_px: int = FIELD_PX + 2 * STEP_PX
    benign: int = 8
    malignant: int = 8
    lungs: int = 8
    far: int = 0
    far_shift_px: float = 30.0
    mining: MiningConfig = field(default_factory=MiningConfig)

    def __post_init__(self) -> None:
        if self.side_px < FIELD_PX or (self.side_px - FIELD_PX) % STEP_PX:
            raise ValueError(f"side_px is {self.side_px}, expected {FIELD_PX} or {STEP_PX} px more, or {2 * STEP_PX}")
        _check_least(self, 0, "benign", "malignant", "lungs", "far", "far_shift_px")
        if self.far > self.benign + self.malignant:
            raise ValueError(f"far is {self.far}, expected at most the {self.benign + self.malignant} nodules a batch")
        if not self.benign + self.malignant + self.lungs:
            raise ValueError("benign, malignant and lungs are 0, expected a patch in a batch")


@dataclass(frozen=True, slots=True)
class WindowDraw:
    """Batches of single windows of the published grid, drawn by epochs, see :mod:`lungsight.train.grid`.

    Attributes
    ----------
    epoch_windows
        Windows an epoch, a third of each class (the paper: 20,000 each).
    batch_windows
        Windows a batch; the last of an epoch may have fewer.
    """

    epoch_windows: int = 60_000
    batch_windows: int = 400

    def __post_init__(self) -> None:
        _check_least(self, 3, "epoch_windows")
        _check_least(self, 1, "batch_windows")

    @property
    def epoch_batches(self) -> int:
        """Batches an epoch."""
        return -(-self.epoch_windows // self.batch_windows)


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How a network is fitted.

    Attributes
    ----------
    batches
        Number of batches.
    optimizer
        ``"adamw"``, or ``"adam"`` (the paper's).
    learning_rate
        Greatest rate; it is reached over `warm_up` batches.
    schedule
        ``"cosine"``: the rate falls to zero along a cosine; ``"constant"``: it does not (the paper's).
    warm_up
        Batches until the greatest rate is reached.
    weight_decay
        Of the optimizer.
    averaging
        The weights used in the end are a running mean of the weights at each batch; the share that is kept a batch (0:
        the last weights themselves).
    dropout_ramp
        Batches over which the dropout rises from nothing to the network's rates: with all of it from the start, the
        loss takes twice as long to leave that of guessing. 0: all of it from the start.
    bfloat16
        Compute convolutions and products in bfloat16 (weights stay float32), where the processor has instructions for
        it; elsewhere it is many times slower than float32, which is taken then.
    tell_every
        Batches between two lines of the log.
    checkpoint_every
        Batches between two checkpoints; at each the network is validated.
    keep_every
        Of the checkpoints so many-th one's averaged weights are kept.
    seed
        Of the first weights and the dropout.
    """

    batches: int = 1600
    optimizer: str = "adamw"
    learning_rate: float = 4e-4
    schedule: str = "cosine"
    warm_up: int = 40
    weight_decay: float = 1e-4
    averaging: float = 0.995
    dropout_ramp: int = 500
    bfloat16: bool = True
    tell_every: int = 20
    checkpoint_every: int = 100
    keep_every: int = 4
    seed: int = 1

    def __post_init__(self) -> None:
        _check_choices(self, "optimizer", "schedule")
        _check_shares(self, "averaging")
        _check_least(self, 0, "learning_rate", "warm_up", "weight_decay", "dropout_ramp", "seed")
        _check_least(self, 1, "batches", "tell_every", "checkpoint_every", "keep_every")


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a run: how batches are drawn, and how the network is fitted to them.

    Attributes
    ----------
    draw
        Which of the two ways.
    augment
        How what is drawn is changed.
    fit
        It begins with the averaged weights of the stage before.
    """

    draw: PatchDraw | WindowDraw = field(default_factory=PatchDraw)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number of a training run.

    Attributes
    ----------
    network
        ``"patch_cnn"``, or ``"vgg16"`` (the paper's failed comparison).
    padding
        Of the window network: ``"context"`` or ``"zero"`` (the published one). VGG16 always pads with zeros.
    pixel
        ``"working"``: pixels of 0.7 mm; ``"native"``: those of the CT, whatever their size (the published way).
    labels
        ``"soft"``: as malignant as the readers rated the nodule, as sure a nodule as readers outlined it; ``"hard"``:
        benign or malignant, by the mean rating under or over 3, or the patient's label.
    validation
        Share of the patients that are kept aside, unless a fold is.
    validation_batches
        Batches of the patients kept aside that are scored at each checkpoint.
    seed
        Of the split of the patients and of what is drawn.
    stages
        In order.
    """

    network: str = "patch_cnn"
    padding: str = "context"
    pixel: str = "working"
    labels: str = "soft"
    validation: float = 0.1
    validation_batches: int = 8
    seed: int = 2026
    stages: tuple[Stage, ...] = (Stage(),)

    def __post_init__(self) -> None:
        _check_choices(self, "network", "padding", "pixel", "labels")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation is {self.validation}, expected 0 or more and under 1")
        _check_least(self, 0, "validation_batches", "seed")
        if not self.stages:
            raise ValueError("there is no stage, expected one or more")
