"""The trainings of a run of `segments`, each on what the patients to learn from show."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.detect.segment import SliceNetwork
from lungsight.diagnose.cuts import BLOCK_SLICES
from lungsight.errors import InputError
from lungsight.train.blocks import BLOCK_GROUPS, Blocks
from lungsight.train.cut_draw import CutCases, CutDraw, CutDrawer
from lungsight.train.fit import Batch, fit
from lungsight.train.journal import Journal
from lungsight.train.nodule_networks import NoduleNetwork
from lungsight.train.precision import computing
from lungsight.train.pretrained import EfficientNetLite0, load_installed
from lungsight.train.run_folder import save_weights
from lungsight.train.segments_recipe import DetectionRecipe, MalignancyRecipe, OutlineRecipe, SegmentsRecipe, UNetRecipe
from lungsight.train.sheaves import OUTPUTS, sheaf_cases
from lungsight.train.slice_draw import SliceDraw, SliceDrawer
from lungsight.train.store import Cases
from lungsight.train.unet import UNet

__all__ = ["NETWORKS", "Stages", "malignancy_network", "slice_network"]

NETWORKS = ("unet", "detection", "malignancy", "outline")
"""In the order in which they are trained; the last is the U-Net again, which then outlines what was found."""
_VALIDATION = 1
"""Told to the drawers' seeds: what the patients kept aside are drawn with."""


def slice_network(unet: UNet) -> SliceNetwork:
    """The U-Net as it is used: fields in, scores out."""
    network = unet.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scores(field: NDArray[np.float32]) -> NDArray[np.float32]:
        tensor = torch.from_numpy(field).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), computing():
            found: NDArray[np.float32] = network(tensor).float().sigmoid().numpy()
        return found

    return scores


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """What the stages of a run share.

    Attributes
    ----------
    folder
        Of the run; each network gets a folder in it.
    recipe
        Every number.
    cases
        On disk.
    learned, aside
        The patients to learn from, and those that are scored at each checkpoint.
    journal
        Told of the progress.
    say
        Takes lines for people.
    """

    folder: Path
    recipe: SegmentsRecipe
    cases: Cases
    learned: frozenset[str]
    aside: frozenset[str]
    journal: Journal
    say: Callable[[str], None]

    def train_unet(self) -> UNet:
        """Stage 1, on the slices of nodules and on whole lungs; if it is done, its network."""
        torch.manual_seed(self.recipe.unet.fit.seed)
        return self._fit_unet(0, UNet(), self.recipe.unet)

    def train_outline(self, unet: UNet) -> UNet:
        """Stage 4, the U-Net again, on nodules that all is sure of; if it is done, its network. The first is kept."""
        unet = copy.deepcopy(unet)
        unet.entropy_share = self.recipe.outline.entropy_share
        return self._fit_unet(3, unet, self.recipe.outline)

    def _fit_unet(self, stage: int, network: UNet, recipe: UNetRecipe | OutlineRecipe) -> UNet:
        seed = (self.recipe.seed, stage)
        nodules = self.cases.nodules_of(self.learned, ends=isinstance(recipe, OutlineRecipe))
        lungs = self.cases.lungs_of(self.learned)
        drawer = SliceDrawer(nodules, lungs, recipe.draw, recipe.augment, seed)
        folder = self.folder / NETWORKS[stage]
        network = fit(
            network,
            drawer,
            recipe.fit,
            folder,
            self.journal.stage(stage),
            keep={"drawer": drawer.lungs},
            validation=self._outlines_aside(recipe.draw, seed),
        )
        save_weights(network, folder)
        return network

    def _outlines_aside(self, draw: SliceDraw, seed: tuple[int, ...]) -> Callable[[], Iterable[Batch]]:
        """Slices of the nodules of patients kept aside, the same each time, as they are; none if there is no nodule."""
        nodules = self.cases.nodules_of(self.aside)
        if not nodules.chance.any():
            return tuple
        plain = dataclasses.replace(draw, nodules=max(1, draw.nodules), lungs=0, thick=0.0)
        drawer = SliceDrawer(nodules, (), plain, None, (*seed, _VALIDATION))
        return lambda: (drawer.draw(step) for step in range(self.recipe.validation_batches))

    def train_detection(self, blocks: Blocks) -> NoduleNetwork:
        """Stage 2, on blocks; if it is done, its network.

        Raises
        ------
        InputError
            If there is none without nodule.
        """
        r = self.recipe.detection
        wanted = (r.draw.nodules, r.draw.alarms, r.draw.bright)
        learned = blocks.cases_of(self.learned)
        counts = _counts(learned, wanted)
        if sum(wanted[1:]) and not sum(counts[1:]):
            raise InputError(
                f"{len(self.learned)} patients with nothing in their lungs that looks like a nodule and is none",
                f"voxels over bright_hu = {r.draw.bright_hu:g}, or candidates of the U-Net, away from nodules",
                "Lower bright_hu or alarm_score in the recipe.",
            )
        absent = [name for name, w, there in zip(BLOCK_GROUPS, wanted, counts, strict=True) if w and not there]
        for name in absent:
            self.say(f"warning: there is no block of the group `{name}`, so the other groups stand in for it.")
        network = _new(r, BLOCK_SLICES, 1)
        return self._fit(1, r, network, learned, blocks.cases_of(self.aside), _filled(counts, wanted))

    def train_malignancy(self) -> NoduleNetwork:
        """Stage 3, on sheaves; if it is done, its network."""
        r = self.recipe.malignancy
        wanted = (r.draw.benign, r.draw.malignant, r.draw.between)
        learned, aside = (sheaf_cases(self.cases, r.draw, patients) for patients in (self.learned, self.aside))
        return self._fit(2, r, malignancy_network(r), learned, aside, _counts(learned, wanted))

    def _fit(
        self,
        stage: int,
        recipe: DetectionRecipe | MalignancyRecipe,
        network: NoduleNetwork,
        learned: CutCases,
        aside: CutCases,
        counts: tuple[int, ...],
    ) -> NoduleNetwork:
        seed = (self.recipe.seed, stage)
        folder = self.folder / NETWORKS[stage]
        drawer = CutDrawer(learned, CutDraw(counts), recipe.augment, seed)
        validation: Callable[[], Iterable[Batch]] = tuple
        if sum(there := _counts(aside, counts)):
            shown = CutDrawer(aside, CutDraw(there), None, (*seed, _VALIDATION))
            steps = range(self.recipe.validation_batches)

            def validation() -> Iterable[Batch]:
                return (shown(step, network) for step in steps)

        network = fit(network, drawer, recipe.fit, folder, self.journal.stage(stage), validation=validation)
        save_weights(network, folder)
        return network


def malignancy_network(recipe: MalignancyRecipe) -> NoduleNetwork:
    """The untrained malignancy network of a recipe; what begins at random is the same each time.

    Raises
    ------
    LungsightError
        If it begins with weights that are not there, see :func:`~lungsight.train.pretrained.load_installed`.
    """
    network = _new(recipe, None, len(OUTPUTS))
    for layer in network.trunk:
        if isinstance(layer, EfficientNetLite0):
            if recipe.pretrained:
                load_installed(layer)
            if recipe.frozen:
                layer.freeze()
    return network


def _new(recipe: DetectionRecipe | MalignancyRecipe, slices: int | None, outputs: int) -> NoduleNetwork:
    torch.manual_seed(recipe.fit.seed)
    return NoduleNetwork(recipe.kind, slices, outputs)


def _counts(cases: CutCases, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Cuts a batch of each group; none of those that are not there."""
    return tuple(n * bool(cases.chance[cases.group == group].any()) for group, n in enumerate(wanted))


def _filled(counts: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks a batch with what one group without nodule lacks taken from the other."""
    nodules, alarms, bright = counts
    without = wanted[1] + wanted[2]
    if alarms and bright:
        return counts
    return nodules, without if alarms else 0, without if bright else 0
