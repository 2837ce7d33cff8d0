"""The settings of the nodule's mask and measurements; `config` holds them with the others."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MeasureConfig", "OutlineConfig"]


@dataclass(frozen=True, slots=True)
class OutlineConfig:
    """Settings of the nodule's mask inside a detected ROI.

    Attributes
    ----------
    margin_mm
        How far a nodule may reach beyond its ROI.
    seed_sigma_mm
        The CT is smoothed by this for the search of the seed.
    seed_hu_per_mm
        The handicap of a voxel for each mm it is away from the ROI's centre.
    least_hu
        There is no nodule where nothing is denser.
    parenchyma_hu
        Voxels of the lungs below it are parenchyma; their median is its density.
    core_mm
        Reach from the seed of the box whose median is the nodule's density.
    least_contrast_hu
        There is no nodule that stands out less from the parenchyma.
    halo_inner_mm
        Where the shell round the dense part begins in which ground glass is looked for.
    halo_outer_mm
        Where it ends.
    halo_share
        Share of the shell that must be ground glass, 0 to 1.
    glass_low_hu
        What is denser may be ground glass there.
    glass_high_hu
        What is less dense may be ground glass there.
    core_reach_mm
        The deepest voxel this near to the seed is the nodule's middle.
    opening_share
        What is thinner than this share of the nodule's depth is cut off; 0 to 1.
    span_share
        A nodule reaches no farther from its middle than this many times its depth.
    least_diameter_mm
        What is smaller (a ball of the same volume) is noise or a vessel's end, and not outlined.
    """

    margin_mm: float = 5.0
    seed_sigma_mm: float = 1.0
    seed_hu_per_mm: float = 100.0
    least_hu: float = -800.0
    parenchyma_hu: float = -600.0
    core_mm: float = 1.5
    least_contrast_hu: float = 80.0
    halo_inner_mm: float = 1.5
    halo_outer_mm: float = 3.0
    halo_share: float = 0.8
    glass_low_hu: float = -780.0
    glass_high_hu: float = -350.0
    core_reach_mm: float = 4.0
    opening_share: float = 0.4
    span_share: float = 3.0
    least_diameter_mm: float = 2.5

    def __post_init__(self) -> None:
        if not self.glass_low_hu < self.glass_high_hu:
            found = f"glass_low_hu and glass_high_hu are {self.glass_low_hu} and {self.glass_high_hu}"
            raise ValueError(f"{found}, expected to ascend")
        if not self.halo_inner_mm < self.halo_outer_mm:
            found = f"halo_inner_mm and halo_outer_mm are {self.halo_inner_mm} and {self.halo_outer_mm}"
            raise ValueError(f"{found}, expected to ascend")
        for name in ("halo_share", "opening_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to 1")
        lengths = ("margin_mm", "seed_sigma_mm", "core_mm", "halo_inner_mm", "core_reach_mm")
        for name in ("seed_hu_per_mm", "least_contrast_hu", "span_share", "least_diameter_mm", *lengths):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True, slots=True)
class MeasureConfig:
    """The HU rules of the density classes.

    Attributes
    ----------
    solid_hu
        A voxel is solid from this on: half-way between ground glass (-600) and soft tissue (about 0).
    solid_share
        A nodule is solid if this share or more of its inner voxels (those not at its blurred edge) is solid; 0 to 1.
    least_solid_mm
        A smaller solid component (mean diameter) makes no nodule part-solid: a vessel that runs through ground glass.
    """

    solid_hu: float = -300.0
    solid_share: float = 0.65
    least_solid_mm: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.solid_share <= 1:
            raise ValueError(f"solid_share is {self.solid_share}, expected 0 to 1")
        if self.least_solid_mm < 0:
            raise ValueError(f"least_solid_mm is {self.least_solid_mm}, expected 0 or more")
