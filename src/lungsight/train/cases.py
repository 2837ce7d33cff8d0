"""Training cases of the `windows` network: patches of several windows, augmented, labelled by a stated rule.

A patch is most often 88 x 88 working pixels, which is 3 x 3 windows whose trunk is computed once. It is sampled from a
*tile*, a 128 x 128 px piece of a slice at the source's own resolution, with one linear interpolation that does
resampling to the working pixel, zoom, rotation, flip and shift together, on the pixels and on the outlines alike.

The rule for a window's label looks at its core, the 30 x 30 px in its middle: the window is a ROI if its core holds
half of a nodule's area in the slice, or a third of the core is nodule; not ROI if it holds a tenth or less; in between
it is not learned from. Windows that touch other findings of unknown kind are not learned from either, unless they are
ROIs. (A rule on the whole window was tried first. After 160 batches its loss had not left that of guessing: the dense
layer must learn small nodules at each of 13 x 13 places by itself.)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lungsight.detect.windows import CORE_PX, FIELD_PX, STEP_PX, WINDOW_PX
from lungsight.detect.working import HU_RANGE, PIXEL_MM
from lungsight.train.recipe import AugmentConfig

__all__ = [
    "PATCH_PX",
    "TILE_PX",
    "AugmentConfig",
    "Motion",
    "Tiles",
    "blur_some",
    "change_hu",
    "check_wanted",
    "cut_patches",
    "join_tiles",
    "make_tile",
    "move_planes",
    "rating_to_malignancy",
    "to_field",
]

TILE_PX = 128
PATCH_PX = FIELD_PX + 2 * STEP_PX
"""Side of a patch of 3 x 3 windows."""

BEND_POINTS = 5
"""Points a side that an elastic deformation displaces."""

ROI_SHARE_OF_NODULE = 0.5
ROI_SHARE_OF_CORE = 1 / 3
NOT_ROI_SHARE_OF_NODULE = 0.1


def check_wanted(count: int, there: bool, kind: str, pieces: str = "patches") -> None:
    """Refuse to draw what is not there.

    Raises
    ------
    ValueError
        If so many `pieces` a batch are wanted, and there is none of the kind.
    """
    if count and not there:
        raise ValueError(f"{count} {pieces} a batch of {kind} are wanted, and there is none")


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Pieces of slices with what is known of them; a batch before augmentation.

    Attributes
    ----------
    hu
        Shape ``(n, 128, 128)``.
    nodule, unknown
        Shape ``(n, 128, 128)``, True inside the nodule's outline, and inside other findings.
    spacing_mm
        Shape ``(n,)``, pixel spacing (rows and columns alike).
    target
        Shape ``(n, 2)``: how sure the readers are that it is a nodule, and how malignant, 0 to 1.
    """

    hu: NDArray[np.float32]
    nodule: NDArray[np.bool_] | NDArray[np.float32]
    unknown: NDArray[np.bool_]
    spacing_mm: NDArray[np.float32]
    target: NDArray[np.float32]


def join_tiles(parts: Sequence[Tiles]) -> Tiles:
    """All of several; at least one."""
    return Tiles(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(Tiles)))


def rating_to_malignancy(ratings: NDArray[np.floating]) -> float:
    """Soft malignancy of a nodule from its readers' ratings 1 to 5: their mean, with 1 and 5 kept from being certain.

    Examples
    --------
    >>> rating_to_malignancy(np.array([3.0])), round(rating_to_malignancy(np.array([5.0, 5.0, 4.0])), 3)
    (0.5, 0.913)
    """
    return float(np.interp(ratings, (1, 2, 3, 4, 5), (0.03, 0.2, 0.5, 0.8, 0.97)).mean()) if len(ratings) else 0.5


def make_tile(plane: NDArray[np.generic], centre_yx: tuple[float, float]) -> NDArray[np.generic]:
    """Cut the 128 x 128 px round a centre; beyond the slice it is mirrored."""
    tile = plane
    for axis, centre in enumerate(centre_yx):
        wanted = np.arange(TILE_PX) + round(centre) - TILE_PX // 2
        period = 2 * (plane.shape[axis] - 1) or 1
        wanted = np.abs((wanted + period // 2) % period - period // 2)
        tile = tile.take(wanted, axis)
    return tile


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Where patches are sampled in their tiles.

    Attributes
    ----------
    zoom, angle, mirror
        Shape ``(n,)``: zoom-in, rotation in radians, -1 where left and right are exchanged, else 1.
    shift
        Shape ``(n, 2)``: rows and columns by which the tile's middle lies off the patch's.
    bend
        Shape ``(n, 2, k, k)``: rows and columns by which k x k points of the patch are displaced.
    """

    zoom: Tensor
    angle: Tensor
    mirror: Tensor
    shift: Tensor
    bend: Tensor

    @classmethod
    def none(cls, n: int) -> Motion:
        """The middle of each tile as it is."""
        return cls(torch.ones(n), torch.zeros(n), torch.ones(n), torch.zeros(n, 2), torch.zeros(n, 2, 1, 1))

    @classmethod
    def draw(cls, n: int, augment: AugmentConfig, generator: torch.Generator) -> Motion:
        """A random one for each tile."""
        least = 1 / augment.zoom_out
        zoom = least + (augment.zoom - least) * torch.rand(n, generator=generator)
        angles = torch.tensor([sign * a for a in augment.angles_deg for sign in (-1, 1)])
        angle = angles[torch.randint(len(angles), (n,), generator=generator)] * (math.pi / 180)
        mirror = 1 - 2 * (torch.rand(n, generator=generator) < augment.flip).float()
        shift = (2 * torch.rand(n, 2, generator=generator) - 1) * augment.shift_px
        bend = torch.zeros(n, 2, 1, 1)
        if augment.bend_px:
            bend = (2 * torch.rand(n, 2, BEND_POINTS, BEND_POINTS, generator=generator) - 1) * augment.bend_px
        return cls(zoom, angle, mirror, shift, bend)


def cut_patches(
    tiles: Tiles, augment: AugmentConfig | None, generator: torch.Generator, side_px: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Patches with the labels of their windows.

    Parameters
    ----------
    tiles
        n tiles, what matters in their centre.
    augment
        None: the centre of each tile as it is.
    generator
        Draws everything that is drawn.
    side_px
        Side of a patch, 68 px and multiples of 10 px more; None for 88, which is 3 x 3 windows.

    Returns
    -------
    field
        Shape ``(n, 1, side, side)``, 0 to 1.
    target
        Shape ``(n, 3, rows, columns)``: not ROI, benign, malignant; sums to 1 over axis 1.
    weight
        Shape ``(n, rows, columns)``: 1, or 0 where the window is not learned from.
    """
    n = len(tiles.hu)
    planes = torch.stack(
        [torch.from_numpy(np.ascontiguousarray(a)).float() for a in (tiles.hu, tiles.nodule, tiles.unknown)], 1
    )
    spacing = torch.from_numpy(tiles.spacing_mm).float()
    motion = Motion.none(n) if augment is None else Motion.draw(n, augment, generator)
    planes = move_planes(planes, spacing, motion, PATCH_PX if side_px is None else side_px)
    hu, nodule, unknown = planes[:, :1], planes[:, 1:2], planes[:, 2:]
    if augment is not None:
        hu = change_hu(hu, augment, generator)
    area = torch.from_numpy(tiles.nodule.sum((1, 2))).float() * (spacing / PIXEL_MM * motion.zoom) ** 2
    target, weight = _label(nodule, unknown, area, torch.from_numpy(tiles.target))
    return to_field(hu), target, weight


def move_planes(planes: Tensor, spacing_mm: Tensor, motion: Motion, side_px: int) -> Tensor:
    """Patches sampled from square tiles ``(n, planes, w, w)`` on working pixels: ``(n, planes, side, side)``."""
    line = torch.arange(side_px) - (side_px - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    y, x = y[None] - motion.shift[:, :1, None], x[None] - motion.shift[:, 1:, None]
    if motion.bend.shape[-1] > 1:
        bent = functional.interpolate(motion.bend, (side_px, side_px), mode="bicubic", align_corners=True)
        y, x = y + bent[:, 0], x + bent[:, 1]
    cos, sin = motion.angle.cos()[:, None, None], motion.angle.sin()[:, None, None]
    step = (PIXEL_MM / spacing_mm / motion.zoom)[:, None, None] / ((planes.shape[-1] - 1) / 2)
    grid = torch.stack([(cos * x - sin * y) * step * motion.mirror[:, None, None], (sin * x + cos * y) * step], -1)
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def to_field(hu: Tensor) -> Tensor:
    """HU as the network sees them, see :func:`~lungsight.detect.working.normalise_hu`."""
    low, high = HU_RANGE
    return ((hu - low) / (high - low)).clamp(0, 1)


def blur_some(hu: Tensor, which: Tensor) -> Tensor:
    """Blur those of the patches ``(n, 1, h, w)`` that are True in `which` ``(n,)`` with a 3 x 3 binomial kernel."""
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    blurred = functional.conv2d(functional.pad(hu, (1, 1, 1, 1), "replicate"), (kernel[:, None] * kernel)[None, None])
    return torch.where(which[:, None, None, None], blurred, hu)


def change_hu(hu: Tensor, augment: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Patches ``(n, 1, h, w)``, some of them blurred, with noise and another calibration."""
    n = len(hu)
    hu = blur_some(hu, torch.rand(n, generator=generator) < augment.blur)
    # The square keeps most patches near the noise they have.
    sigma = augment.noise_hu * torch.rand(n, 1, 1, 1, generator=generator) ** 2
    hu = hu + sigma * torch.randn(hu.shape, generator=generator)
    return hu + augment.shift_hu * torch.randn(n, 1, 1, 1, generator=generator)


def _label(nodule: Tensor, unknown: Tensor, area: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    held = _mean_over_windows(nodule, CORE_PX)
    other = _mean_over_windows(unknown, WINDOW_PX)
    share = held * CORE_PX**2 / area.clamp(min=1)[:, None, None]
    is_roi = (share >= ROI_SHARE_OF_NODULE) | (held >= ROI_SHARE_OF_CORE)
    is_not = (share <= NOT_ROI_SHARE_OF_NODULE) & (other * WINDOW_PX**2 < 1)
    sure, malignant = known[:, 0, None, None], known[:, 1, None, None]
    roi = torch.where(is_roi, sure.expand_as(share), torch.zeros_like(share))
    target = torch.stack([1 - roi, roi * (1 - malignant), roi * malignant], 1)
    return target, (is_roi | is_not).float()


def _mean_over_windows(mask: Tensor, side_px: int) -> Tensor:
    """Mean of a mask over the middle `side_px` of each window."""
    edge = (FIELD_PX - side_px) // 2
    inside = slice(edge, mask.shape[-1] - edge)
    return functional.avg_pool2d(mask[..., inside, inside], side_px, STEP_PX)[:, 0]
