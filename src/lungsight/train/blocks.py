"""Blocks with and without a nodule, for the network that tells them apart: made once a run and kept in a file.

With: the outlined nodules. Without: what the U-Net takes for nodules away from every known lesion, and bright places in
the lungs. All of it at the CTs' own slices and at thick ones.

.. code-block:: text

    blocks/
    ├── blocks.npy      (n, 11, 92, 92) int16 HU
    └── blocks.json     of each: its group, patient, how sure it is a nodule, and how often it is drawn
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.detect.candidates import find_candidates
from lungsight.detect.segment import SliceNetwork, score_slices
from lungsight.detect.working import PIXEL_MM
from lungsight.diagnose.cuts import BLOCK_SLICES, sample_block
from lungsight.errors import CorruptFileError
from lungsight.train.arrays import ArrayWriter
from lungsight.train.cut_draw import CutCases
from lungsight.train.paste import average_slabs, slab_weights, thicken
from lungsight.train.segments_recipe import BlockDraw
from lungsight.train.store import Cases

__all__ = [
    "BLOCK_GROUPS",
    "WIDE_PX",
    "WIDE_SLICES",
    "Blocks",
    "block_reader",
    "build_blocks",
    "places_without",
    "wide_block",
]

BLOCK_GROUPS = ("nodule", "alarm", "bright")
WIDE_PX, WIDE_SLICES = 92, BLOCK_SLICES + 2
"""What is kept of a place: wider than a cut, so that it can be moved and turned."""
_ARRAY, _TABLE = "blocks.npy", "blocks.json"
_HALF = 0.5
Reader = Callable[[NDArray[np.intp], np.random.Generator], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Blocks on disk, opened.

    Attributes
    ----------
    hu
        Shape ``(n, 11, 92, 92)``, memory-mapped.
    group
        Shape ``(n,)``: number in BLOCK_GROUPS.
    patient_id
        Of each.
    sure, chance
        Shape ``(n,)``: how sure it is a nodule, 0 to 1, and how often it is drawn.
    """

    hu: NDArray[np.int16]
    group: NDArray[np.intp]
    patient_id: tuple[str, ...]
    sure: NDArray[np.float32]
    chance: NDArray[np.float64]

    def cases_of(self, patient_ids: frozenset[str]) -> CutCases:
        """The blocks of these patients; others keep their numbers and are never drawn."""
        return CutCases(
            read=block_reader(self.hu),
            spacing_mm=np.full(len(self.hu), PIXEL_MM, np.float32),
            target=self.sure[:, None],
            weight=np.ones((len(self.hu), 1), np.float32),
            group=self.group,
            chance=self.chance * np.isin(np.array(self.patient_id, str), sorted(patient_ids)),
        )


def block_reader(hu: NDArray[np.int16]) -> Reader:
    """Reads blocks of nine slices from wider ones: which of the slices, and in which direction, is drawn."""

    def read(k: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float32]:
        blocks = []
        for number in k:
            start = int(rng.integers(hu.shape[1] - BLOCK_SLICES + 1))
            block = hu[number, start : start + BLOCK_SLICES]
            blocks.append(block[:: rng.choice((-1, 1))])
        return np.stack(blocks).astype(np.float32)

    return read


def build_blocks(
    cases: Cases,
    network: SliceNetwork,
    draw: BlockDraw,
    seed: tuple[int, ...],
    folder: Path,
    progress: Callable[[float], None] = lambda _: None,
) -> Blocks:
    """Cut the blocks of every CT, or open them if they are there.

    Parameters
    ----------
    cases
        Their CTs and nodules, read one CT at a time.
    network
        The U-Net as it is used, whose errors are to be known.
    draw
        Which places.
    seed
        Numbers that tell what is drawn here from what is drawn elsewhere.
    folder
        Appears whole or not at all.
    progress
        Called with the share of CTs done.

    Returns
    -------
    Blocks
        Opened; of each CT as many as were found.

    Raises
    ------
    CorruptFileError
        If what is there is damaged.
    """
    if folder.exists():
        return _open(folder)
    staged = folder.with_name(folder.name + ".partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    listed = []
    with ArrayWriter(staged / _ARRAY, (WIDE_SLICES, WIDE_PX, WIDE_PX), np.int16) as writer:
        for number, patient_id in enumerate(cases.patient_ids):
            rng = np.random.default_rng((*seed, number))
            for group, sure, chance, hu in _blocks_of_ct(cases, number, network, draw, rng):
                writer.append(hu)
                listed.append((BLOCK_GROUPS.index(group), patient_id, sure, chance))
            progress((number + 1) / len(cases.patients))
    (staged / _TABLE).write_text(json.dumps(listed, ensure_ascii=False) + "\n", "utf-8")
    staged.rename(folder)
    return _open(folder)


def _open(folder: Path) -> Blocks:
    try:
        listed = json.loads((folder / _TABLE).read_text("utf-8"))
        hu = np.load(folder / _ARRAY, mmap_mode="r")
        group, patient_id, sure, chance = zip(*listed, strict=True) if listed else ((), (), (), ())
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{folder}: {error}", "blocks of a training run", f"Delete {folder}.") from error
    return Blocks(hu, np.array(group, np.intp), patient_id, np.array(sure, np.float32), np.array(chance, np.float64))


def _blocks_of_ct(
    cases: Cases, number: int, network: SliceNetwork, draw: BlockDraw, rng: np.random.Generator
) -> Iterator[tuple[str, float, float, NDArray[np.int16]]]:
    """Group, how sure it is a nodule, how often it is drawn, and HU of each block of a CT."""
    source = cases.ct(number)
    lungs, lesions = cases.masks(number)
    nodules = [nodule for nodule in cases.nodules if nodule["ct"] == number]
    for ct, lungs_there, lesions_there in _thicknesses(source, lungs, lesions, draw.thick_mm):
        for group, centre in places_without(ct, lungs_there, lesions_there, network, draw, rng):
            yield group, 0.0, 1.0, wide_block(ct, centre)
        for nodule in nodules:
            centre = ct.to_zyx(source.to_lps(nodule["centre_zyx"]))
            yield "nodule", nodule["sure"], nodule["chance"], wide_block(ct, centre)


def _thicknesses(
    ct: CTVolume, lungs: NDArray[np.bool_], lesions: NDArray[np.bool_], thick_mm: float
) -> Iterator[tuple[CTVolume, NDArray[np.bool_], NDArray[np.bool_]]]:
    """The CT as it is, and in thick slices if its own are thinner and there is room for one."""
    yield ct, lungs, lesions
    slice_mm = ct.spacing_zyx_mm[0]
    if slice_mm < thick_mm <= len(ct.hu) * slice_mm:
        weights = slab_weights(len(ct.hu), slice_mm, thick_mm)
        thick_lungs, thick_lesions = average_slabs(lungs, weights) >= _HALF, average_slabs(lesions, weights) > 0
        yield thicken(ct, thick_mm), thick_lungs, thick_lesions


def places_without(
    ct: CTVolume,
    lungs: NDArray[np.bool_],
    lesions: NDArray[np.bool_],
    network: SliceNetwork,
    draw: BlockDraw,
    rng: np.random.Generator,
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Places of a CT where no lesion is known: what the U-Net takes for a nodule (``"alarm"``), and bright ones.

    Parameters
    ----------
    ct
        Upright.
    lungs, lesions
        Masks of its shape; lesions with a margin.
    network
        The U-Net.
    draw
        How eager it is asked, and which places are bright.
    rng
        Draws those.

    Yields
    ------
    tuple of str and ndarray
        The group, and the voxel index ``(3,)``.
    """
    for candidate in find_candidates(ct, lungs, score_slices(ct, lungs, network), draw.eager):
        if not (lesions[candidate.region.box] & candidate.region.mask).any():
            yield "alarm", ct.to_zyx(np.array(candidate.location.lps_mm))
    bright = np.flatnonzero(lungs & ~lesions & (ct.hu > draw.bright_hu))
    drawn = rng.choice(bright, min(draw.bright_places, len(bright)), replace=False)
    for place in np.column_stack(np.unravel_index(drawn, ct.shape)):
        yield "bright", place.astype(np.float64)


def wide_block(ct: CTVolume, centre_zyx: NDArray[np.float64]) -> NDArray[np.int16]:
    """HU round a place, ``(11, 92, 92)``: wider than a block, so that it can be moved and turned."""
    return np.rint(sample_block(ct, centre_zyx, WIDE_SLICES, WIDE_PX)).astype(np.int16)
