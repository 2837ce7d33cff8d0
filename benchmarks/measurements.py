"""Outline and measurements against drawn spheres and against LIDC's readers. Prints Markdown, writes a plot.

    python benchmarks/measurements.py ../shared/data --plot benchmarks/measurements.png > benchmarks/measurements.md

Spheres are blurred by a scanner's 0.6 mm and by the slice's thickness, with noise, in several positions each. LIDC
nodules are the crops of the data folder that three or more readers outlined, all slices with exact HU, of the half of
the patients that the outline's settings were *not* tuned on. The ROI is a box round the readers' consensus, its centre
moved by a random 1.5 mm (standard deviation) along each axis; the lung mask is made from the crop alone.
"""

from __future__ import annotations

import argparse
import csv
import lzma
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cc3d
import matplotlib as mpl
import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray
from scipy.special import erf

from lungsight.ct.volume import CTVolume
from lungsight.detect.morphology import close
from lungsight.diagnose.measure import Landmarks, find_landmarks, in_plane_axes_mm, measure_nodule
from lungsight.diagnose.outline import outline_nodule
from lungsight.findings import Candidate, Density, Measurements, Region

Mask = NDArray[np.bool_]
LUNG_HU, SOLID_HU, GLASS_HU = -850, 30, -600
GRIDS = {"1 mm": (1.0, 0.7, 0.7), "2.5 mm": (2.5, 0.7, 0.7), "5 mm": (5.0, 0.7, 0.7)}
DIAMETERS_MM = (4, 6, 8, 12, 20)
POSITIONS = 8
BLUR_MM = 0.6
NOISE_HU = 20
LEAST_READERS = 3
DEMO = "LIDC-IDRI-0001"
SPLIT_SEED = 6
SEED_OFF_MM = 1.5
SIZES_MM = ((0, 6), (6, 10), (10, 20), (20, 100))


@dataclass(frozen=True, slots=True, eq=False)
class Nodule:
    """A nodule of the crops: the CT round it, and each reader's mask."""

    patient: str
    ct: CTVolume
    readers: Mask
    texture: float

    @property
    def consensus(self) -> Mask:
        """What half of the readers or more outlined."""
        half: Mask = 2 * self.readers.sum(0) >= len(self.readers)
        return half


@dataclass(frozen=True, slots=True)
class Compared:
    """One nodule as we and its readers have it."""

    dice: float
    readers_mm: tuple[float, ...]
    ours: Measurements | None
    seconds: float
    texture: float

    @property
    def truth_mm(self) -> float:
        """The readers' mean diameter."""
        return float(np.mean(self.readers_mm))


def grid(spacing_zyx_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Slices to the head, rows to the back, columns to the left."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_zyx_mm)[::-1]
    return affine


def sphere(spacing: tuple[float, float, float], diameter_mm: float, hu: int, seed: int) -> CTVolume:
    """A blurred sphere near the middle of a piece of lung."""
    rng = np.random.default_rng(seed)
    side_mm = diameter_mm + 24
    counts = [int(side_mm / mm) for mm in spacing]
    centre = rng.uniform(-0.5, 0.5, 3) * spacing
    z, y, x = ((np.arange(n) - (n - 1) / 2) * mm - c for n, mm, c in zip(counts, spacing, centre, strict=True))
    profile = np.linspace(-0.5, 0.5, 9) * spacing[0]
    share = np.zeros(counts)
    for shift in profile:
        away = np.sqrt((z[:, None, None] + shift) ** 2 + y[:, None] ** 2 + x**2)
        share += 0.5 * (1 - erf((away - diameter_mm / 2) / (BLUR_MM * np.sqrt(2)))) / len(profile)
    drawn = LUNG_HU + (hu - LUNG_HU) * share + rng.normal(0, NOISE_HU, counts)
    return CTVolume(np.rint(drawn).astype(np.int16), grid(spacing))


def measured(
    ct: CTVolume, lungs: Mask, centre_zyx: NDArray[np.float64], half_mm: float
) -> tuple[Mask, Measurements | None]:
    """The mask and measurements from a box-shaped ROI; an empty mask if nothing was outlined."""
    half = np.array([half_mm / mm for mm in ct.spacing_zyx_mm])
    start = np.maximum(0, np.floor(centre_zyx - half)).astype(int)
    stop = np.minimum(ct.shape, np.ceil(centre_zyx + half) + 1).astype(int)
    z, y, x = start.tolist()
    roi = Region((z, y, x), np.ones(stop - start, np.bool_))
    region = outline_nodule(ct, lungs, Candidate(ct.locate(centre_zyx), 2 * half_mm, 1.0, roi))
    mask = np.zeros(ct.shape, np.bool_)
    if region is None:
        return mask, None
    mask[region.box] = region.mask
    # Where in the lungs it lies is not compared here: any surface will do.
    landmarks = find_landmarks(
        ct, np.pad(np.ones(np.subtract(ct.shape, (0, 2, 2)), np.bool_), ((0, 0), (1, 1), (1, 1)))
    )
    assert isinstance(landmarks, Landmarks)
    return mask, measure_nodule(ct, region, landmarks)


def phantom_rows() -> Iterator[str]:
    """Mean error and its standard deviation for each sphere."""
    yield "| slices | type | diameter, mm | outlined | mean diameter, error mm | volume, error % | type right |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for name, spacing in GRIDS.items():
        for kind, hu in ((Density.SOLID, SOLID_HU), (Density.GROUND_GLASS, GLASS_HU)):
            for diameter_mm in DIAMETERS_MM:
                found = []
                for seed in range(POSITIONS):
                    ct = sphere(spacing, diameter_mm, hu, seed)
                    middle = (np.array(ct.shape) - 1) / 2
                    middle[0] = round(middle[0])
                    _, m = measured(ct, np.ones(ct.shape, np.bool_), middle, diameter_mm / 2 + 6)
                    found += [m] if m is not None else []
                off_mm = np.array([m.mean_diameter_mm - diameter_mm for m in found])
                volume = np.array([m.volume_mm3 / (np.pi / 6 * diameter_mm**3) - 1 for m in found]) * 100
                right = sum(m.density is kind for m in found)
                words = "solid" if kind is Density.SOLID else "ground glass"
                errors = f"{off_mm.mean():+.2f} ± {off_mm.std():.2f} | {volume.mean():+.0f} ± {volume.std():.0f}"
                if not found:
                    errors = "– | –"
                yield f"| {name} | {words} | {diameter_mm} | {len(found)} of {POSITIONS} | {errors} | {right} |"


def table(path: Path) -> list[dict[str, str]]:
    """A CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def unpacked(path: Path) -> NDArray[np.uint8]:
    """A compressed NumPy array."""
    with lzma.open(path) as file:
        array: NDArray[np.uint8] = np.load(file)
    return array


def crops(folder: Path) -> Iterator[Nodule]:
    """The nodules that three or more readers outlined, with exact HU and no slice left out."""
    slices = defaultdict(list)
    for row in table(folder / "slices.csv"):
        slices[row["patient_id"], row["nodule"]].append(row)
    shards: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
    for row in table(folder / "nodules.csv"):
        mine = slices[row["patient_id"], row["nodule"]]
        if int(row["n_masks"]) < LEAST_READERS or any(s["hu_cal"] != "exact" or not s["z_mm"] for s in mine):
            continue
        mine.sort(key=lambda s: float(s["z_mm"]))
        step_mm, pixel_mm = float(row["slice_spacing_mm"]), float(row["pixel_spacing_mm"])
        if len(mine) < 2 or np.abs(np.diff([float(s["z_mm"]) for s in mine]) - step_mm).max() > 0.05:
            continue
        hu, readers = [], []
        for s in mine:
            if s["shard"] not in shards:
                names = (f"{kind}_{int(s['shard']):02}.npy.xz" for kind in ("images", "masks"))
                images, masks = (unpacked(folder / name) for name in names)
                shards[s["shard"]] = images, masks
            images, masks = shards[s["shard"]]
            hu.append(float(s["hu_at_0"]) + float(s["hu_per_level"]) * images[int(s["row"])].astype(np.float32))
            readers.append(np.unpackbits(masks[int(s["row"])], axis=-1).astype(bool)[: int(row["n_masks"])])
        texture = float(np.median([float(v) for v in row["texture"].split("|")]))
        ct = CTVolume(np.stack(hu).astype(np.int16), grid((step_mm, pixel_mm, pixel_mm)))
        yield Nodule(row["patient_id"], ct, np.stack(readers, axis=1), texture)


def lungs_of(ct: CTVolume) -> Mask:
    """A lung mask from a crop: what is dark and not small, closed over nodules at its border."""
    labels = cc3d.connected_components(ct.hu < -300, connectivity=6)
    voxels = np.bincount(labels.ravel())
    voxels[0] = 0
    dark = (voxels > 0.03 * voxels.max())[labels] & (labels > 0)
    return close(dark, 5, ct.spacing_zyx_mm) | close(dark, 15, ct.spacing_zyx_mm)


def compared(nodule: Nodule, rng: np.random.Generator) -> Compared:
    """One nodule, ours against its readers'."""
    ct, truth = nodule.ct, nodule.consensus
    extent_mm = np.ptp(np.argwhere(truth), axis=0)[1:].max() * ct.spacing_zyx_mm[1]
    off = rng.normal(0, SEED_OFF_MM, 3) / ct.spacing_zyx_mm
    centre = np.clip(np.argwhere(truth).mean(0) + off, 0, np.subtract(ct.shape, 1))
    centre[0] = round(centre[0])
    lungs = lungs_of(ct)
    began = time.process_time()
    mask, ours = measured(ct, lungs, centre, max(10.5, extent_mm / 2 + 5))
    seconds = time.process_time() - began
    overlap = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    readers = []
    for reader in nodule.readers:
        if reader.any():
            largest = reader[int(reader.sum((1, 2)).argmax())]
            readers.append(float(np.mean(in_plane_axes_mm(largest, ct.spacing_zyx_mm[1:]))))
    return Compared(float(overlap), tuple(readers), ours, seconds, nodule.texture)


def agreement(name: str, pairs: list[tuple[float, float]], dice: list[float] | None = None) -> str:
    """A row: n, bias, limits of agreement (1.96 standard deviations), median difference, Dice."""
    off = np.array([a - b for a, b in pairs])
    low, high = off.mean() - 1.96 * off.std(ddof=1), off.mean() + 1.96 * off.std(ddof=1)
    overlap = "" if dice is None else f"{np.mean(dice):.3f} (median {np.median(dice):.3f})"
    return (
        f"| {name} | {len(off)} | {off.mean():+.2f} | {low:+.2f} to {high:+.2f} | {np.median(off):+.2f} | {overlap} |"
    )


def lidc_rows(found: list[Compared]) -> Iterator[str]:
    """Agreement with the readers by size, and that of one reader with the others."""
    yield "| nodules by readers' mean diameter | n | bias, mm | limits of agreement, mm | median, mm | Dice |"
    yield "|---|--:|--:|--:|--:|--:|"
    done = [(c, c.ours.mean_diameter_mm) for c in found if c.ours is not None]
    for low, high in (*SIZES_MM, (0, 1000)):
        some = [(c, mm) for c, mm in done if low <= c.truth_mm < high]
        name = "all" if high == 1000 else f"{low} to {high} mm" if high < 100 else f"{low} mm and more"
        yield agreement(name, [(mm, c.truth_mm) for c, mm in some], [c.dice for c, _ in some])
    one_of_many = [
        (mm, float(np.mean([*c.readers_mm[:k], *c.readers_mm[k + 1 :]])))
        for c in found
        for k, mm in enumerate(c.readers_mm)
        if len(c.readers_mm) > 1
    ]
    yield agreement("one reader against the others", one_of_many)
    yield ""
    missed = sum(c.ours is None or c.dice == 0 for c in found)
    milliseconds = 1000 * np.mean([c.seconds for c in found])
    yield (
        f"{len(found)} nodules; {missed} not outlined or outlined elsewhere. {milliseconds:.0f} ms of one processor "
        "for each, outline and measurements together."
    )


def density_rows(found: list[Compared]) -> Iterator[str]:
    """Density classes against the readers' median texture (1 ground glass, 5 solid)."""
    yield "| readers' texture | solid | part-solid | ground glass |"
    yield "|---|--:|--:|--:|"
    for name, low, high in (("5, 4.5: solid", 4.5, 5), ("2.5 to 4: mixed", 2.5, 4), ("1 to 2: ground glass", 1, 2)):
        some = [c.ours.density for c in found if c.ours is not None and c.dice > 0.4 and low <= c.texture <= high]
        yield f"| {name} | {' | '.join(str(some.count(density)) for density in Density)} |"


def draw(found: list[Compared], path: Path) -> None:
    """Bland and Altman's plot."""
    mpl.use("Agg")
    pairs = np.array([(c.ours.mean_diameter_mm, c.truth_mm) for c in found if c.ours is not None])
    mean, off = pairs.mean(1), pairs[:, 0] - pairs[:, 1]
    figure, axes = pyplot.subplots(figsize=(6, 3.6), dpi=100)
    axes.scatter(mean, off, s=7, alpha=0.5, linewidths=0)
    for level, style in ((off.mean(), "-"), *((off.mean() + k * 1.96 * off.std(ddof=1), "--") for k in (-1, 1))):
        axes.axhline(level, color="0.3", linewidth=1, linestyle=style)
    axes.set_xlabel("mean of Lungsight and readers, mm")
    axes.set_ylabel("Lungsight less readers, mm")
    axes.set_title(f"Mean diameter of {len(pairs)} LIDC nodules: bias and 95 % limits", fontsize=10)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("--plot", type=Path, required=True, help="PNG to write")
    options = parser.parse_args()
    print("# Measurements\n\nBy [measurements.py](measurements.py), which tells how.\n\n## Drawn spheres\n")
    print("\n".join(phantom_rows()), flush=True)
    nodules = [n for n in crops(options.data / "lidc_crops") if n.patient != DEMO]
    patients = sorted({n.patient for n in nodules})
    order = np.random.default_rng(SPLIT_SEED).permutation(len(patients))
    held_out = {patients[k] for k in order[1::2]}
    rng = np.random.default_rng(1)
    found = [compared(n, rng) for n in nodules if n.patient in held_out and n.consensus.any()]
    print(f"\n## LIDC nodules of {len(held_out)} patients the settings were not tuned on\n")
    print("\n".join(lidc_rows(found)))
    print(f"\n![Difference against mean]({options.plot.name})\n\n## Density classes on the same nodules\n")
    print("\n".join(density_rows(found)))
    draw(found, options.plot)


if __name__ == "__main__":
    main()
